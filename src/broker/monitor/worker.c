/* SPDX-License-Identifier: MIT */
#include "broker/monitor/worker.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "abi/iso_wire.h"
#include "base/log.h"
#include "base/sock.h"
#include "broker/monitor/cgroup.h"
#include "broker/monitor/opener.h"
#include "broker/monitor/spawn.h"

/* A child that was told to end has no work left; this is for one that does not
 * want to. */
#define END_MS 1000
/* A worker may have this many children at once after a rest, then one in this
 * time: starting them takes the machine's time, which is not its own. */
#define STARTS 8
#define START_MS 500

/* Bytes of a child's line; longer ones are broken. */
#define LINE_MAX_ 500

/* A connection that a child serves. */
struct guest {
	struct iso_ev ev;	/* fd is -1 once it is over */
	struct worker *w;
	struct guest *next;
	uint32_t caps;
	bool handed;		/* the child has it */
};

enum worker_state {
	WORKER_RUNS,
	WORKER_ENDS,	/* its child was told to */
	WORKER_RESTS,	/* no child; guests wait, or it is forgotten soon */
	WORKER_DEAD,	/* to be freed */
};

struct worker {
	struct iso_ev pidfd;	/* -1 without a child */
	struct iso_ev timer;	/* ENDS: for END_MS; RESTS: for a start */
	struct workers *ws;
	struct worker *next;
	enum worker_state state;
	char name[33];
	unsigned int slot;	/* gives its uid */
	pid_t pid;
	int sock;		/* to the child; -1: it is told to end */
	struct iso_ev opener;	/* it asks for device nodes; -1: it cannot */
	struct iso_ev log;	/* what the child says; -1: nothing more */
	char line[LINE_MAX_];
	size_t line_len;
	struct log_limit said;	/* for what the child says */
	uint64_t rested_ns;	/* when all STARTS are there again */
	struct guest *guests;
	uint32_t n_guests;
};

/* ---- connections ---------------------------------------------------------- */

static void guest_end(struct guest *g)
{
	if (g->ev.fd < 0)
		return;
	loop_del(g->w->ws->loop, &g->ev);
	close_fd(&g->ev.fd);
	g->w->n_guests--;
}

/* Frees the guests that are over, or all of them. */
static void guests_free(struct worker *w, bool all)
{
	for (struct guest **p = &w->guests; *p;) {
		struct guest *g = *p;

		if (!all && g->ev.fd >= 0) {
			p = &g->next;
			continue;
		}
		*p = g->next;
		guest_end(g);
		free(g);
	}
}

static void worker_finish(struct worker *w)
{
	w->state = WORKER_ENDS;
	close_fd(&w->sock);
	loop_timer_set(w->timer.fd, END_MS);
}

/* Closed on both sides: the worker has gone, or the child shut it down. */
static void guest_event(struct iso_ev *ev, uint32_t events)
{
	struct guest *g = container_of(ev, struct guest, ev);
	struct worker *w = g->w;

	(void)events;
	guest_end(g);
	if (w->n_guests == 0 && w->state == WORKER_RUNS)
		worker_finish(w);
}

static void guest_hand(struct guest *g)
{
	struct proto_msg msg = { .type = PROTO_CONN, .caps = g->caps };
	struct worker *w = g->w;
	int r = sock_send_fds(w->sock, &msg, sizeof(msg), &g->ev.fd, 1);

	g->handed = true;
	if (r < 0) {
		if (log_limit_ok(w->ws->log))
			log_warn("%s: its child takes no connection: %s",
				 w->name, strerror(-r));
		shutdown(g->ev.fd, SHUT_RDWR);
	}
	/* Just EPOLLHUP, which always comes. EPOLLMSG never does, nor does any
	 * byte of a socket wake who waits for it. */
	r = loop_set(w->ws->loop, &g->ev, EPOLLMSG);
	if (r < 0)
		guest_end(g);
}

/* ---- what a child says ------------------------------------------------------ */

/* Its text is no better than itself: named, limited, at the level it claims. */
static void say_line(struct worker *w)
{
	if (w->line_len == 0 || !log_limit_ok(&w->said))
		return;
	w->line[w->line_len] = 0;
	if (strncmp(w->line, "child: error: ", 14) == 0)
		log_error("%s: %s", w->name, w->line + 14);
	else if (strncmp(w->line, "child: info: ", 13) == 0)
		log_info("%s: %s", w->name, w->line + 13);
	else if (strncmp(w->line, "child: debug: ", 14) == 0)
		log_debug("%s: %s", w->name, w->line + 14);
	else if (strncmp(w->line, "child: warning: ", 16) == 0)
		log_warn("%s: %s", w->name, w->line + 16);
	else
		log_warn("%s: %s", w->name, w->line);
}

/* False when there is nothing now. */
static bool read_log(struct worker *w)
{
	char buf[4096];
	ssize_t n = read(w->log.fd, buf, sizeof(buf));

	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n')
			w->line[w->line_len++] = buf[i];
		if (buf[i] == '\n' || w->line_len == LINE_MAX_ - 1) {
			say_line(w);
			w->line_len = 0;
		}
	}
	return n > 0;
}

