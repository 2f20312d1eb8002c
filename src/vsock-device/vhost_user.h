/* SPDX-License-Identifier: MIT */
/*
 * vhost_user.h - the VMM's side of the device: vhost-user, one connection
 *
 * Requests set up memory and queues. The vsock device runs while each queue is
 * enabled and has a size, addresses within the memory and a kick fd. Layout and
 * numbers are those of QEMU's docs/interop/vhost-user.rst.
 */
#ifndef VSOCK_DEVICE_VHOST_USER_H
#define VSOCK_DEVICE_VHOST_USER_H

#include "vsock.h"

#define VU_MAX_PAYLOAD 512u
#define VU_MAX_FDS 8u
#define VU_HDR_LEN 12u

struct vu_queue {
	struct vu *vu;
	struct iso_ev kick;	/* fd -1: none */
	int call_fd, err_fd;
	uint64_t desc, avail, used;	/* addresses of the VMM; 0, 0, 0: none */
	uint16_t base;
	bool enabled;
};

struct vu {
	struct iso_ev ev;	/* the VMM's connection */
	struct vsock *v;
	struct vu_queue q[VSOCK_QUEUES];
	bool running;
	uint64_t features, protocol_features;
	/* The message that is being received: */
	uint8_t buf[VU_HDR_LEN + VU_MAX_PAYLOAD];
	size_t have;
	int fds[VU_MAX_FDS];
	size_t n_fds;
	int error;		/* -errno with which it ended; 0: VMM closed */
	void (*ended)(struct vu *u);
};

/* fd: connected and non-blocking, taken over. `ended` is called once, from an
 * event, when the VMM is gone or broke the protocol. 0 or -errno. */
int vu_init(struct vu *u, struct vsock *v, int fd,
	    void (*ended)(struct vu *u));
void vu_fini(struct vu *u);

#endif /* VSOCK_DEVICE_VHOST_USER_H */
