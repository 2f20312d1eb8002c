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

/* How much a guest may have in flight towards us. */
#define CREDIT_BUF_BYTES (128u << 10)
/* The most room that a guest is believed to have. */
#define CREDIT_PEER_MAX_BYTES (1u << 20)
/*
 * Linux 6.12 also counts the overhead of unread packets against the buffer, and
 * resets a stream that exceeds it though its bytes are within its credit: 455
 * small packets fill the default 256 KiB. One packet for each PACKET_BYTES of
 * the guest's buffer, and at most MAX_PACKETS, stays below that.
 */
#define CREDIT_PACKET_BYTES 656u
#define CREDIT_MAX_PACKETS 400u

struct credit {
	/* towards the guest */
	uint32_t tx_cnt;		/* sent */
	uint32_t peer_fwd_cnt;		/* of these, taken by its reader */
	uint32_t peer_buf_alloc;	/* clamped */
	uint32_t packet_end[CREDIT_MAX_PACKETS]; /* tx_cnt behind each packet */
	uint32_t first_packet, n_packets; /* not yet taken by the reader */
	/* from the guest */
	uint32_t rx_cnt;		/* received */
	uint32_t fwd_cnt;		/* of these, taken by the socket */
	uint32_t fwd_told;		/* the fwd_cnt that the guest knows */
};

/* Takes what a header of the guest says. 0, or -EPROTO: it claims to have read
 * bytes that were never sent. */
int credit_peer(struct credit *c, uint32_t buf_alloc, uint32_t fwd_cnt);
/* Bytes and packets that may go to the guest now. */
uint32_t credit_bytes(const struct credit *c);
uint32_t credit_packets(const struct credit *c);
/* A packet of len bytes, which was allowed, goes to the guest. */
void credit_sent(struct credit *c, uint32_t len);

/* len bytes of the guest came. 0, or -EPROTO: more than it was allowed. */
int credit_received(struct credit *c, uint32_t len);
/* len of them went on. True if the guest should be told at once, for by what it
 * knows less than half of the buffer is free. */
bool credit_forwarded(struct credit *c, uint32_t len);

#endif /* VSOCK_DEVICE_CREDIT_H */
