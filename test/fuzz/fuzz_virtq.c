/* SPDX-License-Identifier: MIT */
/* links: src/vsock-device */
/*
 * fuzz_virtq.c - serves rings that a hostile guest has written
 *
 * The first two bytes of the input are available indices. The rest is laid over
 * both rings and the memory that they point at; then both are kicked.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "vsock-device/vsock.h"

#define NUM 16u
#define SIZE 16384u
#define GUEST 0x1000ull
#define RX 0u
#define TX 0x400u
#define DESC_BYTES (NUM * 16u)

static int no_dial(void *arg, uint32_t port, uint32_t serial)
{
	struct vsock *v = arg;

	if (port % 2)
		return -1;
	dial_done(&v->dial, serial, -1);
	return 0;
}

static void queue(struct vsock *v, int q, uint32_t at, uint8_t idx)
{
	struct virtq *ring = &v->queues.q[q];
	uint8_t *mem = v->queues.mem.region[0].host;

	*ring = (struct virtq){ .num = NUM, .call_fd = -1,
				.event_idx = idx & 1 };
	if (virtq_map(ring, &v->queues.mem, at, at + DESC_BYTES,
		      at + DESC_BYTES + 0x80) < 0)
		abort();
	mem[at + DESC_BYTES + 2] = idx;
	mem[at + DESC_BYTES + 3] = 0;
	virtq_start(ring, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct vsock v;
	static struct loop l;
	struct mem_region r = { .guest_addr = GUEST, .size_bytes = SIZE };

	if (v.queues.mem.n == 0) {
		int fd = memfd_create("fuzz", MFD_ALLOW_SEALING);

		log_set_level(LOG_LVL_ERROR);
		if (ftruncate(fd, SIZE) < 0 ||
		    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
		    loop_init(&l) < 0)
			abort();
		vsock_init(&v, &l, 77, -1);
		v.dial.ask = no_dial;
		v.dial.arg = &v;
		if (guest_mem_add(&v.queues.mem, &r, fd) != 0)
			abort();
	}
	if (n < 2 || n > SIZE)
		return 0;
	memset(v.queues.mem.region[0].host, 0, SIZE);
	memcpy(v.queues.mem.region[0].host, p + 2, n - 2);
	queue(&v, VSOCK_RX, RX, p[0]);
	queue(&v, VSOCK_TX, TX, p[1]);
	v.queues.running = true;
	v.queues.broken = false;
	for (int i = 0; i < 4; i++) {
		vsock_kick_tx(&v);
		vsock_kick_rx(&v);
		vsock_reap(&v);
	}
	streams_drop(&v.streams);
	streams_reap(&v.streams);
	v.n_resets = 0;
	return 0;
}
