/* SPDX-License-Identifier: MIT */
/*
 * shim-test.c - tries in a guest whether nvidia-shim.ko keeps its promises
 *
 * usage: shim-test MODULE BROKER
 *
 * Starts wire-broker BROKER on this guest's loopback, loads MODULE with cid=1
 * and prints TAP, in groups that begin with `# group: NAME`. Run as root in a
 * guest of its own.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/sock.h"

#include "../unit/tap.h"
#include "shim-guest.h"
#include "wire-test.h"

#define THREADS 32

static const char *module_path, *broker_path;
static pid_t broker_pid;

/* ---- one call ----------------------------------------------------------- */

static void test_calls(int fd)
{
	uint8_t params[4096];
	struct arg32 a;
	uint32_t w[4] = { EACCES };

	ok(echo(fd) == 0, "an argument travels both ways");
	memset(params, 1, sizeof(params));
	a = (struct arg32){ .ptr = (uintptr_t)params, .len = 524 };
	ok(call(fd, CALL(WT_PARAMS, 32), &a) == 0 && a.a == 524 &&
		   params[523] == 0xfe && params[524] == 1,
	   "a buffer travels both ways, at its length");
	ok(a.ptr == (uintptr_t)params, "the pointer comes back as it was");
	a = (struct arg32){ .ptr = 0, .len = 524 };
	ok(call(fd, CALL(WT_PARAMS, 32), &a) == 0 && a.a == 0 && a.b == 1,
	   "a NULL pointer is told as such");
	a = (struct arg32){ .d = WT_CLASS_SMALL, .ptr = (uintptr_t)params };
	ok(call(fd, CALL(WT_CLASS, 32), &a) == 0 && a.a == 8,
	   "a class gives its parameters' size");
	a = (struct arg32){ .d = 0x999, .ptr = (uintptr_t)params };
	ok(call(fd, CALL(WT_CLASS, 32), &a) == 0 && a.a == 0 && a.b == 0,
	   "an unknown class has none");
	ok(call(fd, CALL(WT_ERR, 16), w) == -EACCES,
	   "the driver's errno is the caller's");
	w[0] = 0;
	ok(call(fd, CALL(WT_ERR, 16), w) == 0, "and so is its success");
}

static void test_big(int fd)
{
	size_t n = 1000 * 1000;
	uint8_t *p = calloc(1, n);
	struct arg32 a = { .ptr = (uintptr_t)p, .len = (uint32_t)n };

	ok(call(fd, CALL(WT_PARAMS, 32), &a) == 0 && p[0] == 0xff &&
		   p[n - 1] == 0xff,
	   "a million bytes travel both ways");
	free(p);
}

static void test_nested(int fd)
{
	uint32_t inner[8] = { 0 };
	struct {
		uint64_t ptr;
		uint32_t len, pad;
	} params = { .ptr = (uintptr_t)inner, .len = sizeof(inner) };
	struct arg32 a = { .ptr = (uintptr_t)&params, .len = sizeof(params) };

	ok(call(fd, CALL(WT_NESTED, 32), &a) == 0 && inner[7] == 0xffffffffu,
	   "a pointer inside a buffer is followed");
	params.ptr = 0;
	ok(call(fd, CALL(WT_NESTED, 32), &a) == 0, "NULL inside a buffer");
	params.ptr = 0x10;
	ok(call(fd, CALL(WT_NESTED, 32), &a) == -EFAULT,
	   "a bad pointer inside a buffer is EFAULT");
	params.ptr = (uintptr_t)inner;
	params.len = 0xffffffffu;
	ok(call(fd, CALL(WT_NESTED, 32), &a) == -EINVAL,
	   "a nested length of 4 GiB is EINVAL");
	ok(echo(fd) == 0, "and the link is none the worse");
}

static void test_xfer(int fd)
{
	uint8_t buf[1024] = { 0 };
	struct {
		uint32_t nr, size;
		uint64_t ptr;
	} x = { WT_ECHO, sizeof(buf), (uintptr_t)buf };

	ok(call(fd, CALL(WT_XFER, 16), &x) == 0 && buf[1023] == 0xff,
	   "number and size may come inside XFER");
	x.nr = WT_XFER;
	x.size = 16;
	ok(call(fd, CALL(WT_XFER, 16), &x) == -EINVAL, "XFER in XFER is EINVAL");
	x.nr = WT_ECHO;
	x.size = 1023;
	ok(call(fd, CALL(WT_XFER, 16), &x) == -EINVAL,
	   "a wrong size inside XFER is EINVAL");
	x.size = 1024;
	x.ptr = 0x10;
	ok(call(fd, CALL(WT_XFER, 16), &x) == -EFAULT,
	   "a bad pointer inside XFER is EFAULT");
}

