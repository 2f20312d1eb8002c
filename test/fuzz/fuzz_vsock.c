/* SPDX-License-Identifier: MIT */
/* links: src/vsock-device */
/*
 * fuzz_vsock.c - mixes a guest's packets with a host's acts, in any order
 *
 * Each step begins with a byte that chooses it: the guest sends a packet or
 * adds rx buffers, or the host writes to, reads from, half-closes, closes or
 * opens a connection.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/rd.h"
#include "vsock-device/vsock.h"

#define NUM 64u
#define SIZE (1u << 20)
#define RX 0u
#define TX 0x4000u
#define BUF 4096u
#define RX_BUF 0x10000u
#define TX_BUF 0x80000u
#define HOSTS 8

struct world {
	struct loop loop;
	struct vsock v;
	uint8_t *mem;
	uint16_t avail[2];
	int host[HOSTS];
	size_t n_hosts;
	uint32_t asked[VSOCK_MAX_DIALS];	/* dials without an answer */
	uint32_t n_asked;
};

static int new_host(struct world *w)
{
	int pair[2];
	size_t i = w->n_hosts++ % HOSTS;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	close_fd(&w->host[i]);
	w->host[i] = pair[0];
	return pair[1];
}

static int dial(void *arg, uint32_t port, uint32_t serial)
{
	struct world *w = arg;

	if (port == 0)
		return -1;
	w->asked[w->n_asked++] = serial;
	return 0;
}

static void post(struct world *w, int q, uint32_t at, uint32_t len)
{
	uint32_t ring = q == VSOCK_RX ? RX : TX;
	struct vring_desc *d = (void *)(w->mem + ring);
	struct vring_avail *a = (void *)(w->mem + ring + 0x1000);
	uint16_t i = w->avail[q] % NUM;

	if ((uint16_t)(w->avail[q] - w->v.queues.q[q].last_avail) >= NUM)
		return;
	d[i] = (struct vring_desc){ .addr = at + i * BUF, .len = len,
		.flags = q == VSOCK_RX ? VRING_DESC_F_WRITE : 0 };
	a->ring[i] = i;
	a->idx = ++w->avail[q];
}

static void guest_packet(struct world *w, struct rd *rd)
{
	static const uint32_t lens[] = { 0, 1, 100, BUF - 44, BUF, ~0u };
	struct virtio_vsock_hdr h = { .src_cid = 77, .dst_cid = 2, .type = 1 };
	const uint8_t *b = rd_span(rd, 6);

	if (!b)
		return;
	h.op = b[0] % 9;
	h.src_port = b[1] % 4;
	h.dst_port = b[1] & 0x80 ? (1u << 30) + b[1] / 8 % 8 : b[1] / 4 % 2;
	h.len = lens[b[2] % 6];
	h.flags = b[3];
	h.buf_alloc = b[4] * 256u;
	h.fwd_cnt = b[5] & 1 ? b[5] : 0;
	memcpy(w->mem + TX_BUF + w->avail[VSOCK_TX] % NUM * BUF, &h, sizeof(h));
	post(w, VSOCK_TX, TX_BUF, (uint32_t)MIN(44u + (uint64_t)h.len, BUF));
}

static void step(struct world *w, struct rd *rd)
{
	const uint8_t *b = rd_span(rd, 2);
	static uint8_t data[8192];
	int fd;

	if (!b)
		return;
	fd = w->host[b[1] % HOSTS];
	switch (b[0] % 9) {
	case 0:
	case 1:
		guest_packet(w, rd);
		break;
	case 2:
		for (int i = 0; i < b[1] % 8; i++)
			post(w, VSOCK_RX, RX_BUF, b[1] & 8 ? 60 : BUF);
		break;
	case 3:
		if (fd >= 0 && send(fd, data, b[1] * 32u, MSG_NOSIGNAL) < 0)
			return;
		break;
	case 4:
		if (fd >= 0 && recv(fd, data, sizeof(data), 0) < 0)
			return;
		break;
	case 5:
		if (fd >= 0)
			shutdown(fd, b[1] & 8 ? SHUT_WR : SHUT_RD);
		break;
	case 6:
		close_fd(&w->host[b[1] % HOSTS]);
		break;
	case 7:
		if (w->n_asked == 0)
			break;
		dial_done(&w->v.dial, w->asked[--w->n_asked],
			  b[1] & 1 ? -1 : new_host(w));
		break;
	case 8:
		hybrid_add(&w->v.hybrid, new_host(w));
		fd = w->host[(w->n_hosts - 1) % HOSTS];
		if (send(fd, "CONNECT 1\nx", b[1] % 12, MSG_NOSIGNAL) < 0)
			return;
		break;
	}
}

static void set_up(struct world *w)
{
	static const struct mem_region r = { .size_bytes = SIZE };
	int fd = memfd_create("fuzz", MFD_ALLOW_SEALING);

	memset(w, 0, sizeof(*w));
	for (int i = 0; i < HOSTS; i++)
		w->host[i] = -1;
	if (ftruncate(fd, SIZE) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
	    loop_init(&w->loop) < 0)
		abort();
	vsock_init(&w->v, &w->loop, 77, -1);
	w->v.dial.ask = dial;
	w->v.dial.arg = w;
	if (guest_mem_add(&w->v.queues.mem, &r, fd) != 0)
		abort();
	close(fd);
	w->mem = w->v.queues.mem.region[0].host;
	for (int q = 0; q < 2; q++) {
		uint32_t at = q == VSOCK_RX ? RX : TX;

		w->v.queues.q[q].num = NUM;
		if (virtq_map(&w->v.queues.q[q], &w->v.queues.mem, at,
			      at + 0x1000, at + 0x2000) < 0)
			abort();
		virtq_start(&w->v.queues.q[q], 0);
	}
	w->v.queues.running = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct world w;
	struct rd rd = rd_init(p, n);

	log_set_level(LOG_LVL_ERROR);
	set_up(&w);
	while (!rd.bad && rd.left > 0 && w.v.streams.list.n < 100) {
		step(&w, &rd);
		vsock_kick_tx(&w.v);
		vsock_kick_rx(&w.v);
		loop_once(&w.loop, 0);
		vsock_reap(&w.v);
		for (int q = 0; q < 2; q++)
			if (w.v.queues.broken || (uint16_t)(w.avail[q] -
				w.v.queues.q[q].last_avail) > NUM)
				abort(); /* these rings are well-formed */
	}
	vsock_fini(&w.v);
	loop_fini(&w.loop);
	for (int i = 0; i < HOSTS; i++)
		close_fd(&w.host[i]);
	return 0;
}
