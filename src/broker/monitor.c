/* SPDX-License-Identifier: MIT */
#include "broker/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/num.h"
#include "base/rd.h"
#include "base/sock.h"
#include "broker/spawn.h"

#define IDENT_MS 5000		/* from accept() to a whole IDENT */
#define MAX_STRANGERS 64	/* connections without IDENT yet */
#define ACCEPT_BUDGET 16	/* at each turn */
/* A child that was told to end has no work left; this is for one that does not
 * want to. */
#define END_MS 1000

#define KNOWN_CAPS (ISO_CAP_UTILITY | ISO_CAP_COMPUTE)
#define IDENT_LEN (sizeof(struct iso_hdr) + sizeof(struct iso_ident))

struct monitor;
struct worker;

/* A connection before its IDENT. */
struct stranger {
	struct iso_ev ev;
	struct iso_ev timer;
	struct monitor *m;
	struct stranger *next;
	uint8_t buf[IDENT_LEN];
	size_t len;
	bool dead;
};

/* A connection that a child serves. */
struct guest {
	struct iso_ev ev;	/* -1 once it is over */
	struct worker *w;
	struct guest *next;
	uint32_t caps;
	bool handed;		/* the child has it */
};

enum worker_state {
	WORKER_RUNS,
	WORKER_ENDS,	/* told to; newcomers wait for the next child */
};

struct worker {
	struct iso_ev pidfd;	/* -1 between children */
	struct iso_ev timer;	/* for END_MS */
	struct monitor *m;
	struct worker *next;
	enum worker_state state;
	char name[33];
	unsigned int slot;	/* gives its uid */
	pid_t pid;
	int sock;		/* to the child; -1: it is told to end */
	struct guest *guests;
	uint32_t n_guests;
	bool dead;
};

struct listener {
	struct iso_ev ev;
	struct monitor *m;
};

struct monitor {
	const struct monitor_config *config;
	struct loop loop;
	struct iso_ev signals;
	struct listener listener[MONITOR_MAX_LISTEN];
	struct stranger *strangers;
	unsigned int n_strangers;
	struct worker *workers;
	unsigned int n_workers;
	struct metrics metrics;
};

/* ---- a worker and its child ----------------------------------------------- */

static void guest_end(struct guest *g)
{
	if (g->ev.fd < 0)
		return;
	loop_del(&g->w->m->loop, &g->ev);
	close_fd(&g->ev.fd);
	g->w->n_guests--;
}

static void worker_free(struct worker *w)
{
	while (w->guests) {
		struct guest *g = w->guests;

		w->guests = g->next;
		guest_end(g);
		free(g);
	}
	loop_del(&w->m->loop, &w->pidfd);
	loop_del(&w->m->loop, &w->timer);
	close_fd(&w->pidfd.fd);
	close_fd(&w->timer.fd);
	close_fd(&w->sock);
	w->m->n_workers--;
	free(w);
}

/* The child has nothing left to serve: its end frees all it holds. */
static void worker_finish(struct worker *w)
{
	w->state = WORKER_ENDS;
	close_fd(&w->sock);
	loop_timer_set(w->timer.fd, END_MS);
}

static void worker_timer(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, timer);

	(void)events;
	loop_timer_ack(ev->fd);
	if (w->pidfd.fd < 0)
		return;
	log_warn("%s: child %d does not end; killed", w->name, w->pid);
	spawn_kill(w->pidfd.fd);
}

/* The worker has closed, or the child has shut it down. */
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
	struct child_msg msg = { .type = CHILD_CONN, .caps = g->caps };
	struct worker *w = g->w;
	int r = sock_send_fds(w->sock, &msg, sizeof(msg), &g->ev.fd, 1);

	g->handed = true;
	if (r < 0) {
		log_warn("%s: its child takes no connection: %s", w->name,
			 strerror(-r));
		shutdown(g->ev.fd, SHUT_RDWR);
	}
	r = loop_set(&w->m->loop, &g->ev, EPOLLRDHUP);
	if (r < 0)
		guest_end(g);
}

