/* SPDX-License-Identifier: MIT */
/* links: src/vsock-device */
/* test_virtq.c - tests the rings of a device against a hostile guest */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "tap.h"
#include "vsock-device/credit.h"
#include "vsock-device/virtq.h"

#define NUM 128u
#define SIZE (4u << 20)
#define GUEST 0x100000ull
#define USER 0x7f0000000000ull
#define DATA 0x10000u

struct fixture {
	struct guest_mem mem;
	struct virtq q;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
};

static int memfd(bool sealed)
{
	int fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (ftruncate(fd, SIZE) < 0 ||
	    (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0))
		return -1;
	return fd;
}

static const struct mem_region whole = { .guest_addr = GUEST,
					 .user_addr = USER,
					 .size_bytes = SIZE };

static void set_up(struct fixture *f)
{
	int fd = memfd(true);

	*f = (struct fixture){ .q = { .num = NUM, .call_fd = -1 } };
	ok(guest_mem_add(&f->mem, &whole, fd) == 0 &&
	   virtq_map(&f->q, &f->mem, USER, USER + 0x2000, USER + 0x4000) == 0,
	   "sealed memory and rings in it are taken");
	close(fd);
	virtq_start(&f->q, 0);
	f->desc = guest_mem_at(&f->mem, GUEST, 1);
	f->avail = guest_mem_at(&f->mem, GUEST + 0x2000, 1);
	f->used = guest_mem_at(&f->mem, GUEST + 0x4000, 1);
}

static void memory(void)
{
	struct guest_mem m = { 0 };
	struct mem_region r = whole;
	int sealed = memfd(true), open_fd = memfd(false);

	ok(guest_mem_add(&m, &r, open_fd) == 1 &&
	   !guest_mem_at(&m, GUEST, 1),
	   "memory that can shrink is known but not reachable");
	r.size_bytes = SIZE + 4096;
	ok(guest_mem_add(&m, &r, sealed) == -EINVAL,
	   "a region beyond the file's end is refused");
	r = whole;
	r.mmap_offset = UINT64_MAX - 4095;
	ok(guest_mem_add(&m, &r, sealed) == -EINVAL,
	   "an offset that wraps is refused");
	r = whole;
	r.mmap_offset = 12;
	ok(guest_mem_add(&m, &r, sealed) == -EINVAL,
	   "an unaligned offset is refused");
	r = whole;
	r.guest_addr = UINT64_MAX - 4096;
	ok(guest_mem_add(&m, &r, sealed) == -EINVAL,
	   "a region that wraps is refused");
	r.size_bytes = 0;
	ok(guest_mem_add(&m, &r, sealed) == -EINVAL,
	   "an empty region is refused");
	guest_mem_clear(&m);
	ok(guest_mem_add(&m, &whole, sealed) == 0 &&
	   guest_mem_at(&m, GUEST, SIZE) &&
	   !guest_mem_at(&m, GUEST, SIZE + 1) &&
	   !guest_mem_at(&m, GUEST + SIZE, 1) &&
	   !guest_mem_at(&m, GUEST - 1, 1) &&
	   !guest_mem_at(&m, GUEST + 8, UINT64_MAX - 4),
	   "only ranges within a region are found");
	r = whole;
	r.user_addr++;
	ok(guest_mem_remove(&m, &r) == -ENOENT &&
	   guest_mem_remove(&m, &whole) == 0 && !guest_mem_at(&m, GUEST, 1),
	   "a region goes by its own addresses only");
	for (int i = 0; i < GUEST_MEM_MAX_REGIONS; i++)
		guest_mem_add(&m, &whole, sealed);
	ok(guest_mem_add(&m, &whole, sealed) == -ENOSPC,
	   "one region too many is refused");
	guest_mem_clear(&m);
	close(sealed);
	close(open_fd);
}

static void mapping(void)
{
	struct fixture f;

	set_up(&f);
	ok(virtq_map(&f.q, &f.mem, USER + SIZE - 16, USER, USER) == -EFAULT,
	   "a ring that leaves the memory is refused");
	ok(virtq_map(&f.q, &f.mem, USER + 8, USER, USER) == -EFAULT &&
	   virtq_map(&f.q, &f.mem, USER, USER + 1, USER) == -EFAULT &&
	   virtq_map(&f.q, &f.mem, USER, USER, USER + 2) == -EFAULT,
	   "an unaligned ring is refused");
	f.q.num = 100;
	ok(virtq_map(&f.q, &f.mem, USER, USER, USER) == -EINVAL,
	   "a size that is no power of two is refused");
	f.q.num = 2 * VIRTQ_MAX_NUM;
	ok(virtq_map(&f.q, &f.mem, USER, USER, USER) == -EINVAL,
	   "too large a ring is refused");
	guest_mem_clear(&f.mem);
}

