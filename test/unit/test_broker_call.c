/* SPDX-License-Identifier: MIT */
/*
 * test_broker_call.c - takes single calls from frame to frame
 *
 * The table is made up here, for cases that no allowed call of today has:
 * arrays of wide elements, and fds inside parameters.
 */
/* links: src/broker src/broker/child src/drv/soft */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "broker/child/call_plan.h"
#include "broker/child/call_wire.h"
#include "broker/child/session.h"
#include "tap.h"

/* An escape: u32 count, pointer to count * 8 bytes at 8, fd at 16. */
static const struct abi_ptr wide_ptrs[] = {
	{ .off = 8, .count_off = 0, .count_size = 4, .unit = 8, .max = 4096,
	  .rule = ABI_LEN_COUNT, .dir = ABI_INOUT },
};
static const uint32_t wide_sizes[] = { 24 }, wide_fds[] = { 16 };

/* A control call: cmd at 0, size at 4, params at 8, flags at 16. */
static const struct abi_field control_fields[] = {
	{ ABI_F_flags, 4, 16, 1, 0 },
};
static const struct abi_ptr control_ptrs[] = {
	{ .off = 8, .sel_off = 0, .count_off = 4, .count_size = 4, .unit = 1,
	  .max = 1 << 20, .rule = ABI_LEN_CONTROL, .dir = ABI_INOUT },
};
static const uint32_t control_sizes[] = { 16, 20 };

/* Parameters: u64 count, pointer to count * 4 bytes at 8, fds at 16, 20. */
static const struct abi_ptr param_ptrs[] = {
	{ .off = 8, .count_off = 0, .count_size = 8, .unit = 4,
	  .max = 4u << 20, .rule = ABI_LEN_COUNT, .dir = ABI_OUT },
};
static const uint32_t param_sizes[] = { 24 }, param_fds[] = { 16, 20 };

static const struct abi_row escapes[] = {
	{ .name = "WIDE", .nr = 1, .sizes = wide_sizes, .n_sizes = 1,
	  .ptrs = wide_ptrs, .n_ptrs = 1, .fds = wide_fds, .n_fds = 1,
	  .kind = ABI_ESCAPE, .dev = ABI_DEV_CTL, .dir = ABI_INOUT,
	  .caps = ABI_CAP_UTILITY },
	{ .name = "CONTROL", .nr = 2, .sizes = control_sizes, .n_sizes = 2,
	  .fields = control_fields, .n_fields = 1,
	  .ptrs = control_ptrs, .n_ptrs = 1, .kind = ABI_ESCAPE,
	  .dev = ABI_DEV_CTL, .dir = ABI_INOUT, .caps = ABI_CAP_UTILITY },
};
/* Parameters: u32 count, four pids; the same with results. The numbers are
 * none of NVIDIA's: policy.c knows the two by identity. */
enum { PIDS = 8, INFO = 9 };
static const uint32_t pids_sizes[] = { 20 }, info_sizes[] = { 36 };
static const struct abi_field pids_fields[] = {
	{ ABI_F_pidTblCount, 4, 0, 1, 0 }, { ABI_F_pidTbl, 4, 4, 4, 4 },
};
static const struct abi_field info_fields[] = {
	{ ABI_F_pidInfoListCount, 4, 0, 1, 0 },
	{ ABI_F_pidInfoList_pid, 4, 4, 4, 8 },
};

static const struct abi_row controls[] = {
	{ .name = "PARAMS", .nr = 7, .sizes = param_sizes, .n_sizes = 1,
	  .ptrs = param_ptrs, .n_ptrs = 1, .fds = param_fds, .n_fds = 2,
	  .kind = ABI_CONTROL, .caps = ABI_CAP_UTILITY },
	{ .name = "PIDS", .nr = PIDS,
	  .id = ABI_R_NV2080_CTRL_CMD_GPU_GET_PIDS,
	  .sizes = pids_sizes, .n_sizes = 1, .fields = pids_fields,
	  .n_fields = 2, .kind = ABI_CONTROL, .caps = ABI_CAP_UTILITY },
	{ .name = "INFO", .nr = INFO,
	  .id = ABI_R_NV2080_CTRL_CMD_GPU_GET_PID_INFO,
	  .sizes = info_sizes, .n_sizes = 1, .fields = info_fields,
	  .n_fields = 2, .kind = ABI_CONTROL, .caps = ABI_CAP_UTILITY },
};
static const struct abi table = {
	.version = "1.2.3",
	.rows = { [ABI_ESCAPE] = escapes, [ABI_CONTROL] = controls },
	.n_rows = { [ABI_ESCAPE] = 2, [ABI_CONTROL] = ARRAY_SIZE(controls) },
};

