/* SPDX-License-Identifier: MIT */
/*
 * virtq.h - the device's side of a split virtqueue that the guest may corrupt
 *
 * There are no indirect descriptors (the feature is not offered). The first
 * rule that the guest breaks makes the queue `broken`: nothing is read from it
 * or written to it until the driver starts it again.
 */
#ifndef VSOCK_DEVICE_VIRTQ_H
#define VSOCK_DEVICE_VIRTQ_H

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "guest_mem.h"

#define VIRTQ_MAX_NUM 1024u
#define VCHAIN_MAX_SEGS 64u
#define VCHAIN_MAX_BYTES (1u << 20)

enum vchain_dir { VCHAIN_READ, VCHAIN_WRITE }; /* by the device */

/* One descriptor chain, copied out of the ring and translated. */
struct vchain {
	uint16_t head;
	uint16_t n;		/* 1 .. VCHAIN_MAX_SEGS */
	uint32_t len;		/* sum, 1 .. VCHAIN_MAX_BYTES */
	struct iovec iov[VCHAIN_MAX_SEGS];
};

struct virtq {
	uint16_t num;		/* power of two, at most VIRTQ_MAX_NUM */
	uint16_t last_avail;	/* next entry of the available ring */
	uint16_t used_idx;	/* next entry of the used ring */
	uint16_t published;	/* used_idx as the guest sees it */
	bool event_idx;
	bool broken;
	const char *why;	/* what broke it; static text */
	const struct vring_desc *desc;	/* NULL: not mapped */
	struct vring_avail *avail;
	struct vring_used *used;
	int call_fd;		/* eventfd, -1: none; not owned */
};

/* Finds the ring's three parts at addresses of the VMM. 0, or -EFAULT (outside
 * the guest's memory or unaligned), -EINVAL (q->num). */
int virtq_map(struct virtq *q, const struct guest_mem *m, uint64_t desc,
	      uint64_t avail, uint64_t used);
/* Forgets them; no pointer into guest memory is left. */
void virtq_unmap(struct virtq *q);
/* Starts at `base` of the available ring, where the driver left it. */
void virtq_start(struct virtq *q, uint16_t base);

/* Takes the next chain. 1, 0 (none there) or -EPROTO (broken). */
int virtq_pop(struct virtq *q, const struct guest_mem *m, enum vchain_dir dir,
	      struct vchain *ret_chain);
/* Puts back the last n chains taken; none of them was pushed. */
void virtq_rewind(struct virtq *q, uint16_t n);
/* Gives a chain back with `len` bytes written. Seen by the guest after
 * virtq_publish(). */
void virtq_push(struct virtq *q, const struct vchain *c, uint32_t len);
/* Shows the guest all pushed chains; interrupts it if it asked for that. */
void virtq_publish(struct virtq *q);
/* Asks for a kick when the guest adds a chain. True if one is there already. */
bool virtq_wait(struct virtq *q);

/* Makes an eventfd readable. The write can only fail if it is readable. */
static inline void eventfd_signal(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/* Puts the segments from byte `off` on, `len` bytes in all, into ret_iov, which
 * has room for n. The caller knows that there are so many bytes. Returns how
 * many segments. */
size_t iov_slice(const struct iovec *iov, size_t n, size_t off, size_t len,
		 struct iovec *ret_iov);
/* Copies to the start of iov, or from there; the caller knows that it is long
 * enough. */
void iov_put(const struct iovec *iov, size_t n, const void *p, size_t len);
void iov_get(const struct iovec *iov, size_t n, void *ret_p, size_t len);

#endif /* VSOCK_DEVICE_VIRTQ_H */
