/* SPDX-License-Identifier: MIT */
/* main.c - brings a child up from its first instruction to its loop */
#include "broker/child/main.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sock.h"
#include "broker/child/child.h"
#include "broker/child/handlers.h"
#include "broker/child/isolation.h"
#include "broker/child/session.h"

/* Connections that wait for a token of the rate try again after this. */
#define RATE_WAIT_MS 5

/* ---- the loop ----------------------------------------------------------- */

static void rate_event(struct iso_ev *ev, uint32_t events)
{
	(void)events;
	loop_timer_ack(ev->fd);
	conn_resume(&container_of(ev, struct child, rate_timer)->conns);
}

static void hello_event(struct iso_ev *ev, uint32_t events)
{
	(void)events;
	loop_timer_ack(ev->fd);
	session_check_hello(container_of(ev, struct child, hello_timer));
}

/* The end of a turn: the only place where answers are sent, and where
 * connections and sessions end. */
static void after_turn(struct loop *loop, void *arg)
{
	struct child *child = arg;

	(void)loop;
	conn_settle(&child->conns);
	if (child->budget.dry) {
		child->budget.dry = false;
		loop_timer_set(child->rate_timer.fd, RATE_WAIT_MS);
	}
	session_reap(child);
}

/*
 * A message of the monitor.
 *
 * #syscalls gpu-broker: recvmsg fcntl
 */
static void control_event(struct iso_ev *ev, uint32_t events)
{
	struct child *child = container_of(ev, struct child, control);
	struct proto_msg msg;
	size_t n_fds = 0;
	int fd = -1;
	ssize_t r;

	(void)events;
	r = sock_recv_fds(ev->fd, &msg, sizeof(msg), &fd, 1, &n_fds);
	if (r == -EAGAIN || r == -EMSGSIZE)
		return;
	if (r != (ssize_t)sizeof(msg)) {
		close_fd(&fd);
		loop_stop(&child->pool.loop); /* the monitor wants no more */
		return;
	}
	switch (msg.type) {
	case PROTO_CONN:
		child->metrics.connections++;
		r = -EPROTO;
		if (n_fds == 1)
			r = handlers_accept(child, take_fd(&fd), msg.caps);
		if (r < 0)
			log_error("connection from the monitor is lost: %s",
				  strerror((int)-r));
		break;
	case PROTO_METRICS:
		metrics_log(&child->metrics, child->setup.worker);
		break;
	default:
		log_error("unknown message from the monitor: type %u",
			  msg.type);
	}
	close_fd(&fd);
}

/* Other threads may be making driver calls, so no destructor may run. */
static void child_stopped(struct pool *pool)
{
	(void)pool;
	_exit(ISO_EX_OK);
}

/* ---- coming up ---------------------------------------------------------- */

static void receive_setup(struct child *child)
{
	struct proto_setup *s = &child->setup;
	size_t n_fds;
	ssize_t r = sock_recv_fds(PROTO_CONTROL, s, sizeof(*s), NULL, 0,
				  &n_fds);

	if (r != (ssize_t)sizeof(*s) || s->msg.type != PROTO_SETUP)
		die(ISO_EX_USAGE, "--child is for gpu-broker itself");
	log_set_level((enum log_level)s->log_level);
}

static void make_driver(struct child *child)
{
	const struct proto_setup *s = &child->setup;
	const struct drv_type *type = drv_type_find(s->driver);
	int r;

	opener_init(&child->opener, PROTO_OPENER);
	r = type ? type->make(&s->config, &child->opener.env, &child->drv) :
		   -ENODEV;
	if (r < 0)
		die(ISO_EX_BUG, "driver %s %s does not start: %s", s->driver,
		    s->config.version, strerror(-r));
}

static void init_shared(struct child *child)
{
	const struct proto_quota *q = &child->setup.quota;

	policy_init(&child->policy, child->drv->abi, q->max_clients,
		    &child->metrics, &child->log);
	budget_init(&child->budget, q->max_inflight_bytes, q->max_rate,
		    &child->metrics.refused_quota);
	child->conns = (struct conn_set){
		.loop = &child->pool.loop, .budget = &child->budget,
		.metrics = &child->metrics, .log = &child->log,
	};
}

/* #syscalls gpu-broker: timerfd_create */
static int start_timer(struct child *child, struct iso_ev *timer,
		       void (*fn)(struct iso_ev *ev, uint32_t events))
{
	timer->fn = fn;
	timer->fd = loop_timerfd();
	return timer->fd < 0 ? timer->fd :
			       loop_set(&child->pool.loop, timer, EPOLLIN);
}

static int start_loop(struct child *child)
{
	int r = pool_init(&child->pool, ISOLATION_MAX_THREADS, child_stopped);

	if (r < 0)
		return r;
	child->pool.loop.after = after_turn;
	child->pool.loop.after_arg = child;
	r = start_timer(child, &child->rate_timer, rate_event);
	if (r == 0)
		r = start_timer(child, &child->hello_timer, hello_event);
	if (r == 0)
		r = sock_set_nonblock(PROTO_CONTROL, true);
	if (r < 0)
		return r;
	child->control = (struct iso_ev){ .fd = PROTO_CONTROL,
					  .fn = control_event };
	return loop_set(&child->pool.loop, &child->control, EPOLLIN);
}

/* The stages are those of isolation.h. */
void child_main(const char *name)
{
	/* As long as the process: threads use it until the very end. */
	static struct child child;
	int r;

	/* born */
	log_init("child"); /* the monitor adds the worker's name */
	prctl(PR_SET_NAME, name);
	receive_setup(&child);
	make_driver(&child);
	init_shared(&child);
	r = start_loop(&child);
	if (r < 0)
		die(ISO_EX_BUG, "event loop: %s", strerror(-r));
	/* ready */
	isolation_enter(&child.setup, drv_type_find(child.setup.driver));
	/* closed */
	r = pool_run(&child.pool);
	die(ISO_EX_BUG, "a second thread does not start: %s", strerror(-r));
}