static struct child child;
static struct session session = { .child = &child };
static struct drv drv;
static struct drv_file drv_file = { .drv = &drv };
static struct file file = { .drv = &drv_file, .id = 5, .refs = 1 };

static struct file *get_file(struct session *s, uint32_t id)
{
	(void)s;
	return id == 5 ? &file : NULL;
}

/* Makes a call of these bytes, and puts call_new()'s value into *ret_r. */
static struct call *new_call(const struct wr *w, int *ret_r)
{
	struct rd body = rd_init(w->p, w->len);
	struct call *call = NULL;

	*ret_r = call_new(&table, DRV_CTL, &body, &session.spare, &call);
	if (call) {
		call->session = &session;
		call->file = &file;
		call->tag = 9;
	}
	return call;
}

static bool may_be_made(struct call *call)
{
	return policy_check(&child.policy, call, ABI_CAP_UTILITY);
}

static void put_head(struct wr *w, uint32_t nr, uint32_t len, uint32_t n)
{
	wr_init(w, 1 << 22);
	wr_u32(w, nr);
	wr_u32(w, len);
	wr_u32(w, n);
	wr_u32(w, 0);
}

static struct call *wide_call(uint32_t count, uint64_t ptr, uint32_t fd)
{
	struct call *call;
	struct wr w;
	int r;

	put_head(&w, 1, 24, 0);
	wr_u32(&w, count);
	wr_u32(&w, 0);
	wr_u64(&w, ptr);
	wr_u32(&w, fd);
	wr_u32(&w, 0);
	call = new_call(&w, &r);
	wr_free(&w);
	return call;
}

static struct call *param_call(uint64_t count, uint64_t ptr, uint32_t fd)
{
	struct call *call;
	struct wr w;
	int r;

	put_head(&w, 2, 16, 1);
	wr_u32(&w, 24); /* the span */
	wr_u32(&w, 0);
	wr_u32(&w, 7);
	wr_u32(&w, 24);
	wr_u64(&w, 0xabcdef00);
	wr_u64(&w, count);
	wr_u64(&w, ptr);
	wr_u32(&w, fd);
	wr_u32(&w, ISO_NO_FILE);
	call = new_call(&w, &r);
	wr_free(&w);
	return call;
}

/* Makes a control with parameters of n words. */
static struct call *words_call(uint32_t cmd, const uint32_t *words, uint32_t n)
{
	struct call *call;
	struct wr w;
	int r;

	put_head(&w, 2, 16, 1);
	wr_u32(&w, 4 * n); /* the span */
	wr_u32(&w, 0);
	wr_u32(&w, cmd);
	wr_u32(&w, 4 * n);
	wr_u64(&w, 0xabcdef00);
	wr_pad8(&w, words, 4 * n);
	call = new_call(&w, &r);
	wr_free(&w);
	return call;
}

static uint32_t word(const struct wr *w, size_t off)
{
	struct rd r = rd_init(w->p, w->len);

	rd_span(&r, off);
	return rd_u32(&r);
}

/* Plays the driver: puts addresses and fds of its own into the fields, and
 * fills the buffers that go out. */
static int fake_ioctl(struct drv_file *f, struct drv_call *call)
{
	(void)f;
	for (uint32_t i = 0; i < call->n_mem; i++)
		if (call->mem[i].dir & ABI_OUT && call->mem[i].parent >= 0)
			memset(call->mem[i].ptr, 0x5a, call->mem[i].len);
	if (call->row->nr == 1) {
		memset((uint8_t *)call->arg + 8, 0xee, 12);
		memset(call->mem[0].ptr, 0x5a, call->mem[0].len);
	} else {
		memset((uint8_t *)call->mem[0].ptr + 8, 0xee, 16);
	}
	return 0;
}

static void test_wide(void)
{
	struct call *call = wide_call(3, 0x1234, 5);
	const uint8_t more[] = { 1, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0,
				 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
				 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4,
				 5, 6, 7, 8 };
	struct rd body = rd_init(more, sizeof(more));
	bool answered;
	struct wr w;

	ok(call && call_plan(call, &table, get_file, &answered) == 1,
	   "an array of 8-byte elements is asked for by NEED");
	wr_init(&w, 4096);
	call_need(call, &w);
	ok(word(&w, 16) == 1 && word(&w, 28) == 8 && word(&w, 32) == 24,
	   "NEED names the field at 8 and 24 bytes");
	ok(call_more(call, &body, get_file) == 0, "MORE fits");
	ok(call->drv.n_mem == 1 && call->mem[0].parent == -1 &&
	   memcmp(call->mem[0].ptr, "\1\2\3\4", 4) == 0,
	   "the driver gets its bytes");
	ok(call->drv.n_fd == 1 && call->fd[0].file == &drv_file &&
	   call->fd[0].off == 16, "and the file behind the fd");
	call_run(call, &drv_file);
	call_restore(call);
	wr_reset(&w);
	call_result(call, true, &w);
	ok(word(&w, 16) == 0 && word(&w, 20) == 24 && word(&w, 24) == 1 &&
	   word(&w, 32) == 24, "RESULT has the argument and the array");
	ok(word(&w, 48) == 0x1234 && word(&w, 56) == 5,
	   "the guest's own pointer and file id come back, not the driver's");
	wr_free(&w);
	call_free(call, &session.spare);
}

