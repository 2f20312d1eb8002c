/* SPDX-License-Identifier: MIT */
/*
 * pool.h - one loop and many threads: leader and followers
 *
 * One thread at a time, the leader, has the role: it runs the epoll loop, and
 * it alone touches what the loop owns. It also runs the jobs that handlers
 * submit. While it runs one, the role is lent: if the job takes longer than
 * about 200 us, the thread on standby takes the role and goes on with the loop.
 * A fast job thus costs two atomic operations and no thread switch, and a slow
 * one holds up no other. The last thread that is free runs no job: it keeps the
 * loop.
 *
 *	leader --- job is done in time ------------------------> leader
 *	leader --- job takes long: the standby took the role --> late, spare
 *	spare  --- holds `standby`, sees a slow job -----------> leader
 *
 * late: the thread is back from a job that cost it the role; it puts the job on
 * the late list, whose `done` the new leader calls, and becomes spare.
 */
#ifndef ISO_BROKER_POOL_H
#define ISO_BROKER_POOL_H

#include <pthread.h>
#include <stdatomic.h>

#include "loop/loop.h"

struct job {
	struct job *next;
	/* On any thread, without the role: touches nothing of the loop's. */
	void (*run)(struct job *job);
	/* On the leader's thread, after run; may free the job. */
	void (*done)(struct job *job);
};

struct job_list {
	struct job *head;
	struct job **tail;
};

struct pool {
	struct loop loop;	/* the leader's; its after hook is set, and
				 * runs after each job as well */
	struct job_list ready;	/* the leader's: submitted, not yet run */
	unsigned int n_threads;	/* the leader's */
	unsigned int max_threads;

	/* Twice the count of times the role was lent, plus 1 while it is. */
	_Atomic uint64_t role;
	_Atomic uint32_t watch;		/* futex: enum pool_watch */
	_Atomic uint32_t n_spare;	/* threads that could take the role */
	pthread_mutex_t standby;	/* held by the spare that watches */

	pthread_mutex_t late_lock;	/* guards late */
	struct job_list late;	/* run by a thread that lost the role */
	struct iso_ev late_ev;	/* eventfd, readable: late is not empty */

	/* Called by the leader once the loop is stopped; does not return. */
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
