/* SPDX-License-Identifier: MIT */
/*
 * conn.c - carries one connection of a worker to its GPU VM
 *
 * A connection has two sides: the worker's and the GPU VM's.
 *
 *	                  hybrid: write    hybrid: read
 *	conn_start()      CONNECT port     OK port
 *	     |                |                |
 *	     v    greet()     v   open_up()    v
 *	 CONNECTING ------> GREETING ------> OPEN
 *	     |                                 ^
 *	     +---------------------------------+
 *	        greet(): no hybrid socket
 *
 *	state		entered by	what may be touched in it
 *	CONNECTING	conn_start()	the GPU VM's fd, which becomes writable
 *					when it is connected
 *	GREETING	greet()		the GPU VM's side, and `greeting`
 *	OPEN		open_up()	both sides: IDENT is on its way; bytes
 *					behind it are the worker's
 *
 * Before OPEN nothing is read from the worker: its bytes stay in its socket. A
 * deadline runs before OPEN and again as soon as a side begins to end. Any
 * function may end the connection with conn_end(), whatever its state. It is
 * then out of the epoll set, list_each() passes over it, and nothing of it may
 * be touched until conn_release().
 *
 * In OPEN both directions run alike: a chunk is read from one side and written
 * to the other at once. Bytes that the other side does not take are kept, and
 * until they have gone nothing more is read: that is the back-pressure.
 *
 * The end of one side's stream ends the connection: bytes that it sent before
 * still go to the other side, within the time limit, then both are closed.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hybrid.h"
#include "base/log.h"
#include "base/wr.h"
#include "bridge/bridge.h"

/* Chunks that are moved from one side before other fds get their turn. */
#define BUDGET 4
/* At most one line in this time tells of a worker's connections. */
#define SAY_EVERY_NS 10000000000u
/* How many connections a worker may open. Opening one costs time of the GPU VM
 * that counts towards no worker's share. */
static const struct bucket_rate starts = {
	.burst = 128, .each_ns = UINT64_C(50000000),
};

#define IDENT_LEN (sizeof(struct iso_hdr) + sizeof(struct iso_ident))

enum conn_state { CONN_CONNECTING, CONN_GREETING, CONN_OPEN };

struct side {
	struct iso_ev ev;
	struct conn *conn;
	uint8_t *out;		/* owned; waits to be written to this side */
	size_t out_off, out_len;
	bool eof;		/* nothing more comes from it */
	bool gone;		/* it takes nothing more */
	bool hup;		/* epoll says that it ends, so a deadline runs */
};

struct conn {
	struct list_item item;	/* of its worker's connections */
	struct worker *worker;
	struct gpu *to;		/* outlives the connection, thanks to watch.c */
	enum conn_state state;
	uint64_t deadline_ns;	/* 0: none */
	struct hybrid greeting;
	struct side worker_side, gpu_side;
};

static struct side *other(struct side *s)
{
	struct conn *c = s->conn;

	return s == &c->worker_side ? &c->gpu_side : &c->worker_side;
}

static void conn_end(struct conn *c)
{
	struct loop *l = c->worker->bridge->loop;

	if (!list_end(&c->worker->conns, &c->item))
		return;
	loop_del(l, &c->worker_side.ev);
	loop_del(l, &c->gpu_side.ev);
}

/* Warns about one of the worker's connections, at most once in ten seconds. */
static void conn_say(struct worker *w, const char *gpu, const char *why)
{
	uint64_t now = now_ns();

	if (w->said_ns && now - w->said_ns < SAY_EVERY_NS)
		return;
	w->said_ns = now;
	log_warn("%s: connection to %s ended: %s", w->reg.name, gpu, why);
}

/* Ends it and says why. */
static void conn_fail(struct conn *c, const char *why)
{
	conn_say(c->worker, c->to->reg.name, why);
	conn_end(c);
}

static void side_free(struct side *s)
{
	close_fd(&s->ev.fd);
	free(s->out);
}

static void conn_release(struct list_item *item)
{
	struct conn *c = container_of(item, struct conn, item);

	side_free(&c->worker_side);
	side_free(&c->gpu_side);
	free(c);
}

void conn_end_all(struct worker *w, const struct gpu *to)
{
	struct conn *c;

	list_each(c, &w->conns, item)
		if (!to || c->to == to)
			conn_end(c);
}

void conn_reap(struct worker *w)
{
	list_reap(&w->conns, conn_release);
}

/* ---- time --------------------------------------------------------------- */

static void set_deadline(struct conn *c)
{
	struct bridge *b = c->worker->bridge;

	c->deadline_ns = now_ns() + b->opts->timeout_ms * 1000000u;
	bridge_wake(b, c->deadline_ns);
}

