/* SPDX-License-Identifier: MIT */
/* reset.c - resets a device */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "vfio/vfio.h"

/*
 * Resets the whole bus or slot. As proof that all of it is ours, the kernel
 * wants the fds of all groups that it resets; here that is one. 0 or -errno.
 */
static int hot_reset(const struct vfio_dev *d)
{
	uint8_t bytes[sizeof(struct vfio_pci_hot_reset) + sizeof(int32_t)];
	struct vfio_pci_hot_reset head = { .argsz = sizeof(bytes), .count = 1 };
	int32_t fd = d->group;

	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), &fd, sizeof(fd));
	return ioctl(d->device, VFIO_DEVICE_PCI_HOT_RESET, bytes) < 0 ? -errno
								      : 0;
}

/* Whether a hot reset may reset this function too; says why if not. */
static bool may_affect(const struct vfio_dev *d,
		       const struct parse_affected *affected)
{
	struct vfio_func other;
	char bdf[VFIO_BDF_SIZE];

	snprintf(bdf, sizeof(bdf), "%04x:%02x:%02x.%u", affected->domain,
		 affected->bus, affected->dev, affected->func & 7u);
	if (affected->group != (uint32_t)d->func.group) {
		log_error("%s: it has no reset of its own, and with its bus %s"
			  " of group %u would be reset", d->func.bdf, bdf,
			  affected->group);
		return false;
	}
	if (vfio_func_read(bdf, &other) == 0 && vfio_func_bound(&other))
		return true;
	log_error("%s: it has no reset of its own, and with its bus %s would"
		  " be reset, which vfio-pci does not have; `isospin vfio-bind"
		  " %s`", d->func.bdf, bdf, bdf);
	return false;
}

/* Whether all that a hot reset would reset may be; says why if not. */
static bool may_hot_reset(const struct vfio_dev *d)
{
	struct parse_affected affected[PARSE_MAX_AFFECTED];
	uint32_t n;
	int r = vfio_affected(d, affected, &n);

	if (r < 0) {
		log_error("%s: it has no reset of its own, and its bus cannot"
			  " be reset (%s)", d->func.bdf, strerror(-r));
		return false;
	}
	for (uint32_t i = 0; i < n; i++)
		if (!may_affect(d, &affected[i]))
			return false;
	return true;
}

/* Resets the device, by itself if it can, else by a hot reset. An exit
 * status. */
static int reset(const struct vfio_dev *d, const char **ret_method,
		 uint64_t *ret_ns)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };
	const char *bdf = d->func.bdf;
	uint64_t since;
	int r;

	if (ioctl(d->device, VFIO_DEVICE_GET_INFO, &info) < 0)
		return vfio_fail(bdf, "VFIO_DEVICE_GET_INFO", -errno);
	if (info.flags & VFIO_DEVICE_FLAGS_RESET) {
		*ret_method = "function";
		since = now_ns();
		r = ioctl(d->device, VFIO_DEVICE_RESET) < 0 ? -errno : 0;
	} else {
		if (!may_hot_reset(d))
			return ISO_EX_UNAVAILABLE;
		*ret_method = "hot";
		since = now_ns();
		r = hot_reset(d);
	}
	*ret_ns = now_ns() - since;
	return r < 0 ? vfio_fail(bdf, "reset", r) : ISO_EX_OK;
}

int vfio_reset_main(const char *bdf)
{
	struct parse_header h;
	const char *method = "";
	struct vfio_dev d;
	struct json j;
	struct wr w;
	uint64_t ns = 0;
	int r = vfio_open(&d, bdf);

	if (r == ISO_EX_OK)
		r = reset(&d, &method, &ns);
	if (r == ISO_EX_OK) {
		r = vfio_header(&d, &h);
		if (r < 0)
			r = vfio_fail(bdf, "after the reset", r);
	}
	vfio_close(&d);
	if (r != ISO_EX_OK)
		return r;
	if (!h.alive) {
		log_error("%s: it does not answer after the reset (%s); remove"
			  " it and scan its bus again, or power the machine"
			  " off", bdf, method);
		return ISO_EX_IO;
	}
	wr_init(&w, 4096);
	j = json_init(&w);
	json_object(&j, NULL);
	json_str(&j, "bdf", bdf);
	json_str(&j, "method", method);
	json_ms(&j, "reset_ms", ns);
	json_end(&j);
	return vfio_print(&w);
}
