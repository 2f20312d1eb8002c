/* SPDX-License-Identifier: MIT */
/* links: test/unit/vu_guest.c */
/* test_vsock_device.c - tests the built vsock-device, sandbox included, against
 * a VMM that the test plays by hand, with its guest */
#include "tap.h"
#include "vu_guest.h"

enum {
	REQUEST = VIRTIO_VSOCK_OP_REQUEST,
	RESPONSE = VIRTIO_VSOCK_OP_RESPONSE,
	RST = VIRTIO_VSOCK_OP_RST,
	SHUT = VIRTIO_VSOCK_OP_SHUTDOWN,
	RW = VIRTIO_VSOCK_OP_RW,
	CREDIT = VIRTIO_VSOCK_OP_CREDIT_UPDATE,
};

#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

static int listen_port(struct guest *g, unsigned int port)
{
	struct sock_addr a = { .kind = SOCK_UNIX };
	int fd;

	snprintf(a.path, sizeof(a.path), "%s_%u", g->uds, port);
	fd = sock_listen(&a, 128);
	if (fd >= 0)
		sock_set_nonblock(fd, false);
	return fd;
}

static void unlisten(struct guest *g, unsigned int port, int fd)
{
	char path[80];

	snprintf(path, sizeof(path), "%s_%u", g->uds, port);
	unlink(path);
	close(fd);
}

static bool hears(int fd, const char *text)
{
	char buf[64] = { 0 };

	return read_full(fd, buf, strlen(text)) == 0 &&
	       strcmp(buf, text) == 0;
}

static bool at_end(int fd)
{
	char c;

	return g_wait(fd) && read(fd, &c, 1) <= 0;
}

static bool send_data(struct guest *g, uint32_t port, uint32_t host_port,
		      const void *data, size_t n)
{
	struct virtio_vsock_hdr h = g_hdr(RW, port, host_port);

	h.len = (uint32_t)n;
	return g_tx(g, &h, data, n);
}

static bool send_shutdown(struct guest *g, uint32_t port, uint32_t host_port,
			  uint32_t flags)
{
	struct virtio_vsock_hdr h = g_hdr(SHUT, port, host_port);

	h.flags = flags;
	return g_tx(g, &h, NULL, 0);
}

/* The guest connects from `port` to 9000, where lfd listens; the host's end. */
static int open_from_guest(struct guest *g, int lfd, uint32_t port)
{
	g_op(g, REQUEST, port, 9000);
	return g_expect(g, RESPONSE, port) ? accept(lfd, NULL, NULL) : -1;
}

/* The host connects to the guest's port 7; the host's end. */
static int open_from_host(struct guest *g, uint32_t *ret_host_port)
{
	struct virtio_vsock_hdr h;
	char ok_line[32];
	int fd = g_connect(g->uds);

	write_full(fd, "CONNECT 7\nearly", 15);
	if (!g_rx(g, &h, NULL) || h.op != REQUEST || h.dst_port != 7)
		return -1;
	*ret_host_port = h.src_port;
	g_op(g, RESPONSE, 7, h.src_port);
	snprintf(ok_line, sizeof(ok_line), "OK %u\n", h.src_port);
	return hears(fd, ok_line) ? fd : -1;
}

