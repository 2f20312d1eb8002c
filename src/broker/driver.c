/* SPDX-License-Identifier: MIT */
#include "broker/driver.h"

static int make_soft(const struct abi *abi, struct child_setup *setup,
		     struct drv **ret_drv)
{
	setup->soft.name = setup->gpu_name;
	return drv_soft_new(abi, setup->version, &setup->soft, ret_drv);
}

static const struct driver soft = { "soft", make_soft };

const struct driver *const drivers[] = { &soft, NULL };
