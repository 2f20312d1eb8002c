/* SPDX-License-Identifier: MIT */
/*
 * conn.h - one connection of a worker, in its child
 *
 * Everything here is the loop leader's. A connection that ends is marked and
 * taken out of the loop; it is freed when no job of it is out, its files when
 * no call on them is.
 */
#ifndef ISO_BROKER_CONN_H
#define ISO_BROKER_CONN_H

#include "abi/iso_wire.h"
#include "base/idmap.h"
#include "broker/child/call.h"
#include "broker/child/child.h"

#define CONN_MAX_CALLS 256	/* HELLO_OK's max_inflight */
#define CONN_PING_MS 5000	/* HELLO_OK's ping_ms */
#define CONN_HELLO_MS 5000	/* from its arrival to a whole HELLO */
#define CONN_IN_MIN (16u * 1024u)
/* With more than this waiting to be sent nothing more is read. */
#define CONN_OUT_HIGH (256u * 1024u)

enum conn_state {
	CONN_NEW,	/* awaits HELLO */
	CONN_RUNNING,
	CONN_ENDED,	/* to be freed */
};

struct file {
	struct drv_file *drv;
	struct conn *conn;
	uint32_t id;
	enum drv_kind kind;
	uint32_t tgid;		/* of its opener, as the shim says */
	uint32_t refs;		/* the connection's, one for each call */
	bool closed;		/* by CLOSE or with the connection */
	struct job close;
	struct iso_ev poll;	/* fd is the driver's */
};

struct conn {
	struct iso_ev ev;
	struct child *child;
	struct conn *next;
	enum conn_state state;
	uint64_t hello_by_ns;	/* CONN_NEW: ended then */
	uint32_t caps;		/* ISO_CAP_* of its IDENT */
	uint32_t max_frame;	/* that its shim can take */
	uint32_t jobs;		/* out in the pool */
	bool parked;		/* waits for the rate or for memory */
	uint8_t *in;		/* owned; NULL while empty */
	size_t in_len, in_cap;
	bool peeks;		/* bytes are parsed before they are taken */
	bool more;		/* there may be more to read than was */
	size_t peeked;		/* parsed, and still in the socket */
	struct wr out;
	size_t out_sent;
	size_t out_counted;	/* of what is left of out, as CHILD_CALLS */
	struct idmap files;
	struct call *call[CONN_MAX_CALLS];
	uint32_t n_calls;
	struct call *spare;	/* owned: one that is over, or NULL */
};

/* Takes over fd. 0, or -errno (fd is closed then). */
int conn_new(struct child *child, int fd, uint32_t caps);

/* Sends what is queued, as far as it goes; may end the connection. */
void conn_flush(struct conn *c);

/* Closes it; what is out ends by and by. */
void conn_end(struct conn *c);

/* Reads on where the rate or memory had stopped it. */
void conn_resume(struct conn *c);

/* Ends those whose HELLO is overdue, and sets child->hello_timer for the next. */
void conn_check_hello(struct child *child);

/* Frees the ended connections that nothing holds. */
void conn_reap(struct child *child);

/* dispatch.c: one whole frame. 0; -EAGAIN: not now, conn_resume() comes; or
 * another -errno, upon which the connection ends: -EPROTO and -EPROTONOSUPPORT
 * (its version) say BYE first, -ESHUTDOWN is the peer's own wish. */
int dispatch_frame(struct conn *c, const struct iso_hdr *hdr, struct rd *body);
/* dispatch.c: gives up what the ended connection has under way. */
void dispatch_end(struct conn *c);

/* hello.c: appends HELLO_OK. 0 or -errno. */
int hello_answer(struct conn *c);

#endif /* ISO_BROKER_CONN_H */
