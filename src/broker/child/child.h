/* SPDX-License-Identifier: MIT */
/*
 * child.h - the process that serves one worker
 *
 * The monitor forks it and executes itself anew in it, so it holds nothing of
 * the monitor's memory. Its only word with the monitor is what the monitor
 * says over a SOCK_SEQPACKET socket: CHILD_SETUP first, then CHILD_CONN with a
 * connection's fd, CHILD_METRICS; its end is the child's end. It answers
 * nothing there. With a driver that has device nodes it asks for those, and for
 * nothing else, over a second one (opener.h).
 */
#ifndef ISO_BROKER_CHILD_H
#define ISO_BROKER_CHILD_H

#include <sys/types.h>

#include "abi/iso_wire.h"
#include "base/log.h"
#include "drv/drv.h"
#include "broker/metrics.h"
#include "broker/child/policy.h"
#include "broker/child/pool.h"

#define CHILD_SOCK 3		/* the fd of that socket in the child */
#define CHILD_MAX_THREADS 64

enum child_msg_type { CHILD_SETUP, CHILD_CONN, CHILD_METRICS };

struct child_quota {
	uint32_t max_files;
	uint32_t max_clients;
	uint32_t max_objects;
	uint32_t max_rate;		/* requests a second; 0: any */
	uint64_t max_inflight_bytes;
};

/* Both ends are the same program: host byte order, checked for its size. */
struct child_msg {
	uint32_t type;
	uint32_t caps;			/* CHILD_CONN: ISO_CAP_* */
};

struct child_setup {
	struct child_msg msg;		/* CHILD_SETUP */
	char worker[33];
	char driver[16];
	char version[32];		/* of the driver's user space */
	char gpu_name[64];
	struct drv_soft_config soft;	/* name: the driver's maker */
	uint32_t n_gpus;		/* of the real driver */
	struct drv_gpu gpu[ISO_MAX_GPUS];
	struct child_quota quota;
	uint32_t max_conns;
	uint64_t session;
	uid_t uid;			/* 0: stay who we are */
	int log_level;
};

struct conn;
struct driver;

/* What MAX_INFLIGHT_BYTES bounds, each by itself: a frame that is being read
 * must not wait for memory that its own call would need. */
enum child_mem {
	CHILD_INPUT,	/* frames that are being read */
	CHILD_CALLS,	/* calls, until their results are sent */
	CHILD_MEM__COUNT
};

struct child {
	struct pool pool;
	struct child_setup setup;
	const struct abi *abi;
	const struct driver *driver;
	struct drv *drv;
	struct policy policy;
	struct metrics metrics;
	struct log_limit log;		/* for what the worker provokes */
	struct iso_ev ctl;
	struct iso_ev rate_timer;
	struct iso_ev hello_timer;	/* for connections without one */
	struct conn *conns;
	uint32_t n_parked;		/* connections that wait */
	uint32_t n_files;
	uint64_t bytes[CHILD_MEM__COUNT];
	double tokens;			/* of the rate */
	uint64_t tokens_ns;		/* when they were counted */
	bool reap;			/* some connection has ended */
	bool freed;			/* memory came back: resume the parked */
};

/* `gpu-broker --child NAME`: serves on CHILD_SOCK until it ends. */
_noreturn_ void child_main(const char *name);

/* Takes a token of the rate; false if there is none (the timer then resumes
 * the parked connections). */
bool child_rate(struct child *child);

/* Counts n bytes as under way, or no longer. take: false if they are too many
 * (conn_resume() comes when some are given back). */
bool child_bytes_take(struct child *child, enum child_mem what, size_t n);
/* Takes them whether or not they are too many: they are there already. */
void child_bytes_add(struct child *child, enum child_mem what, size_t n);
void child_bytes_give(struct child *child, enum child_mem what, size_t n);

#endif /* ISO_BROKER_CHILD_H */
