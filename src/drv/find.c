/* SPDX-License-Identifier: MIT */
/* find.c - looks a driver up by its name */
#include <string.h>

#include "drv/drv.h"

const struct drv_type *drv_type_find(const char *name)
{
	const struct drv_type *const *t = drv_types;

	while (*t && strcmp((*t)->name, name) != 0)
		t++;
	return *t;
}
