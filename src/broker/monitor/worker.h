/* SPDX-License-Identifier: MIT */
/*
 * worker.h - the monitor's side of workers: their connections and children
 *
 * A worker has at most one child, which serves all its connections. The child
 * ends with the last of them, and it is gone, and reaped, before the next one
 * starts; connections that come in between wait.
 */
#ifndef ISO_BROKER_WORKER_H
#define ISO_BROKER_WORKER_H

#include "base/list.h"
#include "base/log.h"
#include "broker/metrics.h"
#include "broker/monitor/config.h"
#include "loop/loop.h"

struct workers {
	struct loop *loop;			/* all borrowed */
	const struct monitor_config *config;
	struct metrics *metrics;
	struct log_limit *log;			/* for lines they provoke */
	struct list list;
};

/* A connection whose IDENT was good. Takes over fd. */
void workers_admit(struct workers *ws, int fd, const char *name, uint32_t caps);

/* Frees workers and connections that have ended: for the loop's after hook. */
void workers_reap(struct workers *ws);

/* Tells every child to log what it counted. */
void workers_log_metrics(struct workers *ws);

/* Ends and reaps every child and forgets all workers. */
void workers_end(struct workers *ws);

#endif /* ISO_BROKER_WORKER_H */
