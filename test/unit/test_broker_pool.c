/* SPDX-License-Identifier: MIT */
/*
 * test_broker_pool.c - gives the pool slow jobs among fast ones
 *
 * First there is one slow job among many fast ones, then there are more slow
 * jobs than threads. Each step starts the next one from the leader's thread,
 * and the last one ends the program.
 */
/* links: src/broker src/broker/child src/drv/soft */
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/eventfd.h>

#include "broker/child/pool.h"
#include "tap.h"

#define THREADS 4
#define FAST 50
#define SLOW 8

static struct pool pool;
static struct job slow[SLOW], fast[FAST];
static sem_t gate;
static struct iso_ev started_ev;
static unsigned int n_started, n_fast_done, n_slow_done, step;
static pthread_t ran_slow;

static void run_fast(struct job *job)
{
	(void)job;
}

static void run_slow(struct job *job)
{
	uint64_t one = 1;

	(void)job;
	ran_slow = pthread_self();
	if (write(started_ev.fd, &one, sizeof(one)) < 0)
		abort();
	sem_wait(&gate);
}

static void done_fast(struct job *job)
{
	(void)job;
	if (++n_fast_done < FAST)
		return;
	ok(n_slow_done == 0, "fast jobs are done while a slow one is out");
	ok(!pthread_equal(ran_slow, pthread_self()),
	   "by another thread than the one that is out");
	sem_post(&gate);
}

static void done_slow(struct job *job)
{
	(void)job;
	n_slow_done++;
	if (step == 0) {
		ok(n_fast_done == FAST, "the slow job is done when it is back");
		step = 1;
		n_slow_done = n_started = 0;
		for (int i = 0; i < SLOW; i++)
			pool_submit(&pool, &slow[i]);
	} else if (n_slow_done == SLOW) {
		ok(true, "all slow jobs are done in the end");
		loop_stop(&pool.loop);
	}
}

/* Runs in the loop, which shows that some thread still leads. */
static void started(struct iso_ev *ev, uint32_t events)
{
	uint64_t n;

	(void)events;
	if (read(ev->fd, &n, sizeof(n)) < 0)
		abort();
	n_started += (unsigned int)n;
	if (step == 0 || n_started != THREADS - 1)
		return;
	ok(n_slow_done == 0 && pool.ready.head,
	   "the last thread leads on, with jobs left to run");
	for (int i = 0; i < SLOW; i++)
		sem_post(&gate);
}

static void after(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
}

/* Called when the loop was stopped; other threads may be asleep. */
static void stopped(struct pool *p)
{
	int r = done_testing();

	(void)p;
	fflush(stdout);
	_exit(r);
}

int main(void)
{
	sem_init(&gate, 0, 0);
	if (!ok(pool_init(&pool, THREADS, stopped) == 0, "a pool"))
		return done_testing();
	pool.loop.after = after;
	started_ev.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	started_ev.fn = started;
	loop_set(&pool.loop, &started_ev, EPOLLIN);
	for (int i = 0; i < SLOW; i++)
		slow[i] = (struct job){ .run = run_slow, .done = done_slow };
	for (int i = 0; i < FAST; i++)
		fast[i] = (struct job){ .run = run_fast, .done = done_fast };
	pool_submit(&pool, &slow[0]);
	for (int i = 0; i < FAST; i++)
		pool_submit(&pool, &fast[i]);
	pool_run(&pool);
	ok(false, "no second thread");
	return done_testing();
}
