/* SPDX-License-Identifier: MIT */
/*
 * vsock.h - a virtio-vsock device whose host side is Unix sockets
 *
 * A guest's connection to port P of CID 2 becomes a connection to UDS_P, made
 * by the monitor (monitor.h). A connection to UDS that says `CONNECT P\n` becomes
 * one to port P of the guest; `OK N\n` answers it when the guest took it.
 *
 *   DIALING    guest asked, the monitor connects            } in the table by
 *   REQUESTED  host asked, the guest has not answered yet   } (guest port,
 *   OPEN       both ways                                    } host port)
 *   GONE       host side closed, the guest does not know or }
 *              has not confirmed yet
 *   HELLO      host connected, its CONNECT line is not whole
 *   ORPHAN     guest closed; what it sent before still goes out
 *   DEAD       freed after the batch of events
 */
#ifndef VSOCK_DEVICE_VSOCK_H
#define VSOCK_DEVICE_VSOCK_H

#include <linux/virtio_vsock.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/ring.h"
#include "credit.h"
#include "loop/loop.h"
#include "virtq.h"

#define VSOCK_HOST_CID 2u
#define VSOCK_HDR_LEN sizeof(struct virtio_vsock_hdr)
#define VSOCK_MAX_PAYLOAD (64u << 10)	/* of one packet, to the guest */
#define VSOCK_MAX_STREAMS 1024u
#define VSOCK_MAX_RESETS 64u
#define VSOCK_MAX_DIALS 8u		/* asked of the monitor at once */
#define VSOCK_HASH 1024u

enum { VSOCK_RX, VSOCK_TX, VSOCK_QUEUES };

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
	struct vsock *v;
	TAILQ_ENTRY(stream) all;
	TAILQ_ENTRY(stream) pending;
	LIST_ENTRY(stream) hash;
	enum stream_state state;
	bool hashed, is_pending;
	uint8_t owed;		/* OWE_* */
	uint8_t told_shut;	/* VIRTIO_VSOCK_SHUTDOWN_* the guest knows of */
	uint8_t guest_shut;	/* and has told */
	bool hup;		/* the socket's peer is gone altogether */
	bool eof;		/* the socket has nothing more to read */
	bool tx_dead;		/* the socket takes nothing more */
	bool bulk;		/* the last read filled all its buffers */
	uint32_t guest_port, host_port;
	bool asked;		/* DIALING: the monitor was asked */
	uint32_t serial;	/* of that */
	struct credit credit;
	struct ring out;	/* from the guest, what the socket did not take */
	char line[32];		/* HELLO: CONNECT line so far */
	size_t line_len;
};

TAILQ_HEAD(stream_list, stream);
LIST_HEAD(stream_bucket, stream);

struct vsock {
	struct loop *loop;
	uint64_t cid;
	struct guest_mem mem;
	struct virtq q[VSOCK_QUEUES];
	bool running;
	bool broken;		/* the guest broke a queue */
	struct iso_ev listener;	/* UDS; watched while running */
	/* Asks for a connection to UDS_port; the answer comes by
	 * vsock_dialed(). At most VSOCK_MAX_DIALS wait for theirs. 0 or
	 * -errno. */
	int (*dial)(struct vsock *v, uint32_t port, uint32_t serial);
	void *dial_arg;
	struct stream_list streams;
	struct stream_list waiting;	/* for room in the rx queue */
	struct stream_bucket bucket[VSOCK_HASH];
	uint32_t n_streams, next_port, next_serial;
	uint32_t n_dials;	/* that the monitor has not answered */
	bool reap;
	/* RST packets that belong to no stream. While it is full the tx queue
	 * is not read. */
	struct virtio_vsock_hdr reset[VSOCK_MAX_RESETS];
	uint32_t first_reset, n_resets;
	bool tx_stopped;
	uint64_t n_forged;	/* packets with another source CID */
	struct log_limit log;	/* for what the guest provokes */
};

/* listen_fd: UDS, listening, non-blocking; owned from here on. */
void vsock_init(struct vsock *v, struct loop *l, uint64_t cid, int listen_fd);
void vsock_fini(struct vsock *v);

/* Both queues are mapped and started; both want a kick now. fresh: the guest
 * begins anew, so streams of before are closed. */
void vsock_start(struct vsock *v, bool fresh);
/* The queues must not be touched any more; streams stay. */
void vsock_stop(struct vsock *v);

/* The guest kicked a queue. True if the tx queue wants another turn after other
 * events had theirs. */
bool vsock_kick_tx(struct vsock *v);
bool vsock_kick_rx(struct vsock *v);

/* The monitor's answer: a connected non-blocking socket, taken over, or
 * -errno. */
void vsock_dialed(struct vsock *v, uint32_t serial, int fd);

/* Frees what died in this batch of events. For the loop's after hook. */
void vsock_reap(struct vsock *v);

/* -- between vsock.c and stream.c -- */

/* Sends one packet without data, source and destination set from hdr's ports.
 * False: there is no room in the rx queue now. */
bool vsock_send(struct vsock *v, const struct virtio_vsock_hdr *hdr);
/* Next rx buffer (at least one byte of payload fits). False: none now. */
bool vsock_rx_pop(struct vsock *v, struct vchain *ret_chain);
struct virtio_vsock_hdr vsock_hdr(const struct vsock *v, uint32_t host_port,
				  uint32_t guest_port, uint16_t op);

/* New, in `state`, fd (may be -1) taken over. NULL: no memory or too many. */
struct stream *stream_new(struct vsock *v, enum stream_state state, int fd);
void stream_set_ports(struct stream *s, uint32_t guest_port,
		      uint32_t host_port);
struct stream *stream_find(const struct vsock *v, uint32_t guest_port,
			   uint32_t host_port);
/* Closes and frees at once. Not from the stream's own handler. */
void stream_free(struct stream *s);
/* A packet of the guest for this stream; iov holds hdr->len bytes. */
void stream_packet(struct stream *s, const struct virtio_vsock_hdr *hdr,
		   const struct iovec *iov, size_t n);
/* Moves what can be moved to the guest. */
void stream_pump(struct stream *s);
/* Ends it for the guest as soon as there is room to say so. */
void stream_reset(struct stream *s);
/* Ends it without a word; freed after the batch of events. */
void stream_die(struct stream *s);

/* -- hybrid.c -- */

/* DIALING: the monitor's answer. */
void stream_dialed(struct stream *s, int fd);
/* HELLO: reads the CONNECT line and not a byte behind it. */
void stream_hello(struct stream *s);
/* REQUESTED: the guest took the connection. */
void stream_accepted(struct stream *s);

#endif /* VSOCK_DEVICE_VSOCK_H */
