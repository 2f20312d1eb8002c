/* SPDX-License-Identifier: MIT */
/* conn.c - moves the bytes of connections between their sockets and frames */
#include "broker/child/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "broker/child/frame.h"

/* More than all results of a session together: never reached. */
#define OUT_MAX (UINT64_C(1) << 40)
/* Sent bytes are moved away when they are this many. */
#define OUT_SLACK (64u * 1024u)
/* How many of the bytes that were only looked at stay in the socket. */
#define PEEK_REST 8

/* ---- what is watched ---------------------------------------------------- */

/* The end of this turn has to look at it. */
static void set_due(struct conn *c)
{
	if (c->due || c->state == CONN_ENDED)
		return;
	c->due = true;
	c->due_next = c->set->due;
	c->set->due = c;
}

static uint32_t wanted(const struct conn *c)
{
	size_t queued = c->out.len - c->out_sent;
	uint32_t events = 0;

	if (!c->parked && queued <= CONN_OUT_HIGH)
		events |= EPOLLIN;
	if (queued)
		events |= EPOLLOUT;
	/* A peer may close while its connection waits for memory. */
	if (!events)
		events = EPOLLRDHUP;
	/* Parsed bytes may stay in the socket; only new bytes may wake us. */
	if (c->peeks)
		events |= EPOLLET | EPOLLRDHUP;
	return events;
}

static void set_parked(struct conn *c, bool parked)
{
	c->set->n_parked += (uint32_t)parked - (uint32_t)c->parked;
	c->parked = parked;
}

struct wr *conn_out(struct conn *c)
{
	set_due(c);
	return &c->out;
}

void conn_end(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	c->state = CONN_ENDING;
	set_due(c);
}

/* ---- output ------------------------------------------------------------- */

/* A result that waits to be sent takes memory as its call did: a shim that
 * reads no results gets no more of it. */
static void count_queued(struct conn *c)
{
	size_t queued = c->out.len - c->out_sent;

	if (queued > c->out_counted)
		budget_add(c->set->budget, BUDGET_CALLS,
			   queued - c->out_counted);
	else if (queued < c->out_counted)
		budget_give(c->set->budget, BUDGET_CALLS,
			    c->out_counted - queued);
	c->out_counted = queued;
}

/*
 * Sends what is queued, as far as the socket takes it. 0 or -errno.
 *
 * #syscalls gpu-broker: sendto
 */
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

static void put_bye(struct conn *c, enum iso_bye_reason reason)
{
	struct wr *out = conn_out(c);

	frame_header(out, sizeof(struct iso_hdr) + sizeof(struct iso_bye),
		     ISO_BYE, 0, 0);
	wr_u32(out, reason);
	wr_u32(out, 0);
}

/* Ends it for the error that a frame led to. */
static void fail(struct conn *c, const struct iso_hdr *hdr, int err)
{
	if (err == -EPROTO || err == -EPROTONOSUPPORT) {
		c->set->metrics->protocol_errors++;
		if (log_limit_ok(c->set->log))
			log_warn("connection closed for a bad frame: type %u, %u bytes",
				 hdr->type, hdr->len);
		put_bye(c, err == -EPROTO ? ISO_BYE_PROTOCOL :
					    ISO_BYE_VERSION);
	} else if (err != -ESHUTDOWN && log_limit_ok(c->set->log)) {
		log_warn("connection closed: %s", strerror(-err));
	}
	conn_end(c);
}

/* ---- input -------------------------------------------------------------- */

static void in_release(struct conn *c)
{
	if (c->in_cap > CONN_IN_MIN)
		budget_give(c->set->budget, BUDGET_INPUT, c->in_cap);
	free(c->in);
	c->in = NULL;
	c->in_cap = 0;
	c->in_len = 0;
}

/* Makes room for a frame of len bytes. 0, -EAGAIN (quota) or -ENOMEM. */
static int in_grow(struct conn *c, size_t len)
{
	uint8_t *p;

	if (len <= c->in_cap)
		return 0;
	if (!budget_take(c->set->budget, BUDGET_INPUT, len))
		return -EAGAIN;
	p = realloc(c->in, len);
	if (!p) {
		budget_give(c->set->budget, BUDGET_INPUT, len);
		return -ENOMEM;
	}
	c->in = p;
	c->in_cap = len;
	return 0;
}

/* Goes back to a small buffer once the rest of the input fits into it. */
static void in_shrink(struct conn *c)
{
	uint8_t *p;

	if (c->in_cap <= CONN_IN_MIN || c->in_len > CONN_IN_MIN)
		return;
	budget_give(c->set->budget, BUDGET_INPUT, c->in_cap);
	p = realloc(c->in, CONN_IN_MIN);
	if (p)
		c->in = p;
	c->in_cap = CONN_IN_MIN;
}

/* Hands on the first whole frame at p. Its length; 0 if it is not all there;
 * -EAGAIN if it has to wait; another -errno that ends the connection. */
static ssize_t one_frame(struct conn *c, const uint8_t *p, size_t left,
			 struct iso_hdr *hdr)
{
	struct rd body;
	int r;

	if (left < sizeof(*hdr))
		return 0;
	*hdr = frame_read(p);
	if (hdr->len < sizeof(*hdr) || hdr->len > ISO_MAX_FRAME || hdr->flags)
		return -EPROTO;
	if (left < hdr->len)
		return 0;
	body = rd_init(p + sizeof(*hdr), hdr->len - sizeof(*hdr));
	r = c->ops->on_frame(c, hdr, &body);
	return r < 0 ? r : (ssize_t)hdr->len;
}

