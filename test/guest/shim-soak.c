/* SPDX-License-Identifier: MIT */
/*
 * shim-soak.c - tries nvidia-shim.ko against a hostile peer on either side
 *
 * usage: shim-soak MODULE BROKER
 *
 * A hostile broker's answers and a hostile program's calls come first, then
 * many cycles of each way to come and go. Each cycle runs 2n times, and the
 * memory in use is compared after n and after 2n: an object that every cycle
 * loses would show as n more.
 */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include "abi/iso_wire.h"

#include "../unit/tap.h"
#include "shim-guest.h"

#define RANDOM_CALLS 6000
#define PAGE 4096

/* ---- hostile calls ------------------------------------------------------ */

/* xorshift, so that every run makes the same calls. */
static uint32_t rnd(uint32_t n)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 16) % n;
}

static uint32_t random_number(void)
{
	static const uint32_t nr[] = {
		WT_ECHO, WT_PARAMS, WT_NESTED, WT_FD, WT_CLASS, WT_ERR,
		WT_NEEDFD, WT_STATE, WT_XFER, 0, 13, 255,
	};

	return nr[rnd(ARRAY_SIZE(nr))];
}

static uint32_t random_size(void)
{
	static const uint32_t size[] = { 0, 1, 8, 16, 16, 31, 32, 32, 32, 524,
					 1024, 16383 };

	return size[rnd(ARRAY_SIZE(size))];
}

struct places {
	uint8_t *end;	/* where a page ends and none follows */
	uint8_t *ro;	/* a page that cannot be written */
	uint8_t *rw;
};

static uint64_t random_address(const struct places *at)
{
	const uint64_t where[] = {
		0, 1, ~0ull, 0xffff888000000000ull, 1ull << 47,
		(uintptr_t)at->end - rnd(64), (uintptr_t)at->ro + rnd(64),
		(uintptr_t)at->rw, (uintptr_t)at->rw + rnd(PAGE),
	};

	return where[rnd(ARRAY_SIZE(where))];
}

/* Fills rw with fds, lengths, classes, pointers and numbers. */
static void random_words(const struct places *at, const int *fds, size_t n_fds)
{
	static const uint32_t odd[] = { 0, 1, 8, 24, 4096, 65536, 1u << 20,
					UINT32_MAX, INT32_MAX, WT_CLASS_BIG };
	uint32_t *w = (uint32_t *)(void *)at->rw;

	for (size_t i = 0; i < PAGE / 4; i++)
		w[i] = odd[rnd(ARRAY_SIZE(odd))];
	w[1] = rnd(2) ? (uint32_t)fds[rnd((uint32_t)n_fds)] : random_size();
	if (rnd(3) == 0)
		w[0] = random_number();
	for (size_t i = 2; i < 8; i += 2) {
		uint64_t p = random_address(at);

		memcpy(w + i, &p, sizeof(p));
	}
	w[6] = rnd(2) ? rnd(200) : odd[rnd(ARRAY_SIZE(odd))];
}

/* The end of a page behind which nothing is mapped. */
static uint8_t *page_end(void)
{
	uint8_t *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(p + PAGE, PAGE);
	return p + PAGE;
}

static void hostile_calls(void)
{
	int fds[] = { open_ctl(), open("/dev/nvidia-uvm", O_RDWR), -1, 0, 999,
		      open("/dev/nvidiactl", O_PATH), INT32_MIN };
	struct places at = {
		.end = page_end(),
		.ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0),
		.rw = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	};
	unsigned int n[2] = { 0 };

	for (int i = 0; i < RANDOM_CALLS; i++) {
		uint64_t p = rnd(2) ? (uintptr_t)at.rw : random_address(&at);

		random_words(&at, fds, ARRAY_SIZE(fds));
		n[call(fds[rnd(2)], CALL(random_number(), random_size()),
		       (void *)(uintptr_t)p) == 0]++;
		if (i % 64 == 0 && mmap(NULL, PAGE << rnd(20), PROT_READ,
					MAP_SHARED, fds[0],
					(off_t)PAGE * rnd(1u << 30)) !=
					   MAP_FAILED)
			n[1] = 0; /* the shim shows no memory */
	}
	printf("# %u calls refused, %u made\n", n[0], n[1]);
	ok(n[0] > 0 && n[1] > 0 && echo(fds[0]) == 0,
	   "%d random calls leave the file and its link at work",
	   RANDOM_CALLS);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] > 2 && fds[i] != 999)
			close(fds[i]);
}

/* ---- a hostile broker --------------------------------------------------- */

