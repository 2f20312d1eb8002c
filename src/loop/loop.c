/* SPDX-License-Identifier: MIT */
/* loop.c - waits for events on fds */
#include "loop/loop.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#define BATCH 64

int loop_init(struct loop *l)
{
	*l = (struct loop){ .epfd = epoll_create1(EPOLL_CLOEXEC) };
	return l->epfd < 0 ? -errno : 0;
}

void loop_fini(struct loop *l)
{
	close_fd(&l->epfd);
}

int loop_set(struct loop *l, struct iso_ev *ev, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = ev };
	int op = ev->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (events == 0) {
		loop_del(l, ev);
		return 0;
	}
	if (ev->added && ev->events == events)
		return 0;
	if (epoll_ctl(l->epfd, op, ev->fd, &e) < 0)
		return -errno;
	ev->added = true;
	ev->events = events;
	return 0;
}

int loop_again(struct loop *l, struct iso_ev *ev)
{
	uint32_t events = ev->events;

	ev->events = 0;
	return loop_set(l, ev, events);
}

void loop_del(struct loop *l, struct iso_ev *ev)
{
	if (ev->added)
		epoll_ctl(l->epfd, EPOLL_CTL_DEL, ev->fd, NULL);
	ev->added = false;
	ev->events = 0;
}

/* #syscalls: epoll_wait epoll_pwait epoll_ctl timerfd_settime */
int loop_once(struct loop *l, int timeout_ms)
{
	struct epoll_event e[BATCH];
	int n = epoll_wait(l->epfd, e, BATCH, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct iso_ev *ev = e[i].data.ptr;

		if (ev->added)
			ev->fn(ev, e[i].events);
	}
	if (l->after)
		l->after(l, l->after_arg);
	return n;
}

int loop_run(struct loop *l)
{
	while (!l->stop) {
		int r = loop_once(l, -1);

		if (r < 0)
			return r;
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

int loop_signalfd(const int *signals, size_t n)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < n; i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int loop_timerfd(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int loop_timer_set(int fd, uint64_t ms)
{
	struct itimerspec it = {
		.it_value = { .tv_sec = (time_t)(ms / 1000),
			      .tv_nsec = (long)(ms % 1000) * 1000000 },
	};

	return timerfd_settime(fd, 0, &it, NULL) < 0 ? -errno : 0;
}

void loop_timer_ack(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		(void)errno; /* disarmed since: there is no expiration */
}
