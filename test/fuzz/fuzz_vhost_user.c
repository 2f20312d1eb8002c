/* SPDX-License-Identifier: MIT */
/* links: src/vsock-device */
/* fuzz_vhost_user.c - sends a VMM's messages with any values in their fields */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/rd.h"
#include "base/sock.h"
#include "vsock-device/vhost_user.h"

#define SIZE 65536

static bool over;

static void ended(struct vu *u)
{
	(void)u;
	over = true;
}

static int no_dial(void *arg, uint32_t port, uint32_t serial)
{
	(void)arg;
	(void)port;
	(void)serial;
	return -1;
}

static int memory(void)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (ftruncate(fd, SIZE) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		abort();
	return fd;
}

/* One message: request, flags, number of fds, their kind, length, body. */
static void one(int vm, struct rd *rd)
{
	const uint8_t *b = rd_span(rd, 5);
	uint8_t buf[VU_HDR_LEN + 255] = { 0 };
	int fds[4];
	size_t n_fds;
	uint32_t hdr[3];

	if (!b)
		return;
	hdr[0] = b[0];
	hdr[1] = b[1] & 1 ? 9 : b[1] & 2 ? b[1] : 1;
	hdr[2] = (uint32_t)MIN(b[4], rd->left);
	memcpy(buf, hdr, sizeof(hdr));
	rd_copy(rd, buf + VU_HDR_LEN, hdr[2]);
	n_fds = b[2] % 5;
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = b[3] & 1 ? memory() : eventfd(0, EFD_CLOEXEC);
	sock_send_fds(vm, buf, VU_HDR_LEN + hdr[2], fds, n_fds);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct rd rd = rd_init(p, n);
	static struct vsock v;
	static struct vu u;
	struct loop l;
	int pair[2];
	char sink[4096];

	log_set_level(LOG_LVL_ERROR - 1);
	over = false;
	if (loop_init(&l) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	vsock_init(&v, &l, 77, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	v.dial.ask = no_dial;
	vu_init(&u, &v, pair[0], ended);
	while (!over && !rd.bad && rd.left > 0) {
		one(pair[1], &rd);
		loop_once(&l, 0);
		loop_once(&l, 0);
		vsock_reap(&v);
		while (recv(pair[1], sink, sizeof(sink), 0) > 0)
			;
	}
	vu_fini(&u);
	vsock_fini(&v);
	loop_fini(&l);
	close(pair[1]);
	return 0;
}
