/* SPDX-License-Identifier: MIT */
/*
 * vsock-echo.c - echoes bytes over vsock, or talks to such an echo
 *
 *	vsock-echo serve ADDRESS [--ident]	echo every connection, for ever
 *	vsock-echo connect ADDRESS [options]	talk to an echo
 *
 * ADDRESS is vsock:CID:PORT (CID `any` to serve), unix:PATH or
 * hybrid:PATH:PORT.
 *
 *	  --size N     bytes of a message (64; at most 65536)
 *	  --count N    round trips (100)
 *	  --bulk N     then send N bytes and read them all back (0)
 *	  --json       one line for a program
 *	  --ident      skip the frame with which the bridge introduces a worker
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "abi/iso_wire.h"
#include "base/base.h"
#include "base/log.h"
#include "base/num.h"
#include "base/sock.h"

#define BUF_BYTES 65536u

struct options {
	uint64_t size, count, bulk;
	bool json, ident;
};

/* Writes back all bytes that it reads, except for the first `skip`. */
static void echo(int fd, size_t skip)
{
	static uint8_t buf[BUF_BYTES];
	size_t off;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		off = MIN(skip, (size_t)n);
		skip -= off;
		if (write_full(fd, buf + off, (size_t)n - off) < 0)
			return;
	}
}

/* A process for each connection, which does nothing but read and write, so that
 * a measurement against it is one of the bare path. */
static int serve(const struct sock_addr *a, bool ident)
{
	const size_t skip =
		ident ? sizeof(struct iso_hdr) + sizeof(struct iso_ident) : 0;
	int listener = sock_listen(a, 128);

	if (listener < 0)
		die(ISO_EX_UNAVAILABLE, "cannot listen: %s",
		    strerror(-listener));
	if (sock_set_nonblock(listener, false) < 0)
		die(ISO_EX_BUG, "fcntl");
	signal(SIGCHLD, SIG_IGN); /* the kernel reaps them */
	signal(SIGPIPE, SIG_IGN);
	printf("vsock-echo: ready\n");
	fflush(stdout);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		if (fork() == 0) {
			close(listener);
			echo(fd, skip);
			_exit(0);
		}
		close(fd);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The bytes of a stream from position `at` on. */
static void fill(uint8_t *p, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((at + i) * 31 >> 3);
}

/* The times of o->count round trips, ns, sorted; the caller frees them. */
static uint64_t *ping(int fd, const struct options *o)
{
	uint64_t *t = calloc(o->count + 1, sizeof(*t));
	uint8_t *out = malloc(o->size), *in = malloc(o->size);
	int r = 0;

	if (!t || !out || !in)
		die(ISO_EX_TEMPFAIL, "out of memory");
	for (uint64_t i = 0; i < o->count; i++) {
		fill(out, o->size, i);
		t[i] = now_ns();
		r = write_full(fd, out, o->size);
		if (r == 0)
			r = read_full(fd, in, o->size);
		if (r < 0)
			die(ISO_EX_IO, "message %llu: %s",
			    (unsigned long long)i, strerror(-r));
		t[i] = now_ns() - t[i];
		if (memcmp(in, out, o->size) != 0)
			die(ISO_EX_DATA, "message %llu came back changed",
			    (unsigned long long)i);
	}
	qsort(t, o->count, sizeof(*t), by_value);
	free(in);
	free(out);
	return t;
}

/* Sends o->bulk bytes and reads them back at the same time; how many ns that
 * took. */
static uint64_t bulk(int fd, const struct options *o)
{
	static uint8_t out[BUF_BYTES], in[BUF_BYTES], want[BUF_BYTES];
	uint64_t sent = 0, got = 0, start = now_ns();
	ssize_t n;

	if (sock_set_nonblock(fd, true) < 0)
		die(ISO_EX_BUG, "fcntl");
	while (got < o->bulk) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		size_t part = (size_t)MIN(o->bulk - sent, sizeof(out));

		if (part)
			p.events |= POLLOUT;
		if (poll(&p, 1, -1) < 0)
			die(ISO_EX_IO, "poll: %s", strerror(errno));
		fill(out, part, sent);
		n = part ? send(fd, out, part, MSG_NOSIGNAL) : 0;
		if (n < 0 && errno != EAGAIN)
			die(ISO_EX_IO, "send: %s", strerror(errno));
		sent += (uint64_t)MAX(n, 0);
		n = read(fd, in, sizeof(in));
		if (n == 0 || (n < 0 && errno != EAGAIN))
			die(ISO_EX_IO, "read: %s",
			    n ? strerror(errno) : "early end");
		n = MAX(n, 0);
		fill(want, (size_t)n, got);
		if (memcmp(in, want, (size_t)n) != 0)
			die(ISO_EX_DATA, "bytes after %llu came back changed",
			    (unsigned long long)got);
		got += (uint64_t)n;
	}
	return now_ns() - start;
}

static int client(const struct sock_addr *a, const struct options *o)
{
	uint64_t p50, p90, bulk_ns = 0;
	uint64_t *t;
	int fd = sock_connect(a, 10000);

	if (fd < 0)
		die(ISO_EX_UNAVAILABLE, "cannot connect: %s", strerror(-fd));
	t = ping(fd, o);
	if (o->bulk)
		bulk_ns = bulk(fd, o);
	p50 = t[o->count / 2];
	p90 = t[o->count * 9 / 10];
	printf(o->json ? "{\"size\":%llu,\"count\":%llu,\"p50_ns\":%llu,"
			 "\"p90_ns\":%llu,\"bulk_bytes\":%llu,"
			 "\"bulk_ns\":%llu}\n" :
			 "size %llu count %llu p50 %llu ns p90 %llu ns "
			 "bulk %llu bytes in %llu ns\n",
	       (unsigned long long)o->size, (unsigned long long)o->count,
	       (unsigned long long)p50, (unsigned long long)p90,
	       (unsigned long long)o->bulk, (unsigned long long)bulk_ns);
	free(t);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	enum { OPT_SIZE = 256, OPT_COUNT, OPT_BULK, OPT_JSON,
	       OPT_IDENT };
	static const struct option longs[] = {
		{ "size", required_argument, NULL, OPT_SIZE },
		{ "count", required_argument, NULL, OPT_COUNT },
		{ "bulk", required_argument, NULL, OPT_BULK },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "ident", no_argument, NULL, OPT_IDENT },
		{ 0 },
	};
	struct options o = { .size = 64, .count = 100 };
	struct sock_addr addr;
	int c, r = 0;

	log_init("vsock-echo");
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == OPT_SIZE)
			r = parse_u64(optarg, 1, BUF_BYTES, &o.size);
		else if (c == OPT_COUNT)
			r = parse_u64(optarg, 0, 1u << 20, &o.count);
		else if (c == OPT_BULK)
			r = parse_u64(optarg, 0, 1ull << 40, &o.bulk);
		else if (c == OPT_JSON)
			o.json = true;
		else if (c == OPT_IDENT)
			o.ident = true;
		else
			r = -EINVAL;
		if (r < 0)
			die(ISO_EX_USAGE, "unknown option, or a bad value");
	}
	argv += optind;
	argc -= optind;
	if (argc == 2 && sock_parse(argv[1], &addr) < 0)
		die(ISO_EX_USAGE, "%s: not an address", argv[1]);
	if (argc == 2 && strcmp(argv[0], "serve") == 0)
		return serve(&addr, o.ident);
	if (argc == 2 && strcmp(argv[0], "connect") == 0)
		return client(&addr, &o);
	die(ISO_EX_USAGE, "serve ADDRESS, or connect ADDRESS");
}
