/* SPDX-License-Identifier: MIT */
/*
 * test_bridge_run.c - runs vsock-bridge between made-up workers and a GPU VM
 *
 * The test plays both ends: the workers, and the hybrid socket of the GPU VM.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "abi/iso_wire.h"
#include "base/sock.h"
#include "tap.h"
#include "wait.h"

#define CAP 4
#define WAIT_MS 10000

static char top[] = "/tmp/test_bridge.XXXXXX";
static char program[4096];
static pid_t bridge;
static int gpu_listener, fds_at_start;

/* ---- the stage ---------------------------------------------------------- */

static const char *at(const char *file)
{
	static char path[4][128];
	static unsigned int i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", top, file);
	return path[i];
}

/* Writes the file as the bridge's callers do: whole, by rename. */
static void put(const char *file, const char *text)
{
	FILE *f = fopen(at("tmp"), "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0 ||
	    rename(at("tmp"), at(file)) < 0)
		abort();
}

static void put_secret(char c)
{
	char s[ISO_SECRET_LEN + 1];

	memset(s, c, ISO_SECRET_LEN);
	s[ISO_SECRET_LEN] = 0;
	put("vms/secret", s);
}

static void put_gpu(void)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "connect=hybrid:%s:9999\nsecret_file=%s\n",
		 at("vms/g.sock"), at("vms/secret"));
	put("bridge.d/gpu0.gpu", text);
}

static void put_worker(const char *name, const char *gpu)
{
	char text[512], file[64], path[64];

	snprintf(path, sizeof(path), "vms/%s.sock_9999", name);
	snprintf(file, sizeof(file), "bridge.d/%s.worker", name);
	snprintf(text, sizeof(text), "listen=unix:%s\ngpu=%s\ncaps=compute\n",
		 at(path), gpu);
	put(file, text);
}

static void start(void)
{
	int p[2];
	char buf[4096];
	size_t n = 0;
	ssize_t r;

	if (pipe(p) < 0)
		abort();
	bridge = fork();
	if (bridge == 0) {
		dup2(p[1], 2);
		close(p[0]);
		close(p[1]);
		execl(program, "vsock-bridge", "--dir", at("bridge.d"),
		      "--max-conns", "4", "--timeout-ms", "2000", NULL);
		_exit(127);
	}
	close(p[1]);
	while (n < sizeof(buf) - 1 && (r = read(p[0], buf + n, 1)) == 1)
		if (buf[n++] == '\n' && memmem(buf, n, "info: state=ready", 17))
			break;
	/* its later lines stay in the pipe, which has room for all of them */
	fcntl(p[0], F_SETFD, FD_CLOEXEC);
}

static int stop(int sig)
{
	int status = -1;

	kill(bridge, sig);
	waitpid(bridge, &status, 0);
	return status;
}

