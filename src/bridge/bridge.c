/* SPDX-License-Identifier: MIT */
/* bridge.c - runs the bridge, from its start to its end */
#include "bridge/bridge.h"

#include <errno.h>

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
		worker_watch_all(b, true);
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
