/* SPDX-License-Identifier: MIT */
/*
 * sock.h - stream sockets: unix:PATH, vsock:CID:PORT, hybrid:PATH:PORT
 *
 * A hybrid address is a Unix socket behind which a VMM (or vsock-device) keeps
 * a guest's vsock: `CONNECT port\n` is answered with `OK hostport\n`, then the
 * stream is the guest's (Firecracker, docs/vsock.md).
 */
#ifndef ISO_SOCK_H
#define ISO_SOCK_H

#include <sys/types.h>

#include "base/base.h"

enum sock_kind { SOCK_UNIX, SOCK_VSOCK, SOCK_HYBRID };

#define SOCK_PATH_MAX 108	/* sun_path with its NUL */

struct sock_addr {
	enum sock_kind kind;
	char path[SOCK_PATH_MAX];	/* UNIX, HYBRID */
	uint32_t cid;			/* VSOCK; 0xffffffff: any */
	uint32_t port;			/* VSOCK, HYBRID */
};

/* `unix:PATH`, `vsock:CID:PORT` (CID may be `any`), `hybrid:PATH:PORT`.
 * 0, -EINVAL, or -ENAMETOOLONG. */
int sock_parse(const char *s, struct sock_addr *ret_addr);

/* Listens at a UNIX or VSOCK address. A Unix socket that is at the path already
 * is replaced if nothing listens on it, else it is -EADDRINUSE. The fd,
 * non-blocking and close-on-exec, or -errno. */
int sock_listen(const struct sock_addr *a, int backlog);

/* Connects and waits, for timeout_ms or, if that is negative, for ever; to a
 * hybrid address until the OK line is read. The fd, blocking, or -errno:
 * -ETIMEDOUT, or -ECONNREFUSED where nothing listens at the guest's port. */
int sock_connect(const struct sock_addr *a, int timeout_ms);

/* Starts to connect a non-blocking Unix socket. The fd, or -errno (-EAGAIN: the
 * peer's backlog is full). */
int sock_unix_connect_nb(const char *path);

/* Starts to connect a non-blocking socket, which is connected when it is
 * writable and sock_error() is 0. For a hybrid address this is the Unix socket;
 * the CONNECT line is left to the caller. The fd, or -errno. */
int sock_connect_nb(const struct sock_addr *a);
/* Takes the pending error from the socket. 0 or -errno. */
int sock_error(int fd);

int sock_set_nonblock(int fd, bool on);

/* Sends one message with up to 8 fds over a Unix socket (SOCK_SEQPACKET or
 * SOCK_STREAM). 0 or -errno. */
int sock_send_fds(int sock, const void *p, size_t n, const int *fds,
		  size_t n_fds);
/* Returns bytes received (0: end), or -errno. Received fds are close-on-exec
 * and the caller's; more than max_fds of them, or a truncated message, is
 * -EMSGSIZE with none left open. */
ssize_t sock_recv_fds(int sock, void *p, size_t n, int *ret_fds,
		      size_t max_fds, size_t *ret_n_fds);

/* Read or write all n bytes of a blocking fd. 0 or -errno; -EPIPE: the end came
 * early. */
int read_full(int fd, void *p, size_t n);
int write_full(int fd, const void *p, size_t n);

#endif /* ISO_SOCK_H */
