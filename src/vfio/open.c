/* SPDX-License-Identifier: MIT */
/* open.c - opens a device through its group */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/sock.h"
#include "vfio/vfio.h"

#define CONTAINER "/dev/vfio/vfio"

int vfio_fail(const char *bdf, const char *what, int r)
{
	log_error("%s: %s: %s", bdf, what, strerror(-r));
	switch (r) {
	case -ENODEV:
	case -ENOENT:
	case -ENXIO:
		return ISO_EX_UNAVAILABLE;
	case -EBUSY:
	case -EAGAIN:
		return ISO_EX_TEMPFAIL;
	case -EACCES:
	case -EPERM:
		return ISO_EX_NOPERM;
	default:
		return ISO_EX_IO;
	}
}

int vfio_print(struct wr *w)
{
	int r = wr_ok(w) ? write_full(STDOUT_FILENO, w->p, w->len) : -ENOMEM;

	wr_free(w);
	if (r == 0)
		return ISO_EX_OK;
	log_error("standard output: %s", strerror(-r));
	return ISO_EX_IO;
}

int vfio_ask(int fd, unsigned long request, const void *head, size_t n,
	     struct vfio_answer *ret_answer)
{
	size_t size = n;

	/* The kernel says how much room it needs, which may grow meanwhile. */
	for (int round = 0; round < 3; round++) {
		_cleanup_free_ void *p = calloc(1, size);
		uint32_t argsz = (uint32_t)size;

		if (!p)
			return -ENOMEM;
		memcpy(p, head, n);
		memcpy(p, &argsz, sizeof(argsz));
		if (ioctl(fd, request, p) < 0)
			return -errno;
		memcpy(&argsz, p, sizeof(argsz));
		if (argsz <= size) {
			ret_answer->p = take_ptr(p);
			ret_answer->n = size;
			return 0;
		}
		if (argsz > VFIO_MAX_ANSWER)
			return -EMSGSIZE;
		size = argsz;
	}
	return -EMSGSIZE;
}

void vfio_answer_free(struct vfio_answer *a)
{
	free(a->p);
	*a = (struct vfio_answer){ 0 };
}

/* Whether VFIO can use the function's group beside its driver. Such drivers
 * leave the DMA of their devices to others (driver_managed_dma in Linux). */
static bool shares(const struct vfio_func *func)
{
	return !func->driver[0] || vfio_func_bound(func) ||
	       strcmp(func->driver, "pcieport") == 0 ||
	       strcmp(func->driver, "pci-stub") == 0;
}

/* Says which drivers keep the group from being viable. An exit status. */
static int fail_viable(const struct vfio_dev *d)
{
	struct vfio_func member[VFIO_MAX_MEMBERS];
	char list[512] = "";
	size_t n = 0;

	if (vfio_members(d->func.group, member, &n) < 0)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		size_t have = strlen(list);

		if (!shares(&member[i]))
			snprintf(list + have, sizeof(list) - have,
				 ", %s has driver %s", member[i].bdf,
				 member[i].driver);
	}
	log_error("%s: group %d is not viable%s; bind all of it with `isospin"
		  " vfio-bind %s`", d->func.bdf, d->func.group, list,
		  d->func.bdf);
	return ISO_EX_NO;
}

/* Finds the function, which must be bound to vfio-pci. An exit status. */
static int find(struct vfio_dev *d, const char *bdf)
{
	int r = vfio_func_read(bdf, &d->func);

	if (r == -ENODEV) {
		log_error("%s: there is no such device", bdf);
		return ISO_EX_UNAVAILABLE;
	}
	if (r < 0)
		return vfio_fail(bdf, "sysfs", r);
	if (d->func.group < 0) {
		log_error("%s: it has no IOMMU group: the IOMMU is off;"
			  " `isospin vfio-status %s` says why", bdf, bdf);
		return ISO_EX_UNAVAILABLE;
	}
	if (!vfio_func_bound(&d->func)) {
		log_error("%s: its driver is %s, not vfio-pci; bind it with"
			  " `isospin vfio-bind %s`", bdf,
			  d->func.driver[0] ? d->func.driver : "none", bdf);
		return ISO_EX_UNAVAILABLE;
	}
	return ISO_EX_OK;
}

/* Says why the group's node does not open. An exit status. */
static int fail_group_node(const struct vfio_dev *d, int r)
{
	char node[32], users[512];

	snprintf(node, sizeof(node), "/dev/vfio/%d", d->func.group);
	if (r != -EBUSY)
		return vfio_fail(d->func.bdf, node, r);
	vfio_users(d->func.group, users, sizeof(users));
	log_error("%s: group %d is in use by %s", d->func.bdf, d->func.group,
		  users);
	return ISO_EX_TEMPFAIL;
}

