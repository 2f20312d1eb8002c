/* SPDX-License-Identifier: MIT */
/*
 * dial.h - connections that the guest asks for
 *
 * A guest's connection to port P of CID 2 becomes one to UDS_P. The monitor
 * makes it, for the child has no path.
 */
#ifndef VSOCK_DEVICE_DIAL_H
#define VSOCK_DEVICE_DIAL_H

#include "stream.h"

#define VSOCK_MAX_DIALS 8u		/* asked of the monitor at once */

struct dial {
	struct streams *streams;
	/* Asks the monitor for a connection to UDS_port; the answer comes by
	 * dial_done(). At most VSOCK_MAX_DIALS wait for theirs. 0 or -errno. */
	int (*ask)(void *arg, uint32_t port, uint32_t serial);
	void *arg;
	uint32_t next_serial;
	uint32_t n_asked;	/* that the monitor has not answered */
};

void dial_init(struct dial *d, struct streams *streams);
/* The guest's REQUEST. 0, -ENOMEM (or too many streams), -EPROTO. */
int dial_request(struct dial *d, const struct virtio_vsock_hdr *hdr);
/* The monitor's answer: a connected non-blocking socket, taken over, or
 * -errno. */
void dial_done(struct dial *d, uint32_t serial, int fd);

#endif /* VSOCK_DEVICE_DIAL_H */
