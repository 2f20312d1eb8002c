/* SPDX-License-Identifier: MIT */
/*
 * rm-bench.c - measures RM controls against bare bytes on the same path
 *
 * usage: rm-bench ECHO [PAIRS [CALLS]]
 *
 * Runs in a worker. ECHO is the address of an echo in the GPU VM that is
 * reached as the broker is. In interleaved pairs it times CALLS round trips
 * each of
 *
 *   control  GPU_GET_INFO_V2: one buffer, 524 bytes with driver 550
 *   nested   BUS_GET_INFO: a pointer inside the buffer, which takes the broker
 *            to ask back
 *
 * against one write and read of no more bytes than such a call moves each way,
 * and prints a JSON object for each ratio, as the other benchmarks do. The
 * calls are put together before, so that a program's own work is not timed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../bench/bench.h"
#include "abi/iso_wire.h"
#include "base/base.h"
#include "base/log.h"
#include "base/num.h"
#include "base/sock.h"
#include "rm/rm.h"

#define WARM_UP 20
#define RAW_MAX 2048

/* A call, ready to be made, with the message that it is compared to. */
struct pair {
	struct bench_pairs p;
	struct rm_params params;
	struct rm_arg arg;
	size_t raw_len;		/* bytes of a message to ECHO and back */
};

struct bench {
	struct rm rm;
	uint32_t subdevice;
	uint8_t list[8];	/* BUS_GET_INFO's one entry: index, data */
	int raw;
};

static _noreturn_ void fail(const struct bench *b)
{
	die(ISO_EX_UNAVAILABLE, "%s", b->rm.error);
}

static void make_subdevice(struct bench *b)
{
	struct rm_params attach;
	uint32_t device;

	if (rm_open(&b->rm) < 0 ||
	    rm_params_init(&b->rm, ABI_R_NV0000_CTRL_CMD_GPU_ATTACH_IDS,
			   &attach) < 0)
		fail(b);
	abi_put(attach.row, ABI_F_gpuIds, 0, attach.buf, attach.size,
		NV0000_CTRL_GPU_ATTACH_ALL_PROBED_IDS);
	if (rm_control(&b->rm, b->rm.client, &attach) < 0 ||
	    rm_alloc(&b->rm, b->rm.client, ABI_R_NV01_DEVICE_0, ABI_F_deviceId,
		     0, &device) < 0 ||
	    rm_alloc(&b->rm, device, ABI_R_NV20_SUBDEVICE_0, ABI_F_subDeviceId,
		     0, &b->subdevice) < 0)
		fail(b);
	rm_params_free(&attach);
}

static void make_call(struct bench *b, enum abi_r cmd, struct pair *pair)
{
	if (rm_params_init(&b->rm, cmd, &pair->params) < 0)
		fail(b);
	rm_arg_control(&pair->arg,
		       rm_escape(b->rm.abi, ABI_R_NV_ESC_RM_CONTROL,
				 RM_LONGEST),
		       b->rm.client, b->subdevice, pair->params.row->nr,
		       (uintptr_t)pair->params.buf, pair->params.size);
	/* The bytes of IOCTL; RESULT is as long. */
	pair->raw_len = sizeof(struct iso_hdr) + sizeof(struct iso_ioctl) +
			sizeof(struct iso_span) + pair->arg.size +
			ISO_PAD8(pair->params.size);
}

static void set_up(struct bench *b, struct pair *control, struct pair *nested)
{
	const struct rm_params *p = &nested->params;

	make_subdevice(b);
	make_call(b, ABI_R_NV2080_CTRL_CMD_GPU_GET_INFO_V2, control);
	make_call(b, ABI_R_NV2080_CTRL_CMD_BUS_GET_INFO, nested);
	abi_put(p->row, ABI_F_busInfoListSize, 0, p->buf, p->size, 1);
	abi_put(p->row, ABI_F_busInfoList, 0, p->buf, p->size,
		(uintptr_t)b->list);
	/* And of MORE; NEED is as long, and RESULT brings the list back too. */
	nested->raw_len += sizeof(struct iso_hdr) + sizeof(struct iso_more) +
			   sizeof(struct iso_span) + sizeof(b->list);
}

static void once_raw(struct bench *b, struct pair *pair)
{
	static uint8_t buf[RAW_MAX];
	int r = write_full(b->raw, buf, pair->raw_len);

	if (r == 0)
		r = read_full(b->raw, buf, pair->raw_len);
	if (r < 0)
		die(ISO_EX_IO, "echo: %s", strerror(-r));
}

static void once_call(struct bench *b, struct pair *pair)
{
	int r = rm_ioctl(b->rm.ctl, pair->arg.row->nr, pair->arg.bytes,
			 pair->arg.size);

	if (r < 0)
		die(ISO_EX_IO, "RM_CONTROL: %s", strerror(-r));
}

/* Microseconds of one round trip. */
static double measure(struct bench *b, struct pair *pair, uint64_t n,
		      void (*once)(struct bench *b, struct pair *pair))
{
	uint64_t since = now_ns();

	for (uint64_t i = 0; i < n; i++)
		once(b, pair);
	return (double)(now_ns() - since) / 1000 / (double)n;
}

static void measure_pair(struct bench *b, struct pair *pair, uint64_t n)
{
	double ours = 0, theirs;

	if (pair->p.n % 2)
		ours = measure(b, pair, n, once_call);
	theirs = measure(b, pair, n, once_raw);
	if (pair->p.n % 2 == 0)
		ours = measure(b, pair, n, once_call);
	bench_add(&pair->p, ours, theirs);
}

/* The call itself went well, not only the ioctl. */
static void check(const struct pair *pair)
{
	uint32_t status = rm_arg_status(&pair->arg);

	if (status)
		die(ISO_EX_BUG, "%s: %s", pair->params.row->name,
		    abi_status_name(status));
}

static void warm_up(struct bench *b, struct pair *pair)
{
	measure(b, pair, WARM_UP, once_raw);
	measure(b, pair, WARM_UP, once_call);
	check(pair);
}

int main(int argc, char **argv)
{
	static struct bench b;
	static struct pair control = { .p = { .name = "rm_control",
					      .ours = "control_us",
					      .theirs = "raw_us" } };
	static struct pair nested = { .p = { .name = "rm_control_nested",
					     .ours = "nested_us",
					     .theirs = "raw_us" } };
	uint64_t pairs = 51, calls = 20;
	struct sock_addr addr;
	bool kept;

	log_init("rm-bench");
	if (argc < 2 || argc > 4 || sock_parse(argv[1], &addr) < 0 ||
	    (argc > 2 && parse_u64(argv[2], 1, BENCH_PAIRS_MAX, &pairs) < 0) ||
	    (argc > 3 && parse_u64(argv[3], 1, 100000, &calls) < 0))
		die(ISO_EX_USAGE, "usage: rm-bench ECHO [PAIRS [CALLS]]");
	set_up(&b, &control, &nested);
	b.raw = sock_connect(&addr, 10000);
	if (b.raw < 0)
		die(ISO_EX_UNAVAILABLE, "echo: %s", strerror(-b.raw));
	warm_up(&b, &control);
	warm_up(&b, &nested);
	while (control.p.n < pairs) {
		measure_pair(&b, &control, calls);
		measure_pair(&b, &nested, calls);
	}
	check(&control);
	check(&nested);
	kept = bench_say(&control.p, 1.15, true);
	kept &= bench_say(&nested.p, 2.3, true);
	return kept ? ISO_EX_OK : ISO_EX_NO;
}
