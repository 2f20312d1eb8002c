/* SPDX-License-Identifier: MIT */
/*
 * real.h - NVIDIA's own driver behind drv.h
 *
 *   real_host.c   the monitor's half: asks the loaded driver, opens nodes
 *   real_drv.c    the child's half: makes the calls
 *   real_call.c   how NVIDIA's driver numbers its calls
 *
 * Every ioctl is the worker's, with its addresses replaced by those of the
 * broker's buffers, and its file ids by descriptors of the child.
 */
#ifndef ISO_DRV_REAL_H
#define ISO_DRV_REAL_H

#include <assert.h>

#include "abi/iso_wire.h"
#include "base/base.h"
#include "drv/drv.h"

extern const struct drv_type drv_real;

/* The bytes of its drv_config. */
struct real_config {
	uint32_t n_gpus;
	struct drv_gpu gpu[ISO_MAX_GPUS];
};
static_assert(sizeof(struct real_config) <= DRV_CONFIG_MAX, "it fits");

/* ---- real_host.c ---- */

struct real_host {
	struct drv_host base;
	const struct abi *abi;	/* of exactly the loaded driver's version */
	int dev_fd;		/* the directory of the nodes */
	struct real_config gpus;
	/* Each GPU's node stays open: the driver sets a GPU up at the first
	 * open, which takes seconds, and forgets it at the last close. */
	int warm[ISO_MAX_GPUS];
};

/*
 * Asks the driver for its version and its GPUs, opens each of them and reads
 * what /proc/driver/nvidia and sysfs say of it. dev, proc and sys are those
 * directories. 0; -EPROTONOSUPPORT: no table for the version; -ENODEV: no GPU;
 * or another -errno, and the reason was logged. Either way real_host_fini()
 * comes next.
 */
int real_host_init(struct real_host *h, const char *dev, const char *proc,
		   const char *sys);
void real_host_fini(struct real_host *h);

/* host_open of drv_type. */
int real_host_open(const struct drv_host *host, uint32_t kind, uint32_t minor,
		   uint32_t flags);

/* ---- real_drv.c ---- */

/* make of drv_type; its filter; calls as in drv_type. */
int real_make(const struct drv_config *config, struct drv_env *env,
	      struct drv **ret_drv);
extern const int *const real_syscalls;
extern const size_t real_n_syscalls;

/* ---- real_call.c ---- */

/* The number by which NVIDIA's driver knows this call with len bytes. */
unsigned long real_request(const struct abi_row *row, uint32_t len);

/* Whether an open of a GPU with O_NONBLOCK returns at once, and a call waits
 * for its outcome (550 and later). */
bool real_opens_async(const struct abi *abi);

#endif /* ISO_DRV_REAL_H */
