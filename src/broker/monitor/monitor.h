/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - accepts, learns who connects, and gives each worker its child
 *
 * A connection is nobody's until its first frame, IDENT, has proven the secret.
 * After that the worker's child has it; the monitor keeps a second descriptor
 * of it, only to count connections itself and to end them with the child.
 */
#ifndef ISO_BROKER_MONITOR_H
#define ISO_BROKER_MONITOR_H

#include "base/secret.h"
#include "broker/proto.h"

#define MONITOR_MAX_LISTEN 8

struct monitor_config {
	int listen_fd[MONITOR_MAX_LISTEN];	/* non-blocking, listening */
	unsigned int n_listen;
	uint8_t secret[SECRET_LEN];
	uint32_t max_workers;
	int cgroup_fd;			/* of --cgroup; -1: none */
	uid_t uid_base;			/* child i gets uid_base + i; 0: none */
	struct drv_host *host;		/* the driver's half in this process */
	struct proto_setup setup;	/* what all children share */
};

/* Serves until SIGTERM or SIGINT; takes over the listening fds. 0 or -errno. */
int monitor_run(const struct monitor_config *config);

#endif /* ISO_BROKER_MONITOR_H */
