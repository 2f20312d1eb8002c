/* SPDX-License-Identifier: MIT */
/* stream.c - passes a stream between a socket of the host and the guest */
#include "stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* #syscalls vsock-device: sendmsg readv shutdown close */

#define BATCH 16		/* rx buffers filled by one read */
#define TURN_BYTES (256u << 10)
#define SHUT_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

static void on_event(struct iso_ev *ev, uint32_t events);

/* ---- all streams -------------------------------------------------------- */

void streams_init(struct streams *in, struct loop *loop, struct queues *queues)
{
	*in = (struct streams){ .loop = loop, .queues = queues,
				.next_port = 1u << 30 };
	TAILQ_INIT(&in->waiting);
	for (size_t i = 0; i < VSOCK_HASH; i++)
		LIST_INIT(&in->bucket[i]);
}

static struct stream_bucket *bucket(const struct streams *in,
				    uint32_t guest_port, uint32_t host_port)
{
	uint32_t h = guest_port * 0x9e3779b1u ^ host_port * 0x85ebca6bu;

	return (struct stream_bucket *)&in->bucket[(h >> 16) % VSOCK_HASH];
}

struct stream *stream_find(const struct streams *in, uint32_t guest_port,
			   uint32_t host_port)
{
	struct stream *s;

	LIST_FOREACH(s, bucket(in, guest_port, host_port), hash)
		if (s->guest_port == guest_port && s->host_port == host_port)
			return s;
	return NULL;
}

void streams_drop(struct streams *in)
{
	struct stream *s;

	list_each(s, &in->list, item)
		stream_die(s);
}

void streams_pump_waiting(struct streams *in)
{
	struct stream *s;

	while ((s = TAILQ_FIRST(&in->waiting))) {
		TAILQ_REMOVE(&in->waiting, s, pending);
		s->is_pending = false;
		stream_pump(s);
		if (s->is_pending)
			break; /* behind the others: one turn each */
	}
}

/* ---- begin and end ------------------------------------------------------ */

struct stream *stream_new(struct streams *in, enum stream_state state, int fd)
{
	struct stream *s;

	if (in->list.n >= VSOCK_MAX_STREAMS)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->ev = (struct iso_ev){ .fd = fd, .fn = on_event };
	s->in = in;
	s->state = state;
	list_add(&in->list, &s->item);
	return s;
}

void stream_set_ports(struct stream *s, uint32_t guest_port,
		      uint32_t host_port)
{
	s->guest_port = guest_port;
	s->host_port = host_port;
	s->hashed = true;
	LIST_INSERT_HEAD(bucket(s->in, guest_port, host_port), s, hash);
}

/* Its ports are free for another stream. */
static void unhash(struct stream *s)
{
	if (s->hashed)
		LIST_REMOVE(s, hash);
	s->hashed = false;
}

/* Host ports as Firecracker gives them: from 2^30 up. */
static uint32_t free_port(struct streams *in, uint32_t guest_port)
{
	do {
		in->next_port = (in->next_port + 1) | 1u << 30;
	} while (in->next_port == UINT32_MAX ||
		 stream_find(in, guest_port, in->next_port));
	return in->next_port;
}

void stream_request(struct stream *s, uint32_t guest_port)
{
	stream_set_ports(s, guest_port, free_port(s->in, guest_port));
	s->ev.fn = on_event;
	s->state = STREAM_REQUESTED;
	s->owed = OWE_REQUEST;
}

void stream_open(struct stream *s)
{
	if (s->state == STREAM_DIALING)
		s->owed |= OWE_RESPONSE;
	s->state = STREAM_OPEN;
}

/* The host's side is over; bytes that the socket did not take are lost. */
static void close_socket(struct stream *s)
{
	loop_del(s->in->loop, &s->ev);
	close_fd(&s->ev.fd);
	ring_free(&s->out);
	s->eof = s->tx_dead = true;
}

/* Until the guest adds buffers to its rx queue. */
static void wait_for_room(struct stream *s)
{
	s->is_pending = true;
	TAILQ_INSERT_TAIL(&s->in->waiting, s, pending);
}

static void leave_waiting(struct stream *s)
{
	if (s->is_pending)
		TAILQ_REMOVE(&s->in->waiting, s, pending);
	s->is_pending = false;
}

/* Its memory is gone after this. */
static void release(struct list_item *item)
{
	free(container_of(item, struct stream, item));
}

void streams_reap(struct streams *in)
{
	list_reap(&in->list, release);
}

void stream_free(struct stream *s)
{
	stream_die(s);
	list_remove(&s->in->list, &s->item);
	release(&s->item);
}

