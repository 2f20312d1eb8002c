/* SPDX-License-Identifier: MIT */
/* virtq.c - serves a split virtqueue, from its rings in guest memory */
#include "virtq.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* #syscalls vsock-device: write */

/* Breaks the queue, for a reason of static text. */
static int broken(struct virtq *q, const char *why)
{
	q->broken = true;
	q->why = why;
	return -EPROTO;
}

int virtq_map(struct virtq *q, const struct guest_mem *m, uint64_t desc,
	      uint64_t avail, uint64_t used)
{
	size_t n = q->num;
	void *d, *a, *u;

	if (n == 0 || n > VIRTQ_MAX_NUM || (n & (n - 1)))
		return -EINVAL;
	/* Behind the last entry of each ring comes an event index. */
	d = guest_mem_at_user(m, desc, n * sizeof(struct vring_desc));
	a = guest_mem_at_user(m, avail, sizeof(struct vring_avail) + n * 2 + 2);
	u = guest_mem_at_user(m, used, sizeof(struct vring_used) +
			      n * sizeof(struct vring_used_elem) + 2);
	if (!d || !a || !u || (uintptr_t)d % 16 || (uintptr_t)a % 2 ||
	    (uintptr_t)u % 4)
		return -EFAULT;
	q->desc = d;
	q->avail = a;
	q->used = u;
	return 0;
}

void virtq_unmap(struct virtq *q)
{
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
}

void virtq_start(struct virtq *q, uint16_t base)
{
	q->last_avail = base;
	q->used_idx = __atomic_load_n(&q->used->idx, __ATOMIC_RELAXED);
	q->published = q->used_idx;
	q->broken = false;
	q->why = NULL;
}

static uint16_t avail_idx(const struct virtq *q)
{
	return __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
}

/* Each field is read once: the guest may be writing it. */
static struct vring_desc read_desc(const struct vring_desc *d)
{
	return (struct vring_desc){
		.addr = __atomic_load_n(&d->addr, __ATOMIC_RELAXED),
		.len = __atomic_load_n(&d->len, __ATOMIC_RELAXED),
		.flags = __atomic_load_n(&d->flags, __ATOMIC_RELAXED),
		.next = __atomic_load_n(&d->next, __ATOMIC_RELAXED),
	};
}

/* Copies the chain that begins at c->head. 1, or -EPROTO (broken). */
static int walk(struct virtq *q, const struct guest_mem *m,
		enum vchain_dir dir, struct vchain *c)
{
	const uint16_t want = dir == VCHAIN_WRITE ? VRING_DESC_F_WRITE : 0;
	uint16_t i = c->head;

	c->n = 0;
	c->len = 0;
	for (;;) {
		struct vring_desc d;
		void *p;

		if (i >= q->num)
			return broken(q, "descriptor beyond the ring");
		if (c->n == VCHAIN_MAX_SEGS)
			return broken(q, "chain too long or a loop");
		d = read_desc(&q->desc[i]);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return broken(q, "indirect descriptor");
		if ((d.flags & VRING_DESC_F_WRITE) != want)
			return broken(q, "descriptor of the wrong direction");
		if (d.len == 0 || d.len > VCHAIN_MAX_BYTES - c->len)
			return broken(q, "chain empty or too large");
		p = guest_mem_at(m, d.addr, d.len);
		if (!p)
			return broken(q, "address outside the guest's memory");
		c->iov[c->n++] = (struct iovec){ p, d.len };
		c->len += d.len;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 1;
		i = d.next;
	}
}

int virtq_pop(struct virtq *q, const struct guest_mem *m, enum vchain_dir dir,
	      struct vchain *ret_chain)
{
	uint16_t waiting;
	int r;

	if (q->broken)
		return -EPROTO;
	waiting = (uint16_t)(avail_idx(q) - q->last_avail);
	if (waiting == 0)
		return 0;
	if (waiting > q->num)
		return broken(q, "available index beyond the ring");
	ret_chain->head = __atomic_load_n(
		&q->avail->ring[q->last_avail & (q->num - 1)],
		__ATOMIC_RELAXED);
	r = walk(q, m, dir, ret_chain);
	if (r > 0)
		q->last_avail++;
	return r;
}

void virtq_rewind(struct virtq *q, uint16_t n)
{
	q->last_avail = (uint16_t)(q->last_avail - n);
}

void virtq_push(struct virtq *q, const struct vchain *c, uint32_t len)
{
	q->used->ring[q->used_idx & (q->num - 1)] =
		(struct vring_used_elem){ .id = c->head, .len = len };
	q->used_idx++;
}

/* Where the guest reads when to kick: behind the used ring, for it writes what
 * is behind the available one. */
static uint16_t *avail_event(struct virtq *q)
{
	return (uint16_t *)(void *)&q->used->ring[q->num];
}

/* Whether the guest asked for an interrupt since `old` was published. */
static bool wants_interrupt(struct virtq *q, uint16_t old)
{
	uint16_t event;

	if (!q->event_idx)
		return !(__atomic_load_n(&q->avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	event = __atomic_load_n(&q->avail->ring[q->num], __ATOMIC_RELAXED);
	return vring_need_event(event, q->used_idx, old);
}

void virtq_publish(struct virtq *q)
{
	uint16_t old = q->published;

	if (old == q->used_idx || !q->used)
		return;
	q->published = q->used_idx;
	__atomic_store_n(&q->used->idx, q->used_idx, __ATOMIC_RELEASE);
	/* The guest must see the index before its wish is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->call_fd >= 0 && wants_interrupt(q, old))
		eventfd_signal(q->call_fd);
}

bool virtq_wait(struct virtq *q)
{
	if (q->broken)
		return false;
	if (q->event_idx)
		__atomic_store_n(avail_event(q), q->last_avail,
				 __ATOMIC_RELAXED);
	/* The guest must see the wish before its index is read. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return avail_idx(q) != q->last_avail;
}

size_t iov_slice(const struct iovec *iov, size_t n, size_t off, size_t len,
		 struct iovec *ret_iov)
{
	size_t k = 0;

	for (size_t i = 0; i < n && len > 0; i++) {
		size_t m;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		m = MIN(iov[i].iov_len - off, len);
		ret_iov[k++] = (struct iovec){
			(uint8_t *)iov[i].iov_base + off, m };
		off = 0;
		len -= m;
	}
	return k;
}

void iov_put(const struct iovec *iov, size_t n, const void *p, size_t len)
{
	for (size_t i = 0; i < n && len > 0; i++) {
		size_t m = MIN(iov[i].iov_len, len);

		memcpy(iov[i].iov_base, p, m);
		p = (const uint8_t *)p + m;
		len -= m;
	}
	assert(len == 0);
}

void iov_get(const struct iovec *iov, size_t n, void *ret_p, size_t len)
{
	uint8_t *p = ret_p;

	for (size_t i = 0; i < n && len > 0; i++) {
		size_t m = MIN(iov[i].iov_len, len);

		memcpy(p, iov[i].iov_base, m);
		p += m;
		len -= m;
	}
	assert(len == 0);
}
