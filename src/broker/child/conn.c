/* SPDX-License-Identifier: MIT */
#include "broker/child/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"

/* More than what CONN_MAX_CALLS results can hold: never reached. */
#define OUT_MAX (UINT64_C(1) << 40)
/* Sent bytes are moved away when they are this many. */
#define OUT_SLACK (64u * 1024u)
/* Bytes that are not taken of what was only looked at. */
#define PEEK_REST 8

static uint32_t wanted(const struct conn *c)
{
	size_t queued = c->out.len - c->out_sent;
	uint32_t events = 0;

	if (!c->parked && queued <= CONN_OUT_HIGH)
		events |= EPOLLIN;
	if (queued)
		events |= EPOLLOUT;
	/* Who waits for memory may go before there is some. */
	if (!events)
		events = EPOLLRDHUP;
	/* What was parsed stays in the socket: only what is new is news. */
	if (c->peeks)
		events |= EPOLLET | EPOLLRDHUP;
	return events;
}

static void watch(struct conn *c)
{
	if (loop_set(&c->child->pool.loop, &c->ev, wanted(c)) < 0)
		conn_end(c);
}

static void set_parked(struct conn *c, bool parked)
{
	c->child->n_parked += (uint32_t)parked - (uint32_t)c->parked;
	c->parked = parked;
}

/* A result that waits to be sent takes memory as its call did: a shim that
 * reads none of them gets no more of it. */
static void count_queued(struct conn *c)
{
	size_t queued = c->out.len - c->out_sent;

	if (queued > c->out_counted)
		budget_add(&c->child->budget, BUDGET_CALLS, queued - c->out_counted);
	else if (queued < c->out_counted)
		budget_give(&c->child->budget, BUDGET_CALLS,
				 c->out_counted - queued);
	c->out_counted = queued;
}

static void in_release(struct conn *c)
{
	if (c->in_cap > CONN_IN_MIN)
		budget_give(&c->child->budget, BUDGET_INPUT, c->in_cap);
	free(c->in);
	c->in = NULL;
	c->in_cap = 0;
	c->in_len = 0;
}

/* #syscalls gpu-broker: shutdown close epoll_ctl */
void conn_end(struct conn *c)
{
	if (c->state == CONN_ENDED)
		return;
	c->state = CONN_ENDED;
	loop_del(&c->child->pool.loop, &c->ev);
	/* The monitor has the socket too: it sees this, and lets go. */
	shutdown(c->ev.fd, SHUT_RDWR);
	close_fd(&c->ev.fd);
	dispatch_end(c);
	set_parked(c, false);
	in_release(c);
	wr_free(&c->out);
	c->out_sent = 0;
	count_queued(c);
	c->child->reap = true;
}

/* #syscalls gpu-broker: sendto */
static int send_queued(struct conn *c)
{
	while (c->out_sent < c->out.len) {
		ssize_t r = send(c->ev.fd, c->out.p + c->out_sent,
				 c->out.len - c->out_sent, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN)
			break;
		if (r < 0)
			return -errno;
		c->out_sent += (size_t)r;
	}
	if (c->out_sent == c->out.len) {
		wr_reset(&c->out);
		if (c->out.cap > CONN_OUT_HIGH)
			wr_free(&c->out);
		c->out_sent = 0;
	} else if (c->out_sent > OUT_SLACK) {
		c->out.len -= c->out_sent;
		memmove(c->out.p, c->out.p + c->out_sent, c->out.len);
		c->out_sent = 0;
	}
	return 0;
}

/* Takes what was parsed when it was only looked at, but for `keep` bytes. */
static void take_peeked(struct conn *c, size_t keep)
{
	uint8_t scrap[4096];

	while (c->peeked > keep) {
		ssize_t r = recv(c->ev.fd, scrap,
				 MIN(c->peeked - keep, sizeof(scrap)), 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			conn_end(c);
			return;
		}
		c->peeked -= (size_t)r;
	}
}

void conn_flush(struct conn *c)
{
	bool answers = c->out.len > 0;

	if (c->state == CONN_ENDED)
		return;
	if (!wr_ok(&c->out) || send_queued(c) < 0) {
		conn_end(c);
		return;
	}
	count_queued(c);
	watch(c);
	if (answers && c->state != CONN_ENDED)
		take_peeked(c, PEEK_REST);
}

