/* SPDX-License-Identifier: MIT */
/* links: src/bridge */
/* test_bridge.c - tests the parsers of the bridge */
#include <errno.h>
#include <string.h>

#include "base/hybrid.h"
#include "bridge/registry.h"
#include "tap.h"

#define GPU "connect=hybrid:/run/g/vsock.sock:9999\nsecret_file=/run/g/s\n"
#define WORKER "listen=unix:/run/w/v_9999\ngpu=gpu0\ncaps=utility,compute\n"

static struct reg_entry entry;
static struct reg_error error;

static int parse(enum reg_kind kind, const char *text)
{
	memset(&entry, 0, sizeof(entry));
	memset(&error, 0, sizeof(error));
	return reg_parse(kind, "vm1", text, strlen(text), &entry, &error);
}

/* The line at which `text` is refused, or -1 if it is not. */
static int bad_line(enum reg_kind kind, const char *text)
{
	return parse(kind, text) == -EINVAL && error.why ? (int)error.line : -1;
}

static void test_registry(void)
{
	ok(parse(REG_GPU, GPU) == 0 && strcmp(entry.name, "vm1") == 0 &&
	   entry.addr.kind == SOCK_HYBRID && entry.addr.port == 9999 &&
	   strcmp(entry.addr.path, "/run/g/vsock.sock") == 0 &&
	   strcmp(entry.secret_file, "/run/g/s") == 0, "a GPU VM is read");
	ok(parse(REG_WORKER, WORKER "quota_class=0\n") == 0 &&
	   entry.addr.kind == SOCK_UNIX && strcmp(entry.gpu, "gpu0") == 0 &&
	   entry.caps == (ISO_CAP_UTILITY | ISO_CAP_COMPUTE),
	   "a worker is read");
	ok(parse(REG_WORKER, "# x\n\n" WORKER) == 0,
	   "comments and empty lines are nothing");
	ok(parse(REG_WORKER, "listen=vsock:5\ngpu=g\ncaps=") == 0 &&
	   entry.addr.kind == SOCK_VSOCK && entry.addr.cid == 5 &&
	   entry.caps == 0, "a worker on AF_VSOCK without capabilities is read");
	ok(bad_line(REG_WORKER, GPU) == 1, "a worker has no connect=");
	ok(bad_line(REG_GPU, GPU "more=1\n") == 3, "an unknown key is refused");
	ok(bad_line(REG_GPU, GPU "secret_file=/x\n") == 3,
	   "a key that comes twice is refused");
	ok(bad_line(REG_GPU, "connect\n") == 1, "a line without = is refused");
	ok(bad_line(REG_GPU, "connect=unix:/x\n") == 0,
	   "a missing key is refused");
	ok(bad_line(REG_GPU, "connect=vsock:2:9999\nsecret_file=/x") == 1,
	   "the host is no GPU VM");
	ok(bad_line(REG_GPU, "connect=tcp:1\nsecret_file=/x") == 1,
	   "an unknown address is refused");
	ok(bad_line(REG_GPU, "connect=unix:/x\nsecret_file=x") == 2,
	   "a relative secret_file is refused");
	ok(bad_line(REG_WORKER, "listen=vsock:any\n") == 1,
	   "a worker has a CID");
	ok(bad_line(REG_WORKER, "listen=hybrid:/x:1\n") == 1,
	   "a worker does not listen behind a hybrid socket");
	ok(bad_line(REG_WORKER, "gpu=../x\n") == 1, "gpu is a name");
	ok(bad_line(REG_WORKER, "caps=utility,root\n") == 1,
	   "an unknown capability is refused");
	ok(bad_line(REG_WORKER, "caps=utility,\n") == 1,
	   "a trailing comma is refused");
	ok(bad_line(REG_WORKER, "quota_class=1\n") == 1,
	   "an unknown quota class is refused");
}

static void test_files(void)
{
	static char big[REG_FILE_MAX + 2];
	char name[REG_NAME_MAX];
	enum reg_kind kind;

	memset(big, '\n', sizeof(big));
	ok(reg_parse(REG_GPU, "x", big, REG_FILE_MAX + 1, &entry, &error) ==
	   -EINVAL, "a file that is too long is refused");
	ok(reg_parse(REG_GPU, "x", "#\0", 2, &entry, &error) == -EINVAL,
	   "a NUL byte is refused");
	ok(reg_file_name("w-1.worker", name, &kind) == 0 &&
	   strcmp(name, "w-1") == 0 && kind == REG_WORKER &&
	   reg_file_name("g.gpu", name, &kind) == 0 && kind == REG_GPU,
	   "file names say what a VM is");
	ok(reg_file_name("w", name, &kind) == -EINVAL &&
	   reg_file_name(".worker", name, &kind) == -EINVAL &&
	   reg_file_name("W.worker", name, &kind) == -EINVAL &&
	   reg_file_name("w.worker~", name, &kind) == -EINVAL &&
	   reg_file_name("a23456789012345678901234567890123.gpu", name,
			 &kind) == -EINVAL, "other file names are refused");
}

/* Feeds the greeting `step` bytes at a time. Returns the last verdict of
 * hybrid_feed(); *ret_used counts the bytes of the line. */
static int greet(const char *text, size_t step, size_t *ret_used)
{
	struct hybrid h = { .n = 0 };
	size_t n = strlen(text), at = 0, used;
	int r = 0;

	while (r == 0 && at < n) {
		r = hybrid_feed(&h, text + at, MIN(step, n - at), &used);
		if (r >= 0)
			at += used;
	}
	*ret_used = at;
	return r;
}

static void test_hybrid(void)
{
	size_t used;

	for (size_t step = 1; step < 20; step += 6)
		ok(greet("OK 1073741824\nrest", step, &used) == 1 && used == 14,
		   "OK is understood, and the stream behind it left, in steps "
		   "of %zu", step);
	ok(greet("OK 4294967295\n", 99, &used) == 1, "the last port is one");
	ok(greet("OK 1", 1, &used) == 0, "half a line is not refused yet");
	ok(greet("OK 4294967296\n", 99, &used) == -EPROTO &&
	   greet("OK \n", 99, &used) == -EPROTO &&
	   greet("OK 0x10\n", 99, &used) == -EPROTO &&
	   greet("ok 1\n", 99, &used) == -EPROTO &&
	   greet("\n", 99, &used) == -EPROTO,
	   "any other line is refused");
	ok(greet("OK 11111111111111111", 1, &used) == -EPROTO,
	   "a line without end is refused");
}

int main(void)
{
	test_registry();
	test_files();
	test_hybrid();
	return done_testing();
}