void stream_die(struct stream *s)
{
	close_socket(s);
	unhash(s);
	leave_waiting(s);
	s->owed = 0;
	s->state = STREAM_DEAD;
	list_end(&s->in->list, &s->item);
}

/* For the guest this stream is over: neither side says more about it. */
static void guest_done(struct stream *s)
{
	s->owed = 0;
	if (s->state == STREAM_ORPHAN)
		unhash(s);
	else
		stream_die(s);
}

void stream_reset(struct stream *s)
{
	close_socket(s);
	s->owed = OWE_RST;
	s->state = STREAM_GONE;
	stream_pump(s);
}

/* ---- what is watched ---------------------------------------------------- */

/* The guest reads no more. */
static bool guest_deaf(const struct stream *s)
{
	return s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV;
}

/* Whether data may go to the guest now. */
static bool may_send(const struct stream *s)
{
	return !s->is_pending && credit_bytes(&s->credit) > 0 &&
	       credit_packets(&s->credit) > 0 && !guest_deaf(s);
}

/*
 * EPOLLHUP cannot be masked, so a socket whose peer is gone leaves the set
 * while its last bytes cannot move. EPOLLPRI never comes on a Unix socket: it
 * stands for EPOLLHUP alone.
 */
static void watch(struct stream *s)
{
	uint32_t events = 0;
	int r;

	if (s->ev.fd < 0)
		return;
	switch (s->state) {
	case STREAM_HELLO:
		events = EPOLLIN;
		break;
	case STREAM_REQUESTED:
		events = EPOLLPRI;
		break;
	case STREAM_OPEN:
		if (s->eof || guest_deaf(s))
			events = s->hup ? 0 : EPOLLPRI;
		else if (may_send(s))
			events = EPOLLIN;
		if (s->out.buf && ring_used(&s->out) > 0)
			events |= EPOLLOUT;
		break;
	case STREAM_ORPHAN:
		events = EPOLLOUT;
		break;
	case STREAM_DIALING:
	case STREAM_GONE:
	case STREAM_DEAD:
		break;
	}
	r = loop_set(s->in->loop, &s->ev, events);
	if (r < 0) {
		log_error("cannot watch a stream: %s", strerror(-r));
		stream_reset(s);
	}
}

/* ---- to the guest ------------------------------------------------------- */

/* A header that tells the guest its credit. */
static struct virtio_vsock_hdr header(struct stream *s, uint16_t op)
{
	struct virtio_vsock_hdr h = queues_hdr(s->in->queues, s->host_port,
					      s->guest_port, op);

	h.buf_alloc = CREDIT_BUF_BYTES;
	h.fwd_cnt = s->credit.fwd_cnt;
	return h;
}

/* Sends a packet without data. False: there is no room now. */
static bool send_op(struct stream *s, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr h = header(s, op);

	h.flags = flags;
	if (!queues_send(s->in->queues, &h))
		return false;
	s->credit.fwd_told = h.fwd_cnt;
	return true;
}