uint64_t conn_expire(struct worker *w, uint64_t now)
{
	uint64_t next = UINT64_MAX;
	struct conn *c;

	list_each(c, &w->conns, item) {
		if (c->deadline_ns == 0)
			continue;
		if (c->deadline_ns <= now)
			conn_fail(c, "too slow");
		else
			next = MIN(next, c->deadline_ns);
	}
	return next;
}

/* ---- bytes -------------------------------------------------------------- */

/* Writes n bytes to a side that has nothing waiting, and keeps what it does not
 * take. 0 or -ENOMEM. */
static int side_send(struct side *s, const void *p, size_t n)
{
	ssize_t r = write(s->ev.fd, p, n);
	size_t done = r > 0 ? (size_t)r : 0;

	assert(s->out_len == 0);
	if (r < 0 && errno != EAGAIN && errno != EINTR) {
		s->gone = true;
		return 0;
	}
	if (done == n)
		return 0;
	s->out = malloc(n - done);
	if (!s->out)
		return -ENOMEM;
	memcpy(s->out, (const uint8_t *)p + done, n - done);
	s->out_off = 0;
	s->out_len = n - done;
	return 0;
}

/* Writes what waits for the side, as far as that goes. */
static void side_flush(struct side *s)
{
	ssize_t r;

	if (s->out_len == 0)
		return;
	r = write(s->ev.fd, s->out + s->out_off, s->out_len);
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (r < 0) {
		s->gone = true;
		s->out_len = 0;
	} else {
		s->out_off += (size_t)r;
		s->out_len -= (size_t)r;
	}
	if (s->out_len == 0) {
		free(s->out);
		s->out = NULL;
	}
}

/* Whether to read from the side: not while the other one has bytes waiting. */
static bool readable(struct side *s)
{
	struct side *to = other(s);

	return !s->eof && !to->gone && to->out_len == 0;
}

/* Moves a few chunks from one side to the other. 0 or -ENOMEM. */
static int pump(struct side *from)
{
	struct side *to = other(from);
	uint8_t *chunk = from->conn->worker->bridge->chunk;

	for (int i = 0; i < BUDGET && readable(from); i++) {
		ssize_t n = read(from->ev.fd, chunk, BRIDGE_CHUNK);
		int r;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0) {
			from->eof = true;
			return 0;
		}
		r = side_send(to, chunk, (size_t)n);
		if (r < 0)
			return r;
		if ((size_t)n < BRIDGE_CHUNK)
			return 0;
	}
	return 0;
}

/* ---- states ------------------------------------------------------------- */

/* Nothing can move any more: a side has ended and the other has all of it. */
static bool finished(const struct conn *c)
{
	const struct side *w = &c->worker_side, *g = &c->gpu_side;

	return (w->eof && g->out_len == 0) || (g->eof && w->out_len == 0) ||
	       (w->gone && g->gone);
}

static bool ending(const struct side *s)
{
	return s->eof || s->gone || s->hup;
}

/* The events to watch for on the side. EPOLLHUP and EPOLLERR cannot be masked,
 * so a side that has hung up is in the epoll set only while a read or a write
 * is due there. */
static uint32_t wanted(struct side *s)
{
	struct conn *c = s->conn;
	uint32_t ev = 0;
	bool early = c->state != CONN_OPEN && s == &c->gpu_side;

	if (s->out_len || (early && c->state == CONN_CONNECTING))
		ev |= EPOLLOUT;
	if (c->state == CONN_OPEN ? readable(s) : early)
		ev |= EPOLLIN;
	else if (!s->eof && !s->hup)
		ev |= EPOLLRDHUP;
	return ev;
}

/* Last step of each event: ends the connection if it is finished, else watches
 * for what can happen next. */
static void settle(struct conn *c)
{
	struct loop *l = c->worker->bridge->loop;

	if (c->item.ended)
		return;
	if (c->state == CONN_OPEN && finished(c)) {
		conn_end(c);
		return;
	}
	if (c->state == CONN_OPEN && c->deadline_ns == 0 &&
	    (ending(&c->worker_side) || ending(&c->gpu_side)))
		set_deadline(c);
	if (loop_set(l, &c->worker_side.ev, wanted(&c->worker_side)) < 0 ||
	    loop_set(l, &c->gpu_side.ev, wanted(&c->gpu_side)) < 0)
		conn_end(c);
}

