/* SPDX-License-Identifier: MIT */
/* credit.c - counts how much each side of a stream may still send */
#include "credit.h"

#include <assert.h>
#include <errno.h>

/* Forgets the packets that the guest's reader has taken. */
static void retire_packets(struct credit *c)
{
	while (c->n_packets > 0) {
		uint32_t end = c->packet_end[c->first_packet];

		/* Still in flight if it ends between the reader and tx_cnt. */
		if (c->tx_cnt - end < c->tx_cnt - c->peer_fwd_cnt)
			return;
		c->first_packet = (c->first_packet + 1) % CREDIT_MAX_PACKETS;
		c->n_packets--;
	}
}

int credit_peer(struct credit *c, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;
	uint32_t claimed = c->tx_cnt - fwd_cnt;

	/* Two threads of a guest may send their headers in the wrong order, so
	 * a count that lies a little behind the known one is only old. */
	if (claimed > in_flight &&
	    claimed - in_flight > CREDIT_PEER_MAX_BYTES)
		return -EPROTO;
	c->peer_buf_alloc = MIN(buf_alloc, CREDIT_PEER_MAX_BYTES);
	if (claimed < in_flight) {
		c->peer_fwd_cnt = fwd_cnt;
		retire_packets(c);
	}
	return 0;
}

uint32_t credit_bytes(const struct credit *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	return in_flight < c->peer_buf_alloc ? c->peer_buf_alloc - in_flight :
					       0;
}

uint32_t credit_packets(const struct credit *c)
{
	uint32_t max = MIN(c->peer_buf_alloc / CREDIT_PACKET_BYTES,
			   CREDIT_MAX_PACKETS);

	max = MAX(max, 1);
	return c->n_packets < max ? max - c->n_packets : 0;
}

void credit_sent(struct credit *c, uint32_t len)
{
	assert(c->n_packets < CREDIT_MAX_PACKETS);
	c->tx_cnt += len;
	c->packet_end[(c->first_packet + c->n_packets) % CREDIT_MAX_PACKETS] =
		c->tx_cnt;
	c->n_packets++;
}

int credit_received(struct credit *c, uint32_t len)
{
	uint32_t held = c->rx_cnt - c->fwd_cnt;

	if (len > CREDIT_BUF_BYTES - held)
		return -EPROTO;
	c->rx_cnt += len;
	return 0;
}

bool credit_forwarded(struct credit *c, uint32_t len)
{
	c->fwd_cnt += len;
	return c->rx_cnt - c->fwd_told > CREDIT_BUF_BYTES / 2;
}
