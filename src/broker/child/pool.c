/* SPDX-License-Identifier: MIT */
/* pool.c - passes the role of leader from thread to thread */
#include "broker/child/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

/* A job out for longer than this loses the role. */
#define SLOW_NS (200 * 1000)
/* How often the standby looks while jobs come and go, and after how many looks
 * without a job it sleeps until the next one wakes it. */
#define LOOK_NS (1000 * 1000)
#define QUIET_LOOKS 20

#define STACK_BYTES (256u * 1024u)

enum pool_watch { WATCHING, ASLEEP };

static void list_init(struct job_list *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

static void list_add(struct job_list *l, struct job *job)
{
	job->next = NULL;
	*l->tail = job;
	l->tail = &job->next;
}

static struct job *list_pop(struct job_list *l)
{
	struct job *job = l->head;

	if (job) {
		l->head = job->next;
		if (!l->head)
			l->tail = &l->head;
	}
	return job;
}

/* #syscalls gpu-broker: futex */
static void futex_wait(_Atomic uint32_t *word, uint32_t val, long ns)
{
	struct timespec ts = { .tv_nsec = ns };

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, ns ? &ts : NULL);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

/* Wakes the standby if it sleeps, for the role has just been lent. */
static void wake_standby(struct pool *p)
{
	uint32_t asleep = ASLEEP;

	if (atomic_load(&p->watch) == ASLEEP &&
	    atomic_compare_exchange_strong(&p->watch, &asleep, WATCHING))
		futex_wake(&p->watch);
}

/* Sleeps until the next look; true if it was a deep sleep. */
static bool standby_wait(struct pool *p, uint64_t seen, unsigned int quiet)
{
	if (quiet < QUIET_LOOKS) {
		futex_wait(&p->watch, WATCHING, seen & 1 ? SLOW_NS : LOOK_NS);
		return false;
	}
	/* The leader changes `role`, then reads `watch`. Here it is the other
	 * way about, so one of the two sees what the other did. */
	atomic_store(&p->watch, ASLEEP);
	if (atomic_load(&p->role) == seen)
		futex_wait(&p->watch, ASLEEP, 0);
	atomic_store(&p->watch, WATCHING);
	return true;
}

/* Waits until the role is to be taken from a slow job, and takes it. */
static void stand_by(struct pool *p)
{
	unsigned int quiet = 0;
	uint64_t seen;

	pthread_mutex_lock(&p->standby);
	seen = atomic_load(&p->role);
	for (;;) {
		uint64_t now;

		if (standby_wait(p, seen, quiet))
			quiet = 0;
		now = atomic_load(&p->role);
		if (now != seen) {
			seen = now;
			quiet = 0;
		} else if (!(seen & 1)) {
			quiet++;
		} else if (atomic_compare_exchange_strong(&p->role, &seen,
							  seen + 1)) {
			break;
		}
	}
	atomic_fetch_sub(&p->n_spare, 1);
	pthread_mutex_unlock(&p->standby);
}

/* Runs a job with the role lent out. True if the role is still the caller's;
 * else the job went to the late list and the caller is a spare thread. */
static bool run_out(struct pool *p, struct job *job)
{
	uint64_t lent = atomic_load(&p->role) + 1;
	uint64_t one = 1;

	atomic_store(&p->role, lent);
	wake_standby(p);
	job->run(job);
	if (atomic_compare_exchange_strong(&p->role, &lent, lent + 1))
		return true;

	/* Count this thread before the job is seen: the leader may be waiting
	 * for a spare one. */
	atomic_fetch_add(&p->n_spare, 1);
	pthread_mutex_lock(&p->late_lock);
	list_add(&p->late, job);
	pthread_mutex_unlock(&p->late_lock);
	/* A write to an eventfd fails only when its counter is full, and then
	 * the eventfd is readable anyway. */
	if (write(p->late_ev.fd, &one, sizeof(one)) < 0)
		(void)errno;
	return false;
}

static void late_event(struct iso_ev *ev, uint32_t events)
{
	struct pool *p = container_of(ev, struct pool, late_ev);
	struct job *job;
	uint64_t n;

	(void)events;
	if (read(ev->fd, &n, sizeof(n)) < 0)
		(void)errno; /* taken by an earlier event of this batch */
	do {
		pthread_mutex_lock(&p->late_lock);
		job = list_pop(&p->late);
		pthread_mutex_unlock(&p->late_lock);
		if (job)
			job->done(job);
	} while (job);
}

/* Runs the jobs that are ready, as long as a thread is left to take the role.
 * False if the role was lost over one. */
static bool run_ready(struct pool *p)
{
	while (p->ready.head && atomic_load(&p->n_spare)) {
		struct job *job = list_pop(&p->ready);

		if (!run_out(p, job))
			return false;
		job->done(job);
		/* This job's answer goes out now, for the next job may be a
		 * slow one. */
		p->loop.after(&p->loop, p->loop.after_arg);
	}
	return true;
}

/* Leads until the role is lost. */
static void lead(struct pool *p)
{
	while (run_ready(p))
		if (p->loop.stop || loop_once(&p->loop, -1) < 0)
			p->stopped(p);
}

static int start_spare(struct pool *p);

static void *follow(void *arg)
{
	struct pool *p = arg;

	for (;;) {
		stand_by(p);
		/* If none starts, the leader runs no job until a thread is
		 * back. */
		if (atomic_load(&p->n_spare) == 0)
			(void)start_spare(p);
		lead(p);
	}
	return NULL;
}

/* #syscalls gpu-broker: clone clone3 set_robust_list rseq mprotect mmap munmap */
static int start_spare(struct pool *p)
{
	pthread_attr_t attr;
	pthread_t t;
	int r;

	if (p->n_threads >= p->max_threads)
		return -EAGAIN;
	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	atomic_fetch_add(&p->n_spare, 1);
	r = pthread_create(&t, &attr, follow, p);
	pthread_attr_destroy(&attr);
	if (r) {
		atomic_fetch_sub(&p->n_spare, 1);
		return -r;
	}
	p->n_threads++;
	return 0;
}

/* #syscalls gpu-broker: eventfd2 epoll_create1 */
int pool_init(struct pool *p, unsigned int max_threads,
	      void (*stopped)(struct pool *pool))
{
	int r;

	*p = (struct pool){ .max_threads = max_threads, .stopped = stopped,
			    .n_threads = 1 };
	list_init(&p->ready);
	list_init(&p->late);
	pthread_mutex_init(&p->standby, NULL);
	pthread_mutex_init(&p->late_lock, NULL);
	r = loop_init(&p->loop);
	if (r < 0)
		return r;
	p->late_ev.fn = late_event;
	p->late_ev.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->late_ev.fd < 0)
		return -errno;
	return loop_set(&p->loop, &p->late_ev, EPOLLIN);
}

void pool_submit(struct pool *p, struct job *job)
{
	list_add(&p->ready, job);
}

int pool_run(struct pool *p)
{
	int r = start_spare(p);

	if (r < 0)
		return r;
	lead(p);
	follow(p);
	return 0;
}
