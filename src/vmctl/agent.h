/* SPDX-License-Identifier: MIT */
/* agent.h - connects to the agent of a guest */
#ifndef ISO_VMCTL_AGENT_H
#define ISO_VMCTL_AGENT_H

#include "abi/iso_agent.h"
#include "base/base.h"
#include "base/secret.h"
#include "base/sock.h"

/* Where the agent is, and what proves to it that it may obey. */
struct agent_addr {
	struct sock_addr addr;
	bool have_addr;
	uint32_t port;			/* 0: not given */
	const char *secret_file;	/* 32 bytes, or 64 hexadecimal digits */
};

/* Takes one of the options --uds, --vsock, --port, --secret-file, known by
 * their letters u, v, p, s. 0, or -EINVAL. */
int agent_option(struct agent_addr *a, int letter, const char *value);
#define AGENT_LONGS \
	{ "uds", required_argument, NULL, 'u' }, \
	{ "vsock", required_argument, NULL, 'v' }, \
	{ "port", required_argument, NULL, 'p' }, \
	{ "secret-file", required_argument, NULL, 's' }

/* Reads a secret's file, or ends the program with `status`. */
void agent_secret(const char *path, uint8_t secret[SECRET_LEN], int status);

/* Connects, proves the secret and reads READY. The fd (blocking), or ends the
 * program with `status`. */
int agent_connect(struct agent_addr *a, int status);
/* The same for an agent that may not be there yet: tries again until
 * `deadline`, a time of now_ns(), also if the agent closes the connection. */
int agent_await(struct agent_addr *a, uint64_t deadline, int status);

#endif /* ISO_VMCTL_AGENT_H */
