/* SPDX-License-Identifier: MIT */
/*
 * conn.h - one connection of a worker: its bytes, no more
 *
 * A connection cuts its input into frames and hands each to on_frame(). Its
 * owner appends output to conn_out(), which is sent when the turn ends. A turn
 * is a batch of the loop's events, or one job that has come back from the pool;
 * the loop's after hook ends it with conn_settle().
 *
 *	        conn_open()
 *	            |
 *	            v       conn_end(): by anybody, at any time; the peer has
 *	       +---------+  closed, a frame was wrong, memory ran out
 *	       |  OPEN   |---------------------------------+
 *	       +---------+                                 v
 *	            |                                 +----------+
 *	            | conn_settle(): a send failed    |  ENDING  |
 *	            v                                 +----------+
 *	       +---------+                                 |
 *	       |  ENDED  |<--------------------------------+
 *	       +---------+   conn_settle(): what was queued has been offered
 *	            |        to the socket once; on_end() is called
 *	            v
 *	   conn_reap(), when item.holds is 0: release()
 *
 * OPEN: frames are read, and output is sent. ENDING: nothing more is read; a
 * handler that goes on, unaware, does no harm. ENDED: the fd is closed and the
 * memory of both buffers is gone; appended output is dropped. Only
 * conn_settle() ends a connection and only conn_reap() frees one, so no
 * function below a handler can take away what its caller uses.
 *
 * Everything here is the loop leader's.
 */
#ifndef ISO_BROKER_CONN_H
#define ISO_BROKER_CONN_H

#include "abi/iso_wire.h"
#include "base/list.h"
#include "base/log.h"
#include "base/rd.h"
#include "base/wr.h"
#include "broker/child/budget.h"
#include "broker/metrics.h"
#include "loop/loop.h"

#define CONN_IN_MIN (16u * 1024u)
/* With more than this waiting to be sent nothing more is read. */
#define CONN_OUT_HIGH (256u * 1024u)

struct conn;

struct conn_ops {
	/*
	 * A whole frame. 0; -EAGAIN: not now, the same frame comes again when
	 * the budget has more; or another -errno, and the connection ends:
	 * -EPROTO and -EPROTONOSUPPORT (the version) after a BYE, -ESHUTDOWN
	 * because the peer wants it.
	 */
	int (*on_frame)(struct conn *c, const struct iso_hdr *hdr,
			struct rd *body);
	/* It is ENDED. Called once, from conn_settle(). */
	void (*on_end)(struct conn *c);
};

enum conn_state { CONN_OPEN, CONN_ENDING, CONN_ENDED };

/* All connections of a child. */
struct conn_set {
	struct loop *loop;		/* all borrowed */
	struct budget *budget;
	struct metrics *metrics;
	struct log_limit *log;
	struct list all;		/* by item */
	struct conn *due;		/* the end of the turn looks at these */
	uint32_t n_parked;		/* wait for the budget */
};

struct conn {
	struct iso_ev ev;
	struct list_item item;		/* holds: work that still uses it */
	struct conn_set *set;
	const struct conn_ops *ops;
	enum conn_state state;
	struct conn *due_next;
	bool due;
	bool parked;			/* waits for the rate or for memory */
	uint8_t *in;			/* owned; NULL once ENDED */
	size_t in_len, in_cap;
	bool peeks;			/* bytes are parsed before they are
					 * taken from the socket */
	bool more;			/* there may be more to read */
	size_t peeked;			/* parsed, and still in the socket */
	struct wr out;
	size_t out_sent;
	size_t out_counted;		/* of out, in BUDGET_CALLS */
};

/* Starts with a zeroed c; takes over fd. 0, or -errno (fd is closed then). */
int conn_open(struct conn *c, struct conn_set *set, int fd,
	      const struct conn_ops *ops);

/* Where to append frames; they are sent when the turn ends. */
struct wr *conn_out(struct conn *c);

/* Marks it: it ends when the turn does. */
void conn_end(struct conn *c);

/* Reads on where the budget had stopped it: all that are parked. */
void conn_resume(struct conn_set *set);

/* Ends the turn: sends queued output, resumes connections if memory was given
 * back, ends those that are marked. */
void conn_settle(struct conn_set *set);

/* Takes the connections that are ENDED, and that nothing holds, out of the set
 * and hands each one's item to release(), which frees it. */
void conn_reap(struct conn_set *set, void (*release)(struct list_item *item));

#endif /* ISO_BROKER_CONN_H */
