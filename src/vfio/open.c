/* SPDX-License-Identifier: MIT */
/* open.c - opens a device through its group */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "vfio/vfio.h"

#define CONTAINER "/dev/vfio/vfio"

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
