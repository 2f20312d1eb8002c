/* SPDX-License-Identifier: MIT */
/*
 * conn.c - one connection of a worker, spliced to its GPU VM
 *
 *	CONNECTING -> GREETING (hybrid only) -> OPEN -> dead
 *
 * In OPEN both directions run alike: a chunk is read from one side and written
 * to the other at once. What the other does not take is kept, and until it has
 * gone nothing more is read: that is the back-pressure.
 *
 * No end of stream carries a meaning. When a side ends, what it has sent before
 * still goes to the other, within a time limit; then both are closed.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/wr.h"
#include "bridge/bridge.h"

/* Chunks moved from one side before others get their turn. */
#define BUDGET 4
/* How many connections a worker may open. Opening one costs the GPU VM time that
 * is nobody's share of it. */
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
	bool eof;		/* it sends nothing more */
	bool gone;		/* it takes nothing more */
	bool hup;		/* it said that it ends, which we then time */
};

struct conn {
	struct conn *next;
	struct worker *worker;
	struct gpu *to;		/* outlives the conn: watch.c sees to that */
	enum conn_state state;
	bool dead;
	uint64_t deadline_ns;	/* 0: none */
	struct hybrid greeting;
	struct side guest, gpu;
};

const struct gpu *conn_gpu(const struct conn *c)
{
	return c->to;
}

struct conn *conn_next(const struct conn *c)
{
	return c->next;
}

static struct side *other(struct side *s)
{
	return s == &s->conn->guest ? &s->conn->gpu : &s->conn->guest;
}

void conn_kill(struct conn *c)
{
	struct bridge *b = c->worker->bridge;

	if (c->dead)
		return;
	c->dead = true;
	loop_del(b->loop, &c->guest.ev);
	loop_del(b->loop, &c->gpu.ev);
	b->reap = true;
}

static void side_free(struct side *s)
{
	close_fd(&s->ev.fd);
	free(s->out);
}

void conn_reap(struct worker *w)
{
	struct conn **p = &w->conns;

	while (*p) {
		struct conn *c = *p;

		if (!c->dead) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		side_free(&c->guest);
		side_free(&c->gpu);
		free(c);
		w->n_conns--;
	}
}

/* ---- time ---- */

static void set_deadline(struct conn *c)
{
	struct bridge *b = c->worker->bridge;

	c->deadline_ns = now_ns() + b->opts->timeout_ms * 1000000u;
	bridge_wake(b, c->deadline_ns);
}

void conn_expire(struct bridge *b)
{
	uint64_t now = now_ns(), next = 0;

	for (struct worker *w = b->workers; w; w = w->next) {
		for (struct conn *c = w->conns; c; c = c->next) {
			if (c->dead || c->deadline_ns == 0)
				continue;
			if (c->deadline_ns <= now) {
				worker_say(w, c->to->reg.name, "too slow");
				conn_kill(c);
			} else if (next == 0 || c->deadline_ns < next) {
				next = c->deadline_ns;
			}
		}
	}
	b->timer_ns = 0;
	if (next)
		bridge_wake(b, next);
}

/* ---- bytes ---- */

/* Writes n bytes to the side and keeps what it does not take. The side has
 * nothing waiting. 0, or -ENOMEM. */
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

static bool readable(struct side *s)
{
	struct side *to = other(s);

	return !s->eof && !to->gone && to->out_len == 0;
}

/* Moves what `from` has to the other side. 0, or -ENOMEM. */
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

/* ---- states ---- */

static bool finished(struct conn *c)
{
	return (c->guest.eof && c->gpu.out_len == 0) ||
	       (c->gpu.eof && c->guest.out_len == 0) ||
	       (c->guest.gone && c->gpu.gone);
}

/* What is watched on the side. EPOLLHUP and EPOLLERR cannot be masked: a side
 * that hung up stays in the epoll set only for a read or write that comes. */
static uint32_t wanted(struct side *s)
{
	struct conn *c = s->conn;
	uint32_t ev = 0;
	bool early = c->state != CONN_OPEN && s == &c->gpu;

	if (s->out_len || (early && c->state == CONN_CONNECTING))
		ev |= EPOLLOUT;
	if (c->state == CONN_OPEN ? readable(s) : early)
		ev |= EPOLLIN;
	else if (!s->eof && !s->hup)
		ev |= EPOLLRDHUP;
	return ev;
}

