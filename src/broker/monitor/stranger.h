/* SPDX-License-Identifier: MIT */
/* stranger.h - connections that have not proven yet whose they are */
#ifndef ISO_BROKER_STRANGER_H
#define ISO_BROKER_STRANGER_H

#include "base/list.h"
#include "broker/monitor/worker.h"

struct strangers {
	struct loop *loop;		/* all borrowed */
	struct workers *workers;	/* where a good IDENT leads */
	struct metrics *metrics;
	struct log_limit *log;
	const uint8_t *secret;
	struct list list;
};

/* A new connection, whose fd it takes over. It has some seconds to send IDENT;
 * if there are too many like it, the oldest is refused. */
void strangers_add(struct strangers *st, int fd);

/* Frees those that are over: for the loop's after hook. */
void strangers_reap(struct strangers *st);

/* Closes and frees all of them. */
void strangers_end(struct strangers *st);

#endif /* ISO_BROKER_STRANGER_H */
