/* SPDX-License-Identifier: MIT */
/* registry.c - the table of the drivers in this build */
#include "drv/real/real.h"
#include "drv/soft/soft.h"

const struct drv_type *const drv_types[] = { &drv_soft, &drv_real, NULL };
