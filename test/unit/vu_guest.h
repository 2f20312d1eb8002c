/* SPDX-License-Identifier: MIT */
/*
 * vu_guest.h - plays a VMM with its guest's vsock driver, by hand
 *
 * Starts the vsock-device that was built beside the test, speaks vhost-user to
 * it and writes both rings itself, so a test can write rings that no kernel
 * would.
 */
#ifndef TEST_VU_GUEST_H
#define TEST_VU_GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/base.h"
#include "base/sock.h"

#define G_CID 77u
#define G_NUM 256u
#define G_MEM (4u << 20)
#define G_BASE 0x100000ull		/* guest physical */
#define G_USER 0x7f0000000000ull	/* in the VMM */
#define G_HDR sizeof(struct virtio_vsock_hdr)
#define G_BUF 4096u			/* a receive buffer */
#define G_TX_BUF 8192u
#define G_WAIT_MS 5000

enum { G_RX, G_TX };

struct guest {
	pid_t pid;		/* of the monitor */
	char dir[32], vmm[64], uds[64];
	int vm, mem_fd;
	uint8_t *mem;
	int kick[2], call[2], err[2];
	uint16_t avail[2], seen[2];
};

struct vring_desc *g_desc(struct guest *g, int q);
struct vring_used *g_used(struct guest *g, int q);
uint32_t g_buf(int q, unsigned int i);
/* True if fd becomes readable in time. */
bool g_wait(int fd);
/* One request; with_ack asks for an acknowledgement and returns its value.
 * -1: the device hung up. */
int64_t vu_send(struct guest *g, uint32_t request, const void *body, uint32_t n,
		int fd, bool ack, void *ret_reply, size_t reply_bytes);
int64_t vu_u64(struct guest *g, uint32_t request, uint64_t v, int fd);
int64_t vu_state(struct guest *g, uint32_t request, uint32_t i, uint32_t n);
int64_t vu_add_mem(struct guest *g, int fd, uint64_t size);
void g_post(struct guest *g, int q, uint16_t head);
void g_kick(struct guest *g, int q);
/* Hands buffers [from, to) of the rx ring to the device. */
void g_rx_fill(struct guest *g, unsigned int from, unsigned int to);
/* The driver begins anew: both rings empty, the device running. */
int64_t g_start(struct guest *g);
/* The driver stops; how far it came in the queue. */
uint32_t g_stop(struct guest *g, uint32_t q);
int g_connect(const char *path);
/* A device and a VMM connected to it, memory not yet given. */
void g_spawn(struct guest *g);
/* The same with sealed memory and the device running. 0 if all went well. */
int64_t g_boot(struct guest *g);
/* The VMM goes away. Exit status of the device, 256 + n for a signal. */
int g_end(struct guest *g);
struct virtio_vsock_hdr g_hdr(uint16_t op, uint32_t port, uint32_t host_port);
/* Sends a packet whose data lies behind the header in one descriptor, and waits
 * until the device took it. */
bool g_tx(struct guest *g, const struct virtio_vsock_hdr *h, const void *data,
	  size_t n);
/* A packet without data. */
bool g_op(struct guest *g, uint16_t op, uint32_t port, uint32_t host_port);
/* True if a packet for the guest is there. */
bool g_rx_there(struct guest *g);
/* The next packet for the guest; its buffer goes back to the device. ret_data
 * (may be NULL) has room for G_BUF bytes. False: none came. */
bool g_rx(struct guest *g, struct virtio_vsock_hdr *ret_h, void *ret_data);
/* Whether the next packet is that op towards `port`. */
bool g_expect(struct guest *g, uint16_t op, uint32_t port);

#endif /* TEST_VU_GUEST_H */
