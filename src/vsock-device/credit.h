/* SPDX-License-Identifier: MIT */
/*
 * credit.h - how much each side of a stream may still send
 *
 * All counters are bytes since the stream began, modulo 2^32, as in struct
 * virtio_vsock_hdr.
 */
#ifndef VSOCK_DEVICE_CREDIT_H
#define VSOCK_DEVICE_CREDIT_H

#include "base/base.h"

/* What a guest may have in flight towards us. */
#define CREDIT_BUF_BYTES (128u << 10)
/* What a guest may claim to have room for. */
#define CREDIT_PEER_MAX_BYTES (1u << 20)
/*
 * Linux 6.12 counts the overhead of packets waiting unread against the buffer
 * too and resets a stream beyond it, though it is within its credit: 455 small
 * packets fill the default 256 KiB. One packet for each PACKET_BYTES of the
 * guest's buffer, and at most MAX_PACKETS, stays below that.
 */
#define CREDIT_PACKET_BYTES 656u
#define CREDIT_MAX_PACKETS 400u

struct credit {
	/* towards the guest */
	uint32_t tx_cnt;		/* sent */
	uint32_t peer_fwd_cnt;		/* of which its reader took */
	uint32_t peer_buf_alloc;	/* clamped */
	uint32_t packet_end[CREDIT_MAX_PACKETS]; /* tx_cnt behind each packet */
	uint32_t first_packet, n_packets; /* not yet taken by the reader */
	/* from the guest */
	uint32_t rx_cnt;		/* received */
	uint32_t fwd_cnt;		/* of which the socket took */
	uint32_t fwd_told;		/* fwd_cnt as the guest knows it */
};

/* What a header said. 0, or -EPROTO: the guest claims to have read bytes that
 * were never sent. */
int credit_peer(struct credit *c, uint32_t buf_alloc, uint32_t fwd_cnt);
/* Bytes and packets that may go to the guest now. */
uint32_t credit_bytes(const struct credit *c);
uint32_t credit_packets(const struct credit *c);
/* A packet of len bytes goes; it was allowed. */
void credit_sent(struct credit *c, uint32_t len);

/* len bytes came. 0, or -EPROTO: more than the guest was allowed. */
int credit_received(struct credit *c, uint32_t len);
/* len of them went on. True if the guest should hear of it unasked: it sees
 * less than half of the buffer free. */
bool credit_forwarded(struct credit *c, uint32_t len);

#endif /* VSOCK_DEVICE_CREDIT_H */
