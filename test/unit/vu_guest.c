/* SPDX-License-Identifier: MIT */
/* vu_guest.c - plays a VMM with its guest's vsock driver, by hand */
#include "vu_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "wait.h"

static uint32_t g_ring(int q)
{
	return q == G_RX ? 0 : 0x8000;
}

struct vring_desc *g_desc(struct guest *g, int q)
{
	return (struct vring_desc *)(void *)(g->mem + g_ring(q));
}

static struct vring_avail *g_avail(struct guest *g, int q)
{
	return (struct vring_avail *)(void *)(g->mem + g_ring(q) + 0x2000);
}

struct vring_used *g_used(struct guest *g, int q)
{
	return (struct vring_used *)(void *)(g->mem + g_ring(q) + 0x4000);
}

uint32_t g_buf(int q, unsigned int i)
{
	return q == G_RX ? 0x20000 + i * G_BUF : 0x180000 + i * G_TX_BUF;
}

/* True if fd becomes readable in time. */
bool g_wait(int fd)
{
	return wait_readable(fd, G_WAIT_MS);
}

/* One request; with_ack asks for an acknowledgement and returns its value.
 * -1: the device hung up. */
int64_t vu_send(struct guest *g, uint32_t request, const void *body, uint32_t n,
		int fd, bool ack, void *ret_reply, size_t reply_bytes)
{
	uint8_t buf[600];
	uint32_t hdr[3] = { request, 1 | (ack ? 8 : 0), n };
	uint64_t v = 0;

	memcpy(buf, hdr, sizeof(hdr));
	if (n)
		memcpy(buf + sizeof(hdr), body, n);
	if (sock_send_fds(g->vm, buf, sizeof(hdr) + n, &fd, fd >= 0) < 0)
		return -1;
	if (!ack && !ret_reply)
		return 0;
	if (!g_wait(g->vm) || read_full(g->vm, hdr, sizeof(hdr)) < 0 ||
	    hdr[0] != request)
		return -1;
	if (ret_reply)
		return read_full(g->vm, ret_reply, reply_bytes) < 0 ||
		       hdr[2] != reply_bytes ? -1 : 0;
	return read_full(g->vm, &v, sizeof(v)) < 0 ? -1 : (int64_t)v;
}

int64_t vu_u64(struct guest *g, uint32_t request, uint64_t v, int fd)
{
	return vu_send(g, request, &v, sizeof(v), fd, true, NULL, 0);
}

int64_t vu_state(struct guest *g, uint32_t request, uint32_t i, uint32_t n)
{
	uint32_t v[2] = { i, n };

	return vu_send(g, request, v, sizeof(v), -1, true, NULL, 0);
}

static int64_t vu_addr(struct guest *g, uint32_t i, uint64_t base)
{
	uint64_t v[5] = { i, base, base + 0x4000, base + 0x2000, 0 };

	return vu_send(g, 9, v, sizeof(v), -1, true, NULL, 0);
}

int64_t vu_add_mem(struct guest *g, int fd, uint64_t size)
{
	uint64_t v[5] = { 0, G_BASE, size, G_USER, 0 };

	return vu_send(g, 37, v, sizeof(v), fd, true, NULL, 0);
}

void g_post(struct guest *g, int q, uint16_t head)
{
	struct vring_avail *a = g_avail(g, q);

	a->ring[g->avail[q]++ % G_NUM] = head;
	__atomic_store_n(&a->idx, g->avail[q], __ATOMIC_RELEASE);
}

void g_kick(struct guest *g, int q)
{
	const uint64_t one = 1;

	if (write(g->kick[q], &one, sizeof(one)) < 0)
		perror("kick");
}

/* Hands buffers [from, to) of the rx ring to the device. */
void g_rx_fill(struct guest *g, unsigned int from, unsigned int to)
{
	for (unsigned int i = from; i < to; i++) {
		g_desc(g, G_RX)[i] = (struct vring_desc){
			.addr = G_BASE + g_buf(G_RX, i), .len = G_BUF,
			.flags = VRING_DESC_F_WRITE };
		g_post(g, G_RX, (uint16_t)i);
	}
	g_kick(g, G_RX);
}

/* The driver begins anew: both rings empty, the device running. */
int64_t g_start(struct guest *g)
{
	int64_t bad = vu_u64(g, 2, 1ull << 32 | 1ull << 30, -1);

	memset(g->mem, 0, 0x10000);
	for (int q = 0; q < 2; q++) {
		uint64_t one;

		g->avail[q] = g->seen[q] = 0;
		while (read(g->call[q], &one, sizeof(one)) > 0 ||
		       read(g->err[q], &one, sizeof(one)) > 0)
			;
		bad |= vu_state(g, 8, (uint32_t)q, G_NUM);
		bad |= vu_state(g, 10, (uint32_t)q, 0);
		bad |= vu_addr(g, (uint32_t)q, G_USER + g_ring(q));
		bad |= vu_u64(g, 13, (uint64_t)q, g->call[q]);
		bad |= vu_u64(g, 14, (uint64_t)q, g->err[q]);
		bad |= vu_u64(g, 12, (uint64_t)q, g->kick[q]);
	}
	for (int q = 0; q < 2; q++)
		bad |= vu_state(g, 18, (uint32_t)q, 1);
	return bad;
}

/* The driver stops; how far it came in the queue. */
uint32_t g_stop(struct guest *g, uint32_t q)
{
	uint32_t v[2] = { q, 0 }, got[2] = { 0, UINT32_MAX };

	vu_state(g, 18, q, 0);
	vu_send(g, 11, v, sizeof(v), -1, false, got, sizeof(got));
	return got[1];
}

