/* SPDX-License-Identifier: MIT */
/* child.h - what all sessions of one child share: the worker as a whole */
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