static void conn_bye(struct conn *c, enum iso_bye_reason reason)
{
	frame_header(&c->out, sizeof(struct iso_hdr) + sizeof(struct iso_bye),
		     ISO_BYE, 0, 0);
	wr_u32(&c->out, reason);
	wr_u32(&c->out, 0);
	conn_flush(c);
}

/* Ends it for what a frame led to. */
static void conn_fail(struct conn *c, const struct iso_hdr *hdr, int err)
{
	if (err == -EPROTO || err == -EPROTONOSUPPORT) {
		c->child->metrics.protocol_errors++;
		if (log_limit_ok(&c->child->log))
			log_warn("bad frame: type %u, %u bytes; closed",
				 hdr->type, hdr->len);
		conn_bye(c, err == -EPROTO ? ISO_BYE_PROTOCOL :
					     ISO_BYE_VERSION);
	} else if (err != -ESHUTDOWN && log_limit_ok(&c->child->log)) {
		log_warn("connection closed: %s", strerror(-err));
	}
	conn_end(c);
}

/* Makes room for a frame of len bytes. 0, -EAGAIN (quota) or -ENOMEM. */
static int in_grow(struct conn *c, size_t len)
{
	uint8_t *p;

	if (len <= c->in_cap)
		return 0;
	if (!budget_take(&c->child->budget, BUDGET_INPUT, len))
		return -EAGAIN;
	p = realloc(c->in, len);
	if (!p) {
		budget_give(&c->child->budget, BUDGET_INPUT, len);
		return -ENOMEM;
	}
	c->in = p;
	c->in_cap = len;
	return 0;
}

/* Back to a small buffer once what is left fits. */
static void in_shrink(struct conn *c)
{
	uint8_t *p;

	if (c->in_cap <= CONN_IN_MIN || c->in_len > CONN_IN_MIN)
		return;
	budget_give(&c->child->budget, BUDGET_INPUT, c->in_cap);
	p = realloc(c->in, CONN_IN_MIN);
	if (p)
		c->in = p;
	c->in_cap = CONN_IN_MIN;
}

static struct iso_hdr read_header(const uint8_t *p)
{
	struct rd r = rd_init(p, sizeof(struct iso_hdr));
	struct iso_hdr h;

	h.len = rd_u32(&r);
	h.type = rd_u16(&r);
	h.flags = rd_u16(&r);
	h.tag = rd_u32(&r);
	h.file = rd_u32(&r);
	return h;
}

/* The first whole frame at p. Its length; 0 if it is not all there; -EAGAIN if
 * it has to wait; another -errno that ends the connection. */
static ssize_t one_frame(struct conn *c, const uint8_t *p, size_t left,
			 struct iso_hdr *hdr)
{
	struct rd body;
	int r;

	if (left < sizeof(*hdr))
		return 0;
	*hdr = read_header(p);
	if (hdr->len < sizeof(*hdr) || hdr->len > ISO_MAX_FRAME || hdr->flags)
		return -EPROTO;
	if (left < hdr->len)
		return 0;
	body = rd_init(p + sizeof(*hdr), hdr->len - sizeof(*hdr));
	r = dispatch_frame(c, hdr, &body);
	return r < 0 ? r : (ssize_t)hdr->len;
}

/* Works through the bytes that were read, but for the first `pos`. */
static void conn_parse(struct conn *c, size_t pos)
{
	struct iso_hdr hdr = { 0 };
	ssize_t r = 0;

	while (c->state != CONN_ENDED) {
		r = one_frame(c, c->in + pos, c->in_len - pos, &hdr);
		if (r <= 0)
			break;
		pos += (size_t)r;
	}
	if (c->state == CONN_ENDED)
		return;
	c->in_len -= pos;
	if (pos && c->in_len)
		memmove(c->in, c->in + pos, c->in_len);
	in_shrink(c);
	if (r == 0 && c->in_len >= sizeof(hdr))
		r = in_grow(c, hdr.len);
	if (r < 0 && r != -EAGAIN) {
		conn_fail(c, &hdr, (int)r);
		return;
	}
	set_parked(c, r == -EAGAIN);
}

