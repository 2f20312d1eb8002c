/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - what the broker counts
 *
 * The monitor and each child keep their own; SIGUSR1 to the monitor makes all
 * of them log theirs as one line of JSON.
 */
#ifndef ISO_BROKER_METRICS_H
#define ISO_BROKER_METRICS_H

#include "base/base.h"

#define METRICS(X) \
	X(connections)		/* accepted, or handed to this child */ \
	X(ident_refused)	/* closed before a valid IDENT */ \
	X(hello_late)		/* closed for want of a HELLO */ \
	X(conn_refused)		/* over a quota of connections or workers */ \
	X(children_started) \
	X(children_died)	/* not told to end */ \
	X(frames) \
	X(protocol_errors)	/* connections closed for one */ \
	X(opens) \
	X(open_refused)		/* quota of files, or the driver said no */ \
	X(calls) \
	X(needs) \
	X(cancels) \
	X(refused_ioctls)	/* no row, or not for this worker */ \
	X(refused_controls) \
	X(refused_classes) \
	X(refused_clients)	/* a handle of a client that is not its own */ \
	X(refused_quota)

struct metrics {
#define METRICS_MEMBER(name) uint64_t name;
	METRICS(METRICS_MEMBER)
#undef METRICS_MEMBER
};

/* One JSON object on the log: who, then what is not zero. */
void metrics_log(const struct metrics *m, const char *who);

#endif /* ISO_BROKER_METRICS_H */
