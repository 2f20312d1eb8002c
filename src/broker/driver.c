/* SPDX-License-Identifier: MIT */
#include "broker/driver.h"

#include "drv/real/real_opener.h"
#include "drv/real/real.h"

static int make_soft(const struct abi *abi, struct child_setup *setup,
		     struct drv **ret_drv)
{
	setup->soft.name = setup->gpu_name;
	return drv_soft_new(abi, setup->version, &setup->soft, ret_drv);
}

static int make_real(const struct abi *abi, struct child_setup *setup,
		     struct drv **ret_drv)
{
	return drv_real_new(abi, setup->gpu, MIN(setup->n_gpus, ISO_MAX_GPUS),
			    OPENER_SOCK, ret_drv);
}

static const struct driver soft = {
	.name = "soft",
	.make = make_soft,
};

static const struct driver real = {
	.name = "real",
	.has_nodes = true,
	.syscalls = &real_syscalls,
	.n_syscalls = &real_n_syscalls,
	.make = make_real,
};

const struct driver *const drivers[] = { &soft, &real, NULL };
