/* SPDX-License-Identifier: MIT */
/*
 * main.c - starts vsock-device, a virtio-vsock device for one QEMU VM
 *
 * Isolation comes in three stages. Each takes away what the next must not have:
 *
 * 1. Before fork(), in main(): all privilege there is. Parses the command line,
 *    makes both listening sockets, blocks the signals.
 *    - must not accept a connection or read a byte of anybody
 *
 * 2. After fork(): monitor and child close each other's fds and prepare their
 *    loops, still with all privilege.
 *    - the child keeps the listening sockets, and must not hold the monitor's
 *      end of the pair: the end of either process shows in the pair alone
 *    - the monitor keeps the paths, and must not hold a socket that the VMM or
 *      the host's programs connect to
 *    - neither must handle an event
 *
 * 3. In sandbox_enter(), once, before the first event.
 *    - the child (child.c) is a user of its own in an empty root: it must not
 *      look up a path, make a socket, start a process or have more files than
 *      its streams need. All that it parses was written by the VMM, the guest
 *      or a program of the host; a socket to the host it gets from the monitor
 *    - the monitor (monitor.c) stays the user that it was, with the directories
 *      of its two sockets: it must not read or write a file there, only
 *      connect to sockets and remove its own. It believes nothing of the child
 *      but a port number, and never sees a byte of the guest
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/num.h"
#include "base/sock.h"
#include "child.h"
#include "loop/loop.h"
#include "monitor.h"

/* As root the child of each VM is a user of its own: this number plus the CID.
 * It lies above the numbers that systemd gives to containers. */
#define UID_BASE 0x70000000u
#define BACKLOG 128

static const char usage[] =
	"usage: vsock-device --socket PATH --uds PATH --cid N [--uid N] [-v]\n"
	"\n"
	"Gives a QEMU VM a vsock whose host side is Unix sockets.\n"
	"\n"
	"  --socket PATH  where QEMU connects (vhost-user)\n"
	"  --uds PATH     host side: `CONNECT port` here; the guest's come to PATH_port\n"
	"  --cid N        the guest's CID, 3 or more\n"
	"  --uid N        as root: user and group of the child, which faces the guest\n"
	"  -v, --verbose  say more\n"
	"  -V, --version  print the version\n"
	"  -h, --help     print this\n";

struct options {
	const char *socket, *uds;
	uint64_t cid, uid;
};

/* A socket for this user alone; ends the program if that fails. */
static int listen_at(const char *path)
{
	struct sock_addr a = { .kind = SOCK_UNIX };
	int fd;

	if (strlen(path) >= sizeof(a.path))
		die(ISO_EX_USAGE, "%s: longer than the path of a socket may be",
		    path);
	memcpy(a.path, path, strlen(path) + 1);
	fd = sock_listen(&a, BACKLOG);
	if (fd < 0)
		die(fd == -EACCES ? ISO_EX_NOPERM : ISO_EX_UNAVAILABLE,
		    "%s: cannot listen: %s", path, strerror(-fd));
	return fd;
}

static uint64_t number(const char *what, const char *s, uint64_t min,
		       uint64_t max)
{
	uint64_t v;

	if (parse_u64(s, min, max, &v) < 0)
		die(ISO_EX_USAGE, "%s: \"%s\" is not a number from %llu to %llu",
		    what, s, (unsigned long long)min, (unsigned long long)max);
	return v;
}

static void parse_options(int argc, char **argv, struct options *o)
{
	enum { OPT_SOCKET = 256, OPT_UDS, OPT_CID, OPT_UID };
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "uds", required_argument, NULL, OPT_UDS },
		{ "cid", required_argument, NULL, OPT_CID },
		{ "uid", required_argument, NULL, OPT_UID },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "hVv", longs, NULL)) != -1) {
		switch (c) {
		case OPT_SOCKET:
			o->socket = optarg;
			break;
		case OPT_UDS:
			o->uds = optarg;
			break;
		case OPT_CID:
			o->cid = number("--cid", optarg, 3, UINT32_MAX - 1);
			break;
		case OPT_UID:
			o->uid = number("--uid", optarg, 1, UINT32_MAX - 1);
			break;
		case 'v':
			log_set_level(LOG_LVL_DEBUG);
			break;
		case 'V':
			printf("vsock-device %s\n", ISOSPIN_VERSION);
			exit(ISO_EX_OK);
		case 'h':
			fputs(usage, stdout);
			exit(ISO_EX_OK);
		default:
			exit(ISO_EX_USAGE);
		}
	}
	if (optind < argc || !o->socket || !o->uds || !o->cid)
		die(ISO_EX_USAGE, "--socket, --uds and --cid are needed, and "
		    "nothing else (see --help)");
	if (!o->uid)
		o->uid = UID_BASE + (o->cid & 0xffffff);
}

int main(int argc, char **argv)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGCHLD };
	struct options o = { 0 };
	struct child_fds fds;
	int pair[2];
	pid_t child;

	log_init("vsock-device");
	parse_options(argc, argv, &o);
	umask(077);
	fds.vmm = listen_at(o.socket);
	fds.uds = listen_at(o.uds);
	/* Blocked in both: the monitor reads them from a signalfd of its own,
	 * and the child ends with the monitor. */
	close(loop_signalfd(signals, ARRAY_SIZE(signals)));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0, pair) < 0)
		die(ISO_EX_BUG, "socketpair: %s", strerror(errno));
	child = fork();
	if (child < 0)
		die(ISO_EX_TEMPFAIL, "fork: %s", strerror(errno));
	if (child == 0) {
		close(pair[0]);
		fds.monitor = pair[1];
		exit(child_run(&fds, o.cid, (uid_t)o.uid));
	}
	close(pair[1]);
	close(fds.vmm);
	close(fds.uds);
	return monitor_run(child, pair[0], o.uds, o.socket);
}