static void log_event(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, log);

	if (!read_log(w) && events & (EPOLLHUP | EPOLLERR))
		loop_del(w->ws->loop, ev);
}

/* The child is gone: what it said last, but no more than a pipe holds. */
static void close_log(struct worker *w)
{
	for (int i = 0; i < 16 && w->log.fd >= 0 && read_log(w); i++)
		;
	loop_del(w->ws->loop, &w->log);
	close_fd(&w->log.fd);
	w->line_len = 0;
}

/* ---- children ------------------------------------------------------------- */

static void close_opener(struct worker *w)
{
	loop_del(w->ws->loop, &w->opener);
	close_fd(&w->opener.fd);
}

static void opener_event(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, opener);
	int r = opener_serve(w->ws->config->host, ev->fd);

	(void)events;
	if (r == 0 || r == -EAGAIN)
		return;
	loop_del(w->ws->loop, ev);
	if (r == -EPROTO) {
		if (log_limit_ok(w->ws->log))
			log_warn("%s: child %d asks for devices in a way of its own; killed",
				 w->name, w->pid);
		spawn_kill(w->pidfd.fd);
	}
}

/* 0 and a start is taken, or the milliseconds until there is one. */
static uint64_t take_start(struct worker *w)
{
	const uint64_t each = START_MS * UINT64_C(1000000);
	uint64_t now = now_ns(), from = MAX(w->rested_ns, now);

	if (from + each > now + STARTS * each)
		return (from + each - now - STARTS * each) / 1000000 + 1;
	w->rested_ns = from + each;
	return 0;
}

/* 0 or -errno. */
static int start_child(struct worker *w)
{
	const struct monitor_config *config = w->ws->config;
	struct proto_setup setup = config->setup;
	struct spawned s;
	int r;

	setup.msg = (struct proto_msg){ .type = PROTO_SETUP };
	memcpy(setup.worker, w->name, sizeof(setup.worker));
	setup.uid = config->uid_base ? config->uid_base + w->slot : 0;
	r = random_bytes(&setup.session, sizeof(setup.session));
	if (r == 0)
		r = spawn_child(&setup, config->host->type->host_open, &s);
	if (r < 0)
		return r;
	w->pid = s.pid;
	w->pidfd.fd = s.pidfd;
	w->sock = s.sock;
	w->log.fd = s.log;
	w->opener.fd = s.opener;
	w->state = WORKER_RUNS;
	w->ws->metrics->children_started++;
	/* It has no connection yet, so nothing of the worker's runs. */
	if (config->cgroup_fd >= 0)
		r = cgroup_add(config->cgroup_fd, w->slot, w->pid);
	if (r < 0 && log_limit_ok(w->ws->log))
		log_warn("%s: no share of the processors for its child: %s",
			 w->name, strerror(-r));
	if (log_limit_ok(w->ws->log))
		log_info("%s: child %d, uid %u", w->name, w->pid,
			 setup.uid ? setup.uid : getuid());
	r = loop_set(w->ws->loop, &w->log, EPOLLIN);
	if (r == 0 && w->opener.fd >= 0)
		r = loop_set(w->ws->loop, &w->opener, EPOLLIN);
	if (r == 0)
		r = loop_set(w->ws->loop, &w->pidfd, EPOLLIN);
	return r;
}

/* Without a child: starts one if guests wait for it and it may be. */
static void worker_rest(struct worker *w)
{
	uint64_t ms, now = now_ns();
	int r;

	w->state = WORKER_RESTS;
	if (w->n_guests == 0) {
		if (w->rested_ns <= now)
			w->state = WORKER_DEAD;
		else
			loop_timer_set(w->timer.fd,
				       (w->rested_ns - now) / 1000000 + 1);
		return;
	}
	ms = take_start(w);
	if (ms) {
		loop_timer_set(w->timer.fd, ms);
		return;
	}
	loop_timer_set(w->timer.fd, 0);
	r = start_child(w);
	if (r < 0) {
		log_error("%s: no child for it: %s", w->name, strerror(-r));
		w->state = WORKER_DEAD;
		return;
	}
	for (struct guest *g = w->guests; g; g = g->next)
		if (!g->handed && g->ev.fd >= 0)
			guest_hand(g);
}

static void worker_timer(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, timer);

	(void)events;
	loop_timer_ack(ev->fd);
	if (w->state == WORKER_RESTS) {
		worker_rest(w);
	} else if (w->state == WORKER_ENDS) {
		log_warn("%s: child %d does not end; killed", w->name, w->pid);
		spawn_kill(w->pidfd.fd);
	}
}

