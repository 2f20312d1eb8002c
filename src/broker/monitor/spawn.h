/* SPDX-License-Identifier: MIT */
/* spawn.h - starts, ends and reaps children of the monitor */
#ifndef ISO_BROKER_SPAWN_H
#define ISO_BROKER_SPAWN_H

#include "broker/proto.h"

struct spawned {
	pid_t pid;
	int pidfd;
	int sock;	/* to its PROTO_CONTROL; non-blocking */
	int opener;	/* to its PROTO_OPENER, likewise; -1: it has none */
	int log;	/* from its stderr; non-blocking */
};

/* Executes this program anew as a child, and sends it the setup. opener:
 * whether it may ask for device nodes. 0, or -errno. */
int spawn_child(const struct proto_setup *setup, bool opener,
		struct spawned *ret);

void spawn_kill(int pidfd);

/* True once it has ended; waits for at most timeout_ms (-1: for ever). */
bool spawn_wait(int pidfd, int timeout_ms);

/* Reaps it and says how it ended. 0, or -EAGAIN: it has not. */
int spawn_reap(pid_t pid, char *how, size_t size);

#endif /* ISO_BROKER_SPAWN_H */