static void test_bad(int fd)
{
	struct arg32 a = { .ptr = 0x10, .len = 64 };
	uint8_t buf[2048] = { 0 };

	ok(call(fd, CALL(99, 16), buf) == -EINVAL, "an unknown ioctl is EINVAL");
	ok(call(fd, CALL(WT_ECHO, 1026), buf) == -EINVAL,
	   "a size off the multiple is EINVAL");
	ok(call(fd, CALL(WT_ECHO, 1028), buf) == -EINVAL,
	   "a size past the largest is EINVAL");
	ok(call(fd, CALL(WT_BLOCK, 20), buf) == -EINVAL,
	   "a mis-sized ioctl is EINVAL");
	ok(call(fd, WT_UVM, buf) == -EINVAL,
	   "a call of another device is EINVAL");
	ok(call(fd, CALL(WT_ECHO, 64), (void *)0x10) == -EFAULT,
	   "a bad argument is EFAULT");
	ok(call(fd, CALL(WT_PARAMS, 32), &a) == -EFAULT,
	   "a bad buffer is EFAULT");
	a = (struct arg32){ .ptr = (uintptr_t)buf, .len = 0xffffffffu };
	ok(call(fd, CALL(WT_PARAMS, 32), &a) == -EINVAL,
	   "a length of 4 GiB is EINVAL");
	ok(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED &&
		   errno == EPERM,
	   "mmap fails with the broker's errno");
	ok(echo(fd) == 0, "and the link is none the worse");
}

static void test_read_only(int fd)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	ok(call(fd, CALL(WT_ECHO, 64), p) == -EFAULT,
	   "an answer to read-only memory is EFAULT");
	munmap(p, 4096);
}

static void test_fds(int fd)
{
	int other = open_ctl(), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int32_t w[4] = { 0, other, -7, 0 }, p[4];
	struct arg32 a = { .ptr = (uintptr_t)p, .len = sizeof(p) };

	ok(call(fd, CALL(WT_FD, 16), w) == 0 && w[2] >= 0 && w[2] != other,
	   "an fd travels as a file id");
	ok(w[1] == other, "and is the caller's own again on return");
	w[1] = -1;
	ok(call(fd, CALL(WT_FD, 16), w) == 0 && (uint32_t)w[2] == 0xffffffffu &&
		   w[1] == -1,
	   "no fd travels as no file");
	w[1] = null;
	ok(call(fd, CALL(WT_FD, 16), w) == -EBADF, "a foreign fd is EBADF");
	w[1] = 999;
	ok(call(fd, CALL(WT_FD, 16), w) == -EBADF, "a closed fd is EBADF");
	p[1] = other;
	ok(call(fd, CALL(WT_NEEDFD, 32), &a) == 0 && p[1] == other &&
		   a.a != 0xffffffffu,
	   "an fd inside a buffer as well");
	p[1] = null;
	ok(call(fd, CALL(WT_NEEDFD, 32), &a) == -EBADF,
	   "a foreign fd inside a buffer is EBADF");
	close(other);
	close(null);
}

/* ---- devices ------------------------------------------------------------ */