/* The child is gone. */
static void worker_event(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, pidfd);
	char how[64];

	(void)events;
	if (spawn_reap(w->pid, how, sizeof(how)) == -EAGAIN)
		return;
	loop_del(w->ws->loop, ev);
	close_fd(&ev->fd);
	close_fd(&w->sock);
	close_opener(w);
	close_log(w);
	if (w->state == WORKER_RUNS) {
		w->ws->metrics->children_died++;
		if (log_limit_ok(w->ws->log))
			log_warn("%s: child %d %s; its connections are closed",
				 w->name, w->pid, how);
	}
	for (struct guest *g = w->guests; g; g = g->next)
		if (g->handed)
			guest_end(g);
	worker_rest(w);
}

/* ---- workers -------------------------------------------------------------- */

static unsigned int free_slot(const struct workers *ws)
{
	unsigned int slot = 0;
	bool taken;

	do {
		taken = false;
		for (struct worker *w = ws->list; w; w = w->next)
			if (w->slot == slot)
				taken = true;
		slot += taken;
	} while (taken);
	return slot;
}

static struct worker *worker_new(struct workers *ws, const char *name)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->ws = ws;
	w->slot = free_slot(ws);
	w->state = WORKER_RESTS;
	w->sock = -1;
	w->pidfd = (struct iso_ev){ .fd = -1, .fn = worker_event };
	w->opener = (struct iso_ev){ .fd = -1, .fn = opener_event };
	w->log = (struct iso_ev){ .fd = -1, .fn = log_event };
	w->timer = (struct iso_ev){ .fd = loop_timerfd(), .fn = worker_timer };
	memcpy(w->name, name, strnlen(name, sizeof(w->name) - 1));
	if (w->timer.fd < 0 || loop_set(ws->loop, &w->timer, EPOLLIN) < 0) {
		close_fd(&w->timer.fd);
		free(w);
		return NULL;
	}
	w->next = ws->list;
	ws->list = w;
	ws->n++;
	return w;
}

static void say_bye(int fd, enum iso_bye_reason reason)
{
	const struct {
		struct iso_hdr hdr;
		struct iso_bye bye;
	} frame = {
		.hdr = { .len = sizeof(frame), .type = ISO_BYE },
		.bye = { .reason = reason },
	};

	/* It is closed next; a peer that does not take this misses nothing. */
	if (send(fd, &frame, sizeof(frame), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		(void)errno;
}

void workers_admit(struct workers *ws, int fd, const char *name, uint32_t caps)
{
	struct guest *g = NULL;
	struct worker *w = ws->list;

	while (w && (w->state == WORKER_DEAD || strcmp(w->name, name) != 0))
		w = w->next;
	if (!w && ws->n < ws->config->max_workers)
		w = worker_new(ws, name);
	if (w && w->n_guests < ws->config->setup.quota.max_conns)
		g = calloc(1, sizeof(*g));
	if (!g) {
		ws->metrics->conn_refused++;
		if (log_limit_ok(ws->log))
			log_warn("%s: connection refused: too many", name);
		say_bye(fd, ISO_BYE_QUOTA);
		close(fd);
		if (w && w->state == WORKER_RESTS)
			worker_rest(w);
		return;
	}
	ws->metrics->connections++;
	*g = (struct guest){ .ev = { .fd = fd, .fn = guest_event }, .w = w,
			     .caps = caps, .next = w->guests };
	w->guests = g;
	w->n_guests++;
	if (w->state == WORKER_RUNS)
		guest_hand(g);
	else if (w->state == WORKER_RESTS)
		worker_rest(w);
	/* else worker_event() comes first */
}

static void worker_free(struct worker *w)
{
	guests_free(w, true);
	close_opener(w);
	close_log(w);
	loop_del(w->ws->loop, &w->pidfd);
	loop_del(w->ws->loop, &w->timer);
	close_fd(&w->pidfd.fd);
	close_fd(&w->timer.fd);
	close_fd(&w->sock);
	w->ws->n--;
	free(w);
}

void workers_reap(struct workers *ws)
{
	for (struct worker **p = &ws->list; *p;) {
		struct worker *w = *p;

		guests_free(w, false);
		if (w->state != WORKER_DEAD) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		worker_free(w);
	}
}

void workers_log_metrics(struct workers *ws)
{
	const struct proto_msg msg = { .type = PROTO_METRICS };

	for (struct worker *w = ws->list; w; w = w->next)
		if (w->sock >= 0 &&
		    sock_send_fds(w->sock, &msg, sizeof(msg), NULL, 0) < 0)
			log_warn("%s: its child is not listening", w->name);
}

void workers_end(struct workers *ws)
{
	char how[64];

	/* All of them see the end of their sockets before any is waited for. */
	for (struct worker *w = ws->list; w; w = w->next)
		close_fd(&w->sock);
	for (struct worker *w = ws->list; w; w = w->next) {
		if (w->pidfd.fd >= 0) {
			if (!spawn_wait(w->pidfd.fd, END_MS))
				spawn_kill(w->pidfd.fd);
			(void)spawn_wait(w->pidfd.fd, -1);
			(void)spawn_reap(w->pid, how, sizeof(how));
		}
		w->state = WORKER_DEAD;
	}
	workers_reap(ws);
}
