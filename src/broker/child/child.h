/* SPDX-License-Identifier: MIT */
/* child.h - the process that serves one worker */
#ifndef ISO_BROKER_CHILD_H
#define ISO_BROKER_CHILD_H

#include <sys/types.h>

#include "abi/iso_wire.h"
#include "base/log.h"
#include "drv/drv.h"
#include "broker/metrics.h"
#include "broker/child/budget.h"
#include "broker/child/opener.h"
#include "broker/child/policy.h"
#include "broker/child/pool.h"
#include "broker/proto.h"

#define CHILD_MAX_THREADS 64

struct conn;

struct child {
	struct pool pool;
	struct proto_setup setup;
	const struct abi *abi;
	struct opener opener;
	struct drv *drv;
	struct policy policy;
	struct metrics metrics;
	struct log_limit log;		/* for what the worker provokes */
	struct iso_ev ctl;
	struct iso_ev rate_timer;
	struct iso_ev hello_timer;	/* for connections without one */
	struct conn *conns;
	uint32_t n_parked;		/* connections that wait */
	uint32_t n_files;
	struct budget budget;
	bool reap;			/* some connection has ended */
};

#endif /* ISO_BROKER_CHILD_H */
