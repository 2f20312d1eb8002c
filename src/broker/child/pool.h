/* SPDX-License-Identifier: MIT */
/*
 * pool.h - one loop and many threads: leader and followers
 *
 * One thread at a time, the leader, holds the loop role: it runs the epoll loop
 * and alone touches what the loop owns. It also runs the jobs that handlers
 * submit, with the role lent out meanwhile: when a job has been out for
 * about 200 us, the thread that stands by takes the role and goes on. So
 * a fast job costs two atomic operations and no thread switch, and a slow one
 * holds up nobody. The last thread never goes out: it keeps the loop.
 */
#ifndef ISO_BROKER_POOL_H
#define ISO_BROKER_POOL_H

#include <pthread.h>
#include <stdatomic.h>

#include "loop/loop.h"

struct job {
	struct job *next;
	/* Any thread, without the role: touches nothing of the loop's. */
	void (*run)(struct job *job);
	/* The leader, after run; may free the job. */
	void (*done)(struct job *job);
};

struct job_list {
	struct job *head;
	struct job **tail;
};

struct pool {
	struct loop loop;	/* the leader's; its after hook is set */
	struct job_list ready;	/* the leader's: submitted, not yet run */
	unsigned int n_threads;	/* the leader's */
	unsigned int max_threads;

	/* Twice the count of times the role was lent, plus 1 while it is. */
	_Atomic uint64_t role;
	_Atomic uint32_t watch;		/* futex: enum pool_watch */
	_Atomic uint32_t n_spare;	/* threads that can take the role */
	pthread_mutex_t standby;	/* held by the one that watches */

	pthread_mutex_t late_lock;	/* guards late */
	struct job_list late;	/* run by a thread that lost the role */
	struct iso_ev late_ev;	/* eventfd: something is in late */

	/* Called by the leader once the loop was stopped; does not return. */
	void (*stopped)(struct pool *pool);
};

/* max_threads: at least 2. 0 or -errno. */
int pool_init(struct pool *pool, unsigned int max_threads,
	      void (*stopped)(struct pool *pool));

/* Queues a job; only from a handler, a done or before pool_run(). */
void pool_submit(struct pool *pool, struct job *job);

/* Makes the caller the first leader. Returns only -errno, when no second thread
 * could be started. */
int pool_run(struct pool *pool);

#endif /* ISO_BROKER_POOL_H */
