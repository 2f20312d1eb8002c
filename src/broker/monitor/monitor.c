/* SPDX-License-Identifier: MIT */
#include "broker/monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "abi/iso_wire.h"
#include "base/log.h"
#include "base/num.h"
#include "base/rd.h"
#include "broker/metrics.h"
#include "broker/monitor/worker.h"

#define IDENT_MS 5000		/* from accept() to a whole IDENT */
#define MAX_STRANGERS 64	/* connections without IDENT yet */
#define ACCEPT_BUDGET 16	/* at each turn */

#define KNOWN_CAPS (ISO_CAP_UTILITY | ISO_CAP_COMPUTE)
#define IDENT_LEN (sizeof(struct iso_hdr) + sizeof(struct iso_ident))

struct monitor;

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
	struct workers workers;
	struct metrics metrics;
	struct log_limit log;	/* for what strangers and workers provoke */
	int spare_fd;		/* to be given up when fds run out */
};

/* ---- strangers ------------------------------------------------------------- */

static void stranger_end(struct stranger *s)
{
	s->dead = true;
	loop_del(&s->m->loop, &s->ev);
	loop_del(&s->m->loop, &s->timer);
}

static void stranger_refuse(struct stranger *s, const char *why)
{
	s->m->metrics.ident_refused++;
	if (log_limit_ok(&s->m->log))
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
	workers_admit(&s->m->workers, take_fd(&ev->fd), name, caps);
}

/* Who has been silent longest makes room: IDENT comes at once from those who
 * know it. */
static void evict_oldest(struct monitor *m)
{
	struct stranger *oldest = NULL;

	for (struct stranger *s = m->strangers; s; s = s->next)
		if (!s->dead)
			oldest = s;
	if (oldest)
		stranger_refuse(oldest, "too many that did not say who they are");
}

static void stranger_new(struct monitor *m, int fd)
{
	struct stranger *s = calloc(1, sizeof(*s));

	if (!s) {
		m->metrics.ident_refused++;
		close(fd);
		return;
	}
	if (m->n_strangers >= MAX_STRANGERS)
		evict_oldest(m);
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

/* Without a free fd: takes one connection off the backlog, or it would be
 * announced for ever. */
static void drop_one(struct monitor *m, int listen_fd)
{
	close_fd(&m->spare_fd);
	close(accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC));
	m->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	m->metrics.conn_refused++;
}

static void listen_event(struct iso_ev *ev, uint32_t events)
{
	struct listener *l = container_of(ev, struct listener, ev);

	(void)events;
	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		int fd = accept4(ev->fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && errno == EMFILE)
			drop_one(l->m, ev->fd);
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
	workers_reap(&m->workers);
}

static void log_metrics(struct monitor *m)
{
	metrics_log(&m->metrics, "monitor");
	workers_log_metrics(&m->workers);
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
	m->workers = (struct workers){ .loop = &m->loop, .config = m->config,
				       .metrics = &m->metrics,
				       .log = &m->log };
	m->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
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
	workers_end(&m->workers);
	for (struct stranger *s = m->strangers; s; s = s->next)
		s->dead = true;
	reap(&m->loop, m);
	for (unsigned int i = 0; i < m->config->n_listen; i++)
		close_fd(&m->listener[i].ev.fd);
	close_fd(&m->spare_fd);
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
