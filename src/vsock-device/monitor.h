/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - makes connections for the process that talks to the guest
 *
 * The device process parses what a hostile guest wrote and has no path of its
 * own. It asks for a port; the monitor connects to UDS_port and passes the
 * socket. Over a SOCK_SEQPACKET pair:
 *
 *	device -> monitor	struct dial_request
 *	monitor -> device	struct dial_reply, with one fd if error is 0
 *
 * Either end closing its side ends the other.
 */
#ifndef VSOCK_DEVICE_MONITOR_H
#define VSOCK_DEVICE_MONITOR_H

#include <sys/types.h>

#include "base/base.h"

struct dial_request {
	uint32_t port;
	uint32_t serial;
};

struct dial_reply {
	uint32_t serial;
	int32_t error;		/* 0 or a positive errno */
};

/* Serves the device process `child` until it ends, or SIGTERM or SIGINT ends
 * both (blocked by the caller). sock is the monitor's end, taken over. Enters a
 * sandbox that leaves connect() and the directories of uds and vmm_path.
 * Returns an exit status. */
int monitor_run(pid_t child, int sock, const char *uds, const char *vmm_path);

#endif /* VSOCK_DEVICE_MONITOR_H */
