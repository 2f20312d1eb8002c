/* SPDX-License-Identifier: MIT */
/*
 * devices.h - the device nodes of the real driver, in the monitor
 *
 * Each GPU's node stays open here as long as the monitor: the driver sets a GPU
 * up at its first open, which takes seconds, and forgets it at the last close.
 */
#ifndef ISO_BROKER_DEVICES_H
#define ISO_BROKER_DEVICES_H

#include "abi/iso_wire.h"
#include "drv/drv.h"

struct devices {
	const struct abi *abi;	/* of exactly the driver's version */
	int dev_fd;		/* the directory of the nodes */
	uint32_t n_gpus;
	struct drv_gpu gpu[ISO_MAX_GPUS];
	int warm[ISO_MAX_GPUS];
};

/*
 * Asks the driver for its version and its GPUs, opens each of them and learns
 * what /proc/driver/nvidia and sysfs say of it. dev, proc and sys are those
 * directories. 0; -EPROTONOSUPPORT: no table for the version; -ENODEV: no GPU;
 * or another -errno. What failed, and on what, has been logged.
 */
int devices_init(struct devices *d, const char *dev, const char *proc,
		 const char *sys);
void devices_fini(struct devices *d);

/* Answers a child's next opener_ask on sock. 0; -EAGAIN: there is none; -EPIPE:
 * there will be none; -EPROTO: the child does not keep to opener.h. */
int devices_serve(const struct devices *d, int sock);

#endif /* ISO_BROKER_DEVICES_H */