static void test_devices(void)
{
	uint8_t buf[16] = { 0 };
	char text[64] = "";
	struct stat st;
	int fd;

	ok(!stat("/dev/nvidia0", &st) && st.st_rdev == (195u << 8) &&
		   (st.st_mode & 0777) == 0666,
	   "the broker's GPU has its node, 195:0, mode 0666");
	fd = open("/dev/nvidia0", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	ok(fd >= 0 && echo(fd) == 0, "it opens and answers");
	close_fd(&fd);
	mknod("/tmp/nvidia7", S_IFCHR | 0600, (195 << 8) | 7);
	fd = open("/tmp/nvidia7", O_RDWR | O_CLOEXEC);
	ok(fd < 0 && errno == ENODEV, "a GPU that is not there is ENODEV");
	close_fd(&fd);
	fd = open("/dev/nvidia-uvm", O_RDWR | O_CLOEXEC);
	ok(fd >= 0 && call(fd, WT_UVM, buf) == 0 && buf[15] == 0xff,
	   "uvm takes raw numbers");
	ok(call(fd, WT_UVM + 1, buf) == -EINVAL, "and refuses unknown ones");
	close_fd(&fd);
	fd = open("/proc/driver/nvidia/version", O_RDONLY | O_CLOEXEC);
	ok(read(fd, text, sizeof(text) - 1) == 6 &&
		   !strcmp(text, WT_VERSION "\n"),
	   "/proc/driver/nvidia/version says what the broker said");
	close_fd(&fd);
	ok(!access("/proc/driver/nvidia/gpus/0000:01:00.0/information", R_OK),
	   "and so do files in directories");
	ok(!access("/sys/bus/pci/devices/0000:01:00.0/vendor", R_OK),
	   "the GPU is a PCI device at the broker's address");
}

/* ---- many at once ------------------------------------------------------- */

struct blocked {
	pthread_t thread;
	int fd;
	_Atomic int ret; /* 1: still out */
};

static void *block_main(void *p)
{
	struct blocked *b = p;
	uint32_t w[4] = { 0 };

	b->ret = call(b->fd, CALL(WT_BLOCK, 16), w);
	return NULL;
}

/* Releases blocked calls until n were released; false after ten seconds. */
static bool release(int fd, uint32_t n)
{
	uint64_t end = now_ns() + 10000 * MS;
	uint32_t w[4], got = 0;

	while (got < n && now_ns() < end) {
		if (call(fd, CALL(WT_RELEASE, 16), w))
			return false;
		got += w[0];
	}
	return got == n;
}

struct echoer {
	pthread_t thread;
	int fd;
	int bad;
};

static void *echo_main(void *p)
{
	struct echoer *e = p;

	for (int i = 0; i < 50; i++)
		e->bad += echo(e->fd) != 0;
	return NULL;
}

static void test_threads(int fd)
{
	struct blocked b = { .fd = fd, .ret = 1 };
	struct echoer e[THREADS - 1];
	int bad = 0;

	pthread_create(&b.thread, NULL, block_main, &b);
	for (int i = 0; i < THREADS - 1; i++) {
		e[i] = (struct echoer){ .fd = fd };
		pthread_create(&e[i].thread, NULL, echo_main, &e[i]);
	}
	for (int i = 0; i < THREADS - 1; i++) {
		pthread_join(e[i].thread, NULL);
		bad += e[i].bad;
	}
	ok(bad == 0, "with one call blocked, 31 threads make 50 each");
	ok(b.ret == 1, "the blocked one is still out");
	ok(release(fd, 1), "it is released");
	pthread_join(b.thread, NULL);
	ok(b.ret == 0, "and returns");
}

/* ---- killed callers ----------------------------------------------------- */

static void on_signal(int n)
{
	(void)n;
}

/* A process with a call that blocks. */
static pid_t fork_blocked(int fd)
{
	uint32_t w[4] = { 0 };
	pid_t pid = fork();

	if (pid)
		return pid;
	_exit(call(fd, CALL(WT_BLOCK, 16), w) != 0);
}

/* Whether WT_STATE's word n gets to be v within five seconds. */
static bool state_becomes(unsigned int n, uint32_t v)
{
	uint64_t end = now_ns() + 5000 * MS;

	while (now_ns() < end)
		if (state(n) == v)
			return true;
	return false;
}

/* The state of a process by /proc: S, D, ...; 0 if it is gone. */
static char proc_state(pid_t pid)
{
	char path[64], text[256] = "", *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close_fd(&fd);
	p = strrchr(text, ')');
	return p ? p[2] : '\0';
}

/* Until the process waits in its call, five seconds at most. */
static void await_blocked(pid_t pid)
{
	uint64_t end = now_ns() + 5000 * MS;

	while (proc_state(pid) != 'D' && now_ns() < end)
		sched_yield();
}

static void test_kill(int fd)
{
	uint32_t cancels = state(1);
	uint64_t since;
	int status;
	pid_t pid = fork_blocked(fd);

	await_blocked(pid);
	kill(pid, SIGUSR1);
	waitpid(pid, &status, 0);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1,
	   "a fatal signal ends a waiting call");
	ok(state_becomes(1, cancels + 1), "the broker is told to cancel");

	pid = fork_blocked(fd);
	await_blocked(pid);
	since = now_ns();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	ok(now_ns() - since < 1000 * MS, "SIGKILL ends one within a second");
	ok(state_becomes(1, cancels + 2), "and is told as well");
	ok(echo(fd) == 0, "the answer of a killed call is dropped");
}

