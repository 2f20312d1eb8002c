/* SPDX-License-Identifier: MIT */
/* wire-hostile.c - scenarios of wire-client that a broker should refuse */
#include "wire-hostile.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "../unit/wait.h"

#define STRING_BYTES 4096	/* of each string of hold_strings() */

/* ---- scenarios: refused, and the connection lives on -------------------- */

static void do_unknown_ioctl(struct client *c)
{
	uint8_t arg[64] = { 0 };
	struct ask a = { .nr = 0xee, .arg = arg, .arg_len = sizeof(arg) };

	join(c);
	a.file = open_dev(c, ISO_DEV_CTL);
	expect(ask(c, &a) == EINVAL, "an unknown ioctl is not EINVAL");
	a.nr = NV_ESC_RM_FREE; /* known, but not of this size */
	expect(ask(c, &a) == EINVAL, "a wrong size is not EINVAL");
	new_client(c, a.file);
}

static void do_unknown_control(struct client *c)
{
	uint8_t params[64] = { 0 };
	struct ask a = { 0 };
	uint32_t client;

	join(c);
	a.file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, a.file);
	want_status(rm_control(c, &a, client, client, 0x7777, params,
			       sizeof(params)), NV_ERR_NOT_SUPPORTED);
}

static void do_wrong_size(struct client *c)
{
	uint8_t params[512] = { 0 };
	struct ask a = { 0 };
	uint32_t client;

	join(c);
	a.file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, a.file);
	want_status(rm_control(c, &a, client, client,
			       NV0000_CTRL_CMD_GPU_GET_PROBED_IDS, params,
			       sizeof(params)), NV_ERR_INVALID_ARGUMENT);
}

static void do_unknown_class(struct client *c)
{
	uint32_t file, client, object = 0;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, file);
	want_status(rm_alloc(c, file, client, client, &object, 0x5555),
		    NV_ERR_INVALID_CLASS);
}

/* Handles that never existed, were freed, or belonged to a closed file. */
static void do_foreign_client(struct client *c)
{
	uint8_t params[1024] = { 0 };
	const struct abi_row *row;
	struct ask a = { 0 };
	uint32_t client, other;

	join(c);
	a.file = open_dev(c, ISO_DEV_CTL);
	row = abi_control(c->abi, NV0000_CTRL_CMD_GPU_GET_PROBED_IDS);
	want_status(rm_control(c, &a, 0xc1d0beef, 0xc1d0beef, row->nr, params,
			       row->sizes[0]), NV_ERR_INVALID_CLIENT);
	client = new_client(c, a.file);
	want_status(rm_free(c, a.file, client, client), NV_OK);
	want_status(rm_control(c, &a, client, client, row->nr, params,
			       row->sizes[0]), NV_ERR_INVALID_CLIENT);
	other = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, other);
	send_frame(c, ISO_CLOSE, 0, other, NULL, 0);
	want_status(rm_control(c, &a, client, client, row->nr, params,
			       row->sizes[0]), NV_ERR_INVALID_CLIENT);
}

/* A process of the worker takes an object out of another one's RM client. */
static void do_foreign_dup(struct client *c)
{
	const struct abi_row *row;
	uint8_t arg[RM_ARG_MAX] = { 0 };
	struct ask a = { .nr = NV_ESC_RM_DUP_OBJECT, .arg = arg };
	uint32_t victim, thief, err;

	join(c);
	row = escape(c, ABI_R_NV_ESC_RM_DUP_OBJECT);
	victim = new_client(c, open_as(c, ISO_DEV_CTL, 100, &err));
	a.file = open_as(c, ISO_DEV_CTL, 200, &err);
	thief = new_client(c, a.file);
	a.arg_len = row->sizes[0];
	put(row, arg, ABI_F_hClient, thief);
	put(row, arg, ABI_F_hParent, thief);
	put(row, arg, ABI_F_hClientSrc, victim);
	put(row, arg, ABI_F_hObjectSrc, victim);
	expect(ask(c, &a) == 0, "RM_DUP_OBJECT fails");
	want_status((uint32_t)get(row, arg, ABI_F_status),
		    NV_ERR_INSUFFICIENT_PERMISSIONS);
	/* A source that this worker does not have at all. */
	put(row, arg, ABI_F_hClientSrc, 0xc1d0beef);
	put(row, arg, ABI_F_status, 0);
	expect(ask(c, &a) == 0, "RM_DUP_OBJECT fails");
	want_status((uint32_t)get(row, arg, ABI_F_status),
		    NV_ERR_INVALID_CLIENT);
}