static void test_hostile(void)
{
	static const char *const how[] = {
		"an argument longer than sent", "a span nobody asked for",
		"an unknown tag", "a length below the header's",
		"a length of 4 GiB", "an unknown type",
		"a range in no buffer", "a range past its buffer",
		"an errno of the kernel's own", "a RESULT cut short",
		"half a header", "a closed connection",
		"a flood of PINGs", "silence",
	};

	static_assert(ARRAY_SIZE(how) == WT_HOSTILE_COUNT, "a name for each");
	for (uint32_t i = 0; i < WT_HOSTILE_COUNT; i++) {
		uint32_t w[4] = { i };
		int fd = open_ctl(), r;

		r = call(fd, CALL(WT_HOSTILE, 16), w);
		ok(r == -ENODEV && heals(), "%s ends the link, which heals",
		   how[i]);
		close_fd(&fd);
	}
}

static void *churn_main(void *p)
{
	_Atomic bool *stop = p;

	while (!*stop) {
		int fd = open_ctl();

		if (fd >= 0)
			echo(fd);
		close_fd(&fd);
	}
	return NULL;
}

/* release() races with the loss of the link. */
static void test_race(void)
{
	_Atomic bool stop = false;
	pthread_t t[8];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, churn_main, &stop);
	for (int i = 0; i < 10; i++) {
		uint32_t w[4] = { WT_CLOSE };
		int fd = open_ctl();

		call(fd, CALL(WT_HOSTILE, 16), w);
		close_fd(&fd);
	}
	stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	ok(heals(), "files that close as the link goes harm nothing");
}

/* ---- cycles ------------------------------------------------------------- */

static void come_and_go(void)
{
	int fd = open_ctl();

	echo(fd);
	close_fd(&fd);
}

static void killed_in_a_call(void)
{
	int fd = open_ctl(), sync[2];
	uint32_t w[4] = { 0 };
	pid_t pid;
	char c;

	if (pipe(sync) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		if (write(sync[1], "", 1) == 1)
			call(fd, CALL(WT_BLOCK, 16), w);
		_exit(1);
	}
	if (read(sync[0], &c, 1) == 1)
		stop(pid);
	close(sync[0]);
	close(sync[1]);
	call(fd, CALL(WT_RELEASE, 16), w);
	close_fd(&fd);
}

static void link_lost(void)
{
	uint32_t w[4] = { WT_CLOSE };
	int fd = open_ctl();

	call(fd, CALL(WT_HOSTILE, 16), w);
	close_fd(&fd);
}

/* How many objects of kmalloc's caches are in use, by /proc/slabinfo. */
static long objects(void)
{
	char line[512], name[64];
	long sum = 0, active;
	FILE *f = fopen("/proc/slabinfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %ld", name, &active) == 2 &&
		    strncmp(name, "kmalloc", 7) == 0)
			sum += active;
	if (f)
		fclose(f);
	return sum;
}

/* The memory that programs could get, in KiB. It shows the loss of a receive
 * buffer, which is too large for those caches. */
static long available_kib(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

/* Runs a cycle n times, counts, n times more, and counts again. */
static void cycles(const char *what, void (*cycle)(void), int n)
{
	long had, kib, more, less;

	for (int i = 0; i < n; i++)
		cycle();
	had = objects();
	kib = available_kib();
	for (int i = 0; i < n; i++)
		cycle();
	more = objects() - had;
	less = kib - available_kib();
	printf("# %s: %+ld objects, %+ld KiB in %d cycles\n", what, more, less,
	       n);
	ok(had > 0 && more < n / 2, "%s: no object is lost", what);
	ok(kib > 0 && less < ISO_MAX_FRAME / 1024 * n / 2,
	   "%s: no buffer is lost", what);
}

int main(int argc, char **argv)
{
	pid_t broker_pid;

	if (argc != 3)
		return ISO_EX_USAGE;
	signal(SIGPIPE, SIG_IGN);
	printf("# group: hostile\n");
	if (!ok(load(argv[1]) == 0, "the module loads"))
		return done_testing();
	broker_pid = start(argv[2], BROKER_ADDR, "1");
	test_hostile();
	printf("# group: race\n");
	test_race();
	printf("# group: soak\n");
	hostile_calls();
	cycles("open and close", come_and_go, 2000);
	cycles("killed in a call", killed_in_a_call, 300);
	cycles("link lost", link_lost, 60);
	ok(state(0) == 1, "the broker has no file open but the one that asks");
	ok(unload() == 0, "and nothing holds the module");
	stop(broker_pid);
	return done_testing();
}
