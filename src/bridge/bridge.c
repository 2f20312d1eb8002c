/* SPDX-License-Identifier: MIT */
/* bridge.c - keeps the state that all workers of the bridge share */
#include "bridge/bridge.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

#define STARVED_NS 1000000000u

struct gpu *bridge_gpu(const struct bridge *b, const char *name)
{
	struct gpu *g;

	list_each(g, &b->gpus, item)
		if (strcmp(g->reg.name, name) == 0)
			break;
	return g;
}

void bridge_wake(struct bridge *b, uint64_t at_ns)
{
	uint64_t now = now_ns();

	if (b->timer_ns && b->timer_ns <= at_ns)
		return;
	b->timer_ns = at_ns;
	/* at least 1 ms: 0 would disarm it */
	loop_timer_set(b->timer.fd,
		       at_ns > now ? (at_ns - now) / 1000000u + 1 : 1);
}

static void watch_listeners(struct bridge *b, bool on)
{
	struct worker *w;

	b->starved = !on;
	list_each(w, &b->workers, item)
		worker_watch(w, on);
	if (b->vsock.fd >= 0)
		loop_set(b->loop, &b->vsock, on ? EPOLLIN : 0);
}

void bridge_starve(struct bridge *b)
{
	if (b->starved)
		return;
	log_warn("out of file descriptors or memory: no connection is taken "
		 "for a second");
	watch_listeners(b, false);
	bridge_wake(b, now_ns() + STARVED_NS);
}

/* A deadline has come, or a second without listening is over. */
static void on_timer(struct iso_ev *ev, uint32_t events)
{
	struct bridge *b = container_of(ev, struct bridge, timer);
	uint64_t now = now_ns(), next = UINT64_MAX;
	struct worker *w;

	(void)events;
	loop_timer_ack(ev->fd);
	list_each(w, &b->workers, item)
		next = MIN(next, conn_expire(w, now));
	b->timer_ns = 0;
	if (next != UINT64_MAX)
		bridge_wake(b, next);
	if (b->starved)
		watch_listeners(b, true);
}

void bridge_rescan(struct bridge *b)
{
	b->rescan = true;
}

/* Frees connections that have ended, then reads the registry if it changed. */
static void after_events(struct loop *l, void *arg)
{
	struct bridge *b = arg;
	struct worker *w;

	(void)l;
	list_each(w, &b->workers, item)
		conn_reap(w);
	if (b->rescan) {
		b->rescan = false;
		watch_scan(b);
	}
}

int bridge_init(struct bridge *b, struct loop *l,
		const struct bridge_opts *opts, int dir_fd)
{
	int r;

	*b = (struct bridge){
		.opts = opts,
		.loop = l,
		.dir_fd = dir_fd,
		.vsock = { .fd = -1, .fn = worker_on_vsock },
		.timer = { .fd = loop_timerfd(), .fn = on_timer },
		.chunk = malloc(BRIDGE_CHUNK),
	};
	if (b->timer.fd < 0)
		return b->timer.fd;
	if (!b->chunk)
		return -ENOMEM;
	r = loop_set(l, &b->timer, EPOLLIN);
	if (r < 0)
		return r;
	l->after = after_events;
	l->after_arg = b;
	return 0;
}

void bridge_fini(struct bridge *b)
{
	watch_end(b);
	loop_del(b->loop, &b->timer);
	if (b->vsock.fd >= 0)
		loop_del(b->loop, &b->vsock);
	close_fd(&b->vsock.fd);
	close_fd(&b->timer.fd);
	free(b->chunk);
	b->chunk = NULL;
	b->loop->after = NULL;
}