/* The program under test, beside this one: build/bin/vsock-device. */
static void g_program(char *ret_path, size_t n)
{
	char self[256] = { 0 };

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		perror("/proc/self/exe");
	snprintf(ret_path, n, "%s/../../bin/vsock-device", dirname(self));
}

int g_connect(const char *path)
{
	return wait_connect(path, G_WAIT_MS);
}

/* A device and a VMM connected to it, memory not yet given. */
void g_spawn(struct guest *g)
{
	char program[300];

	*g = (struct guest){ .vm = -1 };
	strcpy(g->dir, "/tmp/test_vsock.XXXXXX");
	if (!mkdtemp(g->dir))
		perror("mkdtemp");
	snprintf(g->vmm, sizeof(g->vmm), "%s/vu", g->dir);
	snprintf(g->uds, sizeof(g->uds), "%s/v", g->dir);
	g_program(program, sizeof(program));
	g->pid = fork();
	if (g->pid == 0) {
		/* its sandbox forbids the leak checker's helper process */
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
		execl(program, "vsock-device", "--socket", g->vmm, "--uds",
		      g->uds, "--cid", "77", (char *)NULL);
		_exit(127);
	}
	g->vm = g_connect(g->vmm);
	g->mem_fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(g->mem_fd, G_MEM) < 0)
		perror("ftruncate");
	g->mem = mmap(NULL, G_MEM, PROT_READ | PROT_WRITE, MAP_SHARED,
		      g->mem_fd, 0);
	for (int q = 0; q < 2; q++) {
		g->kick[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->call[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->err[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	vu_send(g, 16, &(uint64_t){ 0x8209 }, 8, -1, false, NULL, 0);
}

/* The same with sealed memory and the device running. 0 if all went well. */
int64_t g_boot(struct guest *g)
{
	g_spawn(g);
	fcntl(g->mem_fd, F_ADD_SEALS, F_SEAL_SHRINK);
	if (vu_add_mem(g, g->mem_fd, G_MEM) != 0)
		return -1;
	return g_start(g);
}

/* The VMM goes away. Exit status of the device, 256 + n for a signal. */
int g_end(struct guest *g)
{
	int status = 0;

	close(g->vm);
	close(g->mem_fd);
	munmap(g->mem, G_MEM);
	for (int q = 0; q < 2; q++) {
		close(g->kick[q]);
		close(g->call[q]);
		close(g->err[q]);
	}
	waitpid(g->pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) :
				   256 + WTERMSIG(status);
}

struct virtio_vsock_hdr g_hdr(uint16_t op, uint32_t port, uint32_t host_port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = G_CID, .dst_cid = 2, .src_port = port,
		.dst_port = host_port, .type = 1, .op = op,
		.buf_alloc = 256 << 10 };
}

/* Sends a packet whose data lies behind the header in one descriptor, and waits
 * until the device took it. */
bool g_tx(struct guest *g, const struct virtio_vsock_hdr *h, const void *data,
	  size_t n)
{
	unsigned int i = g->avail[G_TX] % 128;
	uint64_t one;

	memcpy(g->mem + g_buf(G_TX, i), h, sizeof(*h));
	if (n)
		memcpy(g->mem + g_buf(G_TX, i) + sizeof(*h), data, n);
	g_desc(g, G_TX)[i] = (struct vring_desc){
		.addr = G_BASE + g_buf(G_TX, i),
		.len = (uint32_t)(sizeof(*h) + n) };
	g_post(g, G_TX, (uint16_t)i);
	g_kick(g, G_TX);
	while (__atomic_load_n(&g_used(g, G_TX)->idx, __ATOMIC_ACQUIRE) !=
	       g->avail[G_TX]) {
		if (!g_wait(g->call[G_TX]))
			return false;
		if (read(g->call[G_TX], &one, sizeof(one)) < 0)
			return false;
	}
	return true;
}

/* A packet without data. */
bool g_op(struct guest *g, uint16_t op, uint32_t port, uint32_t host_port)
{
	struct virtio_vsock_hdr h = g_hdr(op, port, host_port);

	return g_tx(g, &h, NULL, 0);
}

/* True if a packet for the guest is there. */
bool g_rx_there(struct guest *g)
{
	return __atomic_load_n(&g_used(g, G_RX)->idx, __ATOMIC_ACQUIRE) !=
	       g->seen[G_RX];
}

/* The next packet for the guest; its buffer goes back to the device. ret_data
 * (may be NULL) has room for G_BUF bytes. False: none came. */
bool g_rx(struct guest *g, struct virtio_vsock_hdr *ret_h, void *ret_data)
{
	struct vring_used *u = g_used(g, G_RX);
	struct vring_used_elem e;
	uint64_t one;

	memset(ret_h, 0, sizeof(*ret_h));
	while (!g_rx_there(g)) {
		if (!g_wait(g->call[G_RX]))
			return false;
		if (read(g->call[G_RX], &one, sizeof(one)) < 0)
			return false;
	}
	e = u->ring[g->seen[G_RX]++ % G_NUM];
	memcpy(ret_h, g->mem + g_buf(G_RX, e.id), sizeof(*ret_h));
	if (e.len != sizeof(*ret_h) + ret_h->len)
		return false;
	if (ret_data)
		memcpy(ret_data, g->mem + g_buf(G_RX, e.id) + sizeof(*ret_h),
		       ret_h->len);
	g_post(g, G_RX, (uint16_t)e.id);
	g_kick(g, G_RX);
	return true;
}

/* Whether the next packet is that op towards `port`. */
bool g_expect(struct guest *g, uint16_t op, uint32_t port)
{
	struct virtio_vsock_hdr h;

	return g_rx(g, &h, NULL) && h.op == op && h.dst_port == port &&
	       h.dst_cid == G_CID;
}