static void good_chains(void)
{
	struct fixture f;
	struct vchain c;
	uint64_t n = 0;

	set_up(&f);
	ok(virtq_pop(&f.q, &f.mem, VCHAIN_READ, &c) == 0,
	   "an empty ring has no chain");
	f.desc[3] = (struct vring_desc){ GUEST + DATA, 44, VRING_DESC_F_NEXT,
					 9 };
	f.desc[9] = (struct vring_desc){ GUEST + SIZE - 10, 10, 0, 500 };
	f.avail->ring[0] = 3;
	f.avail->idx = 1;
	ok(virtq_pop(&f.q, &f.mem, VCHAIN_READ, &c) == 1 && c.n == 2 &&
	   c.head == 3 && c.len == 54 &&
	   c.iov[1].iov_base == (uint8_t *)f.desc + SIZE - 10,
	   "a chain of two comes out whole");
	virtq_rewind(&f.q, 1);
	ok(virtq_pop(&f.q, &f.mem, VCHAIN_READ, &c) == 1 && c.head == 3,
	   "and again when it was put back");
	f.q.call_fd = eventfd(0, EFD_NONBLOCK);
	virtq_push(&f.q, &c, 7);
	ok(f.used->idx == 0, "a pushed chain is not seen yet");
	virtq_publish(&f.q);
	ok(f.used->idx == 1 && f.used->ring[0].id == 3 &&
	   f.used->ring[0].len == 7 &&
	   read(f.q.call_fd, &n, sizeof(n)) == sizeof(n),
	   "published, it is, with an interrupt");
	f.q.event_idx = true;
	f.avail->ring[NUM] = 5;
	virtq_push(&f.q, &c, 7);
	virtq_publish(&f.q);
	ok(f.used->idx == 2 && read(f.q.call_fd, &n, sizeof(n)) < 0,
	   "no interrupt before the event index");
	ok(!virtq_wait(&f.q), "nothing to wait for twice");
	ok(*(uint16_t *)(void *)&f.used->ring[NUM] == 1,
	   "a kick is asked for at the next chain");
	close(f.q.call_fd);
	guest_mem_clear(&f.mem);
}

/* Each row breaks the queue; its chain begins at descriptor 0. */
static const struct {
	const char *what;
	struct vring_desc d0, d1;
	uint16_t head, idx;
} hostile[] = {
	{ "head beyond the ring", { GUEST, 44, 0, 0 }, { 0 }, NUM, 1 },
	{ "next beyond the ring", { GUEST, 44, VRING_DESC_F_NEXT, NUM },
	  { 0 }, 0, 1 },
	{ "loop of one", { GUEST, 44, VRING_DESC_F_NEXT, 0 }, { 0 }, 0, 1 },
	{ "loop of two", { GUEST, 44, VRING_DESC_F_NEXT, 1 },
	  { GUEST, 1, VRING_DESC_F_NEXT, 0 }, 0, 1 },
	{ "available index beyond the ring", { GUEST, 44, 0, 0 }, { 0 }, 0,
	  NUM + 1 },
	{ "available index behind", { GUEST, 44, 0, 0 }, { 0 }, 0, 65535 },
	{ "address below the memory", { GUEST - 1, 44, 0, 0 }, { 0 }, 0, 1 },
	{ "end beyond the memory", { GUEST + SIZE - 43, 44, 0, 0 }, { 0 }, 0,
	  1 },
	{ "address that wraps", { UINT64_MAX - 3, 44, 0, 0 }, { 0 }, 0, 1 },
	{ "length of 4 GiB", { GUEST, UINT32_MAX, 0, 0 }, { 0 }, 0, 1 },
	{ "more than 1 MiB in all",
	  { GUEST, 1u << 20, VRING_DESC_F_NEXT, 1 }, { GUEST, 1, 0, 0 }, 0,
	  1 },
	{ "empty descriptor", { GUEST, 0, 0, 0 }, { 0 }, 0, 1 },
	{ "wrong direction", { GUEST, 44, VRING_DESC_F_WRITE, 0 }, { 0 }, 0,
	  1 },
	{ "direction that changes", { GUEST, 44, VRING_DESC_F_NEXT, 1 },
	  { GUEST, 44, VRING_DESC_F_WRITE, 0 }, 0, 1 },
	{ "indirect table", { GUEST, 16, VRING_DESC_F_INDIRECT, 0 }, { 0 }, 0,
	  1 },
};

