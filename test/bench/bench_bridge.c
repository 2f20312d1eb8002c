/* SPDX-License-Identifier: MIT */
/*
 * bench_bridge.c - measures vsock-bridge against socat
 *
 * Both relay Unix sockets between the same two processes; socat runs with -b
 * 65536. Measured are a round trip of 64 bytes and a bulk of 32 MiB, then the
 * same with 50 idle connections at the bridge against none.
 *
 * All processes share one processor: on several, where the scheduler happens to
 * put the three of a relay moves a round trip by more than the difference that
 * is measured.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "abi/iso_wire.h"
#include "base/base.h"
#include "base/sock.h"
#include "../unit/wait.h"
#include "bench.h"

#define MESSAGE 64
#define ROUNDS 500
#define BULK (32u << 20)
#define IDLE 50

enum relay { BRIDGE, BUSY_BRIDGE, SOCAT, RELAY__COUNT };

static char top[] = "/tmp/bench_bridge.XXXXXX";
static char program[4096];
static pid_t pids[RELAY__COUNT + 2];	/* relays, then servers */
static char buf[65536];

static const char *at(const char *file)
{
	static char path[4][128];
	static unsigned int i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", top, file);
	return path[i];
}

static void put(const char *file, const char *text)
{
	FILE *f = fopen(at(file), "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

static int dial(const char *file)
{
	int fd = wait_connect(at(file), 5000);

	if (fd >= 0)
		return fd;
	fprintf(stderr, "bench_bridge: error: %s: %s\n", at(file),
		strerror(-fd));
	exit(ISO_EX_UNAVAILABLE);
}

/* ---- the server behind the relays --------------------------------------- */

/* First byte: 'r' echoes messages, 'b' answers BULK bytes with one. */
static void serve_one(int fd, bool ident)
{
	char mode;

	if (ident && read_full(fd, buf, sizeof(struct iso_hdr) +
			       sizeof(struct iso_ident)) < 0)
		return;
	if (read_full(fd, &mode, 1) < 0)
		return;
	while (mode == 'r' && read_full(fd, buf, MESSAGE) == 0)
		write_full(fd, buf, MESSAGE);
	for (size_t n = 0; mode == 'b';) {
		ssize_t r = read(fd, buf, sizeof(buf));

		if (r <= 0)
			return;
		n += (size_t)r;
		if (n == BULK) {
			write_full(fd, "k", 1);
			n = 0;
		}
	}
}

static void serve(int fd, bool ident)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			_exit(1);
		if (fork() == 0) {
			serve_one(c, ident);
			_exit(0);
		}
		close(c);
	}
}

static pid_t start_server(const char *file, bool ident)
{
	struct sock_addr a = { .kind = SOCK_UNIX };
	int fd;
	pid_t pid;

	snprintf(a.path, sizeof(a.path), "%s", at(file));
	fd = sock_listen(&a, 128);
	if (fd < 0)
		abort();
	sock_set_nonblock(fd, false);
	pid = fork();
	if (pid == 0)
		serve(fd, ident);
	close(fd);
	return pid;
}

/* ---- the relays --------------------------------------------------------- */

static pid_t start_bridge(const char *name)
{
	char text[512], file[64];
	pid_t pid;

	mkdir(at(name), 0700);
	snprintf(file, sizeof(file), "%s/reg", name);
	mkdir(at(file), 0700);
	snprintf(file, sizeof(file), "%s/reg/g.gpu", name);
	snprintf(text, sizeof(text), "connect=unix:%s\nsecret_file=%s/%s/secret",
		 at("ident"), top, name);
	put(file, text);
	snprintf(file, sizeof(file), "%s/reg/w.worker", name);
	snprintf(text, sizeof(text), "listen=unix:%s/%s/w\ngpu=g\ncaps=", top,
		 name);
	put(file, text);
	snprintf(file, sizeof(file), "%s/secret", name);
	put(file, "0123456789abcdef0123456789abcdef");
	pid = fork();
	if (pid == 0) {
		snprintf(file, sizeof(file), "%s/reg", name);
		execl(program, program, "--dir", at(file), NULL);
		_exit(127);
	}
	return pid;
}

