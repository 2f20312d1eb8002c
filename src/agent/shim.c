/* SPDX-License-Identifier: MIT */
/* shim.c - tells the host when a worker's GPU devices answer */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "agent/agent.h"

#define RETRY_MS 50u

/* Tries until the devices open; frees itself then. */
struct shim_watch {
	struct agent *a;
	struct agent_child child;
	struct iso_ev timer;
};

/* Starts a process that opens the device: open() waits in the shim until the
 * broker has greeted it, or gives up with ENODEV. The process itself tells the
 * host, because its end takes a while to be seen. 0 or -errno. */
static int shim_fork(struct shim_watch *w)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		exec_reset_signals();
		if (open("/dev/nvidiactl", O_RDWR | O_CLOEXEC) < 0)
			_exit(1);
		init_say("state=shim-ready");
		_exit(0);
	}
	w->child.pid = pid;
	agent_watch(w->a, &w->child);
	return 0;
}

static void on_shim_ended(struct agent_child *child, int status)
{
	struct shim_watch *w = container_of(child, struct shim_watch, child);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		loop_del(&w->a->loop, &w->timer);
		close_fd(&w->timer.fd);
		free(w);
		return;
	}
	loop_timer_set(w->timer.fd, RETRY_MS);
}

static void on_shim_timer(struct iso_ev *ev, uint32_t events)
{
	struct shim_watch *w = container_of(ev, struct shim_watch, timer);

	(void)events;
	loop_timer_ack(ev->fd);
	if (shim_fork(w) < 0)
		loop_timer_set(ev->fd, RETRY_MS);
}

int shim_await(struct agent *a)
{
	struct shim_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->a = a;
	w->child.ended = on_shim_ended;
	w->timer = (struct iso_ev){ .fd = loop_timerfd(), .fn = on_shim_timer };
	r = w->timer.fd < 0 ? w->timer.fd :
			      loop_set(&a->loop, &w->timer, EPOLLIN);
	if (r == 0)
		r = shim_fork(w);
	if (r < 0) {
		loop_del(&a->loop, &w->timer);
		close_fd(&w->timer.fd);
		free(w);
	}
	return r;
}
