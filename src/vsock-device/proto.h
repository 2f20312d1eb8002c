/* SPDX-License-Identifier: MIT */
/*
 * proto.h - what monitor and child of vsock-device say to each other
 *
 * The child parses what a hostile guest wrote, and has no path of its own. It
 * asks for a port; the monitor connects to UDS_port and passes the socket.
 * Over a SOCK_SEQPACKET pair:
 *
 *	child -> monitor	struct dial_request
 *	monitor -> child	struct dial_reply, with one fd if error is 0
 *
 * If either closes its end, the other ends.
 */
#ifndef VSOCK_DEVICE_PROTO_H
#define VSOCK_DEVICE_PROTO_H

#include "base/base.h"

struct dial_request {
	uint32_t port;
	uint32_t serial;
};

struct dial_reply {
	uint32_t serial;
	int32_t error;		/* 0 or a positive errno */
};

#endif /* VSOCK_DEVICE_PROTO_H */