static void do_max_files(struct client *c)
{
	uint32_t n = 0, err = 0;

	join(c);
	while (open_as(c, ISO_DEV_CTL, 1, &err), err == 0)
		n++;
	expect(err == EMFILE, "errno %u instead of EMFILE", err);
	printf("files %u\n", n);
}

static void do_max_clients(struct client *c)
{
	uint32_t file, handle, status, n = 0;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	for (;;) {
		handle = 0;
		status = rm_alloc(c, file, 0, 0, &handle, NV01_ROOT);
		if (status != NV_OK)
			break;
		n++;
	}
	want_status(status, NV_ERR_INSUFFICIENT_RESOURCES);
	printf("clients %u\n", n);
}

/* 16 MiB at a time. */
static void do_max_vidmem(struct client *c)
{
	const struct abi_row *row;
	uint8_t device[64] = { 0 }, params[128];
	uint32_t file, root, dev = 0, handle, status, n = 0;

	join(c);
	row = abi_class(c->abi, NV01_MEMORY_LOCAL_USER);
	file = open_dev(c, ISO_DEV_CTL);
	open_dev(c, ISO_DEV_GPU);
	root = new_client(c, file);
	want_status(rm_alloc_with(c, file, root, root, &dev, NV01_DEVICE_0,
				  device, abi_class(c->abi, NV01_DEVICE_0)
						  ->sizes[0]), NV_OK);
	for (;; n++) {
		handle = 0;
		memset(params, 0, sizeof(params));
		put(row, params, ABI_F_owner, 1);
		put(row, params, ABI_F_size, 16u << 20);
		status = rm_alloc_with(c, file, root, dev, &handle, row->nr,
				       params, row->sizes[0]);
		if (status != NV_OK)
			break;
	}
	want_status(status, NV_ERR_NO_MEMORY);
	printf("blocks %u\n", n);
}

/* Sends a call whose answer is much longer than the request. */
static void send_strings(struct client *c, uint32_t file, uint32_t client,
			 uint32_t bytes)
{
	const struct abi_row *row =
		abi_control(c->abi, NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION);
	uint8_t params[128] = { 0 };
	struct rm_arg arg;
	struct ask a;

	put(row, params, ABI_F_sizeOfStrings, bytes);
	put(row, params, ABI_F_pDriverVersionBuffer, 1);
	put(row, params, ABI_F_pVersionBuffer, 1);
	put(row, params, ABI_F_pTitleBuffer, 1);
	rm_arg_control(&arg, escape(c, ABI_R_NV_ESC_RM_CONTROL), client, client,
		       row->nr, 1, row->sizes[0]);
	a = ask_of(file, &arg, params, row->sizes[0]);
	send_ioctl(c, &a, ++c->next_tag);
}

/* The same. True if the broker had memory for the call, which it then holds
 * until MORE. */
static bool hold_strings(struct client *c, uint32_t file, uint32_t client,
			 uint32_t bytes)
{
	send_strings(c, file, client, bytes);
	/* Without memory for the frame itself the broker does not answer. */
	if (!wait_readable(c->fd, 2000))
		return false;
	expect(recv_frame(c), "connection closed instead of NEED");
	return c->in.hdr.type == ISO_NEED;
}

/* While one connection lets results pile up, a second one gets memory for few
 * calls. */
static void do_unread(struct client *c)
{
	struct client slow, other;
	struct ask none = { 0 };
	uint32_t client, n = 0, n_other = 0;

	join(c);
	slow = *c;
	none.file = open_dev(&slow, ISO_DEV_CTL);
	client = new_client(&slow, none.file);
	while (hold_strings(&slow, none.file, client, STRING_BYTES))
		n++;
	/* The last tag is that of the call that was refused. */
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t spans[] = { 3, 0, STRING_BYTES, 0, STRING_BYTES,
					   0, STRING_BYTES, 0 };

		send_frame(&slow, ISO_MORE, slow.next_tag - n + i, none.file,
			   spans, sizeof(spans));
	}
	join(c);
	other = *c;
	none.file = open_dev(&other, ISO_DEV_CTL);
	client = new_client(&other, none.file);
	while (n_other < n &&
	       hold_strings(&other, none.file, client, STRING_BYTES))
		n_other++;
	expect(n_other < n / 2, "%u calls, then %u more", n, n_other);
	for (uint32_t i = 0; i < n; i++)
		want_frame(&slow, ISO_RESULT);
}