/* Queues IDENT, which tells the broker who this worker is. 0 or -ENOMEM. */
static int open_up(struct conn *c)
{
	const struct reg_entry *w = &c->worker->reg;
	char name[ISO_WORKER_LEN] = "";
	struct wr m;
	int r = -ENOMEM;

	snprintf(name, sizeof(name), "%s", w->name);
	wr_init(&m, IDENT_LEN);
	wr_u32(&m, (uint32_t)IDENT_LEN);
	wr_u16(&m, ISO_IDENT);
	wr_u16(&m, 0);
	wr_u32(&m, 0);
	wr_u32(&m, 0);
	wr_bytes(&m, c->to->secret, ISO_SECRET_LEN);
	wr_bytes(&m, name, sizeof(name));
	wr_u32(&m, w->caps);
	wr_u32(&m, w->quota_class);
	if (wr_ok(&m))
		r = side_send(&c->gpu_side, m.p, m.len);
	wr_free(&m);
	c->state = CONN_OPEN;
	c->deadline_ns = 0;
	return r;
}

/* The GPU VM's socket is connected; a hybrid one has to be told the port. 0 or
 * -ENOMEM. */
static int greet(struct conn *c)
{
	char line[32];
	int n;

	if (c->to->reg.addr.kind != SOCK_HYBRID)
		return open_up(c);
	c->state = CONN_GREETING;
	n = snprintf(line, sizeof(line), "CONNECT %u\n", c->to->reg.addr.port);
	return side_send(&c->gpu_side, line, (size_t)n);
}

/* Reads the hybrid socket's answer; what comes behind it is the broker's. 0, or
 * why the connection ends. */
static int read_greeting(struct conn *c)
{
	uint8_t buf[64];
	size_t used;
	ssize_t n = read(c->gpu_side.ev.fd, buf, sizeof(buf));
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -ECONNREFUSED; /* nothing listens at that port */
	if (c->gpu_side.out_len)
		return -EPROTO; /* an answer before the question */
	r = hybrid_feed(&c->greeting, buf, (size_t)n, &used);
	if (r <= 0)
		return r;
	r = open_up(c);
	if (r == 0 && used < (size_t)n)
		r = side_send(&c->worker_side, buf + used, (size_t)n - used);
	return r;
}

/* An event before OPEN. */
static void on_setup(struct conn *c, struct side *s, uint32_t events)
{
	int r = 0;

	if (s == &c->worker_side) {
		conn_end(c); /* watched for nothing but its end */
		return;
	}
	if (c->state == CONN_CONNECTING) {
		r = sock_error(s->ev.fd);
		if (r == 0)
			r = greet(c);
	} else {
		if (events & EPOLLOUT)
			side_flush(s);
		r = s->gone ? -EPIPE : read_greeting(c);
	}
	if (r < 0)
		conn_fail(c, strerror(-r));
}

/* A side can be read or written, or has ended. */
static void on_side(struct iso_ev *ev, uint32_t events)
{
	struct side *s = container_of(ev, struct side, ev);
	struct conn *c = s->conn;

	if (c->state != CONN_OPEN) {
		on_setup(c, s, events);
	} else {
		if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			s->hup = true;
		if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
			side_flush(s);
		/* where this side has room again, the other may be read */
		if (((events & ~(uint32_t)EPOLLOUT) && pump(s) < 0) ||
		    ((events & EPOLLOUT) && pump(other(s)) < 0))
			conn_end(c);
	}
	settle(c);
}

static void side_init(struct side *s, struct conn *c, int fd)
{
	s->ev = (struct iso_ev){ .fd = fd, .fn = on_side };
	s->conn = c;
}

/* #syscalls vsock-bridge: socket connect getsockopt */
void conn_start(struct worker *w, int fd)
{
	struct bridge *b = w->bridge;
	struct gpu *gpu = bridge_gpu(b, w->reg.gpu);
	_cleanup_close_ int worker_fd = fd, gpu_fd = -1;
	struct conn *c;

	if (!gpu) {
		conn_say(w, w->reg.gpu, "no such GPU VM");
		return;
	}
	if (w->conns.n >= b->opts->max_conns) {
		conn_say(w, w->reg.gpu, "too many connections");
		return;
	}
	if (bucket_take(&w->starts, &starts, now_ns()) > 0) {
		conn_say(w, w->reg.gpu, "too many connections in a short time");
		return;
	}
	gpu_fd = sock_connect_nb(&gpu->reg.addr);
	c = gpu_fd < 0 ? NULL : calloc(1, sizeof(*c));
	if (!c) {
		conn_say(w, w->reg.gpu,
			 strerror(gpu_fd < 0 ? -gpu_fd : ENOMEM));
		return;
	}
	c->worker = w;
	c->to = gpu;
	side_init(&c->worker_side, c, take_fd(&worker_fd));
	side_init(&c->gpu_side, c, take_fd(&gpu_fd));
	list_add(&w->conns, &c->item);
	set_deadline(c);
	/* a Unix socket is connected at once; AF_VSOCK tells later */
	if (gpu->reg.addr.kind != SOCK_VSOCK && greet(c) < 0)
		conn_end(c);
	settle(c);
}
