/* SPDX-License-Identifier: MIT */
/*
 * isolation.h - what a child gives up, and when
 *
 * A child goes through three stages, and in each it may do less than before.
 *
 *	born	child_main() runs. monitor/spawn.c has left it descriptors 0 to
 *		4, no environment and no blocked signal, and the kernel kills it
 *		before others when memory runs out. It still has the monitor's
 *		privileges, but none of the monitor's memory.
 *		It must not read anything but SETUP, and not start a thread.
 *	ready	Driver, loop and timers are made, so every descriptor that the
 *		child opens by itself is open.
 *		It must not receive a CONN: with privileges, it looks neither at
 *		a worker's bytes nor at an fd that leads to a worker.
 *	closed	isolation_enter() has succeeded. The child is another user in an
 *		empty root, without capabilities, under limits, and under a
 *		filter of system calls that kills. Now it starts threads, which
 *		inherit all of this, and serves.
 *		It must not look up a path: the monitor opens nodes (opener.h).
 *
 * A failure before `closed` ends the process, for a child that is isolated by
 * half must not serve.
 */
#ifndef ISO_BROKER_ISOLATION_H
#define ISO_BROKER_ISOLATION_H

#include "broker/proto.h"

/* Threads that a child may have, all in all. */
#define ISOLATION_MAX_THREADS 64

/* From `ready` to `closed`, or the process ends. */
void isolation_enter(const struct proto_setup *setup,
		     const struct drv_type *driver);

#endif /* ISO_BROKER_ISOLATION_H */