static int worker_start(struct worker *w);

/* The child is gone and reaped. */
static void worker_event(struct iso_ev *ev, uint32_t events)
{
	struct worker *w = container_of(ev, struct worker, pidfd);
	char how[64];
	bool meant = w->state == WORKER_ENDS;

	(void)events;
	if (spawn_reap(w->pid, how, sizeof(how)) == -EAGAIN)
		return;
	loop_del(&w->m->loop, ev);
	close_fd(&ev->fd);
	close_fd(&w->sock);
	loop_timer_set(w->timer.fd, 0);
	if (!meant) {
		w->m->metrics.children_died++;
		log_warn("%s: child %d %s; its connections are closed",
			 w->name, w->pid, how);
	}
	for (struct guest *g = w->guests; g; g = g->next)
		if (g->handed)
			guest_end(g);
	if (w->n_guests == 0 || worker_start(w) < 0)
		w->dead = true;
}

/* Gives the worker a child and what waits for one. 0 or -errno. */
static int worker_start(struct worker *w)
{
	const struct monitor_config *config = w->m->config;
	struct child_setup setup = config->setup;
	int r;

	setup.msg = (struct child_msg){ .type = CHILD_SETUP };
	memcpy(setup.worker, w->name, sizeof(setup.worker));
	setup.uid = config->uid_base ? config->uid_base + w->slot : 0;
	r = random_bytes(&setup.session, sizeof(setup.session));
	if (r == 0)
		r = spawn_child(&setup, &w->pid, &w->pidfd.fd, &w->sock);
	if (r == 0)
		r = loop_set(&w->m->loop, &w->pidfd, EPOLLIN);
	if (r < 0) {
		log_error("%s: no child for it: %s", w->name, strerror(-r));
		return r;
	}
	w->state = WORKER_RUNS;
	w->m->metrics.children_started++;
	log_info("%s: child %d, uid %u", w->name, w->pid,
		 setup.uid ? setup.uid : getuid());
	for (struct guest *g = w->guests; g; g = g->next)
		if (!g->handed && g->ev.fd >= 0)
			guest_hand(g);
	return 0;
}

static unsigned int free_slot(const struct monitor *m)
{
	unsigned int slot = 0;
	bool taken;

	do {
		taken = false;
		for (struct worker *w = m->workers; w; w = w->next)
			if (w->slot == slot)
				taken = true;
		slot += taken;
	} while (taken);
	return slot;
}

static struct worker *worker_new(struct monitor *m, const char *name)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->m = m;
	w->slot = free_slot(m);
	w->state = WORKER_ENDS; /* until it has a child */
	w->sock = -1;
	w->pidfd = (struct iso_ev){ .fd = -1, .fn = worker_event };
	w->timer = (struct iso_ev){ .fd = loop_timerfd(), .fn = worker_timer };
	memcpy(w->name, name, strnlen(name, sizeof(w->name) - 1));
	if (w->timer.fd < 0 || loop_set(&m->loop, &w->timer, EPOLLIN) < 0) {
		close_fd(&w->timer.fd);
		free(w);
		return NULL;
	}
	w->next = m->workers;
	m->workers = w;
	m->n_workers++;
	return w;
}

/* ---- from stranger to guest ----------------------------------------------- */

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

/* Takes over fd. */
static void admit(struct monitor *m, int fd, const char *name, uint32_t caps)
{
	struct guest *g = NULL;
	struct worker *w = m->workers;

	while (w && (w->dead || strcmp(w->name, name) != 0))
		w = w->next;
	if (!w && m->n_workers < m->config->max_workers)
		w = worker_new(m, name);
	if (w && w->n_guests < m->config->max_conns)
		g = calloc(1, sizeof(*g));
	if (!g) {
		m->metrics.conn_refused++;
		log_warn("%s: connection refused: too many", name);
		say_bye(fd, ISO_BYE_QUOTA);
		close(fd);
		if (w && w->n_guests == 0)
			w->dead = w->pidfd.fd < 0;
		return;
	}
	m->metrics.connections++;
	*g = (struct guest){ .ev = { .fd = fd, .fn = guest_event }, .w = w,
			     .caps = caps, .next = w->guests };
	w->guests = g;
	w->n_guests++;
	if (w->state == WORKER_RUNS)
		guest_hand(g);
	else if (w->pidfd.fd < 0 && worker_start(w) < 0)
		w->dead = true;
	/* else worker_event() starts the next child */
}

