/* SPDX-License-Identifier: MIT */
/*
 * soft.h - the soft driver behind drv.h: a Resource Manager in software
 *
 * It needs no GPU and no driver. Its GPUs are a small model, which the
 * SOFT_GPU_* keys of the configuration describe.
 */
#ifndef ISO_DRV_SOFT_H
#define ISO_DRV_SOFT_H

#include "drv/drv.h"

extern const struct drv_type drv_soft;

/* The model, and how much of it one worker may use. */
struct soft_config {
	uint32_t count;		/* 0 to 32 GPUs, alike but for uuid and bus */
	char name[64];		/* with its NUL */
	uint8_t uuid[16];	/* the first one's; GPU i adds i to the end */
	uint64_t mem_bytes;
	uint32_t domain;	/* the first one's; GPU i adds i to the bus */
	uint8_t bus, slot, function;
	uint32_t util_percent;
	uint32_t temp_celsius;
	uint32_t power_mw;
	uint32_t max_clients;	/* RM clients; 0: no limit */
	uint32_t max_objects;
	uint64_t max_mem_bytes;	/* video memory, of all GPUs; 0: none */
};

/*
 * A driver for user space of that version. abi may be the table of a near
 * version (abi_find_nearest). 0 and *ret_drv, freed with ops->destroy; -EINVAL
 * for a config that it cannot show, -ENOMEM. Opens no file and starts no
 * thread.
 */
int soft_new(const struct abi *abi, const char *version,
	     const struct soft_config *config, struct drv **ret_drv);

#endif /* ISO_DRV_SOFT_H */
