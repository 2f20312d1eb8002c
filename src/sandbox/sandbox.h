/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - gives up, for good, what a daemon has no more use for
 *
 * Called once, after everything that needs privilege or a path is open, before
 * the first thread and before the first byte of a peer. What it does, in order:
 * resource limits, landlock rules, an empty root, another user, no capability
 * (the bounding set too), no_new_privs, landlock, the system call filter.
 *
 * What the kernel or a missing privilege makes impossible (another user or an
 * empty root without root, landlock on an old kernel) is left out and said at
 * debug level; the rest is done, and a failure of it is an error.
 */
#ifndef ISO_SANDBOX_H
#define ISO_SANDBOX_H

#include <sys/types.h>

#include "base/base.h"

/* What a landlock rule leaves possible below a path. Connecting to a Unix
 * socket needs none of it; directory permissions alone decide there. */
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
	uid_t uid;		/* 0: stay who we are */
	gid_t gid;		/* with uid; supplementary groups go */
	bool empty_root;	/* nothing can be looked up any more */
	const struct sandbox_path *paths;	/* all that stays reachable */
	size_t n_paths;
	const struct sandbox_limit *limits;
	size_t n_limits;
	/* The filter: any other call kills the process. Made from `#syscalls`
	 * comments (build/gen/seccomp_PROGRAM.h). Left out, with a warning, in
	 * a build with sanitizers, whose runtime makes calls of its own. */
	const int *syscalls;
	size_t n_syscalls;	/* 1..SANDBOX_MAX_SYSCALLS */
};

#define SANDBOX_MAX_SYSCALLS 250

/* 0, -EINVAL (no filter, or too long), -ENOENT (of paths), or another -errno;
 * after an error the process is half dressed and must end. */
int sandbox_enter(const struct sandbox *s);

#endif /* ISO_SANDBOX_H */
