/* SPDX-License-Identifier: MIT */
/* links: test/guest/wire-shim.c test/guest/wire-hostile.c */
/*
 * wire-client.c - speaks the wire to gpu-broker, well and badly, for tests
 *
 * usage: wire-client [--no-ident] [--secret-file FILE] [--name NAME]
 *                    [--caps N] ADDRESS SCENARIO
 *
 * A scenario is a row of the table at the end, or of that in wire-hostile.c. It
 * prints the answers that it got; the status is 1, with a message, if something
 * was wrong.
 */
#include "wire-hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "../tools/driver-test.h"

/* ---- scenarios: good ---------------------------------------------------- */

static void do_hello(struct client *c)
{
	struct rd r;
	uint32_t gpus, rows, classes, texts;

	dial(c);
	if (c->ident)
		say_ident(c);
	r = say_hello(c);
	rd_span(&r, offsetof(struct iso_hello_ok, n_gpu));
	gpus = rd_u16(&r);
	rows = rd_u16(&r);
	classes = rd_u16(&r);
	texts = rd_u16(&r);
	rd_span(&r, ISO_VERSION_LEN);
	rd_span(&r, gpus * sizeof(struct iso_gpu) +
			    rows * sizeof(struct iso_row) +
			    classes * sizeof(struct iso_class));
	for (uint32_t i = 0; i < texts; i++) {
		uint32_t len;

		rd_span(&r, ISO_TEXT_NAME_LEN);
		len = rd_u32(&r);
		rd_u32(&r);
		rd_span_pad8(&r, len);
	}
	expect(rd_done(&r), "HELLO_OK has a wrong length");
	printf("gpus %u rows %u classes %u texts %u\n", gpus, rows, classes,
	       texts);
}

/* A control without nested pointers, then one with them, which the broker asks
 * for by NEED. */
static void do_control(struct client *c)
{
	uint8_t params[1024] = { 0 };
	struct ask a = { 0 };
	const struct abi_row *row;
	uint32_t client;

	join(c);
	a.file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, a.file);
	row = abi_control(c->abi, NV0000_CTRL_CMD_GPU_GET_PROBED_IDS);
	want_status(rm_control(c, &a, client, client, row->nr, params,
			       row->sizes[0]), NV_OK);
	printf("gpu id 0x%x\n",
	       (unsigned int)abi_get(row, ABI_F_gpuIds, 0, params,
				     sizeof(params)));
	row = abi_control(c->abi, NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION);
	memset(params, 0, sizeof(params));
	put(row, params, ABI_F_sizeOfStrings, 64);
	put(row, params, ABI_F_pDriverVersionBuffer, 0x1000);
	want_status(rm_control(c, &a, client, client, row->nr, params,
			       row->sizes[0]), NV_OK);
	expect(a.n_need == 1, "NEED asked for %u ranges", a.n_need);
	expect(get(row, params, ABI_F_pDriverVersionBuffer) == 0x1000,
	       "the nested pointer did not come back");
	printf("driver %.64s\n", (const char *)a.need);
}

/* Far more calls in one write than the broker reads at once. */
static void do_burst(struct client *c)
{
	const struct abi_row *ctl;
	uint8_t params[1024] = { 0 };
	uint32_t file, client, tags = 0;
	struct rm_arg arg;
	struct wr burst;
	struct ask a;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, file);
	ctl = abi_control(c->abi, NV0000_CTRL_CMD_GPU_GET_PROBED_IDS);
	rm_arg_control(&arg, escape(c, ABI_R_NV_ESC_RM_CONTROL), client, client,
		       ctl->nr, 0x1000, ctl->sizes[0]);
	a = ask_of(file, &arg, params, ctl->sizes[0]);
	wr_init(&burst, ISO_MAX_FRAME);
	c->held = &burst;
	for (uint32_t i = 1; i <= 200; i++)
		send_ioctl(c, &a, i);
	c->held = NULL;
	expect(burst.len > 32 * 1024, "a burst of %zu bytes", burst.len);
	expect(write_full(c->fd, burst.p, burst.len) == 0, "cannot send");
	wr_free(&burst);
	for (uint32_t i = 1; i <= 200; i++)
		tags += want_result(c);
	expect(tags == 200 * 201 / 2, "a tag came twice");
	/* and one more, by itself */
	want_status(rm_control(c, &a, client, client, ctl->nr, params,
			       ctl->sizes[0]), NV_OK);
}

