/* SPDX-License-Identifier: MIT */
/* child.h - the process that faces the VMM and its guest */
#ifndef VSOCK_DEVICE_CHILD_H
#define VSOCK_DEVICE_CHILD_H

#include <sys/types.h>

#include "base/base.h"

struct child_fds {
	int vmm;		/* listens for the VMM */
	int uds;		/* listens for the host's programs */
	int monitor;		/* the child's end (proto.h) */
};

/* Serves one VMM with a device of that CID until the VMM or the monitor is
 * gone. The fds are taken over. Confines itself first (main.c says how); uid
 * counts as root only. Returns an exit status. */
int child_run(const struct child_fds *fds, uint64_t cid, uid_t uid);

#endif /* VSOCK_DEVICE_CHILD_H */
