/* SPDX-License-Identifier: MIT */
/*
 * stream.h - one stream: a Unix socket on the host, two ports for the guest
 *
 *   the host connects           the guest connects
 *           │                            │
 *           v                            v
 *         HELLO                       DIALING
 *           │ CONNECT line               │ the monitor's socket
 *           v        the guest accepts   │
 *       REQUESTED ──────────────> OPEN <─┘
 *                                 │  │
 *            the host closed,     │  │  the guest closed before all
 *            or a reset           │  │  was written to the socket
 *                      v──────────┘  v
 *                    GONE <─────── ORPHAN
 *                      │             │
 *                      └──> DEAD <───┘
 *
 * HELLO      The host connected; its CONNECT line is not whole.
 *            - hybrid.c enters it with stream_new()
 *            - in no bucket, for it has no ports; only hybrid.c reads the
 *              socket; `line` is hybrid.c's
 * REQUESTED  The guest was asked, and has not answered yet.
 *            - hybrid.c enters it with stream_request()
 *            - the socket is watched for its end alone
 * DIALING    The guest asked; the monitor connects.
 *            - dial.c enters it with stream_new()
 *            - there is no socket; `asked` and `serial` are dial.c's
 * OPEN       Both sides are there.
 *            - hybrid.c and dial.c enter it with stream_open()
 *            - the only state in which data moves to the guest, and in which
 *              data of the guest is accepted
 * ORPHAN     The guest is done; what it sent before still goes to the socket.
 *            - entered by the guest's SHUTDOWN
 *            - packets of the guest are ignored, but for RST; once the guest
 *              has its RST, the stream leaves its bucket: its ports are free
 * GONE       The host's side is closed, and the guest does not know that or has
 *            not confirmed it.
 *            - entered as the socket ends; stream_reset() enters it from any
 *              state but DEAD
 *            - there is no socket; `owed` alone is sent
 * DEAD       Marked in the list.
 *            - anybody enters it with stream_die(), at any time
 *            - there is no socket; it is in no bucket and waits for nothing
 *            - streams_reap() frees it after the batch of events
 */
#ifndef VSOCK_DEVICE_STREAM_H
#define VSOCK_DEVICE_STREAM_H

#include <sys/queue.h>

#include "base/list.h"
#include "base/ring.h"
#include "credit.h"
#include "loop/loop.h"
#include "queues.h"

#define VSOCK_MAX_STREAMS 1024u
#define VSOCK_HASH 1024u

enum stream_state {
	STREAM_HELLO,
	STREAM_DIALING,
	STREAM_REQUESTED,
	STREAM_OPEN,
	STREAM_GONE,
	STREAM_ORPHAN,
	STREAM_DEAD,
};

/* Packets that the guest must get before any more data, in this order. */
enum {
	OWE_REQUEST = 1 << 0,
	OWE_RESPONSE = 1 << 1,
	OWE_CREDIT = 1 << 2,
	OWE_SHUTDOWN = 1 << 3,	/* comes after all data */
	OWE_RST = 1 << 4,	/* the stream dies with it */
};

struct stream {
	struct iso_ev ev;	/* the Unix socket; fd -1: none */
	struct streams *in;
	struct list_item item;
	TAILQ_ENTRY(stream) pending;
	LIST_ENTRY(stream) hash;
	enum stream_state state;
	bool hashed, is_pending;
	uint8_t owed;		/* OWE_* */
	uint8_t told_shut;	/* VIRTIO_VSOCK_SHUTDOWN_* the guest knows of */
	uint8_t guest_shut;	/* VIRTIO_VSOCK_SHUTDOWN_* it has sent */
	bool hup;		/* the socket's peer is gone altogether */
	bool eof;		/* the socket has nothing more to read */
	bool tx_dead;		/* the socket takes nothing more */
	bool bulk;		/* the last read filled all its buffers */
	uint32_t guest_port, host_port;
	bool asked;		/* DIALING: the monitor was asked */
	uint32_t serial;	/* of that dial */
	struct credit credit;
	struct ring out;	/* of the guest, not yet taken by the socket */
	char line[32];		/* HELLO: CONNECT line so far */
	size_t line_len;
};

TAILQ_HEAD(stream_queue, stream);
LIST_HEAD(stream_bucket, stream);

/* All streams of a device. */
struct streams {
	struct loop *loop;
	struct queues *queues;
	struct list list;
	struct stream_queue waiting;	/* for room in the rx queue */
	struct stream_bucket bucket[VSOCK_HASH];	/* by both ports */
	uint32_t next_port;		/* of the host, for stream_request() */
};

void streams_init(struct streams *in, struct loop *loop, struct queues *queues);
/* Ends all of them without a word. Those that this batch of events may still
 * name are freed by streams_reap(). */
void streams_drop(struct streams *in);
/* Frees those that died in this batch of events. */
void streams_reap(struct streams *in);
/* Gives each that waits for room a turn, as long as there is room. */
void streams_pump_waiting(struct streams *in);

/* New, in `state` (HELLO or DIALING), fd (may be -1) taken over. NULL: no
 * memory or too many. */
struct stream *stream_new(struct streams *in, enum stream_state state, int fd);
void stream_set_ports(struct stream *s, uint32_t guest_port,
		      uint32_t host_port);
struct stream *stream_find(const struct streams *in, uint32_t guest_port,
			   uint32_t host_port);
/* HELLO: the guest is asked for a connection, from a host port that is free. */
void stream_request(struct stream *s, uint32_t guest_port);
/* REQUESTED, or DIALING with a socket: data may move. */
void stream_open(struct stream *s);
/* Closes and frees at once. Not from the stream's own handler. */
void stream_free(struct stream *s);
/* A packet of the guest for this stream; iov holds hdr->len bytes. True if it
 * accepts the connection of a REQUESTED stream, which the caller then opens. */
bool stream_packet(struct stream *s, const struct virtio_vsock_hdr *hdr,
		   const struct iovec *iov, size_t n);
/* Moves what can be moved to the guest, and watches for the rest. */
void stream_pump(struct stream *s);
/* Ends it for the guest as soon as there is room to say so. */
void stream_reset(struct stream *s);
/* Ends it without a word. */
void stream_die(struct stream *s);

#endif /* VSOCK_DEVICE_STREAM_H */
