/* SPDX-License-Identifier: MIT */
/*
 * child.h - the state of a worker that all sessions of its child share
 *
 * A file calls only files above it in this list:
 *
 *   frame.c      the header of a frame
 *   budget.c     how much one worker may use at a time
 *   pool.c       one loop, many threads
 *   opener.c     has the monitor open device nodes
 *   isolation.c  gives up what the child does not need
 *   call.c       one ioctl, while the driver executes it
 *   call_plan.c  what it needs before that
 *   call_wire.c  its frames
 *   policy.c     whether it may be made
 *   hello.c      HELLO_OK
 *   conn.c       the bytes of a connection
 *   session.c    its files and calls
 *   handlers.c   its frames, one function each
 *   main.c       from the first instruction to the loop
 */
#ifndef ISO_BROKER_CHILD_H
#define ISO_BROKER_CHILD_H

#include "base/log.h"
#include "broker/child/budget.h"
#include "broker/child/conn.h"
#include "broker/child/opener.h"
#include "broker/child/policy.h"
#include "broker/child/pool.h"
#include "broker/metrics.h"
#include "broker/proto.h"
#include "drv/drv.h"

struct child {
	struct pool pool;
	struct proto_setup setup;
	struct opener opener;		/* lent to the driver */
	struct drv *drv;		/* owned */
	struct policy policy;
	struct budget budget;
	struct conn_set conns;
	struct metrics metrics;
	struct log_limit log;		/* for lines that the worker provokes */
	struct iso_ev control;		/* PROTO_CONTROL */
	struct iso_ev rate_timer;	/* for tokens of the rate */
	struct iso_ev hello_timer;	/* for connections without a HELLO */
	uint32_t n_files;
};

#endif /* ISO_BROKER_CHILD_H */