static void stranger_end(struct stranger *s)
{
	s->dead = true;
	loop_del(&s->m->loop, &s->ev);
	loop_del(&s->m->loop, &s->timer);
}

static void stranger_refuse(struct stranger *s, const char *why)
{
	s->m->metrics.ident_refused++;
	log_warn("connection refused: %s", why);
	stranger_end(s);
}

static void stranger_timer(struct iso_ev *ev, uint32_t events)
{
	(void)events;
	stranger_refuse(container_of(ev, struct stranger, timer),
			"it did not say who it is in time");
}

/* NUL padded, and a name. */
static bool worker_name_ok(const char name[ISO_WORKER_LEN])
{
	size_t n = strnlen(name, ISO_WORKER_LEN);

	for (size_t i = n; i < ISO_WORKER_LEN; i++)
		if (name[i])
			return false;
	return n < ISO_WORKER_LEN && name_ok(name);
}

/* NULL if the frame in s->buf is a good IDENT; else why not. */
static const char *check_ident(const struct stranger *s, char *ret_name,
			       uint32_t *ret_caps)
{
	struct rd r = rd_init(s->buf, s->len);
	uint8_t secret[ISO_SECRET_LEN];
	uint32_t len = rd_u32(&r);
	uint16_t type = rd_u16(&r);

	rd_zero(&r, 10); /* flags, tag, file */
	rd_copy(&r, secret, sizeof(secret));
	rd_copy(&r, ret_name, ISO_WORKER_LEN);
	*ret_caps = rd_u32(&r);
	rd_zero(&r, 4); /* the only quota class */
	if (!rd_done(&r) || len != IDENT_LEN || type != ISO_IDENT)
		return "its first frame is no IDENT";
	if (!equal_ct(secret, s->m->config->secret, sizeof(secret)))
		return "wrong secret";
	if (!worker_name_ok(ret_name))
		return "IDENT with a bad name";
	if (*ret_caps == 0 || *ret_caps & ~KNOWN_CAPS)
		return "IDENT with unknown capabilities";
	return NULL;
}

/* Reads no byte behind IDENT: the rest is for the child. */
static void stranger_event(struct iso_ev *ev, uint32_t events)
{
	struct stranger *s = container_of(ev, struct stranger, ev);
	char name[ISO_WORKER_LEN];
	const char *why;
	uint32_t caps;
	ssize_t r = recv(ev->fd, s->buf + s->len, IDENT_LEN - s->len, 0);

	(void)events;
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (r <= 0) {
		stranger_refuse(s, "it closed before IDENT");
		return;
	}
	s->len += (size_t)r;
	if (s->len < IDENT_LEN)
		return;
	why = check_ident(s, name, &caps);
	if (why) {
		stranger_refuse(s, why);
		return;
	}
	stranger_end(s);
	admit(s->m, take_fd(&ev->fd), name, caps);
}

static void stranger_new(struct monitor *m, int fd)
{
	struct stranger *s = NULL;

	if (m->n_strangers < MAX_STRANGERS)
		s = calloc(1, sizeof(*s));
	if (!s) {
		m->metrics.ident_refused++;
		close(fd);
		return;
	}
	s->m = m;
	s->ev = (struct iso_ev){ .fd = fd, .fn = stranger_event };
	s->timer = (struct iso_ev){ .fd = loop_timerfd(),
				    .fn = stranger_timer };
	s->next = m->strangers;
	m->strangers = s;
	m->n_strangers++;
	if (s->timer.fd < 0 || loop_timer_set(s->timer.fd, IDENT_MS) < 0 ||
	    loop_set(&m->loop, &s->timer, EPOLLIN) < 0 ||
	    loop_set(&m->loop, &s->ev, EPOLLIN) < 0)
		stranger_end(s);
}

