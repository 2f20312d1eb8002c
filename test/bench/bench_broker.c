/* SPDX-License-Identifier: MIT */
/*
 * bench_broker.c - compares gpu-broker's round trip with that of a bare epoll
 * echo
 *
 * usage: bench_broker [PAIRS]
 *
 * One process drives C connections over a Unix socket in turn: a request, its
 * answer, the next connection. The broker answers the smallest call there is
 * through its soft driver; the echo sends the same number of bytes back. The
 * measurements of a pair are interleaved, and all processes share one
 * processor, for the scheduler's choice of processors would change a round trip
 * by more than the two differ. Prints one JSON object for each C; ends with 1
 * if a ratio is above its limit.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "abi/abi.h"
#include "abi/iso_wire.h"
#include "abi_numbers.h"
#include "base/log.h"
#include "base/num.h"
#include "base/rd.h"
#include "base/sock.h"
#include "base/wr.h"
#include "bench.h"

#define VERSION "550.163.01"
#define MAX_CONNS 100
#define REQUESTS 4000		/* of each measurement */
#define FRAME_MAX 128

struct bench {
	char dir[64];
	struct sock_addr broker_addr, echo_addr;
	pid_t broker, echo;
	int broker_fd[MAX_CONNS], echo_fd[MAX_CONNS];
	uint8_t request[MAX_CONNS][FRAME_MAX];
	size_t request_len, reply_len;
};

/* ---- the echo ----------------------------------------------------------- */

_noreturn_ static void echo_serve(int listen_fd, size_t reply_len)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = listen_fd };
	int ep = epoll_create1(0);
	uint8_t buf[4096] = { 0 };

	epoll_ctl(ep, EPOLL_CTL_ADD, listen_fd, &e);
	for (;;) {
		struct epoll_event got[64];
		int n = epoll_wait(ep, got, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = got[i].data.fd;

			if (fd == listen_fd) {
				fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
				e.data.fd = fd;
				epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
			} else if (recv(fd, buf, sizeof(buf), 0) <= 0) {
				close(fd);
			} else if (send(fd, buf, reply_len, MSG_NOSIGNAL) < 0) {
				close(fd);
			}
		}
	}
}

/* ---- the broker --------------------------------------------------------- */

static void make_secret(const struct bench *b, uint8_t *secret, char *path,
			size_t size)
{
	_cleanup_close_ int fd = -1;

	snprintf(path, size, "%s/secret", b->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || random_bytes(secret, ISO_SECRET_LEN) < 0 ||
	    write_full(fd, secret, ISO_SECRET_LEN) < 0)
		die(ISO_EX_IO, "%s: %s", path, strerror(errno));
}