/* Bytes that the broker has not taken yet, after five seconds at most. */
static int unsent(const struct client *c)
{
	uint64_t end = 0;
	int n;

	do {
		if (ioctl(c->fd, SIOCOUTQ, &n) < 0)
			return -1;
	} while (n != 0 && wait_more(&end, 5000));
	return n;
}

/* A connection that waits for memory and goes away is not kept until then. */
static void do_parked_gone(struct client *c)
{
	static const uint8_t junk[128 * 1024];
	struct client slow;
	struct ask cards = { .nr = NV_ESC_CARD_INFO,
			     .arg = (void *)(uintptr_t)junk };
	uint32_t file, client;

	join(c);
	slow = *c;
	file = open_dev(&slow, ISO_DEV_CTL);
	client = new_client(&slow, file);
	join(c);
	cards.file = open_dev(c, ISO_DEV_CTL);
	cards.arg_len = escape(c, ABI_R_NV_ESC_CARD_INFO)->sizes[0];
	for (uint32_t n = STRING_BYTES; n > 1; n /= 8)
		while (hold_strings(&slow, file, client, n))
			;
	/* Not even the argument of this one has room. */
	send_ioctl(c, &cards, ++c->next_tag);
	send_raw(c, junk, sizeof(junk));
	shutdown(c->fd, SHUT_RDWR);
	expect(unsent(c) == 0, "its connection is kept");
	close_fd(&slow.fd);
}

static void do_bad_fd(struct client *c)
{
	const struct abi_row *row;
	uint8_t arg[RM_ARG_MAX] = { 0 };
	struct ask a = { .nr = NV_ESC_REGISTER_FD, .arg = arg };

	join(c);
	a.file = open_dev(c, ISO_DEV_CTL);
	row = escape(c, ABI_R_NV_ESC_REGISTER_FD);
	a.arg_len = row->sizes[0];
	put(row, arg, ABI_F_ctl_fd, 0x12345);
	expect(ask(c, &a) == EBADF, "an unknown file id is not EBADF");
}

/* The length of a control says 4 GiB; no byte of it comes. */
static void do_huge_length(struct client *c)
{
	uint32_t file, client;
	struct rm_arg arg;
	struct ask a;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, file);
	rm_arg_control(&arg, escape(c, ABI_R_NV_ESC_RM_CONTROL), client, client,
		       NV0000_CTRL_CMD_GPU_GET_PROBED_IDS, 0x1000, 0xffffffff);
	a = ask_of(file, &arg, arg.bytes, 0);
	expect(ask(c, &a) == 0, "RM_CONTROL fails");
	want_status(rm_arg_status(&arg), NV_ERR_INVALID_ARGUMENT);
}

/* A nested length of 4 GiB. */
static void do_huge_nested(struct client *c)
{
	uint8_t params[64] = { 0 };
	const struct abi_row *row;
	struct ask a = { 0 };
	uint32_t client;

	join(c);
	a.file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, a.file);
	row = abi_control(c->abi, NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION);
	put(row, params, ABI_F_sizeOfStrings, 0xffffffff);
	put(row, params, ABI_F_pDriverVersionBuffer, 0x1000);
	want_status(rm_control(c, &a, client, client, row->nr, params,
			       row->sizes[0]), NV_ERR_INVALID_ARGUMENT);
}

/* A pointer that the shim could not read. */
static void do_more_efault(struct client *c)
{
	const struct iso_more more = { .err = EFAULT };
	uint32_t file, tag;
	struct rd r;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	tag = start_need(c, file);
	send_frame(c, ISO_MORE, tag, file, &more, sizeof(more));
	r = want_frame(c, ISO_RESULT);
	expect(rd_u32(&r) == EFAULT, "RESULT is not EFAULT");
}

