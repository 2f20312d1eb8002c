/* SPDX-License-Identifier: MIT */
/* process.c - acts on a process known by pid and start time */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/sock.h"
#include "vmctl/vmctl.h"

#define KILL_WAIT_MS 5000

/* Reads start time (field 22) and state of /proc/PID/stat. 0 or -errno. */
static int start_time(pid_t pid, char *ret_state, uint64_t *ret_time)
{
	char path[32], stat[1024], *p, *field, *save = NULL;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	n = file_read(AT_FDCWD, path, stat, sizeof(stat));
	if (n < 0)
		return n == -ENOENT ? -ESRCH : (int)n;
	/* the name, in brackets, may hold any character */
	p = strrchr(stat, ')');
	if (!p)
		return -EPROTO;
	field = strtok_r(p + 1, " \n", &save);
	if (!field)
		return -EPROTO;
	*ret_state = *field;
	for (int i = 3; field && i < 22; i++)
		field = strtok_r(NULL, " \n", &save);
	return field ? parse_u64(field, 0, UINT64_MAX, ret_time) : -EPROTO;
}

int process_open(pid_t pid, uint64_t start)
{
	/* opened first, so that the process checked is the process held */
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t t;
	char state;
	int r;

	if (fd < 0)
		return -errno;
	r = start_time(pid, &state, &t);
	if (r < 0)
		return r;
	if (t != start || state == 'Z' || state == 'X')
		return -ESRCH;
	return take_fd(&fd);
}

struct process_options {
	uint64_t pid, start, grace_ms, signal;
	uint64_t to_pid, to_start;
};

static void parse_options(int argc, char **argv, bool want_signal,
			  struct process_options *ret_o)
{
	static const struct option longs[] = {
		{ "pid", required_argument, NULL, 'p' },
		{ "start-time", required_argument, NULL, 't' },
		{ "grace-ms", required_argument, NULL, 'g' },
		{ "signal", required_argument, NULL, 's' },
		{ "to-pid", required_argument, NULL, 'P' },
		{ "to-start-time", required_argument, NULL, 'T' },
		{ 0 },
	};
	struct process_options o = { .start = UINT64_MAX, .grace_ms = 5000,
				     .to_start = UINT64_MAX };
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			o.pid = option_u64("pid", optarg, 1, INT32_MAX);
			break;
		case 't':
			o.start = option_u64("start-time", optarg, 0,
					     UINT64_MAX - 1);
			break;
		case 'g':
			o.grace_ms = option_u64("grace-ms", optarg, 0, 600000);
			break;
		case 's':
			o.signal = option_u64("signal", optarg, 1, 64);
			break;
		case 'P':
			o.to_pid = option_u64("to-pid", optarg, 1, INT32_MAX);
			break;
		case 'T':
			o.to_start = option_u64("to-start-time", optarg, 0,
						UINT64_MAX - 1);
			break;
		default:
			die(ISO_EX_USAGE, "see -h");
		}
	}
	if (optind != argc || !o.pid || o.start == UINT64_MAX ||
	    (want_signal && !o.signal))
		die(ISO_EX_USAGE, "%s: missing or unexpected operand; see -h",
		    argv[0]);
	*ret_o = o;
}

static _noreturn_ void cannot_open(uint64_t pid, int err)
{
	die(ISO_EX_IO, "process %d: %s", (int)pid, strerror(-err));
}

static _noreturn_ void cannot_signal(uint64_t pid, int err)
{
	die(err == -EPERM ? ISO_EX_NOPERM : ISO_EX_IO,
	    "process %d cannot be signalled: %s", (int)pid, strerror(-err));
}

static int send_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ?
		       -errno : 0;
}

/* Whether the process ends within ms. */
static bool ends_within(int pidfd, uint64_t ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	uint64_t deadline = now_ns() + ms * 1000000;

	for (;;) {
		uint64_t now = now_ns();
		int left = now < deadline ?
			(int)((deadline - now + 999999) / 1000000) : 0;
		int r = poll(&p, 1, left);

		if (r > 0)
			return true;
		if (r == 0 || errno != EINTR)
			return false;
	}
}

/* SIGTERM, then SIGKILL after grace_ms. The exit status. */
static int stop(int pidfd, uint64_t pid, uint64_t grace_ms)
{
	int r = send_signal(pidfd, SIGTERM);

	if (r == 0 && ends_within(pidfd, grace_ms))
		return ISO_EX_OK;
	if (r == 0)
		r = send_signal(pidfd, SIGKILL);
	if (r == -ESRCH || (r == 0 && ends_within(pidfd, KILL_WAIT_MS)))
		return ISO_EX_OK;
	if (r < 0)
		cannot_signal(pid, r);
	die(ISO_EX_TEMPFAIL, "process %d does not end, not even by SIGKILL",
	    (int)pid);
}

int stop_main(int argc, char **argv)
{
	struct process_options o;
	_cleanup_close_ int fd = -1;

	parse_options(argc, argv, false, &o);
	fd = process_open((pid_t)o.pid, o.start);
	if (fd == -ESRCH)
		return ISO_EX_OK;
	if (fd < 0)
		cannot_open(o.pid, fd);
	return stop(fd, o.pid, o.grace_ms);
}

int tie_main(int argc, char **argv)
{
	struct process_options o;
	_cleanup_close_ int fd = -1, to = -1;
	struct pollfd p[2];

	parse_options(argc, argv, false, &o);
	if (!o.to_pid || o.to_start == UINT64_MAX)
		die(ISO_EX_USAGE, "tie: --to-pid and --to-start-time are "
		    "needed; see -h");
	fd = process_open((pid_t)o.pid, o.start);
	if (fd == -ESRCH)
		return ISO_EX_OK;
	if (fd < 0)
		cannot_open(o.pid, fd);
	to = process_open((pid_t)o.to_pid, o.to_start);
	if (to < 0 && to != -ESRCH)
		cannot_open(o.to_pid, to);
	p[0] = (struct pollfd){ .fd = fd, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = to, .events = POLLIN };
	while (to >= 0 && poll(p, 2, -1) < 0)
		if (errno != EINTR)
			die(ISO_EX_IO, "poll: %s", strerror(errno));
	if (p[0].revents)
		return ISO_EX_OK;
	return stop(fd, o.pid, o.grace_ms);
}

int signal_main(int argc, char **argv)
{
	struct process_options o;
	_cleanup_close_ int fd = -1;
	int r;

	parse_options(argc, argv, true, &o);
	fd = process_open((pid_t)o.pid, o.start);
	r = fd < 0 ? fd : send_signal(fd, (int)o.signal);
	if (r == -ESRCH)
		return ISO_EX_NO;
	if (r < 0)
		cannot_signal(o.pid, r);
	return ISO_EX_OK;
}
