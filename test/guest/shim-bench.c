/* SPDX-License-Identifier: MIT */
/*
 * shim-bench.c - measures the time that the shim adds to a vsock round trip
 *
 * usage: shim-bench MODULE BROKER ECHO [ROUNDS [CALLS]]
 *
 * Starts wire-broker BROKER and `ECHO serve` on this guest's loopback, loads
 * MODULE and times, in interleaved rounds, CALLS round trips each of
 *
 *   raw      as many bytes as the frames below have, both ways, over AF_VSOCK
 *   params   an ioctl with a buffer of 524 bytes
 *   nested   one with a pointer inside the buffer
 *
 * and prints for each the median and the spread of a round trip in
 * microseconds, and the median of its rounds' ratios to raw.
 */
#include <stdio.h>

#include "abi/iso_wire.h"
#include "base/num.h"
#include "base/sock.h"

#include "shim-guest.h"
#include "wire-test.h"

#define MAX_ROUNDS 200
#define ECHO_ADDR "vsock:any:9998"
#define PARAMS_LEN 524
/* The IOCTL frame of such a call; its RESULT is as long. */
#define FRAME_LEN (sizeof(struct iso_hdr) + sizeof(struct iso_ioctl) + \
		   sizeof(struct iso_span) + 32 + ISO_PAD8(PARAMS_LEN))

enum what { RAW, PARAMS, NESTED, WHAT_COUNT };

static const char *const names[] = { "raw", "params", "nested" };

struct bench {
	int raw, ctl;
	double us[WHAT_COUNT][MAX_ROUNDS];
	double ratio[WHAT_COUNT][MAX_ROUNDS];
};

/* One round trip. */
static bool once(struct bench *b, enum what what)
{
	uint8_t buf[FRAME_LEN] = { 0 };
	struct {
		uint64_t ptr;
		uint32_t len, pad;
	} inner = { (uintptr_t)buf, PARAMS_LEN, 0 };
	struct arg32 a = { .ptr = (uintptr_t)buf, .len = PARAMS_LEN };

	switch (what) {
	case RAW:
		return !write_full(b->raw, buf, sizeof(buf)) &&
		       !read_full(b->raw, buf, sizeof(buf));
	case PARAMS:
		return !ioctl(b->ctl, CALL(WT_PARAMS, 32), &a);
	default:
		a.ptr = (uintptr_t)&inner;
		a.len = sizeof(inner);
		return !ioctl(b->ctl, CALL(WT_NESTED, 32), &a);
	}
}

/* Microseconds of one round trip; negative if one failed. */
static double measure(struct bench *b, enum what what, uint64_t calls)
{
	uint64_t since = now_ns();

	for (uint64_t i = 0; i < calls; i++)
		if (!once(b, what))
			return -1;
	return (double)(now_ns() - since) / 1000 / (double)calls;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(struct bench *b, uint64_t rounds)
{
	for (int w = 0; w < WHAT_COUNT; w++) {
		qsort(b->us[w], rounds, sizeof(double), compare);
		qsort(b->ratio[w], rounds, sizeof(double), compare);
		printf("%-8s %8.1f us (%.1f .. %.1f)  ratio %.3f "
		       "(%.3f .. %.3f)\n",
		       names[w], b->us[w][rounds / 2], b->us[w][0],
		       b->us[w][rounds - 1], b->ratio[w][rounds / 2],
		       b->ratio[w][0], b->ratio[w][rounds - 1]);
	}
}

/* Waits until the echo listens, ten seconds at most. The socket or -errno. */
static int connect_echo(void)
{
	uint64_t end = now_ns() + 10000000000ull;
	struct sock_addr addr;
	int fd;

	if (sock_parse("vsock:1:9998", &addr))
		return -EINVAL;
	do
		fd = sock_connect(&addr, 1000);
	while (fd < 0 && now_ns() < end);
	return fd;
}

int main(int argc, char **argv)
{
	static struct bench b;
	uint64_t rounds = 15, calls = 300;
	pid_t broker, echo_pid;
	int rc = ISO_EX_OK;

	if (argc < 4 ||
	    (argc > 4 && parse_u64(argv[4], 1, MAX_ROUNDS, &rounds)) ||
	    (argc > 5 && parse_u64(argv[5], 1, 1000000, &calls)))
		return ISO_EX_USAGE;
	broker = start(argv[2], BROKER_ADDR, "1");
	echo_pid = start(argv[3], "serve", ECHO_ADDR);
	if (load(argv[1]))
		return ISO_EX_UNAVAILABLE;
	b.raw = connect_echo();
	b.ctl = open_ctl();
	if (b.raw < 0 || b.ctl < 0)
		return ISO_EX_UNAVAILABLE;
	for (uint64_t i = 0; i < rounds && rc == ISO_EX_OK; i++)
		for (int w = 0; w < WHAT_COUNT; w++) {
			b.us[w][i] = measure(&b, (enum what)w, calls);
			b.ratio[w][i] = b.us[w][i] / b.us[RAW][i];
			if (b.us[w][i] < 0)
				rc = ISO_EX_IO;
		}
	if (rc == ISO_EX_OK)
		report(&b, rounds);
	stop(broker);
	stop(echo_pid);
	return rc;
}
