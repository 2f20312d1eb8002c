/* SPDX-License-Identifier: MIT */
/* main.c - starts vsock-bridge on its directory */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/num.h"
#include "bridge/bridge.h"
#include "sandbox/sandbox.h"
#include "seccomp_vsock-bridge.h"

#define MAX_FDS 65536u

struct daemon {
	struct bridge_opts opts;
	struct loop loop;
	struct bridge bridge;
	struct iso_ev signals, inotify;
	int dir_fd;
};

static const char usage[] =
	"usage: vsock-bridge --dir DIR [OPTION]...\n"
	"\n"
	"Carries the connections of every worker VM that DIR names to the broker\n"
	"in its GPU VM, and follows DIR while it runs.\n"
	"\n"
	"  --dir DIR        has a file for each VM, NAME.gpu or NAME.worker\n"
	"  --max-conns N    how many connections a worker may have at once (64)\n"
	"  --port N         the AF_VSOCK port to which workers connect (9999)\n"
	"  --timeout-ms N   time to reach a broker, or to send the last bytes (5000)\n"
	"  -v, --verbose    log at level debug\n"
	"  -V, --version    print the version\n"
	"  -h, --help       print this\n"
	"\n"
	"SIGHUP reads DIR again; SIGTERM and SIGINT end it.\n";

static uint64_t number(const char *opt, const char *s, uint64_t min,
		       uint64_t max)
{
	uint64_t v;

	if (parse_u64(s, min, max, &v) < 0)
		die(ISO_EX_USAGE, "--%s: '%s': must be a number from %llu to "
		    "%llu", opt,
		    s, (unsigned long long)min, (unsigned long long)max);
	return v;
}

static void parse_options(struct bridge_opts *o, int argc, char **argv)
{
	static const struct option opts[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "max-conns", required_argument, NULL, 'm' },
		{ "port", required_argument, NULL, 'p' },
		{ "timeout-ms", required_argument, NULL, 't' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "vVh", opts, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->dir = optarg;
			break;
		case 'm':
			o->max_conns = (unsigned int)number("max-conns", optarg,
							    1, 1024);
			break;
		case 'p':
			o->vsock_port = (uint32_t)number("port", optarg, 1,
							 65535);
			break;
		case 't':
			o->timeout_ms = number("timeout-ms", optarg, 1, 600000);
			break;
		case 'v':
			log_set_level(LOG_LVL_DEBUG);
			break;
		case 'V':
			puts("vsock-bridge " ISOSPIN_VERSION);
			exit(ISO_EX_OK);
		case 'h':
			fputs(usage, stdout);
			exit(ISO_EX_OK);
		default:
			exit(ISO_EX_USAGE); /* getopt has said why */
		}
	}
	if (optind < argc)
		die(ISO_EX_USAGE, "unexpected operand '%s'", argv[optind]);
	if (!o->dir)
		die(ISO_EX_USAGE, "--dir is missing; see --help");
}

static void on_signal(struct iso_ev *ev, uint32_t events)
{
	struct daemon *d = container_of(ev, struct daemon, signals);
	struct signalfd_siginfo si;

	(void)events;
	if (read(ev->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGHUP)
		bridge_rescan(&d->bridge);
	else
		loop_stop(&d->loop);
}

/* Any event has the whole directory read again, because events may be lost. */
static void on_inotify(struct iso_ev *ev, uint32_t events)
{
	struct daemon *d = container_of(ev, struct daemon, inotify);
	char buf[4096];

	(void)events;
	while (read(ev->fd, buf, sizeof(buf)) > 0)
		bridge_rescan(&d->bridge);
}

/* Opens the directory and locks it, for one bridge serves it at a time. */
static void open_dir(struct daemon *d)
{
	const char *dir = d->opts.dir;

	d->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dir_fd < 0)
		die(ISO_EX_NOINPUT, "%s: %s", dir, strerror(errno));
	if (flock(d->dir_fd, LOCK_EX | LOCK_NB) < 0)
		die(ISO_EX_TEMPFAIL, "%s: another vsock-bridge serves it", dir);
	d->inotify.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (d->inotify.fd < 0 ||
	    inotify_add_watch(d->inotify.fd, dir,
			      IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE |
			      IN_DELETE | IN_ONLYDIR) < 0)
		die(ISO_EX_UNAVAILABLE, "%s: cannot be watched: inotify: %s",
		    dir, strerror(errno));
}

/* Makes the loop with all that it watches. */
static void open_loop(struct daemon *d)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	int r = loop_init(&d->loop);

	if (r == 0)
		r = d->signals.fd = loop_signalfd(signals, ARRAY_SIZE(signals));
	if (r >= 0)
		r = loop_set(&d->loop, &d->signals, EPOLLIN);
	if (r == 0)
		r = loop_set(&d->loop, &d->inotify, EPOLLIN);
	if (r == 0)
		r = bridge_init(&d->bridge, &d->loop, &d->opts, d->dir_fd);
	if (r < 0)
		die(ISO_EX_UNAVAILABLE, "event loop: %s", strerror(-r));
}

/*
 * Enters the sandbox. The directories of VMs lie beside DIR and come and go, so
 * the directory above DIR stays reachable. Only sockets can be made there.
 */
static void drop(const struct daemon *d)
{
	char above[4096];
	const struct sandbox_path path = {
		above, SANDBOX_LIST | SANDBOX_READ | SANDBOX_SOCKET,
	};
	const struct sandbox_limit limits[] = { { RLIMIT_NOFILE, MAX_FDS } };
	const struct sandbox s = {
		.paths = &path,
		.n_paths = 1,
		.limits = limits,
		.n_limits = ARRAY_SIZE(limits),
		.syscalls = seccomp_syscalls,
		.n_syscalls = ARRAY_SIZE(seccomp_syscalls),
	};
	int n = snprintf(above, sizeof(above), "%s/..", d->opts.dir);
	int r = n < (int)sizeof(above) ? sandbox_enter(&s) : -ENAMETOOLONG;

	if (r < 0)
		die(ISO_EX_UNAVAILABLE, "cannot enter the sandbox: %s",
		    strerror(-r));
}

int main(int argc, char **argv)
{
	struct daemon d = {
		.opts = { .max_conns = 64,
			  .vsock_port = ISO_BROKER_PORT,
			  .timeout_ms = 5000 },
		.signals = { .fd = -1, .fn = on_signal },
		.inotify = { .fd = -1, .fn = on_inotify },
	};
	int r;

	log_init("vsock-bridge");
	parse_options(&d.opts, argc, argv);
	/* The group of a VM's directory, that of a jailed VMM, may connect. */
	umask(007);
	signal(SIGPIPE, SIG_IGN);
	open_dir(&d);
	open_loop(&d);
	drop(&d);
	watch_scan(&d.bridge);
	log_info("state=ready");
	r = loop_run(&d.loop);
	if (r < 0)
		log_error("event loop: %s", strerror(-r));
	bridge_fini(&d.bridge);
	loop_fini(&d.loop);
	close_fd(&d.signals.fd);
	close_fd(&d.inotify.fd);
	close_fd(&d.dir_fd);
	return r < 0 ? ISO_EX_BUG : ISO_EX_OK;
}
