/* SPDX-License-Identifier: MIT */
/* driver.h - the drivers of this build, by name */
#ifndef ISO_BROKER_DRIVER_H
#define ISO_BROKER_DRIVER_H

#include "broker/child/child.h"

struct driver {
	const char *name;	/* for --driver */
	bool has_nodes;		/* the monitor opens device nodes for it */
	/* System calls of its own, for the child's filter. */
	const int *const *syscalls;
	const size_t *n_syscalls;
	/* Makes the child's driver before its sandbox is closed. 0 or -errno. */
	int (*make)(const struct abi *abi, struct child_setup *setup,
		    struct drv **ret_drv);
};

/* NULL-terminated. The test build has a table of its own. */
extern const struct driver *const drivers[];

#endif /* ISO_BROKER_DRIVER_H */