/* Stays until its stdin ends; the test looks at the processes meanwhile. */
static void do_hold(struct client *c)
{
	char byte;

	join(c);
	open_dev(c, ISO_DEV_CTL);
	puts("holding");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

/* Stays until the broker closes. */
static void do_watch(struct client *c)
{
	join(c);
	puts("holding");
	fflush(stdout);
	want_closed(c);
	puts("closed");
}

static void do_ping(struct client *c)
{
	const struct iso_ping ping = { .cookie = 0x1122334455667788 };
	struct rd r;

	join(c);
	send_frame(c, ISO_PING, 0, 0, &ping, sizeof(ping));
	r = want_frame(c, ISO_PONG);
	expect(rd_u64(&r) == ping.cookie, "PONG has another cookie");
}

static void do_map(struct client *c)
{
	const struct iso_map map = { .len = 4096, .prot = 1 };
	uint32_t file;
	struct rd r;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	send_frame(c, ISO_MAP, 7, file, &map, sizeof(map));
	r = want_frame(c, ISO_MAPPED);
	expect(rd_u32(&r) == EOPNOTSUPP, "MAP did not say EOPNOTSUPP");
}

/* Gives a place back that was never granted: the connection stays. */
static void do_unmap(struct client *c)
{
	const struct iso_unmap unmap = { .win_off = 4096, .len = 4096 };
	const struct iso_ping ping = { .cookie = 1 };
	uint32_t file;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	send_frame(c, ISO_UNMAP, 0, file, &unmap, sizeof(unmap));
	send_frame(c, ISO_PING, 0, 0, &ping, sizeof(ping));
	want_frame(c, ISO_PONG);
}

/* ---- scenarios: with gpu-broker-test --driver block --------------------- */

/* The driver lists processes of all workers; only one's own comes back. */
static void do_pids(struct client *c)
{
	const struct abi_row *row;
	uint8_t params[4096] = { 0 };
	struct ask a = { 0 };
	uint32_t client;

	join(c);
	row = abi_control(c->abi, NV2080_CTRL_CMD_GPU_GET_PIDS);
	a.file = open_dev(c, ISO_DEV_CTL);
	client = new_client(c, a.file);
	want_status(rm_control(c, &a, client, client, row->nr, params,
			       row->sizes[0]), NV_OK);
	expect(get(row, params, ABI_F_pidTblCount) == 1,
	       "not one process is listed");
	expect(get(row, params, ABI_F_pidTbl) &&
	       !abi_get(row, ABI_F_pidTbl, 1, params, sizeof(params)),
	       "another worker's process is listed");
}

static void want_silence(struct client *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	expect(poll(&p, 1, 0) == 0, "an answer before its time");
}

/* Of 32 calls the first does not come back; all others do. */
static void do_one_blocked(struct client *c)
{
	uint32_t file, blocked, release;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	blocked = send_sys_params(c, file, DRIVER_TEST_BLOCK);
	for (int i = 0; i < 31; i++)
		send_sys_params(c, file, 0);
	for (int i = 0; i < 31; i++)
		expect(want_result(c) != blocked, "the blocked call is back");
	want_silence(c);
	release = send_sys_params(c, file, DRIVER_TEST_RELEASE);
	expect(want_result(c) + want_result(c) == blocked + release,
	       "other answers than those two");
}

/* More blocked calls than the broker has threads; the link stays alive. */
static void do_all_blocked(struct client *c)
{
	const struct iso_ping ping = { .cookie = 1 };
	uint32_t file;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	for (int i = 0; i < 100; i++)
		send_sys_params(c, file, DRIVER_TEST_BLOCK);
	send_frame(c, ISO_PING, 0, 0, &ping, sizeof(ping));
	want_frame(c, ISO_PONG);
	send_frame(c, ISO_CLOSE, 0, file, NULL, 0);
	send_frame(c, ISO_PING, 0, 0, &ping, sizeof(ping));
	want_frame(c, ISO_PONG);
}

/* The worker goes away in the middle of a call. */
static void do_gone_blocked(struct client *c)
{
	uint32_t file;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	send_sys_params(c, file, DRIVER_TEST_BLOCK);
	send_sys_params(c, file, 0);
	want_result(c);
}

static void do_poll(struct client *c)
{
	const struct iso_poll want = { .events = POLLIN };
	const struct iso_ping ping = { .cookie = 1 };
	uint32_t file;
	struct rd r;

	join(c);
	file = open_dev(c, ISO_DEV_CTL);
	send_frame(c, ISO_POLL, 0, file, &want, sizeof(want));
	send_frame(c, ISO_PING, 0, 0, &ping, sizeof(ping));
	want_frame(c, ISO_PONG);
	want_silence(c);
	send_sys_params(c, file, DRIVER_TEST_RELEASE);
	want_result(c);
	r = want_frame(c, ISO_EVENT);
	expect(c->in.hdr.file == file && rd_u32(&r) & POLLIN, "not our EVENT");
}

static void do_crash(struct client *c)
{
	join(c);
	send_sys_params(c, open_dev(c, ISO_DEV_CTL), DRIVER_TEST_CRASH);
	want_closed(c);
}

/* ---- main --------------------------------------------------------------- */

static const struct scenario scenarios[] = {
	{ "hello", do_hello },
	{ "control", do_control },
	{ "burst", do_burst },
	{ "hold", do_hold },
	{ "watch", do_watch },
	{ "ping", do_ping },
	{ "map", do_map },
	{ "unmap", do_unmap },
	{ "pids", do_pids },
	{ "one-blocked", do_one_blocked },
	{ "all-blocked", do_all_blocked },
	{ "gone-blocked", do_gone_blocked },
	{ "poll", do_poll },
	{ "crash", do_crash },
	{ 0 }
};

static void read_secret(struct client *c, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read_full(fd, c->secret, sizeof(c->secret)) < 0)
		die(ISO_EX_NOINPUT, "%s: cannot read %d bytes of secret", path,
		    ISO_SECRET_LEN);
}

