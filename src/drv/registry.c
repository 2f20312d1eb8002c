/* SPDX-License-Identifier: MIT */
/* registry.c - lists the drivers of this build */
#include "drv/real/real.h"
#include "drv/soft/soft.h"

const struct drv_type *const drv_types[] = { &drv_soft, &drv_real, NULL };