static void setup_messages(struct guest *g)
{
	uint64_t v = 0;
	uint8_t config[20] = { 0 };
	uint32_t ask[5] = { 0, 8, 0, 0, 0 }, wrong[5] = { 4, 8, 0, 0, 0 };

	ok(vu_send(g, 1, NULL, 0, -1, false, &v, 8) == 0 &&
	   v == (1ull << 32 | 1ull << 30 | 1ull << 29),
	   "VERSION_1, EVENT_IDX and nothing else is offered");
	vu_send(g, 24, ask, sizeof(ask), -1, false, config, sizeof(config));
	ok(config[12] == G_CID, "the configuration holds the CID");
	ok(vu_send(g, 24, wrong, sizeof(wrong), -1, true, NULL, 0) == 1,
	   "configuration beyond its end is refused");
	ok(vu_u64(g, 2, 1ull << 28, -1) == 1,
	   "a feature that was not offered is refused");
	ok(vu_state(g, 8, 2, 128) == 1 && vu_state(g, 8, 0, 100) == 1 &&
	   vu_state(g, 8, 0, 0) == 1 && vu_state(g, 8, 0, 4096) == 1,
	   "a third queue and odd sizes are refused");
	ok(vu_u64(g, 12, 0x100, -1) == 1, "a queue without kicks is refused");
	ok(vu_send(g, 99, NULL, 0, -1, true, NULL, 0) == 1,
	   "an unknown request is refused");
	ok(vu_u64(g, 2, 1ull << 32, g->mem_fd) == 0,
	   "an fd that nobody asked for does no harm");
	ok(vu_add_mem(g, g->mem_fd, G_MEM) == 0 && g_start(g) == 1,
	   "rings in memory that could shrink are refused");
	fcntl(g->mem_fd, F_ADD_SEALS, F_SEAL_SHRINK);
	ok(vu_add_mem(g, g->mem_fd, 2 * G_MEM) == 1,
	   "memory beyond its file is refused");
}

static void guest_connects(struct guest *g)
{
	int lfd = listen_port(g, 9000), fd;
	struct virtio_vsock_hdr h;
	char buf[G_BUF] = { 0 };

	g_op(g, REQUEST, 50, 9001);
	ok(g_expect(g, RST, 50), "a port where nobody listens resets");
	fd = open_from_guest(g, lfd, 51);
	ok(fd >= 0, "a port where somebody listens answers");
	send_data(g, 51, 9000, "hello", 5);
	ok(hears(fd, "hello"), "data goes out");
	write_full(fd, "world", 5);
	ok(g_rx(g, &h, buf) && h.op == RW && h.len == 5 && h.fwd_cnt == 5 &&
	   memcmp(buf, "world", 5) == 0, "data comes in, with credit");
	send_shutdown(g, 51, 9000, VIRTIO_VSOCK_SHUTDOWN_SEND);
	ok(at_end(fd), "the guest's half-close is the host's end of file");
	write_full(fd, "late", 4);
	ok(g_rx(g, &h, buf) && h.op == RW && h.len == 4,
	   "the other half still works");
	close(fd);
	ok(g_rx(g, &h, NULL) && h.op == SHUT, "the host's close is told");
	if (h.flags != BOTH)
		g_rx(g, &h, NULL);
	ok(h.op == SHUT && h.flags == BOTH, "as both halves at last");
	send_shutdown(g, 51, 9000, BOTH);
	ok(g_expect(g, RST, 51), "and a guest's close is confirmed");

	fd = open_from_guest(g, lfd, 52);
	shutdown(fd, SHUT_WR);
	ok(g_rx(g, &h, NULL) && h.op == SHUT &&
	   h.flags == VIRTIO_VSOCK_SHUTDOWN_SEND,
	   "the host's half-close is told as one");
	send_data(g, 52, 9000, "answer", 6);
	ok(hears(fd, "answer"), "and the guest may still send");
	g_op(g, RST, 52, 9000);
	ok(at_end(fd), "the guest's reset closes the host's end");
	close(fd);
	unlisten(g, 9000, lfd);
}

/* More connections at once than the monitor may have on their way. */
static void guest_connects_often(struct guest *g)
{
	enum { N = 120 };
	int lfd = listen_port(g, 9000);
	struct virtio_vsock_hdr h;
	unsigned int open = 0, from = g->avail[G_TX];
	char c;

	for (unsigned int k = 0; k < N; k++) {
		unsigned int i = (from + k) % 128;

		h = g_hdr(REQUEST, 1000 + k, 9000);
		memcpy(g->mem + g_buf(G_TX, i), &h, sizeof(h));
		g_desc(g, G_TX)[i] = (struct vring_desc){
			.addr = G_BASE + g_buf(G_TX, i), .len = sizeof(h) };
		g_post(g, G_TX, (uint16_t)i);
	}
	g_kick(g, G_TX);
	while (open < N && g_rx(g, &h, NULL) && h.op == RESPONSE)
		open++;
	ok(open == N, "%d connects in one kick are all answered", N);
	for (unsigned int k = 0; k < open; k++) {
		int fd = accept(lfd, NULL, NULL);

		g_op(g, RST, 1000 + k, 9000);
		if (read(fd, &c, 1) != 0)
			open = 0;
		close(fd);
	}
	ok(open == N, "and each by a connection of its own");
	unlisten(g, 9000, lfd);
}