static void test_params(void)
{
	struct call *call = param_call(16, 0x77, 42);
	const uint8_t more[] = { 2, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0,
				 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
				 5, 0, 0, 0, 0, 0, 0, 0 };
	struct rd body = rd_init(more, sizeof(more));
	bool answered;
	struct wr w;

	ok(call && may_be_made(call) &&
	   call->sub == &controls[0], "the control's row is found");
	ok(call_plan(call, &table, get_file, &answered) == 1 &&
	   call->n_buf == 4, "its pointer and its fd are asked for");
	ok(call->drv.n_fd == 1 && !call->fd[0].file, "but not the fd -1");
	ok(call_more(call, &body, get_file) == 0 && call->drv.n_fd == 2 &&
	   call->fd[1].file == &drv_file && call->fd[1].parent == 0,
	   "the fd inside the parameters is a file of the driver's");
	ok(call->mem[1].parent == 0 && call->mem[1].off == 8,
	   "so is the nested buffer");
	call_run(call, &drv_file);
	call_restore(call);
	wr_init(&w, 4096);
	call_result(call, true, &w);
	/* header 16, result 16, three spans, argument 16, parameters 24 */
	ok(word(&w, 24) == 3 && word(&w, 32) == 24 && word(&w, 40) == 64 &&
	   word(&w, 48) == 0, "RESULT has parameters and array, no fd");
	ok(word(&w, 64) == 0xabcdef00 && word(&w, 80) == 0x77 &&
	   word(&w, 88) == 42, "all of the guest's own values come back");
	ok(word(&w, 96) == 0x5a5a5a5a, "and the driver's bytes");
	wr_free(&w);
	call_free(call, &session.spare);
}

/* A control whose parameters are a message that only the driver can read. */
static void test_serialized(void)
{
	bool refused[2];

	for (uint32_t i = 0; i < 2; i++) {
		uint32_t words[] = { 2, 20, 1, 0, 24, 0,
				     7, 24, 0x1000, 0, i ? 4 : 3, 0,
				     0, 0, 0, 0, 0, 0 };
		struct rd body = rd_init(words, sizeof(words));
		struct call *call = NULL;
		int r = call_new(&table, DRV_CTL, &body, &session.spare, &call);

		if (r == 0 && call) {
			call->session = &session;
			call->file = &file;
		}
		refused[i] = call && !may_be_made(call);
		ok(call, "a control with flags is read");
		if (call)
			call_free(call, &session.spare);
	}
	ok(!refused[0] && refused[1], "serialized parameters are refused");
}

/* The driver lists the processes of all workers, and tells of each. */
static void test_pids(void)
{
	uint32_t pid = (uint32_t)getpid();
	const uint32_t list[] = { 3, pid + 1, pid, pid + 2, 7 };
	const uint32_t more[] = { 0xffffffff, 1, 1, 1, pid };
	const uint32_t own[] = { 1, pid, 0, pid + 1, 0, 0, 0, 0, 0 };
	const uint32_t other[] = { 2, pid, 0, pid + 1, 0, 0, 0, 0, 0 };
	const uint32_t last[] = { 0xffffffff, pid, 0, pid, 0, pid, 0, 1, 0 };
	struct call *call = words_call(PIDS, list, 5);

	ok(call && may_be_made(call), "the pids may be asked for");
	policy_filter(&child.policy, call);
	ok(call_peek(call, 1, 0, 4) == 1 && call_peek(call, 1, 4, 4) == pid &&
	   call_peek(call, 1, 8, 4) == 0 && call_peek(call, 1, 12, 4) == 0,
	   "of the pids that come back one is left, our own");
	call_free(call, &session.spare);
	call = words_call(PIDS, more, 5);
	ok(may_be_made(call), "and with a count of nonsense");
	policy_filter(&child.policy, call);
	ok(call_peek(call, 1, 0, 4) == 1 && call_peek(call, 1, 4, 4) == pid &&
	   call_peek(call, 1, 16, 4) == 0, "no more than there can be");
	call_free(call, &session.spare);
	call = words_call(INFO, own, 9);
	ok(may_be_made(call), "our own process is told of");
	call_free(call, &session.spare);
	call = words_call(INFO, other, 9);
	ok(!may_be_made(call), "another worker's is not");
	call_free(call, &session.spare);
	call = words_call(INFO, last, 9);
	ok(!may_be_made(call), "nor is the last of too many");
	call_free(call, &session.spare);
}

