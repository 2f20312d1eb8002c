/* SPDX-License-Identifier: MIT */
/*
 * worker.c - gives each worker its child, one at a time
 *
 *	  worker_new(), with the first connection
 *	      |
 *	      v         start_child()
 *	 +---------+-------------------->+--------+
 *	 |  RESTS  |                     |  RUNS  |
 *	 +---------+<--------------------+--------+
 *	   |     ^    pidfd_event()          |
 *	   |     |                           | the last connection is over
 *	   |     |    pidfd_event()          v
 *	   |     |                       +--------+
 *	   |     +-----------------------|  ENDS  |
 *	   |                             +--------+
 *	   | no connection, and no start to wait for; or no child can be made
 *	   v
 *	 +--------+
 *	 |  DEAD  |   freed by workers_reap(); for a connection that comes now
 *	 +--------+   there is a new worker of the same name
 *
 * RESTS: there is no child; pidfd, sock, opener and log are -1. Connections
 * wait, and the timer is set to the next start. RUNS: the child takes each
 * connection as it comes. ENDS: sock is closed, which tells the child to end,
 * and the timer is set to the moment at which it is killed; connections wait.
 * worker_rest() alone enters RUNS and DEAD; pidfd_event() alone enters RESTS.
 */
#include "broker/monitor/worker.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "abi/iso_wire.h"
#include "base/bucket.h"
#include "base/sock.h"
#include "broker/monitor/cgroup.h"
#include "broker/monitor/child_log.h"
#include "broker/monitor/opener.h"
#include "broker/monitor/spawn.h"

/* A child that was told to end has no work left, so one that takes longer than
 * this does not want to end. */
#define END_MS 1000
/* After a rest a worker may have this many children at once, then one in this
 * time: starting one takes processor time that is not the worker's own. */
static const struct bucket_rate starts = {
	.burst = 8, .each_ns = UINT64_C(500) * 1000 * 1000,
};

/* One connection of a worker. */
struct worker_conn {
	struct list_item item;
	struct iso_ev ev;	/* fd: the monitor's own, for EPOLLHUP */
	struct worker *w;
	uint32_t caps;
	bool handed;		/* the child has it */
};

enum worker_state { WORKER_RESTS, WORKER_RUNS, WORKER_ENDS, WORKER_DEAD };

struct worker {
	struct list_item item;
	struct workers *ws;
	enum worker_state state;
	char name[sizeof(((struct proto_setup *)0)->worker)];
	unsigned int slot;	/* gives its uid */
	struct list conns;
	struct iso_ev timer;	/* ENDS: to kill; RESTS: to start or forget */
	struct bucket starts;
	/* Of its child: */
	pid_t pid;
	struct iso_ev pidfd;
	int sock;		/* to its PROTO_CONTROL */
	struct iso_ev opener;	/* to its PROTO_OPENER; -1: it has none */
	struct child_log log;
};

/* ---- connections -------------------------------------------------------- */

static void conn_over(struct worker_conn *c)
{
	if (!list_end(&c->w->conns, &c->item))
		return;
	loop_del(c->w->ws->loop, &c->ev);
	close_fd(&c->ev.fd);
}

static void conn_release(struct list_item *item)
{
	free(container_of(item, struct worker_conn, item));
}

/* Tells the child to end. */
static void worker_finish(struct worker *w)
{
	w->state = WORKER_ENDS;
	close_fd(&w->sock);
	loop_timer_set(w->timer.fd, END_MS);
}

/* Forgets a connection that the child has; with the last one the child ends. */
static void conn_leave(struct worker_conn *c)
{
	struct worker *w = c->w;

	conn_over(c);
	if (list_live(&w->conns) == 0 && w->state == WORKER_RUNS)
		worker_finish(w);
}

/* Both directions are shut: the worker has gone, or the child has ended the
 * connection. */
static void conn_event(struct iso_ev *ev, uint32_t events)
{
	(void)events;
	conn_leave(container_of(ev, struct worker_conn, ev));
}

/* Gives the connection to the child. */
static void conn_hand(struct worker_conn *c)
{
	struct proto_msg msg = { .type = PROTO_CONN, .caps = c->caps };
	struct worker *w = c->w;
	int r = sock_send_fds(w->sock, &msg, sizeof(msg), &c->ev.fd, 1);

	c->handed = true;
	if (r < 0) {
		if (log_limit_ok(w->ws->log))
			log_warn("%s: connection closed, its child takes none: %s",
				 w->name, strerror(-r));
		shutdown(c->ev.fd, SHUT_RDWR);
	}
	/* For EPOLLHUP alone, which always comes. Sockets never have EPOLLMSG,
	 * so no byte of the worker's wakes the monitor. */
	r = loop_set(w->ws->loop, &c->ev, EPOLLMSG);
	if (r < 0)
		conn_leave(c);
}

