/* SPDX-License-Identifier: MIT */
/*
 * bridge.h - carries the connections of all workers to their GPU VMs
 *
 *	worker's VMM -> listener of the worker -> conn -> GPU VM's VMM
 *
 * A file calls only files above it in this list:
 *
 *   registry.c  what a file of the registry says
 *   state.c     what connections and workers ask of the bridge
 *   conn.c      one connection
 *   worker.c    the listeners of workers
 *   watch.c     workers and GPU VMs come and go with their files
 *   bridge.c    all of it: start, deadlines, end
 *   main.c      options, isolation, signals
 *
 * The ways back are function pointers: an fd's handler (iso_ev.fn) and the
 * loop's after hook.
 *
 * A connection copies bytes both ways and understands none of them. The bridge
 * connects only to addresses that the registry names, so a worker reaches the
 * broker's port of its own GPU VM and nothing else. Both ends are hostile:
 * nothing here waits for one of them, and what a connection holds is bounded.
 */
#ifndef ISO_BRIDGE_H
#define ISO_BRIDGE_H

#include "base/bucket.h"
#include "base/list.h"
#include "base/secret.h"
#include "bridge/registry.h"
#include "loop/loop.h"

/* Bytes that are read at once from one end: the most that wait for the other */
#define BRIDGE_CHUNK (128u * 1024u)

struct gpu {
	struct list_item item;	/* of bridge->gpus */
	struct reg_entry reg;
	uint8_t secret[SECRET_LEN];
	unsigned int scan;	/* the last scan that saw its file */
};

struct worker {
	struct list_item item;	/* of bridge->workers */
	struct bridge *bridge;
	struct reg_entry reg;
	struct iso_ev listener;	/* fd -1: on AF_VSOCK, or it could not listen */
	uint64_t sock_ino;	/* of the socket that we made at its path */
	struct list conns;	/* owned */
	unsigned int scan;	/* the last scan that saw its file */
	uint64_t said_ns;	/* when conn_say() last said something */
	struct bucket starts;	/* of connections */
};

struct bridge_opts {
	const char *dir;	/* absolute */
	unsigned int max_conns;	/* of one worker */
	uint32_t vsock_port;	/* where workers on AF_VSOCK come in */
	uint64_t timeout_ms;	/* to reach the broker; to send the last bytes */
};

struct bridge {
	const struct bridge_opts *opts;
	struct loop *loop;
	int dir_fd;
	struct list workers;	/* owned */
	struct list gpus;	/* owned */
	struct iso_ev vsock;	/* one listener for all workers on AF_VSOCK */
	struct iso_ev timer;	/* the earliest deadline of a connection */
	uint64_t timer_ns;	/* when it fires; 0: off */
	unsigned int scan;	/* counts the scans of the registry */
	bool rescan;		/* the registry has changed */
	bool starved;		/* out of fds: listeners are not watched */
	uint8_t *chunk;		/* owned: BRIDGE_CHUNK between read and write */
};

/* ---- state.c ------------------------------------------------------------ */

/* The GPU VM of that name, or NULL. */
struct gpu *bridge_gpu(const struct bridge *b, const char *name);
/* Has the deadlines looked at by the time at_ns, one of now_ns(). */
void bridge_wake(struct bridge *b, uint64_t at_ns);

/* ---- conn.c ------------------------------------------------------------- */

/* Connects fd, on which the worker has come, to its GPU VM. Takes over fd, also
 * when it fails, which it reports. */
void conn_start(struct worker *w, int fd);
/* Ends the worker's connections to one GPU VM, or with NULL to any. */
void conn_end_all(struct worker *w, const struct gpu *to);
/* Frees those that have ended. */
void conn_reap(struct worker *w);
/* Ends those whose deadline has passed at the time `now`. The next deadline, or
 * UINT64_MAX. */
uint64_t conn_expire(struct worker *w, uint64_t now);

/* ---- worker.c ----------------------------------------------------------- */

/* Starts a worker that the registry names. 0 or -ENOMEM. */
int worker_add(struct bridge *b, const struct reg_entry *reg);
/* Listens, unless the socket at its path is already its own. Reports a failure;
 * the next scan tries again. */
void worker_listen(struct worker *w);
/* Watches the listeners of all workers, or none: on while there are fds for
 * connections. */
void worker_watch_all(struct bridge *b, bool on);
/* For list_reap(): ends its connections, removes its socket if that is still
 * its own, and frees it. */
void worker_release(struct list_item *item);
/* Opens the one listener for all workers on AF_VSOCK, or closes it when there
 * is no such worker. */
void worker_listen_vsock(struct bridge *b);
/* The event of that listener: the peer's CID tells which worker it is. */
void worker_on_vsock(struct iso_ev *ev, uint32_t events);

/* ---- watch.c ------------------------------------------------------------ */

/* Reads the registry: a VM that is new starts, one that is gone or has changed
 * ends. A bad file is reported and counts as gone. */
void watch_scan(struct bridge *b);
/* Ends all VMs that a scan has found. */
void watch_end(struct bridge *b);

/* ---- bridge.c ----------------------------------------------------------- */

/* 0 or -errno. The loop's after hook is the bridge's from then on. The
 * registry is read before the first event. dir_fd stays the caller's. */
int bridge_init(struct bridge *b, struct loop *l,
		const struct bridge_opts *opts, int dir_fd);
/* Ends every connection, and removes the sockets that workers connect to. */
void bridge_fini(struct bridge *b);
/* Reads the registry again at the end of this batch of events. */
void bridge_rescan(struct bridge *b);

#endif /* ISO_BRIDGE_H */