static void listen_event(struct iso_ev *ev, uint32_t events)
{
	struct listener *l = container_of(ev, struct listener, ev);

	(void)events;
	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		int fd = accept4(ev->fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0)
			return;
		stranger_new(l->m, fd);
	}
}

/* ---- the loop ------------------------------------------------------------- */

static void reap(struct loop *loop, void *arg)
{
	struct monitor *m = arg;

	(void)loop;
	for (struct stranger **p = &m->strangers; *p;) {
		struct stranger *s = *p;

		if (!s->dead) {
			p = &s->next;
			continue;
		}
		*p = s->next;
		close_fd(&s->ev.fd);
		close_fd(&s->timer.fd);
		m->n_strangers--;
		free(s);
	}
	for (struct worker **p = &m->workers; *p;) {
		struct worker *w = *p;

		for (struct guest **q = &w->guests; *q;) {
			struct guest *g = *q;

			if (g->ev.fd >= 0) {
				q = &g->next;
				continue;
			}
			*q = g->next;
			free(g);
		}
		if (!w->dead) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		worker_free(w);
	}
}

static void log_metrics(struct monitor *m)
{
	const struct child_msg msg = { .type = CHILD_METRICS };

	metrics_log(&m->metrics, "monitor");
	for (struct worker *w = m->workers; w; w = w->next)
		if (w->sock >= 0 &&
		    sock_send_fds(w->sock, &msg, sizeof(msg), NULL, 0) < 0)
			log_warn("%s: its child is not listening", w->name);
}

static void signal_event(struct iso_ev *ev, uint32_t events)
{
	struct monitor *m = container_of(ev, struct monitor, signals);
	struct signalfd_siginfo si;

	(void)events;
	if (read(ev->fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGUSR1)
		log_metrics(m);
	else
		loop_stop(&m->loop);
}

static int monitor_init(struct monitor *m)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGUSR1 };
	int r = loop_init(&m->loop);

	if (r < 0)
		return r;
	m->loop.after = reap;
	m->loop.after_arg = m;
	m->signals.fn = signal_event;
	m->signals.fd = loop_signalfd(signals, ARRAY_SIZE(signals));
	if (m->signals.fd < 0)
		return m->signals.fd;
	r = loop_set(&m->loop, &m->signals, EPOLLIN);
	for (unsigned int i = 0; i < m->config->n_listen && r == 0; i++) {
		struct listener *l = &m->listener[i];

		l->m = m;
		l->ev = (struct iso_ev){ .fd = m->config->listen_fd[i],
					 .fn = listen_event };
		r = loop_set(&m->loop, &l->ev, EPOLLIN);
	}
	return r;
}

/* Children see the end of their sockets and go; none is left behind. */
static void monitor_end(struct monitor *m)
{
	for (struct worker *w = m->workers; w; w = w->next) {
		char how[64];

		close_fd(&w->sock);
		if (w->pidfd.fd < 0)
			continue;
		if (!spawn_wait(w->pidfd.fd, END_MS))
			spawn_kill(w->pidfd.fd);
		(void)spawn_wait(w->pidfd.fd, -1);
		(void)spawn_reap(w->pid, how, sizeof(how));
	}
	for (struct stranger *s = m->strangers; s; s = s->next)
		s->dead = true;
	for (struct worker *w = m->workers; w; w = w->next)
		w->dead = true;
	reap(&m->loop, m);
	for (unsigned int i = 0; i < m->config->n_listen; i++)
		close_fd(&m->listener[i].ev.fd);
	close_fd(&m->signals.fd);
	loop_fini(&m->loop);
}

int monitor_run(const struct monitor_config *config)
{
	struct monitor m = { .config = config };
	int r = monitor_init(&m);

	if (r == 0) {
		puts("Broker running");
		fflush(stdout);
		log_info("ready");
		r = loop_run(&m.loop);
	}
	monitor_end(&m);
	return r;
}