/* Sends what is owed, in its order. False: there is no room for all of it. */
static bool send_owed(struct stream *s)
{
	static const struct {
		uint8_t owed;
		uint16_t op;
	} order[] = {
		{ OWE_RST, VIRTIO_VSOCK_OP_RST },
		{ OWE_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
		{ OWE_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
		{ OWE_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
		{ OWE_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
	};

	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		uint8_t bit = order[i].owed;

		if (!(s->owed & bit))
			continue;
		if (!send_op(s, order[i].op,
			     bit == OWE_SHUTDOWN ? s->told_shut : 0))
			return false;
		s->owed &= (uint8_t)~bit;
		if (bit == OWE_RST) {
			guest_done(s);
			return true;
		}
	}
	return true;
}

/* Owes the guest the news that the socket gives, or takes, no more data. */
static void tell_shutdown(struct stream *s, uint8_t flags)
{
	if ((s->told_shut & flags) == flags)
		return;
	s->told_shut |= flags;
	s->owed |= OWE_SHUTDOWN;
}

/* The socket's peer has closed. */
static void peer_closed(struct stream *s)
{
	close_socket(s);
	tell_shutdown(s, SHUT_BOTH);
	s->state = STREAM_GONE;
}

/* After a read that gave nothing. */
static void read_ended(struct stream *s, ssize_t r, int err)
{
	if (r < 0 && (err == EAGAIN || err == EINTR))
		return;
	s->eof = true;
	if (r < 0 || s->hup)
		peer_closed(s);
	else
		tell_shutdown(s, VIRTIO_VSOCK_SHUTDOWN_SEND);
}

/* Takes up to BATCH rx buffers, and of each what lies behind the header, up to
 * `want` bytes in all. Returns how many bytes fit. */
static size_t take_buffers(struct stream *s, size_t want, struct vchain *c,
			   size_t max, size_t *ret_n, struct iovec *iov,
			   size_t *ret_n_iov)
{
	size_t room = 0, n = 0, k = 0;

	while (n < max && room < want && queues_pop_rx(s->in->queues, &c[n])) {
		size_t m = MIN(c[n].len - VSOCK_HDR_LEN, VSOCK_MAX_PAYLOAD);

		m = MIN(m, want - room);
		k += iov_slice(c[n].iov, c[n].n, VSOCK_HDR_LEN, m, iov + k);
		room += m;
		n++;
	}
	*ret_n = n;
	*ret_n_iov = k;
	return room;
}

/* Gives the first `len` bytes to the guest, a packet for each buffer. Returns
 * how many buffers that took. */
static size_t give_buffers(struct stream *s, const struct vchain *c,
			   size_t len)
{
	size_t n = 0;

	for (; len > 0; n++) {
		struct virtio_vsock_hdr h = header(s, VIRTIO_VSOCK_OP_RW);
		size_t m = MIN(c[n].len - VSOCK_HDR_LEN, VSOCK_MAX_PAYLOAD);

		h.len = (uint32_t)MIN(m, len);
		iov_put(c[n].iov, c[n].n, &h, sizeof(h));
		virtq_push(&s->in->queues->q[VSOCK_RX], &c[n],
			   (uint32_t)(sizeof(h) + h.len));
		credit_sent(&s->credit, h.len);
		s->credit.fwd_told = h.fwd_cnt;
		len -= h.len;
	}
	return n;
}

/* One read from the socket straight into the guest. Returns bytes moved; 0
 * also when nothing can move now. */
static size_t fill(struct stream *s)
{
	struct vchain c[BATCH];
	struct iovec iov[BATCH * VCHAIN_MAX_SEGS];
	size_t max = MIN(s->bulk ? BATCH : 1u, credit_packets(&s->credit));
	size_t n, n_iov, used = 0;
	size_t room = take_buffers(s, credit_bytes(&s->credit), c, max, &n, iov,
				   &n_iov);
	ssize_t r = -1;
	int err = 0;

	if (n == 0) {
		wait_for_room(s);
		return 0;
	}
	r = readv(s->ev.fd, iov, (int)n_iov);
	err = errno;
	if (r > 0)
		used = give_buffers(s, c, (size_t)r);
	virtq_rewind(&s->in->queues->q[VSOCK_RX], (uint16_t)(n - used));
	if (r <= 0) {
		read_ended(s, r, err);
		return 0;
	}
	s->bulk = (size_t)r == room;
	return s->bulk ? room : 0;
}

void stream_pump(struct stream *s)
{
	size_t moved = 0;

	while (!s->is_pending && s->state != STREAM_DEAD) {
		size_t n;

		if (s->owed) {
			if (!send_owed(s))
				wait_for_room(s);
			continue;
		}
		if (s->state != STREAM_OPEN || s->eof || !may_send(s) ||
		    moved >= TURN_BYTES)
			break;
		n = fill(s);
		if (n == 0 && !s->owed)
			break;
		moved += n;
	}
	watch(s);
}

/* ---- to the socket ------------------------------------------------------ */

/* n bytes of the guest went on, or are lost: it may send as many. */
static void forwarded(struct stream *s, size_t n)
{
	if (credit_forwarded(&s->credit, (uint32_t)n) &&
	    s->state == STREAM_OPEN)
		s->owed |= OWE_CREDIT;
}

/* The socket takes nothing any more, so what the guest sends is dropped. */
static void write_failed(struct stream *s)
{
	size_t lost = s->out.buf ? ring_used(&s->out) : 0;

	s->tx_dead = true;
	ring_free(&s->out);
	forwarded(s, lost);
	tell_shutdown(s, VIRTIO_VSOCK_SHUTDOWN_RCV);
}

/* Nothing is left to send; the guest may still have to hear its RST. */
static void orphan_ends(struct stream *s)
{
	close_socket(s);
	if (s->owed)
		s->state = STREAM_GONE;
	else
		stream_die(s);
}

/* The ring is empty: time for what was put off until then. */
static void drained(struct stream *s)
{
	if (s->state == STREAM_ORPHAN)
		orphan_ends(s);
	else if (s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
		shutdown(s->ev.fd, SHUT_WR);
}

/* Writes to the socket what it did not take before. */
static void flush(struct stream *s)
{
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t r;

	if (!s->out.buf || ring_used(&s->out) == 0)
		return;
	msg.msg_iovlen = (size_t)ring_used_iov(&s->out, iov);
	r = sendmsg(s->ev.fd, &msg, MSG_NOSIGNAL);
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (r < 0) {
		if (s->state == STREAM_ORPHAN)
			orphan_ends(s);
		else
			write_failed(s);
		return;
	}
	ring_took(&s->out, (size_t)r);
	forwarded(s, (size_t)r);
	if (ring_used(&s->out) == 0)
		drained(s);
}

/* Keeps what the socket did not take; the guest's credit is no more than the
 * ring holds. */
static int keep(struct stream *s, const struct iovec *iov, size_t n)
{
	if (!s->out.buf && ring_init(&s->out, CREDIT_BUF_BYTES) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		ring_put(&s->out, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

/* Writes bytes of the guest to the socket, and keeps those that it does not
 * take. */
static void guest_data(struct stream *s, uint32_t len, const struct iovec *iov,
		       size_t n)
{
	struct iovec rest[VCHAIN_MAX_SEGS];
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov,
			      .msg_iovlen = n };
	ssize_t r = 0;

	if (credit_received(&s->credit, len) < 0 ||
	    (s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
		stream_reset(s);
		return;
	}
	if (s->tx_dead) {
		forwarded(s, len);
		return;
	}
	if (!s->out.buf || ring_used(&s->out) == 0) {
		r = sendmsg(s->ev.fd, &msg, MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN && errno != EINTR) {
			write_failed(s);
			forwarded(s, len);
			return;
		}
		r = MAX(r, 0);
		forwarded(s, (size_t)r);
	}
	n = iov_slice(iov, n, (size_t)r, len - (size_t)r, rest);
	if (n > 0 && keep(s, rest, n) < 0)
		stream_reset(s);
}

/* The guest will not receive any more, not send, or neither. */
static void guest_shutdown(struct stream *s, uint32_t flags)
{
	bool empty = !s->out.buf || ring_used(&s->out) == 0;

	s->guest_shut |= flags & SHUT_BOTH;
	if (s->guest_shut == SHUT_BOTH) {
		/* Confirm at once; what the guest sent still goes out. */
		if (s->state == STREAM_GONE || empty || s->tx_dead) {
			stream_reset(s);
			return;
		}
		s->state = STREAM_ORPHAN;
		s->owed = OWE_RST;
	} else if (s->state == STREAM_OPEN && empty && !s->tx_dead &&
		   (s->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)) {
		shutdown(s->ev.fd, SHUT_WR);
	}
}

/* ---- events ------------------------------------------------------------- */

static void on_event(struct iso_ev *ev, uint32_t events)
{
	struct stream *s = container_of(ev, struct stream, ev);

	s->hup |= (events & (EPOLLHUP | EPOLLERR)) != 0;
	switch (s->state) {
	case STREAM_REQUESTED:
		stream_reset(s);
		break;
	case STREAM_OPEN:
	case STREAM_ORPHAN:
		flush(s);
		if (s->state == STREAM_OPEN && s->hup &&
		    (s->eof || guest_deaf(s)))
			peer_closed(s);
		break;
	case STREAM_HELLO:	/* hybrid.c has its events */
	case STREAM_DIALING:
	case STREAM_GONE:
	case STREAM_DEAD:
		break;
	}
	stream_pump(s);
	queues_publish_rx(s->in->queues);
}

/* A packet for a stream that both sides know. */
static void open_packet(struct stream *s, const struct virtio_vsock_hdr *hdr,
			const struct iovec *iov, size_t n)
{
	switch (hdr->op) {
	case VIRTIO_VSOCK_OP_RW:
		if (s->state == STREAM_OPEN)
			guest_data(s, hdr->len, iov, n);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		guest_shutdown(s, hdr->flags);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		if (s->state == STREAM_OPEN)
			s->owed |= OWE_CREDIT;
		break;
	default:
		stream_reset(s);
	}
}

bool stream_packet(struct stream *s, const struct virtio_vsock_hdr *hdr,
		   const struct iovec *iov, size_t n)
{
	if (hdr->op == VIRTIO_VSOCK_OP_RST) {
		guest_done(s);
		return false;
	}
	if (s->state == STREAM_ORPHAN)
		return false;
	if (credit_peer(&s->credit, hdr->buf_alloc, hdr->fwd_cnt) < 0) {
		stream_reset(s);
		return false;
	}
	if (s->state == STREAM_REQUESTED && hdr->op == VIRTIO_VSOCK_OP_RESPONSE)
		return true;
	if (s->state == STREAM_OPEN || s->state == STREAM_GONE)
		open_packet(s, hdr, iov, n);
	else
		stream_reset(s);
	stream_pump(s);
	return false;
}
