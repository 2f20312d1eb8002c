/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - the counters of the broker
 *
 * The monitor and each child count for themselves. SIGUSR1 to the monitor makes
 * each of them log its counts as one line of JSON.
 */
#ifndef ISO_BROKER_METRICS_H
#define ISO_BROKER_METRICS_H

#include "base/base.h"

#define METRICS(X) \
	X(connections)		/* monitor: admitted; child: received */ \
	X(ident_refused)	/* connections closed before a valid IDENT */ \
	X(hello_late)		/* connections closed for want of a HELLO */ \
	X(conn_refused)		/* connections or workers that were too many */ \
	X(children_started) \
	X(children_died)	/* without being told to end */ \
	X(frames) \
	X(protocol_errors)	/* connections closed for a bad frame */ \
	X(opens) \
	X(open_refused)		/* too many files, or the driver's errno */ \
	X(calls) \
	X(needs) \
	X(cancels) \
	X(refused_ioctls)	/* no row, or no capability for it */ \
	X(refused_controls) \
	X(refused_classes) \
	X(refused_clients)	/* handles of RM clients not its own */ \
	X(refused_quota)

struct metrics {
#define METRICS_MEMBER(name) uint64_t name;
	METRICS(METRICS_MEMBER)
#undef METRICS_MEMBER
};

/* Logs one JSON object: the name of the process, then every count that is not
 * zero. */
void metrics_log(const struct metrics *m, const char *name);

#endif /* ISO_BROKER_METRICS_H */
