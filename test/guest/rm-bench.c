/* SPDX-License-Identifier: MIT */
/* links: src/smi */
/*
 * rm-bench - round trips of RM controls, against bare bytes on the same path
 *
 * usage: rm-bench ECHO [PAIRS [CALLS]]
 *
 * Runs in a worker. ECHO is the address of an echo in the GPU VM that is reached
 * as the broker is. In interleaved pairs it times CALLS round trips each of
 *
 *   raw      as many bytes as the frames of the control below, to ECHO
 *   control  GPU_GET_INFO_V2: one buffer, 524 bytes with driver 550
 *   nested   BUS_GET_INFO: a pointer inside the buffer, which takes the broker
 *            to ask back
 *
 * and prints a JSON object for each ratio to raw, as the other benchmarks do.
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
#include "smi/rm.h"

#define WARM_UP 20
#define FRAME_MAX 2048

struct bench {
	struct rm rm;
	uint32_t subdevice;
	struct rm_params control, nested;
	uint8_t list[8];	/* BUS_GET_INFO's one entry: index, data */
	int raw;
	size_t frame_len;
};

static _noreturn_ void fail(const struct bench *b)
{
	die(ISO_EX_UNAVAILABLE, "%s", b->rm.error);
}

static void set_up(struct bench *b)
{
	const struct abi_row *row;
	struct rm_params attach;
	uint32_t device;

	if (rm_open(&b->rm) < 0 ||
	    rm_params_init(&b->rm, NV0000_CTRL_CMD_GPU_ATTACH_IDS, &attach) < 0)
		fail(b);
	abi_put(attach.row, ABI_F_gpuIds, 0, attach.buf, attach.size,
		NV0000_CTRL_GPU_ATTACH_ALL_PROBED_IDS);
	if (rm_control(&b->rm, b->rm.client, &attach) < 0 ||
	    rm_alloc(&b->rm, b->rm.client, NV01_DEVICE_0, ABI_F_deviceId, 0,
		     &device) < 0 ||
	    rm_alloc(&b->rm, device, NV20_SUBDEVICE_0, ABI_F_subDeviceId, 0,
		     &b->subdevice) < 0 ||
	    rm_params_init(&b->rm, NV2080_CTRL_CMD_GPU_GET_INFO_V2,
			   &b->control) < 0 ||
	    rm_params_init(&b->rm, NV2080_CTRL_CMD_BUS_GET_INFO, &b->nested) < 0)
		fail(b);
	rm_params_free(&attach);
	row = b->nested.row;
	abi_put(row, ABI_F_busInfoListSize, 0, b->nested.buf, b->nested.size, 1);
	abi_put(row, ABI_F_busInfoList, 0, b->nested.buf, b->nested.size,
		(uintptr_t)b->list);
	/* IOCTL and RESULT: NVOS54 and one span; they are equally long */
	b->frame_len = sizeof(struct iso_hdr) + sizeof(struct iso_ioctl) +
		       sizeof(struct iso_span) + 32 + ISO_PAD8(b->control.size);
}

static void once_raw(struct bench *b)
{
	uint8_t buf[FRAME_MAX] = { 0 };
	int r = write_full(b->raw, buf, b->frame_len);

	if (r == 0)
		r = read_full(b->raw, buf, b->frame_len);
	if (r < 0)
		die(ISO_EX_IO, "echo: %s", strerror(-r));
}

static void once_control(struct bench *b)
{
	if (rm_control(&b->rm, b->subdevice, &b->control) < 0)
		fail(b);
}

static void once_nested(struct bench *b)
{
	if (rm_control(&b->rm, b->subdevice, &b->nested) < 0)
		fail(b);
}

/* Microseconds of one round trip. */
static double measure(struct bench *b, void (*once)(struct bench *), uint64_t n)
{
	uint64_t since = now_ns();

	for (uint64_t i = 0; i < n; i++)
		once(b);
	return (double)(now_ns() - since) / 1000 / (double)n;
}

int main(int argc, char **argv)
{
	static struct bench b;
	static struct bench_pairs control = { .name = "rm_control",
					      .ours = "control_us",
					      .theirs = "raw_us" };
	static struct bench_pairs nested = { .name = "rm_control_nested",
					     .ours = "nested_us",
					     .theirs = "raw_us" };
	uint64_t pairs = 51, calls = 20;
	struct sock_addr addr;
	bool kept;

	log_init("rm-bench");
	if (argc < 2 || argc > 4 || sock_parse(argv[1], &addr) < 0 ||
	    (argc > 2 && parse_u64(argv[2], 1, BENCH_PAIRS_MAX, &pairs) < 0) ||
	    (argc > 3 && parse_u64(argv[3], 1, 100000, &calls) < 0))
		die(ISO_EX_USAGE, "usage: rm-bench ECHO [PAIRS [CALLS]]");
	set_up(&b);
	b.raw = sock_connect(&addr, 10000);
	if (b.raw < 0)
		die(ISO_EX_UNAVAILABLE, "echo: %s", strerror(-b.raw));
	measure(&b, once_raw, WARM_UP);
	measure(&b, once_control, WARM_UP);
	measure(&b, once_nested, WARM_UP);
	while (control.n < pairs) {
		double raw = measure(&b, once_raw, calls);

		bench_add(&control, measure(&b, once_control, calls), raw);
		bench_add(&nested, measure(&b, once_nested, calls), raw);
	}
	kept = bench_say(&control, 1.15, true);
	kept &= bench_say(&nested, 2.3, true);
	return kept ? ISO_EX_OK : ISO_EX_NO;
}
