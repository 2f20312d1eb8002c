/* SPDX-License-Identifier: MIT */
/*
 * peer.h - the socket of a monitor; whatever goes wrong ends the program, 75 at
 * the deadline, 69 if nobody is there any more
 */
#ifndef ISO_VMCTL_PEER_H
#define ISO_VMCTL_PEER_H

#include "base/sock.h"
#include "vmctl/vmctl.h"

struct peer {
	struct sock_addr addr;
	bool have_addr;
	uint64_t timeout_ms;	/* for all of it; 0: PEER_TIMEOUT_MS */
	uint64_t pid, start;	/* 0: none; wait for it to serve the socket */
	uint64_t deadline;	/* of now_ns(), once connected */
	int fd;
};

#define PEER_TIMEOUT_MS 30000

/* An option of one's own beside them takes none of these letters. */
#define PEER_LONGS \
	{ "socket", required_argument, NULL, 's' }, \
	{ "pid", required_argument, NULL, 'p' }, \
	{ "start-time", required_argument, NULL, 't' }, \
	{ "timeout-ms", required_argument, NULL, 'm' }

/* An option of PEER_LONGS; any other ends the program with 64. */
void peer_option(struct peer *p, int option, const char *value);
void peer_connect(struct peer *p);
void peer_write(struct peer *p, const void *buf, size_t n);
/* 1 to cap bytes of what comes next. */
size_t peer_read(struct peer *p, void *buf, size_t cap);

#endif /* ISO_VMCTL_PEER_H */