/* The caller is killed, and then closes, while the broker waits for MORE. */
static void do_cancel(struct client *c)
{
	const struct iso_more more = { .err = EINTR };
	uint32_t file, tag;
	struct rd r;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	tag = start_need(c, file);
	send_frame(c, ISO_CANCEL, tag, 0, NULL, 0);
	send_frame(c, ISO_MORE, tag, file, &more, sizeof(more));
	r = want_frame(c, ISO_RESULT);
	expect(rd_u32(&r) == EINTR, "RESULT is not EINTR");
	tag = start_need(c, file);
	send_frame(c, ISO_CLOSE, 0, file, NULL, 0);
	send_frame(c, ISO_CANCEL, tag, 0, NULL, 0);
	send_frame(c, ISO_MORE, tag, file, &more, sizeof(more));
	want_frame(c, ISO_RESULT);
	/* It has crossed the RESULT: nothing happens. */
	send_frame(c, ISO_CANCEL, tag, 0, NULL, 0);
	new_client(c, open_dev(c, ISO_DEV_CTL));
}

/* ---- scenarios: closed -------------------------------------------------- */

static void do_no_ident(struct client *c)
{
	dial(c);
	say_ident(c);
	want_closed(c);
}

/* The bridge said IDENT; the worker never says all of HELLO. */
static void do_no_hello(struct client *c)
{
	const uint8_t part[20] = { 32, 0, 0, 0, ISO_HELLO };

	dial(c);
	say_ident(c);
	send_raw(c, part, sizeof(part));
	want_closed(c);
}

static void do_hello_first(struct client *c)
{
	uint8_t body[256] = { 0 };

	dial(c);
	send_frame(c, ISO_HELLO, 0, 0, body, sizeof(body));
	want_closed(c);
}

static void do_silent(struct client *c)
{
	dial(c);
	want_closed(c);
}

static void do_bad_version(struct client *c)
{
	const struct iso_hello hello = { .major = 9, .max_frame = 1 << 20 };
	struct rd r;

	dial(c);
	if (c->ident)
		say_ident(c);
	send_frame(c, ISO_HELLO, 0, 0, &hello, sizeof(hello));
	r = want_frame(c, ISO_BYE);
	expect(rd_u32(&r) == ISO_BYE_VERSION, "BYE is not for the version");
	want_closed(c);
}

static void do_bye(struct client *c)
{
	const struct iso_bye bye = { .reason = ISO_BYE_SHUTDOWN };

	join(c);
	send_frame(c, ISO_BYE, 0, 0, &bye, sizeof(bye));
	want_closed(c);
}

/* Each way to break the framing, on a connection of its own. */
static void do_hostile_frames(struct client *c)
{
	static const struct {
		uint32_t len;
		uint16_t type, flags;
		uint32_t tag, file, body;
	} bad[] = {
		{ 15, ISO_PING, 0, 0, 0, 8 },		/* shorter than itself */
		{ 0, ISO_PING, 0, 0, 0, 8 },
		{ ISO_MAX_FRAME + 1, ISO_IOCTL, 0, 1, 1, 64 },
		{ 0xffffffff, ISO_IOCTL, 0, 1, 1, 64 },
		{ 24, 0, 0, 0, 0, 8 },			/* no such type */
		{ 24, ISO_TYPE__COUNT, 0, 0, 0, 8 },
		{ 24, 0xffff, 0, 0, 0, 8 },
		{ 24, ISO_PING, 1, 0, 0, 8 },		/* flags */
		{ 24, ISO_PING, 0, 5, 0, 8 },		/* a tag too many */
		{ 24, ISO_PING, 0, 0, 5, 8 },		/* a file too many */
		{ 25, ISO_PING, 0, 0, 0, 9 },		/* too long */
		{ 16, ISO_PING, 0, 0, 0, 0 },		/* too short */
		{ 24, ISO_PONG, 0, 0, 0, 8 },		/* out of state */
		{ 32, ISO_HELLO, 0, 0, 0, 16 },
		{ 120, ISO_IDENT, 0, 0, 0, 104 },
		{ 24, ISO_OPENED, 0, 1, 1, 8 },
		{ 24, ISO_MORE, 0, 1, 1, 8 },
		{ 16, ISO_CLOSE, 0, 0, 99, 0 },		/* no such file */
		{ 24, ISO_POLL, 0, 1, 99, 8 },
		{ 40, ISO_MAP, 0, 1, 99, 24 },
		{ 32, ISO_UNMAP, 0, 0, 1, 16 },
		{ 32, ISO_IOCTL, 0, 1, 99, 16 },
		{ 40, ISO_OPEN, 0, 1, 0, 24 },		/* junk in it */
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t junk[128];
		struct wr w;

		join(c);
		memset(junk, 0xa5, sizeof(junk));
		wr_init(&w, 4096);
		wr_u32(&w, bad[i].len);
		wr_u16(&w, bad[i].type);
		wr_u16(&w, bad[i].flags);
		wr_u32(&w, bad[i].tag);
		wr_u32(&w, bad[i].file);
		wr_bytes(&w, junk, bad[i].body);
		send_raw(c, w.p, w.len);
		wr_free(&w);
		want_closed(c);
		close_fd(&c->fd);
	}
	printf("refused %zu\n", ARRAY_SIZE(bad));
}

