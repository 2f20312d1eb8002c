/* SPDX-License-Identifier: MIT */
/*
 * loop.h - one epoll, level-triggered but for who asks for EPOLLET
 *
 * Signals come by signalfd, time by timerfd, children by pidfd: all are fds
 * with an iso_ev. A handler never blocks and never frees the object it runs on:
 * it marks it (its owner reaps it from the after hook).
 */
#ifndef ISO_LOOP_H
#define ISO_LOOP_H

#include <signal.h>
#include <sys/epoll.h>

#include "base/base.h"

struct iso_ev {
	int fd;
	void (*fn)(struct iso_ev *ev, uint32_t events);
	uint32_t events;	/* what is watched now; owned by loop.c */
	bool added;
};

struct loop {
	int epfd;
	bool stop;
	/* Runs after each batch of events; may free what handlers marked. */
	void (*after)(struct loop *l, void *arg);
	void *after_arg;
};

int loop_init(struct loop *l);
void loop_fini(struct loop *l);

/* Watches ev->fd for events (EPOLLIN ...), or changes what is watched. With 0
 * the fd leaves the epoll set: EPOLLHUP and EPOLLERR cannot be masked
 * otherwise. 0 or -errno. */
int loop_set(struct loop *l, struct iso_ev *ev, uint32_t events);
/* Watches for the same anew: with EPOLLET what is ready is then said once more.
 * 0 or -errno. */
int loop_again(struct loop *l, struct iso_ev *ev);
void loop_del(struct loop *l, struct iso_ev *ev);

/* One epoll_wait (timeout_ms as there) and its handlers, then the after hook.
 * An event whose ev was removed by an earlier handler of the batch is dropped.
 * Number of events, or -errno. */
int loop_once(struct loop *l, int timeout_ms);
/* loop_once() until loop_stop(). 0 or -errno. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/* Blocks the signals and gives a signalfd for them (read struct
 * signalfd_siginfo). The fd or -errno. */
int loop_signalfd(const int *signals, size_t n);
/* A timerfd on CLOCK_MONOTONIC, off until armed. The fd or -errno. */
int loop_timerfd(void);
/* Fires once after ms (0 disarms). 0 or -errno. */
int loop_timer_set(int fd, uint64_t ms);
/* Takes the expiration off a timerfd. */
void loop_timer_ack(int fd);

#endif /* ISO_LOOP_H */
