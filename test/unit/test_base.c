/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/idmap.h"
#include "base/num.h"
#include "base/rd.h"
#include "base/ring.h"
#include "base/sock.h"
#include "base/wr.h"
#include "tap.h"

static void test_ranges(void)
{
	size_t n = 7;

	ok(mul_ok(3, 5, &n) && n == 15, "a product that fits is given");
	n = 7;
	ok(!mul_ok(SIZE_MAX, 2, &n) && n == 7,
	   "one that does not leaves the result alone");
	ok(range_ok(2, 3, 5) && range_ok(5, 0, 5) && !range_ok(2, 4, 5) &&
	   !range_ok(6, 0, 5) && !range_ok(1, UINT64_MAX, 5) &&
	   !range_ok(UINT64_MAX, 2, 5), "ranges do not wrap");
	ok(pad8(0) == 0 && pad8(1) == 8 && pad8(8) == 8, "pad8 rounds up");
	ok(equal_ct("abc", "abc", 3) && !equal_ct("abc", "abd", 3) &&
	   equal_ct("a", "b", 0), "equal_ct compares");
}

static void test_rd(void)
{
	static const uint8_t b[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9,
				     0, 0, 0, 0, 0, 0, 0, 0xff };
	struct rd r = rd_init(b, sizeof(b));
	const uint8_t *p;

	ok(rd_u16(&r) == 0x0201 && rd_u32(&r) == 0x06050403,
	   "integers are little-endian");
	ok(!rd_done(&r), "rd_done wants the end");
	p = rd_span(&r, 11);
	ok(p == b + 6 && rd_done(&r), "a span is where the bytes are");
	ok(rd_span(&r, 0) && !r.bad, "an empty span at the end is one");
	ok(rd_u16(&r) == 0 && r.bad, "a short read gives 0 and is bad");
	r = rd_init(b, 4);
	ok(rd_u64(&r) == 0x04030201 && r.bad && rd_u16(&r) == 0 &&
	   !rd_done(&r), "bad is for good");
	r = rd_init(b + 8, 8);
	ok(rd_span_pad8(&r, 1) == b + 8 && rd_done(&r), "padding is taken");
	r = rd_init(b + 9, 8);
	ok(!rd_span_pad8(&r, 1) && r.bad, "padding that is not zero is bad");
	r = rd_init(b, 3);
	ok(!rd_span_pad8(&r, 3) && r.bad, "padding that is missing is bad");
}

static void test_wr(void)
{
	struct wr w;

	wr_init(&w, 40);
	wr_u16(&w, 0x0201);
	wr_u32(&w, 0x06050403);
	wr_pad8(&w, "abc", 3);
	ok(wr_ok(&w) && w.len == 14 && memcmp(w.p, "\1\2\3\4\5\6"
	   "abc\0\0\0\0\0", 14) == 0, "what is written is there");
	wr_zero(&w, 26);
	ok(wr_ok(&w) && w.len == 40, "up to max");
	ok(!wr_room(&w, 1) && !wr_ok(&w), "but not past it");
	wr_u16(&w, 1);
	ok(w.len == 40, "then nothing is added");
	wr_reset(&w);
	ok(wr_ok(&w) && !wr_room(&w, SIZE_MAX) && !wr_ok(&w),
	   "no length wraps");
	wr_free(&w);
}

static int u64(const char *s, uint64_t max, uint64_t *v)
{
	return parse_u64(s, 1, max, v);
}

