/* SPDX-License-Identifier: MIT */
/*
 * peer.h - the control socket of a VMM
 *
 * A failure ends the program: with 75 at the deadline, with 69 if nothing
 * serves the socket.
 */
#ifndef ISO_VMCTL_PEER_H
#define ISO_VMCTL_PEER_H

#include "base/sock.h"
#include "vmctl/vmctl.h"

struct peer {
	struct sock_addr addr;
	bool have_addr;
	uint64_t timeout_ms;	/* in all; 0: PEER_TIMEOUT_MS */
	uint64_t pid, start;	/* of the VMM, to wait for; 0: do not wait */
	uint64_t deadline;	/* a time of now_ns(), once connected */
	int fd;
};

#define PEER_TIMEOUT_MS 30000

/* Options that a command adds take other letters. */
#define PEER_LONGS \
	{ "socket", required_argument, NULL, 's' }, \
	{ "pid", required_argument, NULL, 'p' }, \
	{ "start-time", required_argument, NULL, 't' }, \
	{ "timeout-ms", required_argument, NULL, 'm' }

/* Takes an option of PEER_LONGS; any other ends the program with 64. */
void peer_option(struct peer *p, int option, const char *value);
void peer_connect(struct peer *p);
void peer_write(struct peer *p, const void *buf, size_t n);
/* Reads what comes next: 1 to cap bytes. */
size_t peer_read(struct peer *p, void *buf, size_t cap);

#endif /* ISO_VMCTL_PEER_H */
