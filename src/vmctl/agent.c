/* SPDX-License-Identifier: MIT */
/* agent.c - connects to the agent of a guest */
#include "vmctl/agent.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "abi/iso_agent.h"
#include "base/log.h"
#include "base/num.h"
#include "base/rd.h"

#define CONNECT_MS 10000
#define RETRY_MS 10

int agent_option(struct agent_addr *a, int letter, const char *value)
{
	uint64_t v;

	switch (letter) {
	case 'u':
		if (a->have_addr || !*value ||
		    strlen(value) >= sizeof(a->addr.path))
			return -EINVAL;
		a->addr.kind = SOCK_HYBRID;
		memcpy(a->addr.path, value, strlen(value) + 1);
		a->have_addr = true;
		return 0;
	case 'v':
		if (a->have_addr || parse_u64(value, 1, UINT32_MAX - 1, &v) < 0)
			return -EINVAL;
		a->addr.kind = SOCK_VSOCK;
		a->addr.cid = (uint32_t)v;
		a->have_addr = true;
		return 0;
	case 'p':
		if (parse_u64(value, 1, UINT32_MAX - 1, &v) < 0)
			return -EINVAL;
		a->port = (uint32_t)v;
		return 0;
	case 's':
		a->secret_file = value;
		return 0;
	default:
		return -EINVAL;
	}
}

/* 0 or -errno. */
static int send_auth(int fd, const uint8_t secret[SECRET_LEN])
{
	struct {
		struct agent_hdr hdr;
		struct agent_auth auth;
	} m = {
		.hdr.len = htole32(sizeof(m)),
		.hdr.type = htole16(AGENT_AUTH),
		.auth.major = htole16(AGENT_MAJOR),
		.auth.minor = htole16(AGENT_MINOR),
	};
	int r;

	memcpy(m.auth.secret, secret, sizeof(m.auth.secret));
	r = write_full(fd, &m, sizeof(m));
	explicit_bzero(&m, sizeof(m));
	return r;
}

/* 0, -EPROTO if another program answers, or -errno. */
static int read_ready(int fd)
{
	uint8_t buf[sizeof(struct agent_hdr) + sizeof(struct agent_ready)];
	struct rd r = rd_init(buf, sizeof(buf));
	int err = read_full(fd, buf, sizeof(buf));

	if (err < 0)
		return err;
	if (rd_u32(&r) != sizeof(buf) || rd_u16(&r) != AGENT_READY ||
	    rd_u16(&r) != 0 || rd_u16(&r) != AGENT_MAJOR)
		return -EPROTO;
	return 0;
}

/* Says why a connection that was taken came to nothing. */
static const char *why(int err)
{
	switch (err) {
	case -EPIPE:
	case -ECONNRESET:
		return "the guest's agent refused the connection: wrong secret, or "
		       "too many connections";
	case -EAGAIN:
		return "the guest's agent does not answer";
	default:
		return strerror(-err);
	}
}

void agent_secret(const char *path, uint8_t secret[SECRET_LEN], int status)
{
	int r = secret_read(path, secret);

	if (r < 0)
		die(status, "%s: %s", path, secret_error(r));
}

static void check_options(struct agent_addr *a, int status)
{
	if (!a->have_addr || !a->port || !a->secret_file)
		die(status, "--uds or --vsock, --port and --secret-file are "
			    "needed; see -h");
	a->addr.port = a->port;
}

/* Connects and proves the secret. The fd, or -errno; *ret_met tells whether the
 * connection was taken. */
static int try_connect(struct agent_addr *a, const uint8_t *secret,
		       int timeout_ms, bool *ret_met)
{
	const struct timeval tv = { timeout_ms / 1000,
				    timeout_ms % 1000 * 1000 };
	const struct timeval never = { 0 };
	int fd, r;

	*ret_met = false;
	fd = sock_connect(&a->addr, timeout_ms);
	if (fd < 0)
		return fd;
	*ret_met = true;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	r = send_auth(fd, secret);
	if (r == 0)
		r = read_ready(fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof(never));
	return fd;
}

static _noreturn_ void no_agent(int err, bool met, int status)
{
	if (met)
		die(status, "%s", why(err));
	die(status, "no agent answers: %s", strerror(-err));
}

int agent_connect(struct agent_addr *a, int status)
{
	uint8_t secret[SECRET_LEN];
	bool met;
	int fd;

	check_options(a, status);
	agent_secret(a->secret_file, secret, status);
	fd = try_connect(a, secret, CONNECT_MS, &met);
	explicit_bzero(secret, sizeof(secret));
	if (fd < 0)
		no_agent(fd, met, status);
	return fd;
}

int agent_await(struct agent_addr *a, uint64_t deadline, int status)
{
	uint8_t secret[SECRET_LEN];
	bool met = false, now_met;
	int fd, err = 0;
	uint64_t now;

	check_options(a, status);
	agent_secret(a->secret_file, secret, status);
	while (1) {
		now = now_ns();
		fd = try_connect(a, secret, now < deadline ?
				 (int)((deadline - now) / 1000000 + 1) : 1,
				 &now_met);
		/* the last try may be too short to learn more than before */
		if (fd < 0 && ((fd != -EAGAIN && fd != -ETIMEDOUT) || !err)) {
			err = fd;
			met = now_met;
		}
		if (fd >= 0 || now >= deadline)
			break;
		poll(NULL, 0, RETRY_MS);
	}
	explicit_bzero(secret, sizeof(secret));
	if (fd < 0)
		no_agent(err, met, status);
	return fd;
}