/* One read, behind what is there of a frame. Bytes, or 0: nothing came. */
static size_t read_some(struct conn *c, int flags)
{
	size_t room = c->in_cap - c->in_len;
	ssize_t r;

	do {
		r = recv(c->ev.fd, c->in + c->in_len, room, flags);
	} while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN)
		return 0;
	if (r <= 0) {
		conn_end(c);
		return 0;
	}
	c->more |= (size_t)r == room;
	return (size_t)r;
}

/*
 * Where taking the last bytes from a socket sends the peer a packet, as
 * AF_VSOCK does to give credit back, a request is only looked at. When it was
 * answered it is taken but for some bytes, and the credit goes with the next
 * answer.
 *
 * #syscalls gpu-broker: recvfrom
 */
static void conn_read(struct conn *c)
{
	bool peek = c->peeks && c->in_len == 0 && c->in_cap == CONN_IN_MIN;
	size_t old = c->peeked;
	size_t n = read_some(c, peek ? MSG_PEEK : 0);

	if (n && n == old) {
		/* Nothing new, the end, or no room to look further. */
		take_peeked(c, 0);
		if (c->state == CONN_ENDED)
			return;
		old = 0;
		peek = false;
		n = read_some(c, 0);
	}
	if (!n)
		return;
	c->in_len += n;
	if (peek)
		c->peeked = n;
	conn_parse(c, old);
	conn_flush(c);
	/* Part of a frame is kept: what comes next has to follow it. */
	if (c->state != CONN_ENDED && c->in_len)
		take_peeked(c, 0);
}

static void conn_event(struct iso_ev *ev, uint32_t events)
{
	struct conn *c = container_of(ev, struct conn, ev);

	if (events & EPOLLOUT)
		conn_flush(c);
	if (c->state == CONN_ENDED || !(c->ev.events & EPOLLIN)) {
		if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			conn_end(c);
		return;
	}
	if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		return;
	/* Behind what is read now its end may stand, which is not said again. */
	c->more = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	conn_read(c);
	if (c->state != CONN_ENDED && c->peeks && c->more &&
	    loop_again(&c->child->pool.loop, &c->ev) < 0)
		conn_end(c);
}

void conn_resume(struct conn *c)
{
	if (c->state == CONN_ENDED || !c->parked)
		return;
	set_parked(c, false);
	conn_parse(c, 0);
	conn_flush(c);
}

void conn_check_hello(struct child *child)
{
	uint64_t now = now_ns(), next = UINT64_MAX;

	for (struct conn *c = child->conns; c; c = c->next) {
		if (c->state != CONN_NEW)
			continue;
		if (c->hello_by_ns > now) {
			next = MIN(next, c->hello_by_ns);
			continue;
		}
		child->metrics.hello_late++;
		if (log_limit_ok(&child->log))
			log_warn("connection closed: no HELLO in time");
		conn_end(c);
	}
	if (next != UINT64_MAX)
		loop_timer_set(child->hello_timer.fd,
			       (next - now) / 1000000 + 1);
}

/* #syscalls gpu-broker: getsockopt */
static bool is_vsock(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       domain == AF_VSOCK;
}

int conn_new(struct child *child, int fd, uint32_t caps)
{
	struct conn *c = calloc(1, sizeof(*c));
	int r;

	if (c)
		c->in = malloc(CONN_IN_MIN);
	if (!c || !c->in) {
		free(c);
		close(fd);
		return -ENOMEM;
	}
	c->in_cap = CONN_IN_MIN;
	c->child = child;
	c->caps = caps;
	c->peeks = is_vsock(fd);
	c->ev = (struct iso_ev){ .fd = fd, .fn = conn_event };
	wr_init(&c->out, OUT_MAX);
	idmap_init(&c->files, child->setup.quota.max_files);
	c->next = child->conns;
	child->conns = c;
	c->hello_by_ns = now_ns() + CONN_HELLO_MS * UINT64_C(1000000);
	conn_check_hello(child);
	r = loop_set(&child->pool.loop, &c->ev, wanted(c));
	if (r < 0)
		conn_end(c);
	return r;
}

void conn_reap(struct child *child)
{
	struct conn **p = &child->conns;

	while (*p) {
		struct conn *c = *p;

		if (c->state != CONN_ENDED || c->jobs) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		idmap_free(&c->files);
		free(c->spare);
		free(c);
	}
}