/* Starts it and waits until it serves. */
static void start_broker(struct bench *b, const char *secret_path)
{
	char listen[SOCK_PATH_MAX + 8], line[64];
	int out[2];
	FILE *f;

	snprintf(listen, sizeof(listen), "unix:%s", b->broker_addr.path);
	if (pipe2(out, O_CLOEXEC) < 0)
		die(ISO_EX_BUG, "pipe: %s", strerror(errno));
	b->broker = fork();
	if (b->broker == 0) {
		dup2(out[1], STDOUT_FILENO);
		setenv("ISOSPIN_LOG_LEVEL", "error", 1);
		setenv("ISOSPIN_MAX_CONNS", "100", 1);
		execl("build/bin/gpu-broker", "gpu-broker", "--driver", "soft",
		      "--driver-version", VERSION, "--listen", listen,
		      "--secret-file", secret_path, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	if (!f || !fgets(line, sizeof(line), f))
		die(ISO_EX_UNAVAILABLE, "the broker does not start");
	fclose(f);
}

static void header(struct wr *w, size_t body, enum iso_type type, uint32_t tag,
		   uint32_t file)
{
	wr_u32(w, (uint32_t)(sizeof(struct iso_hdr) + body));
	wr_u16(w, (uint16_t)type);
	wr_u16(w, 0);
	wr_u32(w, tag);
	wr_u32(w, file);
}

/* Reads one frame's header and drops its body. The file id. */
static uint32_t take_frame(int fd, enum iso_type type)
{
	uint8_t head[sizeof(struct iso_hdr)], junk[4096];
	struct rd r = rd_init(head, sizeof(head));
	uint32_t len, file;

	if (read_full(fd, head, sizeof(head)) < 0)
		die(ISO_EX_BUG, "the broker closed");
	len = rd_u32(&r) - (uint32_t)sizeof(head);
	if (rd_u16(&r) != type)
		die(ISO_EX_BUG, "the broker sent something else than %d", type);
	rd_u16(&r);
	rd_u32(&r);
	file = rd_u32(&r);
	while (len) {
		uint32_t n = MIN(len, (uint32_t)sizeof(junk));

		if (read_full(fd, junk, n) < 0)
			die(ISO_EX_BUG, "the broker closed");
		len -= n;
	}
	return file;
}

/* Joins as the one worker and opens a device. The file id. */
static uint32_t join(int fd, const uint8_t *secret)
{
	struct iso_ident id = { .worker = "bench", .caps = ISO_CAP_UTILITY };
	const struct iso_hello hello = { .major = ISO_WIRE_MAJOR,
					 .max_frame = ISO_MAX_FRAME };
	const struct iso_open open_ = { .kind = ISO_DEV_CTL, .tgid = 1 };
	struct wr w;
	int r;

	memcpy(id.secret, secret, sizeof(id.secret));
	wr_init(&w, 4096);
	header(&w, sizeof(id), ISO_IDENT, 0, 0);
	wr_bytes(&w, &id, sizeof(id));
	header(&w, sizeof(hello), ISO_HELLO, 0, 0);
	wr_bytes(&w, &hello, sizeof(hello));
	header(&w, sizeof(open_), ISO_OPEN, 1, 0);
	wr_bytes(&w, &open_, sizeof(open_));
	r = write_full(fd, w.p, w.len);
	wr_free(&w);
	if (r < 0)
		die(ISO_EX_BUG, "the broker closed");
	take_frame(fd, ISO_HELLO_OK);
	return take_frame(fd, ISO_OPENED);
}

/* Makes a SYS_PARAMS: 8 bytes there, 8 back, no pointer. Its length. */
static size_t make_request(uint8_t *p, uint32_t file)
{
	const uint32_t arg_len = 8;
	struct wr w;
	size_t len;

	wr_init(&w, FRAME_MAX);
	header(&w, sizeof(struct iso_ioctl) + arg_len, ISO_IOCTL, 1, file);
	wr_u32(&w, NV_ESC_SYS_PARAMS);
	wr_u32(&w, arg_len);
	wr_u64(&w, 0);
	wr_u64(&w, 0);
	len = w.len;
	memcpy(p, w.p, len);
	wr_free(&w);
	return len;
}

/* ---- measuring ---------------------------------------------------------- */

static int dial(const struct sock_addr *addr)
{
	int fd = sock_connect(addr, 5000);

	if (fd < 0)
		die(ISO_EX_UNAVAILABLE, "connect: %s", strerror(-fd));
	return fd;
}

static void setup(struct bench *b)
{
	uint8_t secret[ISO_SECRET_LEN];
	char path[128];
	int fd;

	snprintf(b->dir, sizeof(b->dir), "/tmp/bench_broker.XXXXXX");
	if (!mkdtemp(b->dir))
		die(ISO_EX_IO, "%s: %s", b->dir, strerror(errno));
	snprintf(b->broker_addr.path, sizeof(b->broker_addr.path), "%s/b",
		 b->dir);
	snprintf(b->echo_addr.path, sizeof(b->echo_addr.path), "%s/e", b->dir);
	make_secret(b, secret, path, sizeof(path));
	start_broker(b, path);
	unlink(path);
	b->reply_len = sizeof(struct iso_hdr) + sizeof(struct iso_result) + 8;
	fd = sock_listen(&b->echo_addr, MAX_CONNS);
	b->echo = fork();
	if (b->echo == 0)
		echo_serve(fd, b->reply_len);
	close(fd);
	for (int i = 0; i < MAX_CONNS; i++) {
		b->broker_fd[i] = dial(&b->broker_addr);
		b->request_len = make_request(b->request[i],
					      join(b->broker_fd[i], secret));
		b->echo_fd[i] = dial(&b->echo_addr);
	}
}

static void teardown(struct bench *b)
{
	kill(b->echo, SIGTERM);
	kill(b->broker, SIGTERM);
	waitpid(b->echo, NULL, 0);
	waitpid(b->broker, NULL, 0);
	unlink(b->echo_addr.path);
	unlink(b->broker_addr.path);
	rmdir(b->dir);
}

/* Microseconds for each request, over n connections in turn. */
static double measure(const struct bench *b, const int *fd, int n)
{
	uint64_t start = now_ns();
	uint8_t reply[FRAME_MAX];

	for (int i = 0; i < REQUESTS; i++) {
		int k = i % n;

		if (write_full(fd[k], b->request[k], b->request_len) < 0 ||
		    read_full(fd[k], reply, b->reply_len) < 0)
			die(ISO_EX_BUG, "connection %d is gone", k);
	}
	return (double)(now_ns() - start) / REQUESTS / 1e3;
}

static bool compare_at(const struct bench *b, int conns, size_t n,
		       const char *name, double limit)
{
	struct bench_pairs pairs = { .name = name, .ours = "broker_us",
				     .theirs = "echo_us" };

	measure(b, b->broker_fd, conns);
	measure(b, b->echo_fd, conns);
	while (pairs.n < n) {
		double broker = measure(b, b->broker_fd, conns);

		bench_add(&pairs, broker, measure(b, b->echo_fd, conns));
	}
	return bench_say(&pairs, limit, true);
}

int main(int argc, char **argv)
{
	static struct bench b;
	uint64_t pairs = BENCH_PAIRS;
	cpu_set_t one;
	bool kept;

	log_init("bench_broker");
	CPU_ZERO(&one);
	CPU_SET((unsigned int)sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		die(ISO_EX_UNAVAILABLE, "no processor: %s", strerror(errno));
	if (argc > 1 && parse_u64(argv[1], 1, BENCH_PAIRS_MAX, &pairs) < 0)
		die(ISO_EX_USAGE, "usage: bench_broker [PAIRS]");
	setup(&b);
	kept = compare_at(&b, 1, pairs, "broker_1_connection", 1.5);
	/* Twice the echo would be out of the ordinary. */
	kept &= compare_at(&b, MAX_CONNS, pairs, "broker_100_connections", 2.0);
	teardown(&b);
	return kept ? ISO_EX_OK : ISO_EX_NO;
}