/* Works through the input, without its first `pos` bytes, which were parsed. */
static void parse(struct conn *c, size_t pos)
{
	struct iso_hdr hdr = { 0 };
	ssize_t r = 0;

	while (c->state == CONN_OPEN) {
		r = one_frame(c, c->in + pos, c->in_len - pos, &hdr);
		if (r <= 0)
			break;
		pos += (size_t)r;
	}
	c->in_len -= pos;
	if (pos && c->in_len)
		memmove(c->in, c->in + pos, c->in_len);
	in_shrink(c);
	if (r == 0 && c->in_len >= sizeof(hdr))
		r = in_grow(c, hdr.len);
	if (r < 0 && r != -EAGAIN)
		fail(c, &hdr, (int)r);
	set_parked(c, r == -EAGAIN);
	set_due(c);
}

/* Takes the bytes that were parsed while they stayed in the socket, all but the
 * last `keep` of them. */
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
 * Reads once and works through what came.
 *
 * On AF_VSOCK, taking the last bytes from a socket sends the peer a packet,
 * which gives it credit back. There a request is only looked at; once it is
 * answered, it is taken, all but a few bytes, and the credit travels with the
 * next answer.
 *
 * #syscalls gpu-broker: recvfrom
 */
static void read_once(struct conn *c)
{
	bool peek = c->peeks && c->in_len == 0 && c->in_cap == CONN_IN_MIN;
	size_t old = c->peeked;
	size_t n = read_some(c, peek ? MSG_PEEK : 0);

	if (n && n == old) {
		/* Nothing is new, or it is the end, or there is no room to look
		 * further. */
		take_peeked(c, 0);
		if (c->state != CONN_OPEN)
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
	parse(c, old);
	/* A part of a frame was kept: its rest has to follow it. */
	if (c->state == CONN_OPEN && c->in_len)
		take_peeked(c, 0);
}

/* Reads if it is to be read, or ends it if its peer has closed. A socket that
 * takes bytes again is left to the end of the turn. */
static void conn_event(struct iso_ev *ev, uint32_t events)
{
	const uint32_t closed = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
	struct conn *c = container_of(ev, struct conn, ev);

	if (events & EPOLLOUT)
		set_due(c);
	if (c->state != CONN_OPEN)
		return;
	if (!(ev->events & EPOLLIN)) {
		if (events & closed)
			conn_end(c);
		return;
	}
	if (!(events & (EPOLLIN | closed)))
		return;
	/* With EPOLLET the end of the stream is told once. It may stand behind
	 * what is read now. */
	c->more = events & closed;
	read_once(c);
	if (c->state == CONN_OPEN && c->peeks && c->more &&
	    loop_again(c->set->loop, ev) < 0)
		conn_end(c);
}

/* ---- the end of a turn -------------------------------------------------- */

/*
 * Ends it: the only place that does.
 *
 * #syscalls gpu-broker: shutdown close epoll_ctl
 */
static void finish(struct conn *c)
{
	c->state = CONN_ENDED;
	loop_del(c->set->loop, &c->ev);
	/* The monitor has the socket too: it sees this, and closes it. */
	shutdown(c->ev.fd, SHUT_RDWR);
	close_fd(&c->ev.fd);
	set_parked(c, false);
	in_release(c);
	wr_free(&c->out);
	c->out.max = 0; /* whatever is appended now is dropped */
	c->out_sent = 0;
	count_queued(c);
	list_end(&c->set->all, &c->item);
	c->ops->on_end(c);
}

static void settle(struct conn *c)
{
	bool answers = c->out.len > 0;

	if (!wr_ok(&c->out) || send_queued(c) < 0)
		conn_end(c);
	if (c->state == CONN_OPEN &&
	    loop_set(c->set->loop, &c->ev, wanted(c)) < 0)
		conn_end(c);
	if (c->state == CONN_ENDING) {
		finish(c);
		return;
	}
	count_queued(c);
	if (answers)
		take_peeked(c, PEEK_REST);
}

void conn_settle(struct conn_set *set)
{
	struct conn *c;

	/* A connection that is resumed may give back what others wait for. */
	while (set->due || set->budget->freed) {
		c = set->due;
		if (c) {
			set->due = c->due_next;
			c->due = false;
			settle(c);
		} else {
			set->budget->freed = false;
			conn_resume(set);
		}
	}
}

void conn_resume(struct conn_set *set)
{
	struct conn *c;

	if (set->n_parked == 0)
		return;
	list_each(c, &set->all, item) {
		if (!c->parked || c->state != CONN_OPEN)
			continue;
		set_parked(c, false);
		parse(c, 0);
	}
}

void conn_reap(struct conn_set *set, void (*release)(struct list_item *item))
{
	list_reap(&set->all, release);
}

/* ---- the start ---------------------------------------------------------- */

/* #syscalls gpu-broker: getsockopt */
static bool is_vsock(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       domain == AF_VSOCK;
}

int conn_open(struct conn *c, struct conn_set *set, int fd,
	      const struct conn_ops *ops)
{
	int r;

	c->set = set;
	c->ops = ops;
	c->peeks = is_vsock(fd);
	c->ev = (struct iso_ev){ .fd = fd, .fn = conn_event };
	c->in = malloc(CONN_IN_MIN);
	c->in_cap = CONN_IN_MIN;
	wr_init(&c->out, OUT_MAX);
	r = c->in ? loop_set(set->loop, &c->ev, wanted(c)) : -ENOMEM;
	if (r < 0) {
		free(c->in);
		close(fd);
		return r;
	}
	list_add(&set->all, &c->item);
	return 0;
}