static void *alarm_release(void *p)
{
	int *fd = p;

	kill(getpid(), SIGUSR2);
	release(*fd, 1);
	return NULL;
}

/* A signal with a handler ends no call that was sent. */
static void test_handled(int fd)
{
	struct blocked b = { .fd = fd, .ret = 1 };
	pthread_t t;

	signal(SIGUSR2, on_signal);
	pthread_create(&b.thread, NULL, block_main, &b);
	pthread_create(&t, NULL, alarm_release, &fd);
	pthread_join(t, NULL);
	pthread_join(b.thread, NULL);
	ok(b.ret == 0, "a handled signal does not interrupt a sent call");
}

/* With as many calls out as the broker allows, the next one waits. */
static void test_inflight(int fd)
{
	struct itimerval every = { { 0, 50000 }, { 0, 50000 } }, never = { 0 };
	struct blocked b[WT_INFLIGHT - 1];
	uint64_t end = now_ns() + 10000 * MS;
	pid_t pid = fork_blocked(fd);
	int bad = 0, r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(b); i++) {
		b[i].fd = fd;
		b[i].ret = 1;
		pthread_create(&b[i].thread, NULL, block_main, &b[i]);
	}
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_signal },
		  NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	while (!r && now_ns() < end)
		r = echo(fd);
	setitimer(ITIMER_REAL, &never, NULL);
	ok(r == -EINTR, "with all slots taken a call waits, unsent");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ok(echo(fd) == 0, "a killed call gives its slot back");
	ok(release(fd, ARRAY_SIZE(b)), "all are released");
	for (size_t i = 0; i < ARRAY_SIZE(b); i++) {
		pthread_join(b[i].thread, NULL);
		bad += b[i].ret != 0;
	}
	ok(bad == 0, "and return");
}

/* ---- passing files around ----------------------------------------------- */

static void test_pass(void)
{
	uint32_t open_before = state(0);
	int sv[2], fd = open_ctl(), got = -1, status;
	size_t n = 0;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(echo(fd) != 0);
	waitpid(pid, &status, 0);
	ok(status == 0, "a forked child uses its parent's file");
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	pid = fork();
	if (!pid) {
		char c;

		sock_recv_fds(sv[1], &c, 1, &got, 1, &n);
		_exit(n != 1 || echo(got) != 0);
	}
	sock_send_fds(sv[0], "x", 1, &fd, 1);
	close(fd);
	waitpid(pid, &status, 0);
	ok(status == 0, "a passed file outlives its sender's fd");
	close(sv[0]);
	close(sv[1]);
	ok(state_becomes(0, open_before), "closed files are closed there too");
}

/* Tells an event as soon as a task polls the file. */
static void *event_main(void *p)
{
	int *fd = p;
	uint32_t w[4] = { POLLIN | POLLPRI, 0 };
	uint64_t end = now_ns() + 5000 * MS;

	while (!w[1] && now_ns() < end) {
		w[0] = POLLIN | POLLPRI;
		if (call(*fd, CALL(WT_EVENT, 16), w))
			break;
	}
	return NULL;
}

static void test_poll(int fd)
{
	struct pollfd p = { fd, POLLIN | POLLPRI, 0 };
	pthread_t t;

	ok(poll(&p, 1, 0) == 0, "poll: nothing is ready");
	pthread_create(&t, NULL, event_main, &fd);
	ok(poll(&p, 1, 5000) == 1 && p.revents == (POLLIN | POLLPRI),
	   "poll: an event of the driver's wakes");
	pthread_join(t, NULL);
	ok(poll(&p, 1, 0) == 0, "poll: it is reported once");
}

/* ---- the end of the link ------------------------------------------------ */

static void test_restart(void)
{
	int fd = open_ctl();
	struct pollfd p = { fd, POLLIN, 0 };
	struct blocked b = { .fd = fd, .ret = 1 };
	uint64_t since;

	pthread_create(&b.thread, NULL, block_main, &b);
	since = now_ns();
	stop(broker_pid);
	pthread_join(b.thread, NULL);
	ok(b.ret == -ENODEV && now_ns() - since < 1000 * MS,
	   "a killed broker is ENODEV within a second");
	ok(poll(&p, 1, 1000) == 1 && (p.revents & POLLHUP),
	   "poll says POLLHUP then");
	broker_pid = start(broker_path, BROKER_ADDR, "2");
	ok(heals(), "new opens work within five seconds");
	ok(state(2) == 2, "with the new broker");
	ok(echo(fd) == -ENODEV, "old files stay ENODEV");
	ok(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED &&
		   errno == ENODEV,
	   "for mmap as well");
	close(fd);
	fd = open_ctl();
	ok(echo(fd) == 0, "closing an old file harms no new one");
	close(fd);
}

