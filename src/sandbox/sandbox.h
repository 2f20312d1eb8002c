/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - gives up, for good, the rights that a daemon no longer needs
 *
 * A daemon calls it once: after it has opened all that needs privilege or a
 * path, before it starts a thread or reads a byte of a peer. sandbox.c has the
 * stages.
 */
#ifndef ISO_SANDBOX_H
#define ISO_SANDBOX_H

#include <sys/types.h>

#include "base/base.h"

/* What a landlock rule permits below a path. Connecting to a Unix socket needs
 * no rule: permissions of directories alone decide there. */
#define SANDBOX_LIST	0x1u	/* read directories */
#define SANDBOX_READ	0x2u	/* read files */
#define SANDBOX_SOCKET	0x4u	/* make sockets, remove files */

struct sandbox_path {
	const char *path;
	unsigned int rights;	/* SANDBOX_* */
};

struct sandbox_limit {
	int resource;		/* RLIMIT_*; becomes the hard limit as well */
	uint64_t max;		/* cut to the hard limit there is */
};

struct sandbox {
	uid_t uid;		/* 0: the user stays */
	gid_t gid;		/* with uid; supplementary groups go */
	bool empty_root;	/* no path can be looked up any more */
	const struct sandbox_path *paths;	/* all that stays reachable */
	size_t n_paths;
	const struct sandbox_limit *limits;
	size_t n_limits;
	/* The filter: any other call kills the process. The list is made from
	 * `#syscalls` comments (build/gen/seccomp_PROGRAM.h). A build with
	 * sanitizers leaves the filter out, with a warning: their runtime makes
	 * calls of its own. */
	const int *syscalls;
	size_t n_syscalls;	/* 1..SANDBOX_MAX_SYSCALLS */
};

#define SANDBOX_MAX_SYSCALLS 250

/* 0, -EINVAL (no filter, or too long), -ENOENT (of paths), or another -errno;
 * after an error the process must end. */
int sandbox_enter(const struct sandbox *s);

#endif /* ISO_SANDBOX_H */
