/* SPDX-License-Identifier: MIT */
/*
 * bridge.h - any worker to its GPU VM
 *
 *	worker's VMM -> listener of the worker -> conn -> GPU VM's VMM
 *
 * A conn copies bytes both ways and understands none of them. Only what the
 * registry names is ever connected to, so a worker reaches the broker's port of
 * its own GPU VM and nothing else. Both ends are hostile: nothing here waits
 * for one of them, and what a conn holds is bounded.
 */
#ifndef ISO_BRIDGE_H
#define ISO_BRIDGE_H

#include "base/bucket.h"
#include "bridge/hybrid.h"
#include "bridge/registry.h"
#include "loop/loop.h"

/* Read at once from one end, and the most that waits for the other. */
#define BRIDGE_CHUNK (128u * 1024u)

struct conn;

struct gpu {
	struct gpu *next;
	struct bridge *bridge;
	struct reg_entry reg;
	uint8_t secret[ISO_SECRET_LEN];
	unsigned int scan;	/* the last scan that saw its file */
};

struct worker {
	struct worker *next;
	struct bridge *bridge;
	struct reg_entry reg;
	struct iso_ev listener;	/* fd -1: vsock, or it could not listen */
	uint64_t sock_ino;	/* of the socket that we made at its path */
	struct conn *conns;	/* owned */
	unsigned int n_conns;
	unsigned int scan;
	uint64_t said_ns;	/* when worker_say() last said something */
	struct bucket starts;	/* of connections */
};

struct bridge_opts {
	const char *dir;	/* absolute */
	unsigned int max_conns;	/* of one worker */
	uint32_t vsock_port;	/* where workers on AF_VSOCK come in */
	uint64_t timeout_ms;	/* to reach the broker; to flush at the end */
};

struct bridge {
	const struct bridge_opts *opts;
	struct loop *loop;
	int dir_fd;
	struct worker *workers;	/* owned */
	struct gpu *gpus;	/* owned */
	struct iso_ev vsock;	/* one listener for all workers on AF_VSOCK */
	struct iso_ev timer;	/* the earliest deadline of a conn */
	uint64_t timer_ns;	/* when it fires; 0: off */
	unsigned int scan;
	bool rescan;		/* the registry changed */
	bool reap;		/* some conn is dead */
	bool starved;		/* out of fds: listeners are not watched */
	uint8_t *chunk;		/* owned: BRIDGE_CHUNK between read and write */
};

/* 0 or -errno. The loop's after hook is the bridge's from then on. The
 * registry is read before the first event. dir_fd stays the caller's. */
int bridge_init(struct bridge *b, struct loop *l,
		const struct bridge_opts *opts, int dir_fd);
/* Ends every connection, and removes the sockets that workers connect to. */
void bridge_fini(struct bridge *b);
/* Reads the registry again at the end of this batch of events. */
void bridge_rescan(struct bridge *b);
/* Looks at deadlines at at_ns (now_ns()) or before. */
void bridge_wake(struct bridge *b, uint64_t at_ns);
/* Nobody listens for a second: fds or memory have run out. */
void bridge_starve(struct bridge *b);
struct gpu *bridge_gpu(const struct bridge *b, const char *name);

/* ---- watch.c ---- */

/* Follows the registry: what is new starts, what is gone or has changed ends.
 * Bad files are reported and count as gone. */
void watch_scan(struct bridge *b);

/* ---- worker.c ---- */

/* Starts a worker that the registry names. 0 or -ENOMEM. */
int worker_add(struct bridge *b, const struct reg_entry *reg);
/* Listens, unless it does so already on the socket that is at its path. A
 * failure is said; the next scan tries again. */
void worker_listen(struct worker *w);
/* (Un)watches its listener: on while there are fds for new connections. */
void worker_watch(struct worker *w, bool on);
/* Ends its connections; its socket goes if it is still ours. */
void worker_free(struct worker *w);
/* The one listener for workers on AF_VSOCK: there while there are such. */
void worker_listen_vsock(struct bridge *b);
/* Its event: tells workers apart by the CID they come from. */
void worker_on_vsock(struct iso_ev *ev, uint32_t events);
/* A warning about one of its connections, at most one in ten seconds. */
void worker_say(struct worker *w, const char *gpu, const char *why);

/* ---- conn.c ---- */

/* Takes fd, whatever comes of it: a connection of the worker to its GPU VM. */
void conn_start(struct worker *w, int fd);
/* Ends it; conn_reap() frees it. */
void conn_kill(struct conn *c);
/* Frees the dead of this worker. */
void conn_reap(struct worker *w);
/* Kills what is past its deadline and wakes for the next. */
void conn_expire(struct bridge *b);
/* The GPU VM that it was made for. */
const struct gpu *conn_gpu(const struct conn *c);
struct conn *conn_next(const struct conn *c);

#endif /* ISO_BRIDGE_H */
