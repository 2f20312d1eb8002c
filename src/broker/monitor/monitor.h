/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - the privileged process: accepts connections, starts children
 *
 *	listener -> stranger, until its IDENT -> worker, whose child serves it
 *
 * A file calls only files above it in this list:
 *
 *   cgroup.c     shares of the processors
 *   opener.c     device nodes for children
 *   spawn.c      the processes of children
 *   child_log.c  the lines that they write
 *   worker.c     workers, each with its child and connections
 *   stranger.c   connections before IDENT
 *   monitor.c    the loop
 *   main.c       command line and configuration
 *
 * A connection is nobody's until its first frame, IDENT, has proven the secret.
 * After that the worker's child has it. The monitor keeps a second descriptor
 * of it, to count connections by itself and to end them with the child; it
 * never reads a byte that a worker wrote.
 */
#ifndef ISO_BROKER_MONITOR_H
#define ISO_BROKER_MONITOR_H

#include "broker/monitor/config.h"

/* Serves until SIGTERM or SIGINT; takes over the listening fds. 0 or -errno. */
int monitor_run(const struct monitor_config *config);

#endif /* ISO_BROKER_MONITOR_H */
