/* SPDX-License-Identifier: MIT */
/* vsock-device - a virtio-vsock device for one QEMU VM, over vhost-user */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/num.h"
#include "base/sock.h"
#include "monitor.h"
#include "sandbox/sandbox.h"
#include "seccomp_vsock-device.h"
#include "vhost_user.h"

/* #syscalls vsock-device: accept4 recvmsg sendmsg fcntl */

/* As root each VM's device process is a user of its own: this number plus the
 * CID. It lies above what systemd gives to containers. */
#define UID_BASE 0x70000000u
#define BACKLOG 128
#define FIXED_FILES 48u		/* besides a socket for each stream */

static const char usage[] =
	"usage: vsock-device --socket PATH --uds PATH --cid N [--uid N] [-v]\n"
	"\n"
	"Gives a QEMU VM a vsock whose host side is Unix sockets.\n"
	"\n"
	"  --socket PATH  where QEMU connects (vhost-user)\n"
	"  --uds PATH     host side: `CONNECT port` here; the guest's come to PATH_port\n"
	"  --cid N        the guest's CID, 3 or more\n"
	"  --uid N        as root: user and group of the process that faces the guest\n"
	"  -v, --verbose  say more\n"
	"  -V, --version  print the version\n"
	"  -h, --help     print this\n";

struct options {
	const char *socket, *uds;
	uint64_t cid, uid;
};

struct device {
	struct loop loop;
	struct vsock vsock;
	struct vu vu;
	bool connected;
	struct iso_ev vmm;	/* listens for the VMM */
	struct iso_ev monitor;
	int status;
};

static void on_vmm_ended(struct vu *u)
{
	struct device *d = container_of(u, struct device, vu);

	if (u->error) {
		log_error("the VMM's connection: %s", strerror(-u->error));
		d->status = ISO_EX_DATA;
	} else {
		log_info("the VMM is gone");
	}
	loop_stop(&d->loop);
}

/* One VM, one connection: QEMU never comes back to a device it lost. */
static void on_vmm(struct iso_ev *ev, uint32_t events)
{
	struct device *d = container_of(ev, struct device, vmm);
	int fd = accept4(ev->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r;

	(void)events;
	if (fd < 0)
		return;
	loop_del(&d->loop, ev);
	close_fd(&ev->fd);
	d->connected = true;
	r = vu_init(&d->vu, &d->vsock, fd, on_vmm_ended);
	if (r < 0) {
		log_error("cannot serve the VMM: %s", strerror(-r));
		d->status = ISO_EX_BUG;
		loop_stop(&d->loop);
	}
}

static int ask_monitor(struct vsock *v, uint32_t port, uint32_t serial)
{
	struct device *d = v->dial_arg;
	struct dial_request req = { .port = port, .serial = serial };

	return sock_send_fds(d->monitor.fd, &req, sizeof(req), NULL, 0);
}

static void on_monitor(struct iso_ev *ev, uint32_t events)
{
	struct device *d = container_of(ev, struct device, monitor);
	struct dial_reply reply;
	size_t n_fds = 0;
	int fd = -1;
	ssize_t n = sock_recv_fds(ev->fd, &reply, sizeof(reply), &fd, 1,
				  &n_fds);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != (ssize_t)sizeof(reply)) {
		loop_stop(&d->loop);
		return;
	}
	if (n_fds == 0)
		fd = reply.error ? -reply.error : -EPROTO;
	vsock_dialed(&d->vsock, reply.serial, fd);
}

static void reap(struct loop *l, void *arg)
{
	struct device *d = arg;

	(void)l;
	vsock_reap(&d->vsock);
}

static int confine(const struct options *o)
{
	static const struct sandbox_limit limits[] = {
		{ RLIMIT_NOFILE, VSOCK_MAX_STREAMS + FIXED_FILES },
		{ RLIMIT_NPROC, 0 },
	};
	struct sandbox s = {
		.uid = (uid_t)o->uid,
		.gid = (gid_t)o->uid,
		.empty_root = true,
		.limits = limits,
		.n_limits = ARRAY_SIZE(limits),
		.syscalls = seccomp_syscalls,
		.n_syscalls = ARRAY_SIZE(seccomp_syscalls),
	};

	return sandbox_enter(&s);
}

/* The process that faces the VMM and the guest. */
static int device_run(const struct options *o, int vmm_fd, int uds_fd,
		      int monitor_fd)
{
	struct device d = {
		.vmm = { .fd = vmm_fd, .fn = on_vmm },
		.monitor = { .fd = monitor_fd, .fn = on_monitor },
	};
	int r = loop_init(&d.loop);

	if (r == 0) {
		d.loop.after = reap;
		d.loop.after_arg = &d;
		vsock_init(&d.vsock, &d.loop, o->cid, uds_fd);
		d.vsock.dial = ask_monitor;
		d.vsock.dial_arg = &d;
		r = loop_set(&d.loop, &d.vmm, EPOLLIN);
	}
	if (r == 0)
		r = loop_set(&d.loop, &d.monitor, EPOLLIN);
	if (r == 0)
		r = confine(o);
	if (r == 0) {
		log_info("ready");
		r = loop_run(&d.loop);
	}
	if (r < 0) {
		log_error("device: %s", strerror(-r));
		return ISO_EX_BUG;
	}
	if (d.connected)
		vu_fini(&d.vu);
	vsock_fini(&d.vsock);
	loop_fini(&d.loop);
	return d.status;
}

/* A socket for this user alone; ends the program if that fails. */
static int listen_at(const char *path)
{
	struct sock_addr a = { .kind = SOCK_UNIX };
	int fd;

	if (strlen(path) >= sizeof(a.path))
		die(ISO_EX_USAGE, "%s: longer than a socket's path may be",
		    path);
	memcpy(a.path, path, strlen(path) + 1);
	fd = sock_listen(&a, BACKLOG);
	if (fd < 0)
		die(fd == -EACCES ? ISO_EX_NOPERM : ISO_EX_UNAVAILABLE,
		    "%s: %s", path, strerror(-fd));
	return fd;
}

static uint64_t number(const char *what, const char *s, uint64_t min,
		       uint64_t max)
{
	uint64_t v;

	if (parse_u64(s, min, max, &v) < 0)
		die(ISO_EX_USAGE, "%s: \"%s\" is no number from %llu to %llu",
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
	int pair[2], vmm_fd, uds_fd;
	pid_t child;

	log_init("vsock-device");
	parse_options(argc, argv, &o);
	umask(077);
	vmm_fd = listen_at(o.socket);
	uds_fd = listen_at(o.uds);
	/* The monitor reads signals from its signalfd; the device process ends
	 * with the monitor. */
	close(loop_signalfd(signals, ARRAY_SIZE(signals)));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       0, pair) < 0)
		die(ISO_EX_BUG, "socketpair: %s", strerror(errno));
	child = fork();
	if (child < 0)
		die(ISO_EX_TEMPFAIL, "fork: %s", strerror(errno));
	if (child == 0) {
		close(pair[0]);
		exit(device_run(&o, vmm_fd, uds_fd, pair[1]));
	}
	close(pair[1]);
	close(vmm_fd);
	close(uds_fd);
	return monitor_run(child, pair[0], o.uds, o.socket);
}
