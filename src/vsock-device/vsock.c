/* SPDX-License-Identifier: MIT */
#include "vsock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"

/* #syscalls vsock-device: accept4 close */

#define TX_BUDGET 64		/* packets in one turn */
#define ACCEPT_BUDGET 16

struct virtio_vsock_hdr vsock_hdr(const struct vsock *v, uint32_t host_port,
				  uint32_t guest_port, uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = v->cid,
		.src_port = host_port,
		.dst_port = guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
	};
}

/* The guest broke the rules of a queue: nothing can be said to it any more,
 * so its streams end too, from the loop's after hook. */
static void queue_broken(struct vsock *v, int queue)
{
	if (log_limit_ok(&v->log))
		log_warn("%s queue ended: %s", queue == VSOCK_RX ? "rx" : "tx",
			 v->q[queue].why);
	v->broken = true;
}

/* ---- towards the guest -------------------------------------------------- */

bool vsock_rx_pop(struct vsock *v, struct vchain *ret_chain)
{
	struct virtq *q = &v->q[VSOCK_RX];
	int r;

	if (!v->running || v->broken)
		return false;
	r = virtq_pop(q, &v->mem, VCHAIN_WRITE, ret_chain);
	if (r == 0 && virtq_wait(q))
		r = virtq_pop(q, &v->mem, VCHAIN_WRITE, ret_chain);
	if (r > 0 && ret_chain->len <= VSOCK_HDR_LEN) {
		q->broken = true;
		q->why = "buffer without room for data";
		r = -EPROTO;
	}
	if (r < 0)
		queue_broken(v, VSOCK_RX);
	return r > 0;
}

bool vsock_send(struct vsock *v, const struct virtio_vsock_hdr *hdr)
{
	struct vchain c;

	if (!vsock_rx_pop(v, &c))
		return false;
	iov_put(c.iov, c.n, hdr, sizeof(*hdr));
	virtq_push(&v->q[VSOCK_RX], &c, sizeof(*hdr));
	return true;
}

static void flush_resets(struct vsock *v)
{
	while (v->n_resets > 0) {
		if (!vsock_send(v, &v->reset[v->first_reset]))
			return;
		v->first_reset = (v->first_reset + 1) % VSOCK_MAX_RESETS;
		v->n_resets--;
	}
}

/* Answers a packet that belongs to no stream. There is room: the tx queue is
 * not read otherwise. */
static void reset_sender(struct vsock *v, const struct virtio_vsock_hdr *from)
{
	uint32_t i = (v->first_reset + v->n_resets) % VSOCK_MAX_RESETS;

	if (from->op == VIRTIO_VSOCK_OP_RST)
		return;
	v->reset[i] = vsock_hdr(v, from->dst_port, from->src_port,
				VIRTIO_VSOCK_OP_RST);
	v->reset[i].src_cid = from->dst_cid;
	v->n_resets++;
	flush_resets(v);
}

/* ---- from the guest ----------------------------------------------------- */

/* Asks the monitor for those that wait for it, the oldest first. A few at a
 * time: each answer carries an fd, and the kernel counts those under way for all
 * monitors of this user together. */
static void dial_waiting(struct vsock *v)
{
	struct stream *s;

	TAILQ_FOREACH(s, &v->streams, all) {
		if (v->n_dials == VSOCK_MAX_DIALS)
			return;
		if (s->state != STREAM_DIALING || s->asked)
			continue;
		s->asked = true;
		s->serial = v->next_serial++;
		v->n_dials++;
		if (v->dial(v, s->host_port, s->serial) < 0) {
			v->n_dials--;
			stream_reset(s);
		}
	}
}

static void guest_dials(struct vsock *v, const struct virtio_vsock_hdr *hdr)
{
	struct stream *s = stream_new(v, STREAM_DIALING, -1);

	if (!s) {
		reset_sender(v, hdr);
		return;
	}
	if (credit_peer(&s->credit, hdr->buf_alloc, hdr->fwd_cnt) < 0) {
		stream_free(s);
		reset_sender(v, hdr);
		return;
	}
	stream_set_ports(s, hdr->src_port, hdr->dst_port);
	dial_waiting(v);
}

static void take_packet(struct vsock *v, struct vchain *c)
{
	struct iovec iov[VCHAIN_MAX_SEGS];
	struct virtio_vsock_hdr hdr;
	struct stream *s;
	size_t n;

	iov_get(c->iov, c->n, &hdr, sizeof(hdr));
	if (hdr.src_cid != v->cid) {
		if (v->n_forged++ == 0)
			log_warn("packet from CID %llu dropped",
				 (unsigned long long)hdr.src_cid);
		return;
	}
	if (hdr.dst_cid != VSOCK_HOST_CID ||
	    hdr.type != VIRTIO_VSOCK_TYPE_STREAM) {
		reset_sender(v, &hdr);
		return;
	}
	s = stream_find(v, hdr.src_port, hdr.dst_port);
	if (!s && hdr.op == VIRTIO_VSOCK_OP_REQUEST) {
		guest_dials(v, &hdr);
		return;
	}
	if (!s) {
		reset_sender(v, &hdr);
		return;
	}
	if (hdr.len > c->len - sizeof(hdr))
		hdr.op = VIRTIO_VSOCK_OP_INVALID; /* resets the stream */
	n = hdr.op == VIRTIO_VSOCK_OP_RW ?
		iov_slice(c->iov, c->n, sizeof(hdr), hdr.len, iov) : 0;
	stream_packet(s, &hdr, iov, n);
}

