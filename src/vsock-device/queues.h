/* SPDX-License-Identifier: MIT */
/*
 * queues.h - packets through the guest's two virtqueues
 *
 * Both queues end with the first rule that the guest breaks in one of them:
 * nothing can be said to such a guest any more.
 */
#ifndef VSOCK_DEVICE_QUEUES_H
#define VSOCK_DEVICE_QUEUES_H

#include <linux/virtio_vsock.h>

#include "base/log.h"
#include "virtq.h"

#define VSOCK_HOST_CID 2u
#define VSOCK_HDR_LEN sizeof(struct virtio_vsock_hdr)
#define VSOCK_MAX_PAYLOAD (64u << 10)	/* of one packet, to the guest */

/* As the guest calls them: it receives by RX. */
enum { VSOCK_RX, VSOCK_TX, VSOCK_QUEUES };

struct queues {
	uint64_t cid;		/* the guest's */
	struct guest_mem mem;
	struct virtq q[VSOCK_QUEUES];
	bool running;
	bool broken;		/* the guest broke one of them */
	struct log_limit log;	/* for messages that the guest provokes */
};

void queues_init(struct queues *qs, uint64_t cid);

/* The next rx buffer (at least one byte of payload fits). False: none now. */
bool queues_pop_rx(struct queues *qs, struct vchain *ret_chain);
/* The next packet of the guest, at least a header. False: none now. */
bool queues_pop_tx(struct queues *qs, struct vchain *ret_chain);
/* Sends a packet without data. False: there is no room in the rx queue now. */
bool queues_send(struct queues *qs, const struct virtio_vsock_hdr *hdr);
/* Shows the guest everything that was sent to it. */
void queues_publish_rx(struct queues *qs);

/* A header for a packet from host_port to guest_port. */
struct virtio_vsock_hdr queues_hdr(const struct queues *qs, uint32_t host_port,
				   uint32_t guest_port, uint16_t op);

#endif /* VSOCK_DEVICE_QUEUES_H */