static void test_num(void)
{
	struct pci_bdf bdf;
	uint8_t hex[2];
	uint64_t v;

	ok(u64("42", 99, &v) == 0 && v == 42 &&
	   u64("0x2a", 99, &v) == 0 && v == 42 &&
	   u64("18446744073709551615", UINT64_MAX, &v) == 0 && v == UINT64_MAX,
	   "numbers are read");
	v = 7;
	ok(u64("", 9, &v) == -EINVAL && u64("0x", 9, &v) == -EINVAL &&
	   u64(" 1", 9, &v) == -EINVAL && u64("1 ", 9, &v) == -EINVAL &&
	   u64("-1", 9, &v) == -EINVAL && u64("+1", 9, &v) == -EINVAL &&
	   u64("a", 9, &v) == -EINVAL, "what is no number is refused");
	ok(u64("0", 9, &v) == -ERANGE && u64("10", 9, &v) == -ERANGE &&
	   u64("18446744073709551616", UINT64_MAX, &v) == -ERANGE && v == 7,
	   "what is out of range, too, and the result left alone");
	ok(parse_size("3K", 0, UINT64_MAX, &v) == 0 && v == 3072 &&
	   parse_size("2G", 0, UINT64_MAX, &v) == 0 && v == 2ull << 30 &&
	   parse_size("5", 0, 5, &v) == 0 && v == 5, "sizes have suffixes");
	ok(parse_size("K", 0, 9, &v) == -EINVAL &&
	   parse_size("1k", 0, 9, &v) == -EINVAL &&
	   parse_size("17179869184G", 0, UINT64_MAX, &v) == -ERANGE,
	   "other sizes are refused");
	ok(parse_hex("0fA0", hex, 2) == 0 && hex[0] == 15 && hex[1] == 160 &&
	   parse_hex("0fa", hex, 2) == -EINVAL &&
	   parse_hex("0fag", hex, 2) == -EINVAL, "hexadecimal is read");
	ok(parse_bdf("0001:af:1f.7", &bdf) == 0 && bdf.domain == 1 &&
	   bdf.bus == 0xaf && bdf.dev == 31 && bdf.func == 7,
	   "a PCI address is read");
	ok(parse_bdf("0001:af:20.0", &bdf) == -EINVAL &&
	   parse_bdf("0001:af:1f.8", &bdf) == -EINVAL &&
	   parse_bdf("0001:AF:1f.0", &bdf) == -EINVAL &&
	   parse_bdf("01:00.0", &bdf) == -EINVAL &&
	   parse_bdf("0001-af:1f.0", &bdf) == -EINVAL,
	   "other PCI addresses are refused");
	ok(name_ok("w-1") && name_ok("a2345678901234567890123456789012") &&
	   !name_ok("a23456789012345678901234567890123") && !name_ok("") &&
	   !name_ok("W") && !name_ok("a.b") && !name_ok("a/b"),
	   "names are short and plain");
}

static void test_idmap(void)
{
	struct idmap m;
	uint32_t a, b, c;
	int x, y;

	idmap_init(&m, 2);
	ok(idmap_add(&m, &x, &a) == 0 && idmap_add(&m, &y, &b) == 0 && a != b &&
	   idmap_get(&m, a) == &x && idmap_get(&m, b) == &y,
	   "an id finds its pointer");
	ok(idmap_add(&m, &x, &c) == -ENOSPC, "no more than max");
	ok(idmap_del(&m, a) == &x && !idmap_get(&m, a) && !idmap_del(&m, a),
	   "a removed id finds nothing");
	ok(idmap_add(&m, &y, &c) == 0 && c != a && !idmap_get(&m, a) &&
	   idmap_get(&m, c) == &y, "its slot's next id is another");
	ok(!idmap_get(&m, 0) && !idmap_get(&m, UINT32_MAX) &&
	   !idmap_get(&m, c + 0x10000), "an id that was never given, neither");
	for (int i = 0; i < 70000; i++) {
		idmap_del(&m, c);
		if (idmap_add(&m, &x, &c) < 0 || c == 0 || c == UINT32_MAX)
			break;
	}
	ok(idmap_get(&m, c) == &x && m.used == 2, "generations go round");
	idmap_free(&m);
}

static void test_ring(void)
{
	struct iovec iov[2];
	struct ring r;

	ok(ring_init(&r, 8) == 0 && ring_space(&r) == 8 &&
	   ring_used_iov(&r, iov) == 0, "an empty ring");
	ring_put(&r, "abcdef", 6);
	ring_took(&r, 4);
	ring_put(&r, "ghijk", 5);
	ok(ring_used(&r) == 7 && ring_used_iov(&r, iov) == 2 &&
	   iov[0].iov_len == 4 && iov[1].iov_len == 3 &&
	   memcmp(iov[0].iov_base, "efgh", 4) == 0 &&
	   memcmp(iov[1].iov_base, "ijk", 3) == 0,
	   "bytes come in order round the end");
	ok(ring_space_iov(&r, iov) == 1 && iov[0].iov_len == 1,
	   "the free part is the rest");
	ring_put(&r, "l", 1);
	ok(ring_space_iov(&r, iov) == 0, "a full ring has no room");
	ring_free(&r);
}

static int addr(const char *s)
{
	struct sock_addr a;

	return sock_parse(s, &a);
}