static void host_connects(struct guest *g)
{
	struct virtio_vsock_hdr h;
	char buf[G_BUF];
	uint32_t port = 0;
	int fd = open_from_host(g, &port);

	ok(fd >= 0, "CONNECT is a request, OK its answer");
	ok(g_rx(g, &h, buf) && h.op == RW && h.len == 5 &&
	   memcmp(buf, "early", 5) == 0, "bytes behind the line are kept");
	send_data(g, 7, port, "hi", 2);
	ok(hears(fd, "hi"), "the guest answers");
	send_data(g, 7, port, "last", 4);
	send_shutdown(g, 7, port, BOTH);
	ok(g_expect(g, RST, 7) && hears(fd, "last") && at_end(fd),
	   "what a guest sent before it closed arrives");
	close(fd);

	fd = g_connect(g->uds);
	write_full(fd, "CONN", 4);
	write_full(fd, "ECT 8\n", 6);
	ok(g_rx(g, &h, NULL) && h.op == REQUEST && h.dst_port == 8,
	   "a line in pieces is a line");
	g_op(g, RST, 8, h.src_port);
	ok(at_end(fd), "a refusal closes the connection");
	close(fd);
	for (size_t i = 0; i < 6; i++) {
		static const char *const bad[] = {
			"CONNECT \n", "CONNECT x\n", "CONNECT 4294967295\n",
			"connect 7\n", "CONNECT 7 \n",
			"CONNECT 00000000000000000000000000000007\n",
		};

		fd = g_connect(g->uds);
		write_full(fd, bad[i], strlen(bad[i]));
		ok(at_end(fd), "bad line %zu is closed", i);
		close(fd);
	}
	fd = g_connect(g->uds);
	write_full(fd, "CONNECT 9\n", 10);
	ok(g_expect(g, REQUEST, 9), "a host asks");
	close(fd);
	ok(g_expect(g, RST, 9), "and gives up before the guest answers");
}

/* Each packet is sent on an open stream (port 60) and must reset it. */
static void bad_packets(struct guest *g)
{
	struct virtio_vsock_hdr h;
	int lfd = listen_port(g, 9000);

	for (int i = 0; i < 8; i++) {
		static const char *const what[] = {
			"an unknown op", "op 0", "a second request",
			"a response out of state", "more data than the chain has",
			"having read what was never sent",
			"data after its own half-close", "a length of 4 GiB",
		};
		int fd = open_from_guest(g, lfd, 60);

		h = g_hdr(RW, 60, 9000);
		if (i < 4)
			h.op = (uint16_t[]){ 99, 0, REQUEST, RESPONSE }[i];
		if (i == 4)
			h.len = 5;
		if (i == 5)
			h.fwd_cnt = 1;
		if (i == 6)
			send_shutdown(g, 60, 9000, VIRTIO_VSOCK_SHUTDOWN_SEND);
		if (i == 6)
			h.len = 4;
		if (i == 7)
			h.len = UINT32_MAX;
		g_tx(g, &h, "data", 4);
		ok(g_expect(g, RST, 60) && at_end(fd), "%s resets the stream",
		   what[i]);
		close(fd);
	}
	g_op(g, RW, 61, 9000);
	ok(g_expect(g, RST, 61), "data without a stream is reset");
	h = g_hdr(REQUEST, 62, 9000);
	h.dst_cid = 3;
	g_tx(g, &h, NULL, 0);
	ok(g_rx(g, &h, NULL) && h.op == RST && h.src_cid == 3,
	   "another destination than the host is reset");
	h = g_hdr(REQUEST, 63, 9000);
	h.type = 2;
	g_tx(g, &h, NULL, 0);
	ok(g_expect(g, RST, 63), "another type than stream is reset");
	h = g_hdr(REQUEST, 64, 9000);
	h.src_cid = G_CID + 1;
	g_tx(g, &h, NULL, 0);
	g_op(g, RW, 65, 9000);
	ok(g_expect(g, RST, 65), "a forged source is dropped without answer");
	unlisten(g, 9000, lfd);
}

