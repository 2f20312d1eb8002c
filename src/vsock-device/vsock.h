/* SPDX-License-Identifier: MIT */
/*
 * vsock.h - a virtio-vsock device whose host side is Unix sockets
 *
 * A file calls only files above it in this list, never one below:
 *
 *   guest_mem.c   the guest's memory
 *   virtq.c       one virtqueue
 *   queues.c      packets through the guest's two
 *   credit.c      how much each side of a stream may send
 *   stream.c      one stream
 *   hybrid.c      streams that begin on the host
 *   dial.c        streams that begin in the guest
 *   vsock.c       this: packets find their streams
 *   vhost_user.c  the VMM's requests
 *   child.c       the process with all of the above
 *   monitor.c     its parent (proto.h: what they say to each other)
 *   main.c        options, isolation
 *
 * The ways back are three function pointers: a socket's handler (iso_ev.fn),
 * dial.ask, by which a stream asks the monitor, and vu.ended.
 */
#ifndef VSOCK_DEVICE_VSOCK_H
#define VSOCK_DEVICE_VSOCK_H

#include "dial.h"
#include "hybrid.h"

#define VSOCK_MAX_RESETS 64u

struct vsock {
	struct queues queues;
	struct streams streams;
	struct hybrid_server hybrid;
	struct dial dial;
	/* RST packets that belong to no stream. While it is full the tx queue
	 * is not read. */
	struct virtio_vsock_hdr reset[VSOCK_MAX_RESETS];
	uint32_t first_reset, n_resets;
	bool tx_stopped;
	uint64_t n_forged;	/* packets with another source CID */
};

/* listen_fd: UDS, listening, non-blocking; owned from here on. The caller sets
 * v->dial.ask before the device runs. */
void vsock_init(struct vsock *v, struct loop *l, uint64_t cid, int listen_fd);
void vsock_fini(struct vsock *v);

/* Both queues are mapped and started; both want a kick now. fresh: the guest
 * begins anew, so streams of before are closed. */
void vsock_start(struct vsock *v, bool fresh);
/* The queues must not be touched any more; streams stay. */
void vsock_stop(struct vsock *v);

/* The guest kicked a queue. True if the tx queue wants another turn after other
 * events had theirs. */
bool vsock_kick_tx(struct vsock *v);
bool vsock_kick_rx(struct vsock *v);

/* Frees what died in this batch of events. For the loop's after hook. */
void vsock_reap(struct vsock *v);

#endif /* VSOCK_DEVICE_VSOCK_H */
