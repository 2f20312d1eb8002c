/* SPDX-License-Identifier: MIT */
/* monitor.c - runs the monitor's loop from the first connection to a signal */
#include "broker/monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "base/log.h"
#include "broker/monitor/stranger.h"
#include "broker/monitor/worker.h"

#define ACCEPT_BUDGET 16	/* connections of one listener in a turn */

struct monitor;

struct listener {
	struct iso_ev ev;
	struct monitor *m;
};

struct monitor {
	const struct monitor_config *config;
	struct loop loop;
	struct iso_ev signals;
	struct listener listener[CONFIG_MAX_LISTEN];
	struct strangers strangers;
	struct workers workers;
	struct metrics metrics;
	struct log_limit log;	/* for lines that connections provoke */
	int spare_fd;		/* to be given up when fds run out */
};

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
		strangers_add(&l->m->strangers, fd);
	}
}

static void signal_event(struct iso_ev *ev, uint32_t events)
{
	struct monitor *m = container_of(ev, struct monitor, signals);
	struct signalfd_siginfo si;

	(void)events;
	if (read(ev->fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGUSR1) {
		metrics_log(&m->metrics, "monitor");
		workers_log_metrics(&m->workers);
	} else {
		loop_stop(&m->loop);
	}
}

/* The end of a turn, where whatever handlers have ended is freed. */
static void after_turn(struct loop *loop, void *arg)
{
	struct monitor *m = arg;

	(void)loop;
	strangers_reap(&m->strangers);
	workers_reap(&m->workers);
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
	m->strangers = (struct strangers){ .loop = &m->loop,
					   .workers = &m->workers,
					   .metrics = &m->metrics,
					   .log = &m->log,
					   .secret = m->config->secret };
	m->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	m->loop.after = after_turn;
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

/* Children see the end of their sockets, and end; none is left behind. */
static void monitor_end(struct monitor *m)
{
	workers_end(&m->workers);
	strangers_end(&m->strangers);
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