static void hostile_chains(void)
{
	struct fixture f;
	struct vchain c;

	set_up(&f);
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		virtq_start(&f.q, 0);
		f.desc[0] = hostile[i].d0;
		f.desc[1] = hostile[i].d1;
		f.avail->ring[0] = hostile[i].head;
		f.avail->idx = hostile[i].idx;
		ok(virtq_pop(&f.q, &f.mem, VCHAIN_READ, &c) == -EPROTO &&
		   f.q.broken && f.q.why, "%s breaks the queue (%s)",
		   hostile[i].what, f.q.why ? f.q.why : "it did not");
		f.desc[0] = (struct vring_desc){ GUEST, 44, 0, 0 };
		f.avail->idx = 1;
		if (virtq_pop(&f.q, &f.mem, VCHAIN_READ, &c) != -EPROTO)
			ok(false, "a broken queue stays broken");
	}
	virtq_start(&f.q, 0);
	for (unsigned int i = 0; i <= VCHAIN_MAX_SEGS; i++)
		f.desc[i] = (struct vring_desc){ GUEST, 1, VRING_DESC_F_NEXT,
						 (uint16_t)(i + 1) };
	f.desc[VCHAIN_MAX_SEGS - 1].flags = 0;
	f.avail->ring[0] = 0;
	f.avail->idx = 1;
	ok(virtq_pop(&f.q, &f.mem, VCHAIN_READ, &c) == 1 &&
	   c.n == VCHAIN_MAX_SEGS, "as many segments as may be");
	f.desc[VCHAIN_MAX_SEGS - 1].flags = VRING_DESC_F_NEXT;
	f.desc[VCHAIN_MAX_SEGS].flags = 0;
	virtq_start(&f.q, 0);
	ok(virtq_pop(&f.q, &f.mem, VCHAIN_READ, &c) == -EPROTO,
	   "one segment more breaks the queue");
	guest_mem_clear(&f.mem);
}

static void credits(void)
{
	struct credit c = { 0 };

	ok(credit_peer(&c, 1000, 0) == 0 && credit_bytes(&c) == 1000,
	   "a guest's buffer is its credit");
	credit_sent(&c, 900);
	ok(credit_bytes(&c) == 100 && credit_packets(&c) == 0,
	   "what is on its way counts, packets too");
	ok(credit_peer(&c, 1000, 901) == -EPROTO,
	   "reading more than was sent is refused");
	ok(credit_peer(&c, 1000, 900) == 0 && credit_bytes(&c) == 1000 &&
	   credit_packets(&c) == 1, "reading gives credit back");
	ok(credit_peer(&c, 1000, 500) == 0 && credit_bytes(&c) == 1000,
	   "an older count is passed over");
	ok(credit_peer(&c, 500, 900) == 0 && credit_bytes(&c) == 500,
	   "a buffer may become smaller");
	ok(credit_peer(&c, UINT32_MAX, 900) == 0 &&
	   credit_bytes(&c) == CREDIT_PEER_MAX_BYTES,
	   "a huge buffer is not believed");
	c = (struct credit){ .tx_cnt = UINT32_MAX - 1,
			     .peer_fwd_cnt = UINT32_MAX - 1 };
	credit_peer(&c, 256 << 10, UINT32_MAX - 1);
	for (uint32_t i = 0; i < 399; i++)
		credit_sent(&c, 1);
	ok(credit_packets(&c) == 0 && credit_bytes(&c) == (256 << 10) - 399,
	   "399 small packets fill a buffer of 256 KiB");
	ok(credit_peer(&c, 256 << 10, 100) == 0 && credit_packets(&c) == 102,
	   "counters wrap");
	c = (struct credit){ 0 };
	ok(credit_received(&c, CREDIT_BUF_BYTES) == 0 &&
	   credit_received(&c, 1) == -EPROTO,
	   "a guest may fill its credit and no more");
	ok(credit_forwarded(&c, 1) && credit_received(&c, 1) == 0 &&
	   credit_received(&c, 1) == -EPROTO,
	   "what went on may be sent again");
	c = (struct credit){ 0 };
	ok(credit_received(&c, 100) == 0 && !credit_forwarded(&c, 100),
	   "a little needs no update");
}

int main(void)
{
	memory();
	mapping();
	good_chains();
	hostile_chains();
	credits();
	return done_testing();
}