int vfio_open_group(struct vfio_dev *d, const char *bdf, uint32_t *ret_flags)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char node[32];
	int r;

	*d = (struct vfio_dev){ .container = -1, .group = -1, .device = -1 };
	r = find(d, bdf);
	if (r != ISO_EX_OK)
		return r;
	snprintf(node, sizeof(node), "/dev/vfio/%d", d->func.group);
	d->group = open(node, O_RDWR | O_CLOEXEC);
	if (d->group < 0)
		return fail_group_node(d, -errno);
	if (ioctl(d->group, VFIO_GROUP_GET_STATUS, &status) < 0)
		return vfio_fail(bdf, "VFIO_GROUP_GET_STATUS", -errno);
	log_debug("%s: group %d: status flags 0x%x", bdf, d->func.group,
		  status.flags);
	*ret_flags = status.flags;
	return ISO_EX_OK;
}

/* Opens a container of type 1 and puts the group into it. An exit status. */
static int open_container(struct vfio_dev *d)
{
	const char *bdf = d->func.bdf;
	int version;

	d->container = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (d->container < 0)
		return vfio_fail(bdf, CONTAINER, -errno);
	version = ioctl(d->container, VFIO_GET_API_VERSION);
	if (version != VFIO_API_VERSION) {
		log_error("%s: VFIO has version %d, not %d", bdf, version,
			  VFIO_API_VERSION);
		return ISO_EX_UNAVAILABLE;
	}
	if (ioctl(d->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
		log_error("%s: VFIO has no type 1 IOMMU: `modprobe"
			  " vfio_iommu_type1`", bdf);
		return ISO_EX_UNAVAILABLE;
	}
	if (ioctl(d->group, VFIO_GROUP_SET_CONTAINER, &d->container) < 0)
		return vfio_fail(bdf, "VFIO_GROUP_SET_CONTAINER", -errno);
	if (ioctl(d->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == 0)
		return ISO_EX_OK;
	if (errno != EPERM)
		return vfio_fail(bdf, "VFIO_SET_IOMMU", -errno);
	/* Linux 6.1, vfio_iommu_type1_attach_group(): its only EPERM. */
	log_error("%s: the IOMMU does not remap interrupts, so a VM could"
		  " forge them; turn that on in the firmware and do not boot"
		  " with intremap=off", bdf);
	return ISO_EX_UNAVAILABLE;
}

int vfio_open(struct vfio_dev *d, const char *bdf)
{
	uint32_t flags;
	int r = vfio_open_group(d, bdf, &flags);

	if (r != ISO_EX_OK)
		return r;
	if (!(flags & VFIO_GROUP_FLAGS_VIABLE))
		return fail_viable(d);
	r = open_container(d);
	if (r != ISO_EX_OK)
		return r;
	d->device = ioctl(d->group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (d->device < 0)
		return vfio_fail(bdf, "VFIO_GROUP_GET_DEVICE_FD", -errno);
	return ISO_EX_OK;
}

void vfio_close(struct vfio_dev *d)
{
	close_fd(&d->device);
	close_fd(&d->group);
	close_fd(&d->container);
}

int vfio_region(const struct vfio_dev *d, uint32_t index,
		struct parse_region *ret_region)
{
	struct vfio_region_info head = { .index = index };
	struct vfio_answer answer;
	int r = vfio_ask(d->device, VFIO_DEVICE_GET_REGION_INFO, &head,
			 sizeof(head), &answer);

	if (r < 0)
		return r;
	r = parse_region(answer.p, answer.n, ret_region);
	vfio_answer_free(&answer);
	return r;
}

int vfio_header(const struct vfio_dev *d, struct parse_header *ret_header)
{
	struct parse_region config;
	uint8_t bytes[64];
	ssize_t n;
	int r = vfio_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &config);

	if (r < 0)
		return r;
	n = pread(d->device, bytes, sizeof(bytes), (off_t)config.offset);
	if (n < 0)
		return -errno;
	return parse_header(bytes, (size_t)n, ret_header);
}

int vfio_iommu(const struct vfio_dev *d, struct parse_iommu *ret_iommu)
{
	struct vfio_iommu_type1_info head = { 0 };
	struct vfio_answer answer;
	int r = vfio_ask(d->container, VFIO_IOMMU_GET_INFO, &head,
			 sizeof(head), &answer);

	if (r < 0)
		return r;
	r = parse_iommu(answer.p, answer.n, ret_iommu);
	vfio_answer_free(&answer);
	return r;
}

int vfio_affected(const struct vfio_dev *d,
		  struct parse_affected ret[PARSE_MAX_AFFECTED],
		  uint32_t *ret_n)
{
	/* The kernel does not say how much it needs: room for a whole bus. */
	uint8_t head[sizeof(struct vfio_pci_hot_reset_info) +
		     PARSE_MAX_AFFECTED *
			     sizeof(struct vfio_pci_dependent_device)] = { 0 };
	struct vfio_answer answer;
	int r = vfio_ask(d->device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, head,
			 sizeof(head), &answer);

	if (r < 0)
		return r;
	r = parse_hot_reset(answer.p, answer.n, ret, ret_n);
	vfio_answer_free(&answer);
	return r;
}
