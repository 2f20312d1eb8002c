/* SPDX-License-Identifier: MIT */
/* main.c - brings a child up, from its first instruction into its loop */
#include "broker/child/main.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/sock.h"
#include "broker/child/conn.h"
#include "sandbox/sandbox.h"
#include "seccomp_gpu-broker.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Connections that wait for a token of the rate try again after this. */
#define RATE_WAIT_MS 5

/* fds beside the connections: log, control, epoll, eventfd, timer, and one
 * that is on its way in. */
#define OWN_FDS 16
/* Open files beside connections, should the driver need one for each. */
#define FDS_MAX 65536

static void resume_parked(struct child *child)
{
	for (struct conn *c = child->conns; c && child->n_parked; c = c->next)
		conn_resume(c);
}

static void rate_event(struct iso_ev *ev, uint32_t events)
{
	(void)events;
	loop_timer_ack(ev->fd);
	resume_parked(container_of(ev, struct child, rate_timer));
}

static void hello_event(struct iso_ev *ev, uint32_t events)
{
	(void)events;
	loop_timer_ack(ev->fd);
	conn_check_hello(container_of(ev, struct child, hello_timer));
}

static void after_batch(struct loop *loop, void *arg)
{
	struct child *child = arg;

	(void)loop;
	/* Who is resumed may give back what one before it waits for. */
	while (child->budget.freed) {
		child->budget.freed = false;
		resume_parked(child);
	}
	if (child->budget.dry) {
		child->budget.dry = false;
		loop_timer_set(child->rate_timer.fd, RATE_WAIT_MS);
	}
	if (child->reap) {
		child->reap = false;
		conn_reap(child);
	}
}

/* #syscalls gpu-broker: recvmsg fcntl */
static void ctl_event(struct iso_ev *ev, uint32_t events)
{
	struct child *child = container_of(ev, struct child, ctl);
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
		r = n_fds == 1 ? conn_new(child, take_fd(&fd), msg.caps) :
				 -EPROTO;
		if (r < 0)
			log_error("connection lost: %s", strerror((int)-r));
		break;
	case PROTO_METRICS:
		metrics_log(&child->metrics, child->setup.worker);
		break;
	default:
		log_error("message %u of the monitor is unknown", msg.type);
	}
	close_fd(&fd);
}

/* Memory of its own that a child can come to need: what is under way (results
 * are in a buffer that doubles), objects and files with their like in the
 * driver, and the rest, connections and stacks, which is less than this. */
static uint64_t data_bytes(const struct proto_quota *q)
{
	return (UINT64_C(128) << 20) + 3 * q->max_inflight_bytes +
	       256 * ((uint64_t)q->max_objects + q->max_files);
}

/* Other threads may be out in driver calls: no destructors. */
static void child_stopped(struct pool *pool)
{
	(void)pool;
	_exit(ISO_EX_OK);
}

/* What any child may call, and what its driver needs. How many; n is the room
 * in ret. */
static size_t child_syscalls(const struct drv_type *driver, int *ret, size_t n)
{
	size_t own = driver->syscalls ? *driver->n_syscalls : 0;

	if (ARRAY_SIZE(seccomp_syscalls) + own > n)
		return 0;
	memcpy(ret, seccomp_syscalls, sizeof(seccomp_syscalls));
	if (own)
		memcpy(ret + ARRAY_SIZE(seccomp_syscalls), *driver->syscalls,
		       own * sizeof(*ret));
	return ARRAY_SIZE(seccomp_syscalls) + own;
}

static void child_sandbox(const struct child *child)
{
	const struct proto_setup *s = &child->setup;
	int syscalls[SANDBOX_MAX_SYSCALLS];
	struct sandbox_limit limits[] = {
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_DATA, data_bytes(&s->quota) },
		{ RLIMIT_NOFILE, MIN(OWN_FDS + s->quota.max_conns +
				     s->quota.max_files, FDS_MAX) },
		/* Threads count for the whole user: only one of its own has
		 * this limit. */
		{ RLIMIT_NPROC, CHILD_MAX_THREADS + 1 },
	};
	struct sandbox box = {
		.uid = s->uid, .gid = s->uid, .empty_root = true,
		.limits = limits,
		.n_limits = ARRAY_SIZE(limits) - (s->uid ? 0 : 1),
		.syscalls = syscalls,
		.n_syscalls = child_syscalls(drv_type_find(s->driver), syscalls,
					     ARRAY_SIZE(syscalls)),
	};
	int r = sandbox_enter(&box);

	if (r < 0)
		die(ISO_EX_BUG, "sandbox: %s", strerror(-r));
}

static void child_receive_setup(struct child *child)
{
	struct proto_setup *s = &child->setup;
	size_t n_fds;
	ssize_t r = sock_recv_fds(PROTO_CONTROL, s, sizeof(*s), NULL, 0, &n_fds);

	if (r != (ssize_t)sizeof(*s) || s->msg.type != PROTO_SETUP)
		die(ISO_EX_USAGE, "--child is for gpu-broker itself");
}

static void child_open_driver(struct child *child)
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
	child->abi = child->drv->abi;
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

static int child_start_loop(struct child *child)
{
	int r = pool_init(&child->pool, CHILD_MAX_THREADS, child_stopped);

	if (r < 0)
		return r;
	child->pool.loop.after = after_batch;
	child->pool.loop.after_arg = child;
	r = start_timer(child, &child->rate_timer, rate_event);
	if (r == 0)
		r = start_timer(child, &child->hello_timer, hello_event);
	if (r == 0)
		r = sock_set_nonblock(PROTO_CONTROL, true);
	if (r < 0)
		return r;
	child->ctl = (struct iso_ev){ .fd = PROTO_CONTROL, .fn = ctl_event };
	return loop_set(&child->pool.loop, &child->ctl, EPOLLIN);
}

void child_main(const char *name)
{
	/* As long as the process: threads use it until the very end. */
	static struct child child;
	int r;

	log_init("child"); /* the monitor says of which worker */
	prctl(PR_SET_NAME, name);
	child_receive_setup(&child);
	log_set_level((enum log_level)child.setup.log_level);
	child_open_driver(&child);
	policy_init(&child.policy, child.abi, child.setup.quota.max_clients,
		    &child.metrics);
	budget_init(&child.budget, child.setup.quota.max_inflight_bytes,
		    child.setup.quota.max_rate, &child.metrics.refused_quota);
	r = child_start_loop(&child);
	if (r < 0)
		die(ISO_EX_BUG, "event loop: %s", strerror(-r));
#ifdef __GLIBC__
	/* More arenas than this would have it count processors, with calls that
	 * the sandbox forbids. */
	mallopt(M_ARENA_MAX, 2);
#endif
	child_sandbox(&child);
	r = pool_run(&child.pool);
	die(ISO_EX_BUG, "thread: %s", strerror(-r));
}