/* A guest that does not wait for credit, a host that does not read. */
static void back_pressure(struct guest *g)
{
	static const uint8_t data[4096];
	struct virtio_vsock_hdr h = { 0 };
	int lfd = listen_port(g, 9000), fd = open_from_guest(g, lfd, 70);
	int other = open_from_guest(g, lfd, 71);
	size_t sent = 0;

	while (sent < (4u << 20) && h.op != RST) {
		send_data(g, 70, 9000, data, sizeof(data));
		sent += sizeof(data);
		while (h.op != RST && g_rx_there(g))
			g_rx(g, &h, NULL);
	}
	ok(h.op == RST && h.dst_port == 70,
	   "a guest beyond its credit is reset");
	send_data(g, 71, 9000, "fine", 4);
	ok(hears(other, "fine"), "another stream went on meanwhile");
	g_op(g, RST, 71, 9000);
	close(fd);
	close(other);
	unlisten(g, 9000, lfd);
}

/* A host sends small pieces to a guest that does not read; its buffer is good
 * for 399 packets. */
static void small_packets(struct guest *g)
{
	enum { N = 500 };	/* the excess fits into the socket */
	int lfd = listen_port(g, 9000), fd = open_from_guest(g, lfd, 80);
	struct virtio_vsock_hdr h = { 0 };
	size_t sent = 0, packets = 0, bytes = 0;
	char buf[G_BUF];

	for (; sent < 380; sent++) {
		write_full(fd, "x", 1);
		if (!g_rx(g, &h, NULL) || h.op != RW)
			break;
		packets++;
		bytes += h.len;
	}
	ok(bytes == 380, "small pieces come as they are");
	for (; sent < N; sent++)
		write_full(fd, "x", 1);
	while (bytes < N && packets < 399) {
		if (!g_rx(g, &h, NULL))
			break;
		packets++;
		bytes += h.len;
	}
	if (bytes < N) {
		h = g_hdr(CREDIT, 80, 9000);
		h.fwd_cnt = (uint32_t)bytes;
		g_tx(g, &h, NULL, 0);
		ok(packets < 455 && g_rx(g, &h, buf) && h.op == RW &&
		   h.len > 1, "what had to wait comes in one packet");
		bytes += h.len;
	}
	while (bytes < N && g_rx(g, &h, buf))
		bytes += h.len;
	ok(bytes == N, "and nothing is lost");
	close(fd);
	unlisten(g, 9000, lfd);
}

static void restart(struct guest *g)
{
	int lfd, fd;

	ok(g_stop(g, 0) < UINT32_MAX && g_stop(g, 1) < UINT32_MAX &&
	   g_start(g) == 0, "the driver starts again");
	g_rx_fill(g, 0, 200);
	lfd = listen_port(g, 9000);
	fd = open_from_guest(g, lfd, 90);
	ok(fd >= 0, "and finds a fresh device");
	g_stop(g, 0);
	g_stop(g, 1);
	g_start(g);
	ok(at_end(fd), "a guest's restart ends its streams");
	close(fd);
	unlisten(g, 9000, lfd);
}

/* Without room for its answers the device stops reading, and loses none. */
static void reset_flood(struct guest *g)
{
	struct virtio_vsock_hdr h = g_hdr(RW, 0, 9000);
	unsigned int n = 0;

	g_stop(g, 0);
	g_stop(g, 1);
	g_start(g);
	for (unsigned int i = 0; i < 128; i++) {
		h.src_port = i;
		memcpy(g->mem + g_buf(G_TX, i), &h, sizeof(h));
		g_desc(g, G_TX)[i] = (struct vring_desc){
			.addr = G_BASE + g_buf(G_TX, i), .len = sizeof(h) };
		g_post(g, G_TX, (uint16_t)i);
	}
	g_kick(g, G_TX);
	g_wait(g->call[G_TX]);
	vu_state(g, 8, 5, 0); /* a round trip: it has had its turn */
	ok(g_used(g, G_TX)->idx == 64, "64 answers wait, then no more is read");
	g_rx_fill(g, 0, 200);
	while (n < 128 && g_rx(g, &h, NULL) && h.op == RST && h.dst_port == n)
		n++;
	ok(n == 128, "with room all are answered, in order");
}

