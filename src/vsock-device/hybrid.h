/* SPDX-License-Identifier: MIT */
/*
 * hybrid.h - connections that the host asks for
 *
 * The server's half of a hybrid socket, as Firecracker has it (base/hybrid.h has
 * the client's). A program of the host connects to UDS and says `CONNECT P\n`.
 * That becomes a connection to port P of the guest, and once the guest has
 * accepted, `OK N\n` answers it.
 */
#ifndef VSOCK_DEVICE_HYBRID_H
#define VSOCK_DEVICE_HYBRID_H

#include "stream.h"

struct hybrid_server {
	struct streams *streams;
	struct iso_ev listener;	/* UDS; watched while the device runs */
};

/* listen_fd: UDS, listening, non-blocking; owned from here on. */
void hybrid_init(struct hybrid_server *h, struct streams *streams,
		 int listen_fd);
void hybrid_fini(struct hybrid_server *h);
/* Accepts connections from now on. 0 or -errno. */
int hybrid_start(struct hybrid_server *h);
void hybrid_stop(struct hybrid_server *h);

/* A connection of the host, fd taken over. */
void hybrid_add(struct hybrid_server *h, int fd);
/* The guest accepts a REQUESTED stream. */
void hybrid_accepted(struct stream *s);

#endif /* VSOCK_DEVICE_HYBRID_H */
