/* SPDX-License-Identifier: MIT */
/* sock.c - reaches peers over sockets */
#include "base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

#include "base/hybrid.h"
#include "base/num.h"

#define MAX_FDS 8

static int copy_path(struct sock_addr *a, const char *s, size_t n)
{
	if (n == 0)
		return -EINVAL;
	if (n >= sizeof(a->path))
		return -ENAMETOOLONG;
	memcpy(a->path, s, n);
	a->path[n] = 0;
	return 0;
}

static int parse_u32(const char *s, uint32_t *ret_v)
{
	uint64_t v;

	if (parse_u64(s, 0, UINT32_MAX - 1, &v) < 0)
		return -EINVAL;
	*ret_v = (uint32_t)v;
	return 0;
}

/* Reads `CID:PORT`. 0 or -EINVAL. */
static int parse_vsock(const char *s, struct sock_addr *a)
{
	char cid[16];
	const char *colon = strchr(s, ':');

	if (!colon || (size_t)(colon - s) >= sizeof(cid))
		return -EINVAL;
	memcpy(cid, s, (size_t)(colon - s));
	cid[colon - s] = 0;
	if (strcmp(cid, "any") == 0)
		a->cid = VMADDR_CID_ANY;
	else if (parse_u32(cid, &a->cid) < 0)
		return -EINVAL;
	return parse_u32(colon + 1, &a->port);
}

int sock_parse(const char *s, struct sock_addr *ret_addr)
{
	struct sock_addr a = { 0 };
	const char *colon;
	int r;

	if (strncmp(s, "unix:", 5) == 0) {
		a.kind = SOCK_UNIX;
		r = copy_path(&a, s + 5, strlen(s + 5));
	} else if (strncmp(s, "vsock:", 6) == 0) {
		a.kind = SOCK_VSOCK;
		r = parse_vsock(s + 6, &a);
	} else if (strncmp(s, "hybrid:", 7) == 0) {
		a.kind = SOCK_HYBRID;
		colon = strrchr(s + 7, ':');
		if (!colon)
			return -EINVAL;
		r = copy_path(&a, s + 7, (size_t)(colon - (s + 7)));
		if (r == 0)
			r = parse_u32(colon + 1, &a.port);
	} else {
		return -EINVAL;
	}
	if (r < 0)
		return r;
	*ret_addr = a;
	return 0;
}

static struct sockaddr_un unix_addr(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	/* struct sock_addr keeps path shorter than sun_path */
	memcpy(un.sun_path, path, strnlen(path, sizeof(un.sun_path) - 1));
	return un;
}

static struct sockaddr_vm vsock_addr(const struct sock_addr *a)
{
	return (struct sockaddr_vm){ .svm_family = AF_VSOCK,
				     .svm_cid = a->cid,
				     .svm_port = a->port };
}

/* Removes a socket at path on which nothing listens. 0, -EADDRINUSE, or another
 * -errno. */
static int unlink_stale(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return -EADDRINUSE;
	fd = sock_unix_connect_nb(path);
	if (fd >= 0)
		close(fd);
	if (fd != -ECONNREFUSED)
		return fd == -ENOENT ? 0 : -EADDRINUSE;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int sock_listen(const struct sock_addr *a, int backlog)
{
	struct sockaddr_vm vm = vsock_addr(a);
	struct sockaddr_un un = unix_addr(a->path);
	_cleanup_close_ int fd = -1;
	int r;

	if (a->kind == SOCK_HYBRID)
		return -EINVAL;
	fd = socket(a->kind == SOCK_VSOCK ? AF_VSOCK : AF_UNIX,
		    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (a->kind == SOCK_VSOCK) {
		r = bind(fd, (struct sockaddr *)&vm, sizeof(vm));
	} else {
		r = unlink_stale(a->path);
		if (r < 0)
			return r;
		r = bind(fd, (struct sockaddr *)&un, sizeof(un));
	}
	if (r < 0 || listen(fd, backlog) < 0)
		return -errno;
	return take_fd(&fd);
}

int sock_set_nonblock(int fd, bool on)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0)
		return -errno;
	fl = on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, fl) < 0 ? -errno : 0;
}

int sock_unix_connect_nb(const char *path)
{
	struct sockaddr_un un = unix_addr(path);
	_cleanup_close_ int fd = -1;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return -errno;
	return take_fd(&fd);
}

