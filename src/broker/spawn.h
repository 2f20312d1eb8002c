/* SPDX-License-Identifier: MIT */
/* spawn.h - starts, ends and reaps children of the monitor */
#ifndef ISO_BROKER_SPAWN_H
#define ISO_BROKER_SPAWN_H

#include "broker/child.h"

/* Executes this program anew as the worker's child and sends it the setup. 0,
 * the child, its pidfd and the socket to it (non-blocking), or -errno. */
int spawn_child(const struct child_setup *setup, pid_t *ret_pid,
		int *ret_pidfd, int *ret_sock);

void spawn_kill(int pidfd);

/* True once it has ended; waits for at most timeout_ms (-1: for ever). */
bool spawn_wait(int pidfd, int timeout_ms);

/* Reaps it and says how it ended. 0, or -EAGAIN: it has not. */
int spawn_reap(pid_t pid, char *how, size_t size);

#endif /* ISO_BROKER_SPAWN_H */