/* ---- children ----------------------------------------------------------- */

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
			log_warn("%s: killed child %d, which asked for a device node against the rules",
				 w->name, w->pid);
		spawn_kill(w->pidfd.fd);
	}
}

/* Without a group the child runs all the same, with no share of its own. */
static void add_to_cgroup(const struct worker *w)
{
	int dir = w->ws->config->cgroup_fd;
	int r = dir < 0 ? 0 : cgroup_add(dir, w->slot, w->pid);

	if (r < 0 && log_limit_ok(w->ws->log))
		log_warn("%s: child %d has no cgroup: %s", w->name, w->pid,
			 strerror(-r));
}

/* Closes all that belongs to the child. */
static void close_child(struct worker *w)
{
	loop_del(w->ws->loop, &w->pidfd);
	close_fd(&w->pidfd.fd);
	close_fd(&w->sock);
	loop_del(w->ws->loop, &w->opener);
	close_fd(&w->opener.fd);
	child_log_close(&w->log);
}

/* Waits until the child has ended, and reaps it. */
static void await_child(const struct worker *w)
{
	char how[64];

	(void)spawn_wait(w->pidfd.fd, -1);
	(void)spawn_reap(w->pid, how, sizeof(how));
}

/* 0, and it RUNS; or -errno, and there is no child. */
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
	w->opener.fd = s.opener;
	w->state = WORKER_RUNS;
	w->ws->metrics->children_started++;
	/* It has no connection yet, so nothing of the worker's runs before
	 * this. */
	add_to_cgroup(w);
	if (log_limit_ok(w->ws->log))
		log_info("%s: child %d, uid %u", w->name, w->pid,
			 setup.uid ? setup.uid : getuid());
	r = child_log_open(&w->log, s.log);
	if (r == 0 && w->opener.fd >= 0)
		r = loop_set(w->ws->loop, &w->opener, EPOLLIN);
	if (r == 0)
		r = loop_set(w->ws->loop, &w->pidfd, EPOLLIN);
	if (r < 0) {
		/* No event will tell of its end. The uid of this slot must not
		 * be given to another child before that. */
		spawn_kill(w->pidfd.fd);
		await_child(w);
		close_child(w);
	}
	return r;
}

/* There is no child: starts one if connections wait for it and it may have one
 * now; else it is called again in time, or the worker is forgotten. */
static void worker_rest(struct worker *w)
{
	uint64_t now = now_ns(), wait_ns = 0;
	struct worker_conn *c;
	int r;

	w->state = WORKER_RESTS;
	if (list_live(&w->conns) == 0) {
		/* A worker that was forgotten too soon could start anew. */
		if (w->starts.full_ns > now)
			wait_ns = w->starts.full_ns - now;
		else
			w->state = WORKER_DEAD;
	} else {
		wait_ns = bucket_take(&w->starts, &starts, now);
	}
	loop_timer_set(w->timer.fd, wait_ns ? wait_ns / 1000000 + 1 : 0);
	if (wait_ns || w->state == WORKER_DEAD)
		return;
	r = start_child(w);
	if (r < 0) {
		log_error("%s: no child can be started for it: %s", w->name,
			  strerror(-r));
		w->state = WORKER_DEAD;
		return;
	}
	list_each(c, &w->conns, item)
		if (!c->handed)
			conn_hand(c);
}

static void timer_event(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, timer);

	(void)events;
	loop_timer_ack(ev->fd);
	if (w->state == WORKER_RESTS) {
		worker_rest(w);
	} else if (w->state == WORKER_ENDS) {
		log_warn("%s: killed child %d, which did not end within %u ms",
			 w->name, w->pid, END_MS);
		spawn_kill(w->pidfd.fd);
	}
}

/* Its pidfd is readable: the child has ended. */
static void pidfd_event(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, pidfd);
	struct worker_conn *c;
	char how[64];

	(void)events;
	if (spawn_reap(w->pid, how, sizeof(how)) == -EAGAIN)
		return;
	close_child(w);
	if (w->state == WORKER_RUNS) {
		w->ws->metrics->children_died++;
		if (log_limit_ok(w->ws->log))
			log_warn("%s: child %d %s; its connections are closed",
				 w->name, w->pid, how);
	}
	list_each(c, &w->conns, item)
		if (c->handed)
			conn_over(c);
	worker_rest(w);
}

/* ---- workers ------------------------------------------------------------ */

