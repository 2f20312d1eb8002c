/* SPDX-License-Identifier: MIT */
/* state.c - keeps the state that all workers of the bridge share */
#include <string.h>

#include "bridge/bridge.h"

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