static pid_t start_socat(void)
{
	char listen[160], connect[160];
	pid_t pid = fork();

	if (pid == 0) {
		snprintf(listen, sizeof(listen), "UNIX-LISTEN:%s,fork",
			 at("socat"));
		snprintf(connect, sizeof(connect), "UNIX-CONNECT:%s",
			 at("plain"));
		/* a group of its own: its children end with it */
		setpgid(0, 0);
		execlp("socat", "socat", "-b", "65536", listen, connect, NULL);
		_exit(127);
	}
	return pid;
}

static int open_relay(enum relay r, char mode)
{
	static const char *const front[] = {
		[BRIDGE] = "b0/w", [BUSY_BRIDGE] = "b1/w", [SOCAT] = "socat",
	};
	int fd = dial(front[r]);

	write_full(fd, &mode, 1);
	return fd;
}

/* ---- measurements ------------------------------------------------------- */

static void must(int r)
{
	if (r < 0) {
		fprintf(stderr, "bench_bridge: error: %s\n", strerror(-r));
		exit(ISO_EX_IO);
	}
}

/* Microseconds of one round trip, mean over ROUNDS. */
static double round_trip(enum relay relay)
{
	int fd = open_relay(relay, 'r');
	uint64_t t = 0;

	for (int i = -100; i < ROUNDS; i++) {
		if (i == 0)
			t = now_ns();
		must(write_full(fd, buf, MESSAGE));
		must(read_full(fd, buf, MESSAGE));
	}
	t = now_ns() - t;
	close(fd);
	return (double)t / 1000 / ROUNDS;
}

/* MiB a second. */
static double bulk(enum relay relay)
{
	int fd = open_relay(relay, 'b');
	uint64_t t = now_ns();

	for (size_t n = 0; n < BULK; n += sizeof(buf))
		must(write_full(fd, buf, sizeof(buf)));
	must(read_full(fd, buf, 1));
	t = now_ns() - t;
	close(fd);
	return (double)(BULK >> 20) * 1e9 / (double)t;
}

static bool compare(const char *name, double (*measure)(enum relay),
		    enum relay ours, enum relay theirs, double limit,
		    bool at_most)
{
	static const char *const label[] = {
		[BRIDGE] = "bridge", [BUSY_BRIDGE] = "with_50_idle",
		[SOCAT] = "socat",
	};
	struct bench_pairs p = { .name = name, .ours = label[ours],
				 .theirs = label[theirs] };

	for (int i = 0; i < BENCH_PAIRS; i++) {
		/* they take turns in going first */
		double a, b;

		if (i % 2) {
			a = measure(ours);
			b = measure(theirs);
		} else {
			b = measure(theirs);
			a = measure(ours);
		}
		bench_add(&p, a, b);
	}
	return bench_say(&p, limit, at_most);
}

static void clean_up(void)
{
	static const char *const files[] = {
		"b0/reg/g.gpu", "b0/reg/w.worker", "b0/reg", "b0/secret", "b0/w",
		"b0", "b1/reg/g.gpu", "b1/reg/w.worker", "b1/reg", "b1/secret",
		"b1/w", "b1", "socat", "plain", "ident", "",
	};

	kill(-pids[SOCAT], SIGTERM);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		kill(pids[i], SIGTERM);
		waitpid(pids[i], NULL, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		remove(at(files[i]));
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	cpu_set_t one;
	bool kept;

	(void)argc;
	CPU_ZERO(&one);
	CPU_SET((unsigned int)sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		return ISO_EX_UNAVAILABLE;
	snprintf(program, sizeof(program), "%.*s/../bin/vsock-bridge",
		 slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(top))
		return ISO_EX_IO;
	pids[RELAY__COUNT] = start_server("ident", true);
	pids[RELAY__COUNT + 1] = start_server("plain", false);
	pids[BRIDGE] = start_bridge("b0");
	pids[BUSY_BRIDGE] = start_bridge("b1");
	pids[SOCAT] = start_socat();
	for (int i = 0; i < IDLE; i++)
		open_relay(BUSY_BRIDGE, 'r');

	kept = compare("bridge_round_trip_us", round_trip, BRIDGE, SOCAT, 1.1,
		       true);
	kept &= compare("bridge_bulk_mib_s", bulk, BRIDGE, SOCAT, 1.0, false);
	kept &= compare("bridge_idle_round_trip_us", round_trip, BUSY_BRIDGE,
			BRIDGE, 1.1, true);
	kept &= compare("bridge_idle_bulk_mib_s", bulk, BUSY_BRIDGE, BRIDGE,
			0.9, false);
	clean_up();
	return kept ? 0 : 1;
}