/* The lowest slot that no worker has: each slot is a uid. */
static unsigned int free_slot(const struct workers *ws)
{
	const struct list_item *item;
	unsigned int slot = 0;
	bool taken;

	do {
		taken = false;
		/* A worker that has ended, too, until it is freed. */
		for (item = ws->list.first; item; item = item->next)
			if (container_of(item, struct worker, item)->slot ==
			    slot)
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
	w->pidfd = (struct iso_ev){ .fd = -1, .fn = pidfd_event };
	w->opener = (struct iso_ev){ .fd = -1, .fn = opener_event };
	w->timer = (struct iso_ev){ .fd = loop_timerfd(), .fn = timer_event };
	w->log = (struct child_log){ .loop = ws->loop, .worker = w->name,
				     .ev.fd = -1 };
	memcpy(w->name, name, strnlen(name, sizeof(w->name) - 1));
	if (w->timer.fd < 0 || loop_set(ws->loop, &w->timer, EPOLLIN) < 0) {
		close_fd(&w->timer.fd);
		free(w);
		return NULL;
	}
	list_add(&ws->list, &w->item);
	return w;
}

/* Tells a peer why it is closed next. A peer that does not take this misses
 * nothing, so a failure is no matter. */
static void send_bye(int fd, enum iso_bye_reason reason)
{
	const struct {
		struct iso_hdr hdr;
		struct iso_bye bye;
	} frame = {
		.hdr = { .len = sizeof(frame), .type = ISO_BYE },
		.bye = { .reason = reason },
	};

	if (send(fd, &frame, sizeof(frame), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		(void)errno;
}

static struct worker *worker_find(const struct workers *ws, const char *name)
{
	struct worker *w;

	list_each(w, &ws->list, item)
		if (w->state != WORKER_DEAD && strcmp(w->name, name) == 0)
			break;
	return w;
}

void workers_admit(struct workers *ws, int fd, const char *name, uint32_t caps)
{
	struct worker *w = worker_find(ws, name);
	struct worker_conn *c = NULL;

	if (!w && ws->list.n < ws->config->max_workers)
		w = worker_new(ws, name);
	if (w && list_live(&w->conns) < ws->config->setup.quota.max_conns)
		c = calloc(1, sizeof(*c));
	if (!c) {
		ws->metrics->conn_refused++;
		if (log_limit_ok(ws->log))
			log_warn("%s: connection refused: more than %s", name,
				 w ? "MAX_CONNS" : "MAX_WORKERS");
		send_bye(fd, ISO_BYE_QUOTA);
		close(fd);
		if (w && w->state == WORKER_RESTS)
			worker_rest(w);
		return;
	}
	ws->metrics->connections++;
	c->ev = (struct iso_ev){ .fd = fd, .fn = conn_event };
	c->w = w;
	c->caps = caps;
	list_add(&w->conns, &c->item);
	if (w->state == WORKER_RUNS)
		conn_hand(c);
	else if (w->state == WORKER_RESTS)
		worker_rest(w);
	/* else it ENDS, and pidfd_event() comes */
}

static void worker_release(struct list_item *item)
{
	struct worker *w = container_of(item, struct worker, item);
	struct worker_conn *c;

	list_each(c, &w->conns, item)
		conn_over(c);
	list_reap(&w->conns, conn_release);
	close_child(w);
	loop_del(w->ws->loop, &w->timer);
	close_fd(&w->timer.fd);
	free(w);
}

void workers_reap(struct workers *ws)
{
	struct worker *w;

	list_each(w, &ws->list, item) {
		list_reap(&w->conns, conn_release);
		if (w->state == WORKER_DEAD)
			list_end(&ws->list, &w->item);
	}
	list_reap(&ws->list, worker_release);
}

void workers_log_metrics(struct workers *ws)
{
	const struct proto_msg msg = { .type = PROTO_METRICS };
	struct worker *w;

	list_each(w, &ws->list, item)
		if (w->sock >= 0 &&
		    sock_send_fds(w->sock, &msg, sizeof(msg), NULL, 0) < 0)
			log_warn("%s: child %d takes no message", w->name,
				 w->pid);
}

void workers_end(struct workers *ws)
{
	struct worker *w;

	/* All of them see the end of their sockets before any is waited for. */
	list_each(w, &ws->list, item)
		close_fd(&w->sock);
	list_each(w, &ws->list, item) {
		if (w->pidfd.fd >= 0) {
			if (!spawn_wait(w->pidfd.fd, END_MS))
				spawn_kill(w->pidfd.fd);
			await_child(w);
		}
		w->state = WORKER_DEAD;
	}
	workers_reap(ws);
}