/* IOCTLs whose lengths, counts, padding or flags are wrong. */
static void do_hostile_ioctls(struct client *c)
{
	static const struct {
		uint32_t nr, arg_len, n_span, pad, span_len, span_flags, body;
	} bad[] = {
		{ NV_ESC_RM_CONTROL, 0xffffffff, 1, 0, 0, 0, 32 },
		{ NV_ESC_RM_CONTROL, ISO_MAX_ARG + 1, 1, 0, 0, 0, 32 },
		{ NV_ESC_RM_CONTROL, 32, 1, 1, 0, 0, 32 },
		{ NV_ESC_RM_CONTROL, 32, 0, 0, 0, 0, 32 },
		{ NV_ESC_RM_CONTROL, 32, 2, 0, 0, 0, 32 },
		{ NV_ESC_RM_CONTROL, 32, 0xffffffff, 0, 0, 0, 32 },
		{ NV_ESC_RM_CONTROL, 32, 1, 0, 0xffffffff, 0, 32 },
		{ NV_ESC_RM_CONTROL, 32, 1, 0, 64, 0, 32 },
		{ NV_ESC_RM_CONTROL, 32, 1, 0, 0, 2, 32 },
		{ NV_ESC_RM_CONTROL, 32, 1, 0, 8, ISO_SPAN_NULL, 40 },
		{ NV_ESC_RM_CONTROL, 32, 1, 0, 0, 0, 31 },
		{ NV_ESC_RM_CONTROL, 32, 1, 0, 0, 0, 33 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint32_t file;
		struct wr w;

		join(c);
		file = open_dev(c, ISO_DEV_CTL);
		wr_init(&w, 4096);
		wr_u32(&w, bad[i].nr);
		wr_u32(&w, bad[i].arg_len);
		wr_u32(&w, bad[i].n_span);
		wr_u32(&w, bad[i].pad);
		wr_u32(&w, bad[i].span_len);
		wr_u32(&w, bad[i].span_flags);
		wr_zero(&w, bad[i].body);
		send_frame(c, ISO_IOCTL, 1, file, w.p, w.len);
		wr_free(&w);
		want_closed(c);
		close_fd(&c->fd);
	}
	printf("refused %zu\n", ARRAY_SIZE(bad));
}

/* A frame in the middle of which the worker dies. */
static void do_truncated(struct client *c)
{
	const uint8_t part[20] = { 200, 0, 0, 0, ISO_IOCTL, 0, 0, 0, 1 };

	join(c);
	send_raw(c, part, sizeof(part));
}

/* ---- the table ---------------------------------------------------------- */

const struct scenario hostile_scenarios[] = {
	{ "unknown-ioctl", do_unknown_ioctl },
	{ "unknown-control", do_unknown_control },
	{ "wrong-size", do_wrong_size },
	{ "unknown-class", do_unknown_class },
	{ "foreign-client", do_foreign_client },
	{ "foreign-dup", do_foreign_dup },
	{ "max-files", do_max_files },
	{ "max-clients", do_max_clients },
	{ "max-vidmem", do_max_vidmem },
	{ "unread", do_unread },
	{ "parked-gone", do_parked_gone },
	{ "bad-fd", do_bad_fd },
	{ "huge-length", do_huge_length },
	{ "huge-nested", do_huge_nested },
	{ "more-efault", do_more_efault },
	{ "cancel", do_cancel },
	{ "no-ident", do_no_ident },
	{ "no-hello", do_no_hello },
	{ "hello-first", do_hello_first },
	{ "silent", do_silent },
	{ "bad-version", do_bad_version },
	{ "bye", do_bye },
	{ "hostile-frames", do_hostile_frames },
	{ "hostile-ioctls", do_hostile_ioctls },
	{ "truncated", do_truncated },
	{ 0 }
};