static void patient(int fd)
{
	struct timeval tv = { .tv_sec = 10 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

/* A worker's connection; waits until its listener is there. */
static int worker(const char *name)
{
	char path[SOCK_PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/vms/%s.sock_9999", top, name);
	fd = wait_connect(path, WAIT_MS);
	if (fd >= 0)
		patient(fd);
	return fd;
}

/* The GPU VM's end of the next connection, up to the CONNECT line. */
static int gpu_accept(void)
{
	char line[13];
	int fd;

	fd = accept4(gpu_listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return -1;
	patient(fd);
	if (read_full(fd, line, sizeof(line)) < 0 ||
	    memcmp(line, "CONNECT 9999\n", sizeof(line)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct {
	struct iso_hdr hdr;
	struct iso_ident ident;
} id;

/* The same, greeted, with IDENT read. */
static int gpu_end(void)
{
	int fd = gpu_accept();

	if (fd >= 0 && write_full(fd, "OK 7\n", 5) == 0 &&
	    read_full(fd, &id, sizeof(id)) == 0)
		return fd;
	close_fd(&fd);
	return -1;
}

static bool ended(int fd)
{
	char c;
	ssize_t r = read(fd, &c, 1);

	return r == 0 || (r < 0 && errno == ECONNRESET);
}

static bool passes(int from, int to)
{
	char buf[6];

	return write_full(from, "hello!", 6) == 0 &&
	       read_full(to, buf, 6) == 0 && memcmp(buf, "hello!", 6) == 0;
}

static bool pair(const char *name, int *ret_w, int *ret_g)
{
	*ret_w = worker(name);
	*ret_g = gpu_end();
	return *ret_w >= 0 && *ret_g >= 0;
}

static void close2(int a, int b)
{
	close(a);
	close(b);
}

/* How many fds the bridge has open, or -1 without the permission to look. */
static int bridge_fds(void)
{
	char path[64];
	DIR *d;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", bridge);
	d = opendir(path);
	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- tests -------------------------------------------------------------- */

static void test_carries(void)
{
	int w, g;

	if (!ok(pair("w1", &w, &g), "a worker reaches its GPU VM's broker"))
		return;
	ok(id.hdr.len == sizeof(id) && id.hdr.type == ISO_IDENT &&
	   id.hdr.flags == 0 && id.hdr.tag == 0 && id.hdr.file == 0 &&
	   memcmp(id.ident.secret, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 32) ==
	   0 && strcmp(id.ident.worker, "w1") == 0 &&
	   id.ident.caps == ISO_CAP_COMPUTE && id.ident.quota_class == 0,
	   "the broker is told first who the worker is");
	ok(passes(w, g) && passes(g, w), "bytes go both ways");
	close2(w, g);
}

static void test_greeting(void)
{
	static const char slow[] = "OK 1073741824\nfirst";
	char buf[5];
	int w = worker("w1"), g = gpu_accept();

	for (size_t i = 0; i < sizeof(slow) - 1; i++)
		if (write(g, slow + i, 1) != 1)
			break;
	ok(read_full(w, buf, 5) == 0 && memcmp(buf, "first", 5) == 0,
	   "what follows the greeting reaches the worker");
	close2(w, g);

	w = worker("w1");
	g = gpu_accept();
	ok(write_full(g, "NO\n", 3) == 0 && ended(w),
	   "another greeting ends the worker's connection");
	close2(w, g);

	w = worker("w1");
	g = gpu_accept();
	close(g);
	ok(ended(w), "a port that nobody listens at ends it");
	close(w);

	w = worker("w1");
	g = gpu_accept();
	ok(ended(w), "a GPU VM that says nothing ends it in time");
	close2(w, g);

	w = worker("w1");
	g = gpu_accept();
	close(w);
	ok(ended(g), "a worker that leaves early takes its other half along");
	close(g);
}

static void test_absent(void)
{
	int w;

	put_worker("w2", "gpu9");
	w = worker("w2");
	ok(w >= 0 && ended(w), "a worker of no known GPU VM is closed at once");
	close(w);
	rename(at("vms/g.sock"), at("vms/away"));
	w = worker("w1");
	ok(w >= 0 && ended(w), "a GPU VM that is not there closes at once");
	close(w);
	rename(at("vms/away"), at("vms/g.sock"));
}

/* Bytes that the fd takes until nothing moves any more. */
static size_t fill(int fd)
{
	static const char zero[65536];
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	size_t n = 0;

	sock_set_nonblock(fd, true);
	while (poll(&p, 1, 300) == 1 && !(p.revents & POLLERR)) {
		ssize_t r = write(fd, zero, sizeof(zero));

		if (r > 0)
			n += (size_t)r;
		if (n > 64u << 20)
			break;
	}
	sock_set_nonblock(fd, false);
	return n;
}

static size_t drain(int fd)
{
	static char buf[65536];
	size_t n = 0;
	ssize_t r;

	while ((r = read(fd, buf, sizeof(buf))) > 0)
		n += (size_t)r;
	return n;
}

static void test_pressure(void)
{
	int w, g, w1, g1;
	size_t n, m;

	if (!pair("w1", &w, &g) || !pair("w1", &w1, &g1)) {
		ok(false, "two connections");
		return;
	}
	n = fill(w);
	ok(n > 0 && n < 2u << 20, "a GPU VM that does not read stops its "
	   "worker (after %zu bytes)", n);
	ok(passes(w1, g1) && passes(g1, w1), "and nobody else");
	ok(passes(g, w), "not even the other direction");
	close(w);
	m = drain(g);
	ok(m == n, "what was sent before the end arrives (%zu of %zu)", m, n);
	close(g);

	pair("w1", &w, &g);
	n = fill(g);
	ok(n < 2u << 20, "a worker that does not read stops its GPU VM");
	close(g);
	m = drain(w);
	ok(m == n, "what the GPU VM sent before its end arrives (%zu of %zu)",
	   m, n);
	close(w);

	pair("w1", &w, &g);
	fill(w);
	close(w);
	ok(passes(w1, g1), "a worker left a GPU VM that takes nothing");
	/* the bridge gives up after 2 s: the end comes instead of the bytes
	 * that it had kept */
	{
		struct pollfd p = { .fd = g, .events = POLLRDHUP };

		ok(poll(&p, 1, 10000) == 1 && (p.revents & POLLRDHUP),
		   "it is let go in time");
	}
	close(g);
	close2(w1, g1);
}

static void test_cap(void)
{
	int w[CAP], g[CAP], more;
	uint64_t t = 0;

	for (int i = 0; i < CAP; i++)
		pair("w1", &w[i], &g[i]);
	more = worker("w1");
	ok(ended(more), "a connection past the cap is closed");
	close(more);
	ok(passes(w[CAP - 1], g[CAP - 1]), "those within it stay");
	for (int i = 0; i < CAP; i++)
		close2(w[i], g[i]);
	/* one more than at the start: the listener of w2 */
	while (bridge_fds() != fds_at_start + 1 && wait_more(&t, WAIT_MS))
		;
	if (fds_at_start < 0)
		skip("not root", "no fd is left behind");
	else
		ok(bridge_fds() == fds_at_start + 1, "no fd is left behind");
}

/* A worker that does nothing but connect gets through each time at first, later
 * only as often as time allows. */
static void test_churn(void)
{
	struct pollfd p = { .events = POLLIN };
	int w, g, n = 0;

	sock_set_nonblock(gpu_listener, true);
	do {
		w = worker("w3");
		g = -1;
		p.fd = w;
		while (g < 0 && poll(&p, 1, 0) == 0)
			g = accept4(gpu_listener, NULL, NULL, SOCK_CLOEXEC);
		close(w);
		close_fd(&g);
	} while (p.revents == 0 && ++n < 20000);
	sock_set_nonblock(gpu_listener, false);
	ok(n >= 32 && n < 20000, "a worker that connects without end is "
	   "refused (after %d)", n);
	ok(pair("w1", &w, &g) && passes(w, g), "another one is not");
	close2(w, g);
}

static void test_registry(void)
{
	int w, g;

	pair("w1", &w, &g);
	put_secret('B');
	put_gpu();
	ok(ended(w) && ended(g), "a GPU VM with another secret is another");
	close2(w, g);
	ok(pair("w1", &w, &g) && id.ident.secret[31] == 'B',
	   "and is told the new one");
	put("bridge.d/bad.worker", "listen=unix:/x\nhear=unix:/y\n");
	put_worker("w3", "gpu0");
	close(worker("w3"));
	close(gpu_accept());
	ok(passes(w, g), "a bad file changes nothing for the others");
	unlink(at("bridge.d/w1.worker"));
	ok(ended(w) && ended(g), "a worker whose file is removed is cut off");
	ok(access(at("vms/w1.sock_9999"), F_OK) < 0, "its socket goes");
	close2(w, g);
	put_worker("w1", "gpu0");
	ok(pair("w1", &w, &g) && passes(w, g), "and comes with its file");
	unlink(at("vms/w1.sock_9999"));
	put_worker("w1", "gpu0");
	ok(pair("w1", &w, &g) && passes(w, g),
	   "a socket that was removed is made again");
	close2(w, g);
}

static void test_restart(void)
{
	int w, g, status;
	pid_t first;

	pair("w1", &w, &g);
	stop(SIGKILL);
	ok(ended(w) && ended(g), "a killed bridge ends its connections");
	close2(w, g);
	ok(access(at("vms/w1.sock_9999"), F_OK) == 0, "its sockets are stale");
	start();
	ok(pair("w1", &w, &g) && passes(w, g), "the next one replaces them");
	first = bridge;
	start();
	waitpid(bridge, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 75,
	   "a second one for the same directory ends with 75");
	bridge = first;
	ok(passes(w, g), "and leaves the first alone");
	status = stop(SIGTERM);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "SIGTERM ends it");
	ok(access(at("vms/w1.sock_9999"), F_OK) < 0, "without a trace");
	close2(w, g);
}

static void set_stage(const char *self)
{
	struct sock_addr a = { .kind = SOCK_UNIX };
	const char *slash = strrchr(self, '/');

	snprintf(program, sizeof(program), "%.*s/../../bin/vsock-bridge",
		 slash ? (int)(slash - self) : 1, slash ? self : ".");
	if (!mkdtemp(top) || mkdir(at("bridge.d"), 0700) < 0 ||
	    mkdir(at("vms"), 0700) < 0)
		abort();
	snprintf(a.path, sizeof(a.path), "%s", at("vms/g.sock"));
	gpu_listener = sock_listen(&a, 16);
	sock_set_nonblock(gpu_listener, false);
	patient(gpu_listener);
	put_secret('A');
	put_gpu();
	put_worker("w1", "gpu0");
}

static void clear_stage(void)
{
	static const char *const files[] = {
		"bridge.d/gpu0.gpu", "bridge.d/w1.worker", "bridge.d/w2.worker",
		"bridge.d/w3.worker", "bridge.d/bad.worker", "vms/g.sock",
		"vms/secret",
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlink(at(files[i]));
	rmdir(at("bridge.d"));
	rmdir(at("vms"));
	ok(rmdir(top) == 0, "no other file was left");
}

int main(int argc, char **argv)
{
	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	set_stage(argv[0]);
	start();
	fds_at_start = bridge_fds();
	test_carries();
	test_greeting();
	test_absent();
	test_pressure();
	test_cap();
	test_registry();
	test_churn();
	test_restart();
	clear_stage();
	return done_testing();
}
