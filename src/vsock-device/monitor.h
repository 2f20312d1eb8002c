/* SPDX-License-Identifier: MIT */
/* monitor.h - the process that makes connections for the child (proto.h) */
#ifndef VSOCK_DEVICE_MONITOR_H
#define VSOCK_DEVICE_MONITOR_H

#include <sys/types.h>

#include "base/base.h"

/* Serves the child until it ends, or SIGTERM or SIGINT ends both (blocked by
 * the caller). sock is the monitor's end, taken over. Confines itself first
 * (main.c says how); connect() and the directories of uds and vmm_path are
 * left. Returns an exit status. */
int monitor_run(pid_t child, int sock, const char *uds, const char *vmm_path);

#endif /* VSOCK_DEVICE_MONITOR_H */
