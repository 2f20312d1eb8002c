/* SPDX-License-Identifier: MIT */
/*
 * isolation.h - what a child gives up, and when
 *
 * A child comes to serve in stages. Each may do less than the one before, and no
 * stage may do what the next one forbids and hope to undo it.
 *
 *	born	child_main(), executed by monitor/spawn.c, which has left it
 *		descriptors 0 to 4, no environment and no blocked signal, and
 *		has made it the first process to go when memory runs out. It
 *		has the monitor's privileges still, and none of its memory. It
 *		must not start a thread, or read anything but SETUP.
 *	ready	The driver, the loop and the timers are there: every descriptor
 *		that the child opens by itself is open. It must not take a CONN
 *		from the monitor: no byte of a worker, and no fd that leads to
 *		one, is looked at with privileges.
 *	closed	isolation_enter() has succeeded. From here on the child is
 *		another user in an empty root, without capabilities, under
 *		limits and a filter of system calls that kills. It must not look
 *		up a path: nodes come from the monitor (opener.h). Only now it
 *		starts threads, which inherit all of this, and serves.
 *
 * A failure before `closed` ends the process: a child that is half isolated does
 * not serve.
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