static void test_addresses(void)
{
	char longest[160] = "unix:/";
	struct sock_addr a;

	memset(longest + 6, 'x', sizeof(longest) - 7);
	ok(sock_parse("hybrid:/a:b:9999", &a) == 0 && a.kind == SOCK_HYBRID &&
	   strcmp(a.path, "/a:b") == 0 && a.port == 9999,
	   "a hybrid address ends in its port");
	ok(sock_parse("vsock:any:1", &a) == 0 && a.cid == UINT32_MAX &&
	   sock_parse("vsock:3:9999", &a) == 0 && a.cid == 3 && a.port == 9999,
	   "a vsock address is CID and port");
	ok(addr("unix:") == -EINVAL && addr("tcp:1") == -EINVAL &&
	   addr("vsock:3") == -EINVAL && addr("vsock::1") == -EINVAL &&
	   addr("vsock:3:x") == -EINVAL && addr("hybrid:/x") == -EINVAL &&
	   addr("hybrid:/x:") == -EINVAL, "other addresses are refused");
	ok(addr(longest) == -ENAMETOOLONG, "a path that is too long is refused");
}

static void test_sockets(void)
{
	char dir[] = "/tmp/test_base.XXXXXX";
	struct sock_addr a = { .kind = SOCK_UNIX };
	int l, again, c;

	if (!mkdtemp(dir))
		return;
	snprintf(a.path, sizeof(a.path), "%s/s", dir);
	ok(sock_connect(&a, 100) == -ENOENT, "nobody is there");
	l = sock_listen(&a, 1);
	c = sock_connect(&a, 1000);
	ok(l >= 0 && c >= 0, "a listener is reached");
	again = sock_listen(&a, 1);
	ok(again == -EADDRINUSE, "one that answers is not replaced");
	close(c);
	close(l);
	ok(sock_connect(&a, 100) == -ECONNREFUSED, "a stale socket refuses");
	l = sock_listen(&a, 1);
	ok(l >= 0, "and is replaced");
	close(l);
	unlink(a.path);
	mkdir(a.path, 0700);
	ok(sock_listen(&a, 1) == -EADDRINUSE, "what is no socket is not");
	rmdir(a.path);
	rmdir(dir);
}

static void test_fds(void)
{
	int sv[2], fds[3], got[2] = { -1, -1 };
	size_t n = 9;
	char c;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return;
	fds[0] = fds[1] = fds[2] = sv[0];
	ok(sock_send_fds(sv[0], "x", 1, fds, 2) == 0 &&
	   sock_recv_fds(sv[1], &c, 1, got, 2, &n) == 1 && c == 'x' && n == 2 &&
	   (fcntl(got[0], F_GETFD) & FD_CLOEXEC) &&
	   (fcntl(got[1], F_GETFD) & FD_CLOEXEC), "fds travel");
	close(got[0]);
	close(got[1]);
	ok(sock_send_fds(sv[0], "x", 1, fds, 3) == 0 &&
	   sock_recv_fds(sv[1], &c, 1, got, 2, &n) == -EMSGSIZE &&
	   fcntl(got[0], F_GETFD) < 0, "more than wanted are closed");
	ok(sock_send_fds(sv[0], "xy", 2, NULL, 0) == 0 &&
	   sock_recv_fds(sv[1], &c, 1, got, 2, &n) == -EMSGSIZE,
	   "a message that is cut is refused");
	close(sv[0]);
	ok(sock_recv_fds(sv[1], &c, 1, got, 2, &n) == 0 && n == 0,
	   "the end is 0 bytes");
	ok(read_full(sv[1], &c, 1) == -EPIPE, "read_full says an early end");
	close(sv[1]);
}

static void test_secret(void)
{
	static const char hex[] =
		"000102030405060708090a0b0c0d0e0f"
		"101112131415161718191a1b1c1d1e1f\n";
	uint8_t s[PARSE_SECRET_LEN];

	ok(parse_secret(hex, 65, s) == 0 && s[31] == 31,
	   "a secret in hexadecimal and a newline is read");
	ok(parse_secret(hex, 64, s) == 0, "also without the newline");
	ok(parse_secret(hex, 32, s) == 0 && s[0] == '0',
	   "32 bytes are a secret as they are");
	ok(parse_secret(hex, 63, s) == -EINVAL &&
	   parse_secret(hex, 0, s) == -EINVAL &&
	   parse_secret(hex + 1, 64, s) == -EINVAL,
	   "another length is no secret");
}

int main(void)
{
	test_ranges();
	test_rd();
	test_wr();
	test_num();
	test_idmap();
	test_ring();
	test_addresses();
	test_sockets();
	test_fds();
	test_secret();
	return done_testing();
}
