/* SPDX-License-Identifier: MIT */
/* isolation.c - takes from a child whatever it does not need to serve */
#include "broker/child/isolation.h"

#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "sandbox/sandbox.h"
#include "seccomp_gpu-broker.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* fds beside connections and files: log, control, opener, epoll, eventfd,
 * timers, and one that is on its way in. */
#define OWN_FDS 16
/* fds at most, should the driver need one for each open file. */
#define FDS_MAX 65536

/* Memory that a child can come to need: what is under way (results are in a
 * buffer that doubles), objects and files with their like in the driver, and
 * the rest, connections and stacks, which is less than 128 MiB. */
static uint64_t data_bytes(const struct proto_quota *q)
{
	return (UINT64_C(128) << 20) + 3 * q->max_inflight_bytes +
	       256 * ((uint64_t)q->max_objects + q->max_files);
}

/* Lists what any child may call, and what its driver needs. How many; 0 if they
 * are more than n, the room in ret. */
static size_t list_syscalls(const struct drv_type *driver, int *ret, size_t n)
{
	size_t own = driver->syscalls ? *driver->n_syscalls : 0;

	if (ARRAY_SIZE(seccomp_syscalls) + own > n)
		return 0;
	memcpy(ret, seccomp_syscalls, sizeof(seccomp_syscalls));
	if (own)
		memcpy(ret + ARRAY_SIZE(seccomp_syscalls), *driver->syscalls,
		       own * sizeof(*ret));
	return ARRAY_SIZE(seccomp_syscalls) + own;
}

void isolation_enter(const struct proto_setup *s, const struct drv_type *driver)
{
	int syscalls[SANDBOX_MAX_SYSCALLS];
	struct sandbox_limit limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_DATA, data_bytes(&s->quota) },
		{ RLIMIT_NOFILE, MIN(OWN_FDS + s->quota.max_conns +
				     s->quota.max_files, FDS_MAX) },
		/* The kernel counts the threads of a user, so only a child with
		 * a user of its own has this limit. */
		{ RLIMIT_NPROC, ISOLATION_MAX_THREADS + 1 },
	};
	struct sandbox box = {
		.uid = s->uid, .gid = s->uid, .empty_root = true,
		.limits = limits,
		.n_limits = ARRAY_SIZE(limits) - (s->uid ? 0 : 1),
		.syscalls = syscalls,
		.n_syscalls = list_syscalls(driver, syscalls,
					    ARRAY_SIZE(syscalls)),
	};
	int r;

#ifdef __GLIBC__
	/* With more arenas than this, glibc would count processors, by calls
	 * that the filter kills for. */
	mallopt(M_ARENA_MAX, 2);
#endif
	r = sandbox_enter(&box);
	if (r < 0)
		die(ISO_EX_BUG, "the child cannot be isolated: %s",
		    strerror(-r));
}