static void broken_queue(struct guest *g)
{
	int lfd = listen_port(g, 9000), fd = open_from_guest(g, lfd, 91);

	g_desc(g, G_TX)[0] = (struct vring_desc){ .addr = 1, .len = 44 };
	g_post(g, G_TX, 0);
	g_kick(g, G_TX);
	ok(g_wait(g->err[G_TX]), "a broken queue is told to the VMM");
	ok(at_end(fd), "and ends its streams");
	close(fd);
	g_stop(g, 0);
	g_stop(g, 1);
	g_start(g);
	g_rx_fill(g, 0, 200);
	fd = open_from_guest(g, lfd, 92);
	ok(fd >= 0, "a driver that starts again is served");
	close(fd);
	unlisten(g, 9000, lfd);
}

/* A guest may break its queues as often as it likes. */
static void log_flood(void)
{
	enum { N = 200 };
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	unsigned int lines = 0;
	struct guest g;
	char c;

	dup2(log, STDERR_FILENO);
	g_boot(&g);
	dup2(saved, STDERR_FILENO);
	close(saved);
	for (int i = 0; i < N; i++) {
		g_desc(&g, G_TX)[0] = (struct vring_desc){ .addr = 1,
							   .len = 44 };
		g_post(&g, G_TX, 0);
		g_kick(&g, G_TX);
		if (!g_wait(g.err[G_TX]))
			break;
		g_stop(&g, 0);
		g_stop(&g, 1);
		g_start(&g);
	}
	g_end(&g);
	rmdir(g.dir);
	lseek(log, 0, SEEK_SET);
	while (read(log, &c, 1) == 1)
		lines += c == '\n';
	ok(lines > 1 && lines < N / 2, "%d broken queues are %u lines", N,
	   lines);
	close(log);
}

static void ends(void)
{
	static const uint32_t bad[][3] = {
		{ 1, 2, 0 }, { 1, 1 | 4, 0 }, { 1, 1, 513 }, { 1, 1, 1u << 31 },
	};
	struct guest g;
	char c;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		g_spawn(&g);
		write_full(g.vm, bad[i], sizeof(bad[i]));
		ok(g_wait(g.vm) && read(g.vm, &c, 1) <= 0 &&
		   g_end(&g) == 65, "bad message header %zu ends it", i);
		rmdir(g.dir);
	}
	g_boot(&g);
	kill(g.pid, SIGKILL);
	ok(g_wait(g.vm) && read(g.vm, &c, 1) <= 0,
	   "without its monitor it ends");
	g_end(&g);
	unlink(g.vmm);
	unlink(g.uds);
	rmdir(g.dir);
	g_boot(&g);
	kill(g.pid, SIGTERM);
	ok(g_wait(g.vm) && read(g.vm, &c, 1) <= 0 && g_end(&g) == 0 &&
	   rmdir(g.dir) == 0, "SIGTERM ends it and leaves nothing");
}

int main(void)
{
	struct guest g;

	signal(SIGPIPE, SIG_IGN);
	g_spawn(&g);
	setup_messages(&g);
	g_end(&g);
	rmdir(g.dir);

	ok(g_boot(&g) == 0, "a VMM with sealed memory is served");
	g_rx_fill(&g, 0, 200);
	guest_connects(&g);
	guest_connects_often(&g);
	host_connects(&g);
	bad_packets(&g);
	back_pressure(&g);
	small_packets(&g);
	restart(&g);
	reset_flood(&g);
	broken_queue(&g);
	ok(g_end(&g) == 0, "it ends with its VMM");
	ok(rmdir(g.dir) == 0, "and leaves nothing behind");
	log_flood();
	ends();
	return done_testing();
}
