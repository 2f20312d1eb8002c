/* SPDX-License-Identifier: MIT */
/*
 * real.h - NVIDIA's own driver behind drv.h
 *
 * Every ioctl is the guest's with the guest's addresses replaced by those of the
 * broker's buffers, and its file ids by descriptors of this process. Nodes are
 * opened by the monitor, see opener.h.
 */
#ifndef ISO_BROKER_REAL_H
#define ISO_BROKER_REAL_H

#include "base/base.h"
#include "drv/drv.h"

/* abi: of exactly the driver's version. gpus: borrowed. sock: to the monitor,
 * taken over. 0 and *ret_drv, freed with ops->destroy; -EINVAL, -ENOMEM. */
int drv_real_new(const struct abi *abi, const struct drv_gpu *gpus,
		 uint32_t n_gpus, int sock, struct drv **ret_drv);

/* The number by which the driver knows this call with so many bytes. */
unsigned long real_request(const struct abi_row *row, uint32_t len);

/* The first row of this escape, or NULL. */
const struct abi_row *real_row(const struct abi *abi, uint32_t nr);

/* Whether an open of a GPU with O_NONBLOCK returns at once and a call waits for
 * what it led to (550 and later). */
bool real_opens_async(const struct abi *abi);

/* What the filter of a child must let through besides its own calls. */
extern const int *const real_syscalls;
extern const size_t real_n_syscalls;

#endif /* ISO_BROKER_REAL_H */