bool vsock_kick_tx(struct vsock *v)
{
	struct virtq *q = &v->q[VSOCK_TX];
	struct vchain c;
	int budget = TX_BUDGET, r = 1;

	if (!v->running || v->broken)
		return false;
	v->tx_stopped = false;
	while (budget-- > 0) {
		if (v->n_resets == VSOCK_MAX_RESETS) {
			v->tx_stopped = true;
			break;
		}
		r = virtq_pop(q, &v->mem, VCHAIN_READ, &c);
		if (r == 0 && virtq_wait(q))
			r = virtq_pop(q, &v->mem, VCHAIN_READ, &c);
		if (r <= 0)
			break;
		if (c.len < sizeof(struct virtio_vsock_hdr)) {
			q->broken = true;
			q->why = "packet shorter than its header";
			r = -EPROTO;
			break;
		}
		take_packet(v, &c);
		virtq_push(q, &c, 0);
	}
	if (r < 0)
		queue_broken(v, VSOCK_TX);
	/* who sees a packet taken finds what answers it */
	virtq_publish(&v->q[VSOCK_RX]);
	virtq_publish(q);
	return r > 0 && !v->tx_stopped;
}

bool vsock_kick_rx(struct vsock *v)
{
	struct stream *s;

	if (!v->running)
		return false;
	flush_resets(v);
	while (v->n_resets == 0 && (s = TAILQ_FIRST(&v->waiting))) {
		TAILQ_REMOVE(&v->waiting, s, pending);
		s->is_pending = false;
		stream_pump(s);
		if (s->is_pending)
			break; /* behind the others: one turn each */
	}
	virtq_publish(&v->q[VSOCK_RX]);
	return v->tx_stopped && v->n_resets < VSOCK_MAX_RESETS;
}

/* ---- from the host ------------------------------------------------------ */

static void on_listener(struct iso_ev *ev, uint32_t events)
{
	struct vsock *v = container_of(ev, struct vsock, listener);
	int fd;

	(void)events;
	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		struct stream *s;

		fd = accept4(ev->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		s = stream_new(v, STREAM_HELLO, fd);
		if (!s) {
			if (log_limit_ok(&v->log))
				log_warn("connection refused: %u streams are open",
					 v->n_streams);
			close(fd);
		} else {
			stream_pump(s);
		}
	}
}

void vsock_dialed(struct vsock *v, uint32_t serial, int fd)
{
	struct stream *s;

	v->n_dials--;
	TAILQ_FOREACH(s, &v->streams, all)
		if (s->state == STREAM_DIALING && s->asked &&
		    s->serial == serial)
			break;
	if (s)
		stream_dialed(s, fd);
	else if (fd >= 0)
		close(fd); /* the guest gave up in the meantime */
	dial_waiting(v);
	virtq_publish(&v->q[VSOCK_RX]);
}

/* ---- life --------------------------------------------------------------- */

void vsock_init(struct vsock *v, struct loop *l, uint64_t cid, int listen_fd)
{
	*v = (struct vsock){
		.loop = l,
		.cid = cid,
		.listener = { .fd = listen_fd, .fn = on_listener },
		.next_port = 1u << 30,
	};
	for (int i = 0; i < VSOCK_QUEUES; i++)
		v->q[i].call_fd = -1;
	TAILQ_INIT(&v->streams);
	TAILQ_INIT(&v->waiting);
	for (size_t i = 0; i < VSOCK_HASH; i++)
		LIST_INIT(&v->bucket[i]);
}

/* Ends all streams without a word. Those that this batch of events may still
 * name are freed after it. */
static void drop_streams(struct vsock *v)
{
	struct stream *s;

	TAILQ_FOREACH(s, &v->streams, all)
		stream_die(s);
	v->n_resets = 0;
	v->tx_stopped = false;
}

void vsock_fini(struct vsock *v)
{
	vsock_stop(v);
	drop_streams(v);
	vsock_reap(v);
	close_fd(&v->listener.fd);
	guest_mem_clear(&v->mem);
}

void vsock_start(struct vsock *v, bool fresh)
{
	int r;

	if (fresh)
		drop_streams(v);
	v->running = true;
	v->broken = false;
	r = loop_set(v->loop, &v->listener, EPOLLIN);
	if (r < 0)
		log_error("cannot watch the socket: %s", strerror(-r));
}

void vsock_stop(struct vsock *v)
{
	v->running = false;
	loop_del(v->loop, &v->listener);
}

void vsock_reap(struct vsock *v)
{
	struct stream *s, *next;

	if (v->broken && v->running) {
		vsock_stop(v);
		drop_streams(v);
	}
	if (!v->reap)
		return;
	v->reap = false;
	for (s = TAILQ_FIRST(&v->streams); s; s = next) {
		next = TAILQ_NEXT(s, all);
		if (s->state == STREAM_DEAD)
			stream_free(s);
	}
}
