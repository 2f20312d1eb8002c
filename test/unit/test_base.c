/* SPDX-License-Identifier: MIT */
/* test_base.c - tests the functions that base/ gives every program */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/base.h"
#include "base/bucket.h"
#include "base/file.h"
#include "base/idmap.h"
#include "base/list.h"
#include "base/num.h"
#include "base/rd.h"
#include "base/ring.h"
#include "base/secret.h"
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
	uint8_t s[SECRET_LEN];

	ok(secret_parse(hex, 65, s) == 0 && s[31] == 31,
	   "a secret in hexadecimal and a newline is read");
	ok(secret_parse(hex, 64, s) == 0, "also without the newline");
	ok(secret_parse(hex, 32, s) == 0 && s[0] == '0',
	   "32 bytes are a secret as they are");
	ok(secret_parse(hex, 63, s) == -EINVAL &&
	   secret_parse(hex, 0, s) == -EINVAL &&
	   secret_parse(hex + 1, 64, s) == -EINVAL,
	   "another length is no secret");
}

/* Makes the file hold n bytes. */
static void put_file(const char *path, const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write_full(fd, text, n) < 0)
		exit(1);
	close(fd);
}

static void test_files(void)
{
	static const char text[] = "0123456789abcdef0123456789abcdef"
				   "0123456789abcdef0123456789abcdef\n+";
	char dir[] = "/tmp/test_base.XXXXXX", path[64], buf[8];
	uint8_t s[SECRET_LEN];

	if (!mkdtemp(dir))
		return;
	snprintf(path, sizeof(path), "%s/f", dir);
	ok(file_read(AT_FDCWD, path, buf, sizeof(buf)) == -ENOENT &&
	   secret_read(path, s) == -ENOENT, "a file that is not there");
	put_file(path, "abcdefg", 7);
	memset(buf, 'x', sizeof(buf));
	ok(file_read(AT_FDCWD, path, buf, 8) == 7 && strcmp(buf, "abcdefg") == 0,
	   "a file that fits is read, and ends in a NUL");
	ok(file_read(AT_FDCWD, path, buf, 7) == -EFBIG, "another is refused");
	ok(secret_read(path, s) == -EINVAL &&
	   strstr(secret_error(-EINVAL), "32 bytes"), "a short one is no secret");
	put_file(path, text, 66);
	ok(secret_read(path, s) == -EINVAL, "nor is a long one");
	put_file(path, text, 65);
	ok(secret_read(path, s) == 0 && s[0] == 0x01 && s[31] == 0xef,
	   "a secret is read from a file");
	unlink(path);
	if (mkfifo(path, 0600) == 0)
		ok(file_read(AT_FDCWD, path, buf, 8) == 0, "a FIFO holds nobody up");
	unlink(path);
	rmdir(dir);
}

static void test_bucket(void)
{
	static const struct bucket_rate rate = { .burst = 3, .each_ns = 10 };
	struct bucket b = { 0 };
	uint64_t now = 1000;

	ok(bucket_take(&b, &rate, now) == 0 && bucket_take(&b, &rate, now) == 0 &&
	   bucket_take(&b, &rate, now) == 0, "a full bucket gives its burst");
	ok(bucket_take(&b, &rate, now) == 10 &&
	   bucket_take(&b, &rate, now + 4) == 6,
	   "an empty one says how long it will be");
	ok(bucket_take(&b, &rate, now + 10) == 0 &&
	   bucket_take(&b, &rate, now + 10) == 10, "then it has one token");
	bucket_give(&b, &rate);
	ok(bucket_take(&b, &rate, now + 10) == 0 &&
	   bucket_take(&b, &rate, now + 10) == 10, "a token put back is there");
	ok(b.full_ns == now + 40, "and is full when all are back");
	now += 1000;
	for (int i = 0; i < 3; i++)
		ok(bucket_take(&b, &rate, now) == 0, "a rest gives %d", i + 1);
	ok(bucket_take(&b, &rate, now) == 10, "but no more than the burst");
	b.full_ns = now + rate.burst * rate.each_ns;
	ok(bucket_take(&b, &rate, now) == 10, "one may begin empty");
}

struct thing {
	int n;
	struct list_item item;
};

static struct list *things;	/* that release() may end others of */
static int released;

static void release(struct list_item *item)
{
	struct thing *t = container_of(item, struct thing, item), *other;

	released = released * 10 + t->n;
	if (t->n == 2)
		list_each(other, things, item)
			if (other->n == 1 || other->n == 5)
				list_end(things, &other->item);
}

/* The live ones as the digits of a number. */
static int digits(const struct list *l)
{
	struct thing *t;
	int n = 0;

	list_each(t, l, item)
		n = n * 10 + t->n;
	return n;
}

static void test_list(void)
{
	struct thing t[6] = { 0 }, *p;
	struct list l = { 0 };

	things = &l;
	ok(!list_first(&l, p, item) && digits(&l) == 0, "zeroes are an empty list");
	list_reap(&l, release);
	for (int i = 1; i <= 5; i++) {
		t[i].n = i;
		list_add(&l, &t[i].item);
	}
	ok(digits(&l) == 12345 && list_live(&l) == 5, "items stay in order");
	ok(list_end(&l, &t[2].item) && !list_end(&l, &t[2].item),
	   "an item ends once");
	ok(digits(&l) == 1345 && l.n == 5 && list_live(&l) == 4,
	   "an ended one is not seen, and there");
	list_each(p, &l, item)
		list_end(&l, &p->item);
	ok(digits(&l) == 0 && l.n == 5, "a loop may end what it is at");
	t[3].item.holds = 1;
	list_reap(&l, release);
	ok(released == 1245 && l.n == 1, "what is held is not released");
	t[3].item.holds = 0;
	list_reap(&l, release);
	ok(released == 12453 && l.n == 0 && l.n_ended == 0 && !l.first && !l.last,
	   "but later");
	released = 0;
	for (int i = 1; i <= 5; i++)
		list_add(&l, &t[i].item);
	list_end(&l, &t[2].item);
	list_reap(&l, release);
	ok(released == 25, "release() may end others, those behind at once");
	list_reap(&l, release);
	ok(released == 251 && digits(&l) == 34, "those before, the next time");
	list_remove(&l, &t[3].item);
	list_remove(&l, &t[4].item);
	ok(l.n == 0 && !l.first && !l.last, "an item can be taken out at once");
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
	test_files();
	test_bucket();
	test_list();
	return done_testing();
}
