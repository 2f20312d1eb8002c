/* SPDX-License-Identifier: MIT */
#include "bridge/bridge.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

#define STARVED_NS 1000000000u

struct gpu *bridge_gpu(const struct bridge *b, const char *name)
{
	for (struct gpu *g = b->gpus; g; g = g->next)
		if (strcmp(g->reg.name, name) == 0)
			return g;
	return NULL;
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
	b->starved = !on;
	for (struct worker *w = b->workers; w; w = w->next)
		worker_watch(w, on);
	if (b->vsock.fd >= 0)
		loop_set(b->loop, &b->vsock, on ? EPOLLIN : 0);
}

void bridge_starve(struct bridge *b)
{
	if (b->starved)
		return;
	log_warn("out of file descriptors or memory");
	watch_listeners(b, false);
	bridge_wake(b, now_ns() + STARVED_NS);
}

static void on_timer(struct iso_ev *ev, uint32_t events)
{
	struct bridge *b = container_of(ev, struct bridge, timer);

	(void)events;
	loop_timer_ack(ev->fd);
	conn_expire(b);
	if (b->starved)
		watch_listeners(b, true);
}

void bridge_rescan(struct bridge *b)
{
	b->rescan = true;
}

static void after_events(struct loop *l, void *arg)
{
	struct bridge *b = arg;

	(void)l;
	if (b->reap)
		for (struct worker *w = b->workers; w; w = w->next)
			conn_reap(w);
	b->reap = false;
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
	while (b->workers) {
		struct worker *w = b->workers;

		b->workers = w->next;
		worker_free(w);
	}
	while (b->gpus) {
		struct gpu *g = b->gpus;

		b->gpus = g->next;
		explicit_bzero(g->secret, sizeof(g->secret));
		free(g);
	}
	loop_del(b->loop, &b->timer);
	if (b->vsock.fd >= 0)
		loop_del(b->loop, &b->vsock);
	close_fd(&b->vsock.fd);
	close_fd(&b->timer.fd);
	free(b->chunk);
	b->chunk = NULL;
	b->loop->after = NULL;
}
