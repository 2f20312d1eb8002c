/* SPDX-License-Identifier: MIT */
/* queues.c - moves packets through the guest's two virtqueues */
#include "queues.h"

#include <errno.h>

void queues_init(struct queues *qs, uint64_t cid)
{
	*qs = (struct queues){ .cid = cid };
	for (int i = 0; i < VSOCK_QUEUES; i++)
		qs->q[i].call_fd = -1;
}

struct virtio_vsock_hdr queues_hdr(const struct queues *qs, uint32_t host_port,
				   uint32_t guest_port, uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = qs->cid,
		.src_port = host_port,
		.dst_port = guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
	};
}

/* The next chain of queue i, of min_len bytes or more. A shorter one breaks the
 * queue, for the reason `why`. */
static bool pop(struct queues *qs, int i, enum vchain_dir dir, size_t min_len,
		const char *why, struct vchain *ret_chain)
{
	struct virtq *q = &qs->q[i];
	int r;

	r = virtq_pop(q, &qs->mem, dir, ret_chain);
	if (r == 0 && virtq_wait(q))
		r = virtq_pop(q, &qs->mem, dir, ret_chain);
	if (r > 0 && ret_chain->len < min_len) {
		q->broken = true;
		q->why = why;
		r = -EPROTO;
	}
	if (r < 0) {
		if (log_limit_ok(&qs->log))
			log_warn("the guest broke its %s queue: %s",
				 i == VSOCK_RX ? "rx" : "tx", q->why);
		qs->broken = true;
	}
	return r > 0;
}

bool queues_pop_rx(struct queues *qs, struct vchain *ret_chain)
{
	if (!qs->running || qs->broken)
		return false;
	return pop(qs, VSOCK_RX, VCHAIN_WRITE, VSOCK_HDR_LEN + 1,
		   "buffer without room for data", ret_chain);
}

bool queues_pop_tx(struct queues *qs, struct vchain *ret_chain)
{
	return pop(qs, VSOCK_TX, VCHAIN_READ, VSOCK_HDR_LEN,
		   "packet shorter than its header", ret_chain);
}

bool queues_send(struct queues *qs, const struct virtio_vsock_hdr *hdr)
{
	struct vchain c;

	if (!queues_pop_rx(qs, &c))
		return false;
	iov_put(c.iov, c.n, hdr, sizeof(*hdr));
	virtq_push(&qs->q[VSOCK_RX], &c, sizeof(*hdr));
	return true;
}

void queues_publish_rx(struct queues *qs)
{
	virtq_publish(&qs->q[VSOCK_RX]);
}