int sock_connect_nb(const struct sock_addr *a)
{
	struct sockaddr_vm vm = vsock_addr(a);
	_cleanup_close_ int fd = -1;

	if (a->kind != SOCK_VSOCK)
		return sock_unix_connect_nb(a->path);
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&vm, sizeof(vm)) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	return take_fd(&fd);
}

int sock_error(int fd)
{
	int err;
	socklen_t len = sizeof(err);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	return -err;
}

/* Waits for events on fd until deadline_ns (0: no deadline). 0 or -errno. */
static int wait_fd(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = now_ns();
		int ms = -1, r;

		if (deadline_ns) {
			if (now >= deadline_ns)
				return -ETIMEDOUT;
			ms = (int)((deadline_ns - now + 999999) / 1000000);
		}
		r = poll(&p, 1, ms);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0)
			return 0;
	}
}

/* Sends `CONNECT port\n` and awaits the line `OK n\n`, byte by byte so that
 * nothing of the stream behind it is lost. */
static int hybrid_handshake(int fd, uint32_t port, uint64_t deadline_ns)
{
	struct hybrid answer = { .n = 0 };
	char line[32];
	int r;

	r = snprintf(line, sizeof(line), "CONNECT %u\n", port);
	r = write_full(fd, line, (size_t)r);
	while (r == 0) {
		char byte;
		size_t used;
		ssize_t k;

		r = wait_fd(fd, POLLIN, deadline_ns);
		if (r < 0)
			return r;
		k = read(fd, &byte, 1);
		if (k < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (k <= 0)
			return -ECONNREFUSED;
		r = hybrid_feed(&answer, &byte, 1, &used);
	}
	return r > 0 ? 0 : r == -EPROTO ? -ECONNREFUSED : r;
}

int sock_connect(const struct sock_addr *a, int timeout_ms)
{
	uint64_t deadline = 0;
	_cleanup_close_ int fd = -1;
	int r;

	if (timeout_ms >= 0)
		deadline = now_ns() + (uint64_t)timeout_ms * 1000000u + 1;
	fd = sock_connect_nb(a);
	if (fd < 0)
		return fd;
	r = wait_fd(fd, POLLOUT, deadline);
	if (r == 0)
		r = sock_error(fd);
	if (r == 0)
		r = sock_set_nonblock(fd, false);
	if (r == 0 && a->kind == SOCK_HYBRID)
		r = hybrid_handshake(fd, a->port, deadline);
	return r < 0 ? r : take_fd(&fd);
}

int sock_send_fds(int sock, const void *p, size_t n, const int *fds,
		  size_t n_fds)
{
	union {
		char buf[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (n_fds > MAX_FDS)
		return -EINVAL;
	if (n_fds) {
		struct cmsghdr *c;

		memset(&ctl, 0, sizeof(ctl));
		msg.msg_control = ctl.buf;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	do {
		r = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EMSGSIZE;
}

ssize_t sock_recv_fds(int sock, void *p, size_t n, int *ret_fds,
		      size_t max_fds, size_t *ret_n_fds)
{
	union {
		char buf[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = { .iov_base = p, .iov_len = n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1,
			      .msg_control = ctl.buf,
			      .msg_controllen = sizeof(ctl.buf) };
	int got[MAX_FDS];
	size_t n_got = 0;
	ssize_t r;

	do {
		r = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c;
	     c = CMSG_NXTHDR(&msg, c)) {
		size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		k = MIN(k, MAX_FDS - n_got);
		memcpy(got + n_got, CMSG_DATA(c), k * sizeof(int));
		n_got += k;
	}
	if (n_got > max_fds || (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC))) {
		for (size_t i = 0; i < n_got; i++)
			close(got[i]);
		return -EMSGSIZE;
	}
	for (size_t i = 0; i < n_got; i++)
		ret_fds[i] = got[i];
	*ret_n_fds = n_got;
	return r;
}

int read_full(int fd, void *p, size_t n)
{
	uint8_t *b = p;

	while (n > 0) {
		ssize_t r = read(fd, b, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -EPIPE;
		b += r;
		n -= (size_t)r;
	}
	return 0;
}

int write_full(int fd, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n > 0) {
		ssize_t r = write(fd, b, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		b += r;
		n -= (size_t)r;
	}
	return 0;
}