/* ---- on hold ------------------------------------------------------------ */

/* Writes the module's parameter. */
static bool hold(const char *value)
{
	int fd = open("/sys/module/nvidia_shim/parameters/hold",
		      O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, value, strlen(value)) > 0;

	close_fd(&fd);
	return done;
}

/* open() found no broker. */
static bool refused(void)
{
	return open_ctl() < 0 && errno == ENODEV;
}

static void test_hold(void)
{
	uint64_t since;
	int fd;

	ok(unload() == 0 &&
		   load_with(module_path,
			     "cid=1 open_wait_ms=500 hold=1") == 0,
	   "it loads on hold");
	since = now_ns();
	ok(refused() && now_ns() - since >= 500 * MS,
	   "then no broker is asked, though there is one");
	ok(access("/proc/driver/nvidia/version", F_OK) != 0,
	   "and nothing is shown of it");
	ok(hold("0"), "it can be let go");
	fd = open_ctl();
	ok(echo(fd) == 0, "and connects at once");
	ok(hold("1") && echo(fd) == 0, "a link that is up stays up");
	close_fd(&fd);
	stop(broker_pid);
	broker_pid = start(broker_path, BROKER_ADDR, "2");
	ok(refused(), "one that was lost does not come back");
	ok(unload() == 0, "it unloads on hold");
	ok(load(module_path) == 0 && heals(), "and loads without it");
}

/* ---- unload ------------------------------------------------------------- */

static void test_unload(void)
{
	int fd = open_ctl();
	struct stat st;

	ok(unload() == -EWOULDBLOCK || unload() == -EBUSY,
	   "unload is refused while a file is open");
	close_fd(&fd);
	ok(unload() == 0, "unload works while idle");
	ok(stat(CTL, &st) && stat("/proc/driver/nvidia", &st),
	   "and leaves no node and no file");
	stop(broker_pid);
	ok(load(module_path) == 0 && unload() == 0, "as it does with no broker at all");
	ok(load(module_path) == 0, "it loads again");
	broker_pid = start(broker_path, BROKER_ADDR, "3");
	ok(heals(), "and works again");
	ok(unload() == 0, "and unloads");
	stop(broker_pid);
}

/* Run on one open file, in this order. */
static const struct {
	const char *name;
	void (*run)(int fd);
} with_file[] = {
	{ "calls", test_calls },	 { "calls", test_big },
	{ "nested", test_nested },	 { "nested", test_xfer },
	{ "bad", test_bad },		 { "bad", test_read_only },
	{ "fds", test_fds },		 { "threads", test_threads },
	{ "killed", test_kill },	 { "killed", test_handled },
	{ "inflight", test_inflight }, { "poll", test_poll },
};

static const struct {
	const char *name;
	void (*run)(void);
} alone[] = {
	{ "devices", test_devices }, { "passed", test_pass },
	{ "restart", test_restart }, { "hold", test_hold },
	{ "unload", test_unload },
};

int main(int argc, char **argv)
{
	uint64_t since;
	int fd;

	if (argc != 3)
		return ISO_EX_USAGE;
	module_path = argv[1];
	broker_path = argv[2];
	signal(SIGPIPE, SIG_IGN);
	printf("# group: unload\n");
	if (!ok(load(module_path) == 0, "the module loads with no broker there"))
		return done_testing();
	broker_pid = start(broker_path, BROKER_ADDR, "1");
	since = now_ns();
	fd = open_ctl();
	if (!ok(fd >= 0, "open waits for the broker"))
		return done_testing();
	printf("# %llu ms\n", (unsigned long long)((now_ns() - since) / MS));
	for (size_t i = 0; i < ARRAY_SIZE(with_file); i++) {
		printf("# group: %s\n", with_file[i].name);
		with_file[i].run(fd);
	}
	close(fd);
	for (size_t i = 0; i < ARRAY_SIZE(alone); i++) {
		printf("# group: %s\n", alone[i].name);
		alone[i].run();
	}
	return done_testing();
}