static void test_refused(void)
{
	struct call *call = wide_call(0x20000001, 1, 5);
	bool answered;

	ok(call_plan(call, &table, get_file, &answered) == 0 &&
	   call->err == EINVAL && answered,
	   "a product over 4 GiB is refused");
	call_free(call, &session.spare);
	call = wide_call(3, 1, 6);
	ok(call_plan(call, &table, get_file, &answered) == 0 &&
	   call->err == EBADF, "an unknown file is EBADF");
	call_free(call, &session.spare);
	call = wide_call(0, 0x1234, ISO_NO_FILE);
	ok(call_plan(call, &table, get_file, &answered) == 0 && !call->err &&
	   call->drv.n_mem == 0 && !call->fd[0].file,
	   "nothing is asked for that has no bytes");
	ok(call_peek(call, 0, 8, 8) == 1,
	   "nor does its address get to the driver");
	call_restore(call);
	ok(call_peek(call, 0, 8, 8) == 0x1234, "which the guest gets back");
	call_free(call, &session.spare);
	call = param_call(1 << 20, 1, 42);
	ok(may_be_made(call) &&
	   call_plan(call, &table, get_file, &answered) == 0 && answered,
	   "more than a RESULT can hold is refused");
	call_free(call, &session.spare);
}

/* Answers a NEED with MOREs that do not fit it, and with one errno that
 * does. */
static void test_more(void)
{
	static const struct {
		const char *what;
		uint32_t n, err, len, flags, bytes;
		int r;
	} bad[] = {
		{ "too few ranges", 0, 0, 0, 0, 0, -EPROTO },
		{ "too many ranges", 2, 0, 8, 0, 8, -EPROTO },
		{ "a shorter range", 1, 0, 16, 0, 16, -EPROTO },
		{ "a longer range", 1, 0, 32, 0, 32, -EPROTO },
		{ "fewer bytes", 1, 0, 24, 0, 16, -EPROTO },
		{ "more bytes", 1, 0, 24, 0, 32, -EPROTO },
		{ "a NULL pointer", 1, 0, 0, ISO_SPAN_NULL, 0, -EPROTO },
		{ "unknown flags", 1, 0, 24, 2, 24, -EPROTO },
		{ "an errno with bytes", 0, EFAULT, 0, 0, 8, -EPROTO },
		{ "no errno", 0, 512, 0, 0, 0, -EPROTO },
		{ "EFAULT", 0, EFAULT, 0, 0, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct call *call = wide_call(3, 1, ISO_NO_FILE);
		struct rd body;
		bool answered;
		struct wr w;

		call_plan(call, &table, get_file, &answered);
		wr_init(&w, 4096);
		wr_u32(&w, bad[i].n);
		wr_u32(&w, bad[i].err);
		for (uint32_t k = 0; k < bad[i].n; k++) {
			wr_u32(&w, bad[i].len);
			wr_u32(&w, bad[i].flags);
		}
		wr_zero(&w, bad[i].bytes);
		body = rd_init(w.p, w.len);
		ok(call_more(call, &body, get_file) == bad[i].r, "MORE with %s",
		   bad[i].what);
		wr_free(&w);
		call_free(call, &session.spare);
	}
}

/* Makes a call in the memory of one that is over. */
static void test_spare(void)
{
	struct call *first = wide_call(3, 1, 5), *second, *third;
	bool answered;

	call_plan(first, &table, get_file, &answered);
	first->err = EIO;
	first->cancelled = true;
	call_free(first, &session.spare);
	ok(session.spare == first, "the memory of a call is kept");
	second = wide_call(3, 1, ISO_NO_FILE);
	third = wide_call(3, 1, ISO_NO_FILE);
	ok(second == first && !session.spare && third != second,
	   "for one other, and only one");
	ok(!second->err && !second->cancelled && !second->more &&
	   second->drv.n_fd == 0 && second->n_buf == 1,
	   "in which nothing is left of the first");
	call_free(second, &session.spare);
	call_free(third, &session.spare);
	ok(session.spare == second, "a second is not kept");
}

int main(void)
{
	static const struct drv_ops ops = { .ioctl = fake_ioctl };

	drv.ops = &ops;
	drv.abi = &table;
	policy_init(&child.policy, &table, 4, &child.metrics, &child.log);
	test_wide();
	test_params();
	test_pids();
	test_serialized();
	test_refused();
	test_more();
	test_spare();
	free(session.spare);
	return done_testing();
}
