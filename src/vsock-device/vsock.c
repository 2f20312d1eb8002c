/* SPDX-License-Identifier: MIT */
/* vsock.c - leads packets of the guest to their streams */
#include "vsock.h"

#include <string.h>

#define TX_BUDGET 64		/* packets in one turn */

/* ---- resets ------------------------------------------------------------- */

/* Sends the resets that there is room for, the oldest first. */
static void flush_resets(struct vsock *v)
{
	while (v->n_resets > 0) {
		if (!queues_send(&v->queues, &v->reset[v->first_reset]))
			return;
		v->first_reset = (v->first_reset + 1) % VSOCK_MAX_RESETS;
		v->n_resets--;
	}
}

/* Answers a packet that belongs to no stream. There is room for the answer, for
 * without it the tx queue is not read. */
static void reset_sender(struct vsock *v, const struct virtio_vsock_hdr *from)
{
	uint32_t i = (v->first_reset + v->n_resets) % VSOCK_MAX_RESETS;

	if (from->op == VIRTIO_VSOCK_OP_RST)
		return;
	v->reset[i] = queues_hdr(&v->queues, from->dst_port, from->src_port,
				VIRTIO_VSOCK_OP_RST);
	v->reset[i].src_cid = from->dst_cid;
	v->n_resets++;
	flush_resets(v);
}

/* ---- kicks -------------------------------------------------------------- */

/* One packet of the guest: to its stream, to a new one, or a reset. */
static void take_packet(struct vsock *v, struct vchain *c)
{
	struct iovec iov[VCHAIN_MAX_SEGS];
	struct virtio_vsock_hdr hdr;
	struct stream *s;
	size_t n;

	iov_get(c->iov, c->n, &hdr, sizeof(hdr));
	if (hdr.src_cid != v->queues.cid) {
		if (v->n_forged++ == 0)
			log_warn("the guest sends as CID %llu: packet dropped",
				 (unsigned long long)hdr.src_cid);
		return;
	}
	if (hdr.dst_cid != VSOCK_HOST_CID ||
	    hdr.type != VIRTIO_VSOCK_TYPE_STREAM) {
		reset_sender(v, &hdr);
		return;
	}
	s = stream_find(&v->streams, hdr.src_port, hdr.dst_port);
	if (!s) {
		if (hdr.op != VIRTIO_VSOCK_OP_REQUEST ||
		    dial_request(&v->dial, &hdr) < 0)
			reset_sender(v, &hdr);
		return;
	}
	if (hdr.len > c->len - sizeof(hdr))
		hdr.op = VIRTIO_VSOCK_OP_INVALID; /* resets the stream */
	n = hdr.op == VIRTIO_VSOCK_OP_RW ?
		iov_slice(c->iov, c->n, sizeof(hdr), hdr.len, iov) : 0;
	if (stream_packet(s, &hdr, iov, n))
		hybrid_accepted(s);
}

bool vsock_kick_tx(struct vsock *v)
{
	struct queues *qs = &v->queues;
	struct vchain c;
	int budget = TX_BUDGET;
	bool more = true;

	if (!qs->running || qs->broken)
		return false;
	v->tx_stopped = false;
	while (more && budget-- > 0) {
		if (v->n_resets == VSOCK_MAX_RESETS) {
			v->tx_stopped = true;
			break;
		}
		more = queues_pop_tx(qs, &c);
		if (more) {
			take_packet(v, &c);
			virtq_push(&qs->q[VSOCK_TX], &c, 0);
		}
	}
	/* A guest that sees its packet taken also finds the answer to it. */
	queues_publish_rx(qs);
	virtq_publish(&qs->q[VSOCK_TX]);
	return more && !v->tx_stopped;
}

bool vsock_kick_rx(struct vsock *v)
{
	if (!v->queues.running)
		return false;
	flush_resets(v);
	if (v->n_resets == 0)
		streams_pump_waiting(&v->streams);
	queues_publish_rx(&v->queues);
	return v->tx_stopped && v->n_resets < VSOCK_MAX_RESETS;
}

/* ---- life --------------------------------------------------------------- */

void vsock_init(struct vsock *v, struct loop *l, uint64_t cid, int listen_fd)
{
	*v = (struct vsock){ .n_resets = 0 };
	queues_init(&v->queues, cid);
	streams_init(&v->streams, l, &v->queues);
	hybrid_init(&v->hybrid, &v->streams, listen_fd);
	dial_init(&v->dial, &v->streams);
}

/* Ends all that the guest began or was told of, without a word to it. */
static void forget_guest(struct vsock *v)
{
	streams_drop(&v->streams);
	v->n_resets = 0;
	v->tx_stopped = false;
}

void vsock_fini(struct vsock *v)
{
	vsock_stop(v);
	forget_guest(v);
	streams_reap(&v->streams);
	hybrid_fini(&v->hybrid);
	guest_mem_clear(&v->queues.mem);
}

void vsock_start(struct vsock *v, bool fresh)
{
	int r;

	if (fresh)
		forget_guest(v);
	v->queues.running = true;
	v->queues.broken = false;
	r = hybrid_start(&v->hybrid);
	if (r < 0)
		log_error("cannot watch the socket for connections: %s",
			  strerror(-r));
}

void vsock_stop(struct vsock *v)
{
	v->queues.running = false;
	hybrid_stop(&v->hybrid);
}

void vsock_reap(struct vsock *v)
{
	if (v->queues.broken && v->queues.running) {
		vsock_stop(v);
		forget_guest(v);
	}
	streams_reap(&v->streams);
}