static void settle(struct conn *c)
{
	struct loop *l = c->worker->bridge->loop;
	bool ending = c->guest.eof || c->guest.gone || c->guest.hup ||
		      c->gpu.eof || c->gpu.gone || c->gpu.hup;

	if (c->dead)
		return;
	if (c->state == CONN_OPEN && finished(c)) {
		conn_kill(c);
		return;
	}
	if (c->state == CONN_OPEN && ending && c->deadline_ns == 0)
		set_deadline(c);
	if (loop_set(l, &c->guest.ev, wanted(&c->guest)) < 0 ||
	    loop_set(l, &c->gpu.ev, wanted(&c->gpu)) < 0)
		conn_kill(c);
}

/* Says to the broker who this worker is; from then on bytes are the worker's. */
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
		r = side_send(&c->gpu, m.p, m.len);
	wr_free(&m);
	c->state = CONN_OPEN;
	c->deadline_ns = 0;
	return r;
}

/* The socket is connected: a hybrid one wants to know the port. */
static int greet(struct conn *c)
{
	char line[32];
	int n;

	if (c->to->reg.addr.kind != SOCK_HYBRID)
		return open_up(c);
	c->state = CONN_GREETING;
	n = snprintf(line, sizeof(line), "CONNECT %u\n", c->to->reg.addr.port);
	return side_send(&c->gpu, line, (size_t)n);
}

static int read_greeting(struct conn *c)
{
	uint8_t buf[64];
	size_t used;
	ssize_t n = read(c->gpu.ev.fd, buf, sizeof(buf));
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -ECONNREFUSED; /* nobody listens at that port */
	if (c->gpu.out_len)
		return -EPROTO; /* an answer before the question */
	r = hybrid_feed(&c->greeting, buf, (size_t)n, &used);
	if (r <= 0)
		return r;
	r = open_up(c);
	if (r == 0 && used < (size_t)n)
		r = side_send(&c->guest, buf + used, (size_t)n - used);
	return r;
}

/* Before OPEN, only the GPU VM's side has something to say. */
static void on_setup(struct conn *c, struct side *s, uint32_t events)
{
	int r = 0;

	if (s == &c->guest) {
		conn_kill(c); /* it only could have gone */
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
	if (r < 0) {
		worker_say(c->worker, c->to->reg.name, strerror(-r));
		conn_kill(c);
	}
}

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
		/* room on this side is the other's turn, too */
		if (((events & ~(uint32_t)EPOLLOUT) && pump(s) < 0) ||
		    ((events & EPOLLOUT) && pump(other(s)) < 0))
			conn_kill(c);
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
	_cleanup_close_ int guest_fd = fd, gpu_fd = -1;
	struct conn *c;

	if (!gpu) {
		worker_say(w, w->reg.gpu, "no such GPU VM");
		return;
	}
	if (w->n_conns >= b->opts->max_conns) {
		worker_say(w, w->reg.gpu, "too many connections");
		return;
	}
	if (bucket_take(&w->starts, &starts, now_ns()) > 0) {
		worker_say(w, w->reg.gpu, "too many connections in a short time");
		return;
	}
	gpu_fd = sock_connect_nb(&gpu->reg.addr);
	c = gpu_fd < 0 ? NULL : calloc(1, sizeof(*c));
	if (!c) {
		worker_say(w, w->reg.gpu,
			   strerror(gpu_fd < 0 ? -gpu_fd : ENOMEM));
		return;
	}
	c->worker = w;
	c->to = gpu;
	side_init(&c->guest, c, take_fd(&guest_fd));
	side_init(&c->gpu, c, take_fd(&gpu_fd));
	c->next = w->conns;
	w->conns = c;
	w->n_conns++;
	set_deadline(c);
	/* a Unix socket is connected now; AF_VSOCK says when */
	if (gpu->reg.addr.kind != SOCK_VSOCK && greet(c) < 0)
		conn_kill(c);
	settle(c);
}