static int parse_options(struct client *c, int argc, char **argv)
{
	uint64_t v;
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--no-ident") == 0) {
			c->ident = false;
			continue;
		}
		if (i + 1 == argc)
			die(ISO_EX_USAGE, "%s wants a value", argv[i]);
		if (strcmp(argv[i], "--secret-file") == 0)
			read_secret(c, argv[i + 1]);
		else if (strcmp(argv[i], "--name") == 0)
			c->name = argv[i + 1];
		else if (strcmp(argv[i], "--caps") == 0 &&
			 parse_u64(argv[i + 1], 0, UINT32_MAX, &v) == 0)
			c->caps = (uint32_t)v;
		else
			die(ISO_EX_USAGE, "%s: unknown option, or a bad value",
			    argv[i]);
		i++;
	}
	return i;
}

static const struct scenario *find(const struct scenario *s, const char *name)
{
	for (; s->name; s++)
		if (strcmp(s->name, name) == 0)
			return s;
	return NULL;
}

int main(int argc, char **argv)
{
	struct client c = { .name = "w1", .ident = true, .fd = -1,
			    .caps = ISO_CAP_UTILITY | ISO_CAP_COMPUTE };
	const struct scenario *s;
	int i;

	log_init("wire-client");
	i = parse_options(&c, argc, argv);
	if (i + 2 != argc || sock_parse(argv[i], &c.addr) < 0)
		die(ISO_EX_USAGE, "usage: wire-client [...] ADDRESS SCENARIO");
	c.in.body = malloc(ISO_MAX_FRAME);
	if (!c.in.body)
		die(ISO_EX_BUG, "out of memory");
	s = find(scenarios, argv[i + 1]);
	if (!s)
		s = find(hostile_scenarios, argv[i + 1]);
	if (!s)
		die(ISO_EX_USAGE, "there is no scenario %s", argv[i + 1]);
	s->fn(&c);
	free(c.in.body);
	close_fd(&c.fd);
	return ISO_EX_OK;
}
