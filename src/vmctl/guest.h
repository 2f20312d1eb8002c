/* SPDX-License-Identifier: MIT */
/* guest.h - finds a guest's agent and proves to it who we are */
#ifndef ISO_VMCTL_GUEST_H
#define ISO_VMCTL_GUEST_H

#include "abi/iso_agent.h"
#include "base/base.h"
#include "base/secret.h"
#include "base/sock.h"

struct guest {
	struct sock_addr addr;
	bool have_addr;
	uint32_t port;			/* 0: not given */
	const char *secret_file;	/* 32 bytes, or 64 hexadecimal digits */
};

/* Takes one of the options --uds, --vsock, --port, --secret-file, known by
 * their letters u, v, p, s. 0, or -EINVAL. */
int guest_option(struct guest *g, int letter, const char *value);
#define GUEST_LONGS \
	{ "uds", required_argument, NULL, 'u' }, \
	{ "vsock", required_argument, NULL, 'v' }, \
	{ "port", required_argument, NULL, 'p' }, \
	{ "secret-file", required_argument, NULL, 's' }

/* A secret's file: 32 bytes, or 64 hexadecimal digits; or ends the program with
 * `status`. */
void guest_secret(const char *path, uint8_t secret[SECRET_LEN],
		  int status);

/* Connects and has READY read. The fd (blocking), or ends the program with
 * `status`. */
int guest_connect(struct guest *g, int status);
/* The same for a guest that may not be there yet: tries again until the time
 * (now_ns) is up, also if it is sent away. */
int guest_await(struct guest *g, uint64_t deadline, int status);

#endif /* ISO_VMCTL_GUEST_H */
