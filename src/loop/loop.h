/* SPDX-License-Identifier: MIT */
/*
 * loop.h - an event loop: one epoll, level-triggered unless EPOLLET is asked
 * for
 *
 * Signals come by signalfd, time by timerfd, children by pidfd: all are fds
 * with an iso_ev. A handler never blocks, and never frees the object that it
 * runs on: it ends the object, which the after hook then frees (list.h).
 */
#ifndef ISO_LOOP_H
#define ISO_LOOP_H

#include <signal.h>
#include <sys/epoll.h>

#include "base/base.h"

struct iso_ev {
	int fd;
	void (*fn)(struct iso_ev *ev, uint32_t events);
	uint32_t events;	/* watched now; loop.c's */
	bool added;
};

struct loop {
	int epfd;
	bool stop;
	/* Runs after each batch of events; may free what handlers ended. */
	void (*after)(struct loop *l, void *arg);
	void *after_arg;
};

int loop_init(struct loop *l);
void loop_fini(struct loop *l);

/* Watches ev->fd for these events (EPOLLIN ...), and no longer for others. With
 * 0 the fd leaves the epoll set, the only way to mask EPOLLHUP and EPOLLERR. 0
 * or -errno. */
int loop_set(struct loop *l, struct iso_ev *ev, uint32_t events);
/* Watches for the same events anew: with EPOLLET, one that is ready is then
 * reported once more. 0 or -errno. */
int loop_again(struct loop *l, struct iso_ev *ev);
/* Watches the fd no longer; events of the batch under way are dropped. */
void loop_del(struct loop *l, struct iso_ev *ev);

/* Waits once, with timeout_ms as for epoll_wait(), and runs the handlers of the
 * batch, then the after hook. The number of events, or -errno. */
int loop_once(struct loop *l, int timeout_ms);
/* Repeats loop_once() until loop_stop(). 0 or -errno. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* Blocks the signals and opens a signalfd for them, which yields struct
 * signalfd_siginfo. The fd or -errno. */
int loop_signalfd(const int *signals, size_t n);
/* A timerfd on CLOCK_MONOTONIC, not armed. The fd or -errno. */
int loop_timerfd(void);
/* Arms it to fire once after ms; 0 disarms it. 0 or -errno. */
int loop_timer_set(int fd, uint64_t ms);
/* Takes the expiration off a timerfd. */
void loop_timer_ack(int fd);

#endif /* ISO_LOOP_H */
