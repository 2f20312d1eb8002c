/* SPDX-License-Identifier: MIT */
/* adopt.c - makes a clone of a template the worker of a name */
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "vmctl/agent.h"
#include "vmctl/vmctl.h"

#define TIMEOUT_MS 10000

struct request {
	struct agent_addr agent;
	const char *name, *new_secret;
	uint64_t timeout_ms;
};

static void parse_options(int argc, char **argv, struct request *q)
{
	static const struct option longs[] = {
		AGENT_LONGS,
		{ "name", required_argument, NULL, 'n' },
		{ "new-secret-file", required_argument, NULL, 'w' },
		{ "timeout-ms", required_argument, NULL, 'm' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'n':
			q->name = optarg;
			break;
		case 'w':
			q->new_secret = optarg;
			break;
		case 'm':
			q->timeout_ms = option_u64("timeout-ms", optarg, 1,
						   3600000);
			break;
		default:
			if (agent_option(&q->agent, c, optarg) < 0)
				die(ISO_EX_USAGE, "see -h");
		}
	}
	if (optind != argc || !q->name || !q->new_secret)
		die(ISO_EX_USAGE, "adopt: missing or unexpected operand; see -h");
	if (!name_ok(q->name))
		die(ISO_EX_USAGE, "--name: '%s': not a name for a VM", q->name);
}

/* Sends ADOPT with the time of this moment. 0 or -errno. */
static int send_adopt(int fd, const struct agent_adopt *who)
{
	struct {
		struct agent_hdr hdr;
		struct agent_adopt who;
	} m = {
		.hdr.len = htole32(sizeof(m)),
		.hdr.type = htole16(AGENT_ADOPT),
		.who = *who,
	};
	struct timespec ts;
	int r;

	clock_gettime(CLOCK_REALTIME, &ts);
	m.who.realtime_ns = htole64((uint64_t)ts.tv_sec * 1000000000u +
				    (uint64_t)ts.tv_nsec);
	r = write_full(fd, &m, sizeof(m));
	explicit_bzero(&m, sizeof(m));
	return r;
}

/* Waits for ADOPTED. 0, -EPIPE if the agent refuses, or another -errno. */
static int read_adopted(int fd, uint64_t timeout_ms)
{
	const struct timeval tv = { (time_t)(timeout_ms / 1000),
				    (suseconds_t)(timeout_ms % 1000 * 1000) };
	struct agent_hdr hdr;
	int r;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	r = read_full(fd, &hdr, sizeof(hdr));
	if (r < 0)
		return r;
	return le32toh(hdr.len) == sizeof(hdr) &&
	       le16toh(hdr.type) == AGENT_ADOPTED ? 0 : -EPROTO;
}

int adopt_main(int argc, char **argv)
{
	struct request q = { .timeout_ms = TIMEOUT_MS };
	struct agent_adopt who = { 0 };
	int fd, r;

	parse_options(argc, argv, &q);
	agent_secret(q.new_secret, who.secret, ISO_EX_UNAVAILABLE);
	memcpy(who.name, q.name, strlen(q.name));
	if (getrandom(who.entropy, sizeof(who.entropy), 0) !=
	    sizeof(who.entropy))
		die(ISO_EX_UNAVAILABLE, "getrandom: %s", strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	fd = agent_await(&q.agent, now_ns() + q.timeout_ms * 1000000,
			 ISO_EX_UNAVAILABLE);
	r = send_adopt(fd, &who);
	explicit_bzero(&who, sizeof(who));
	if (r == 0)
		r = read_adopted(fd, q.timeout_ms);
	if (r < 0)
		die(ISO_EX_UNAVAILABLE, "the guest does not become %s: %s",
		    q.name, r == -EPIPE ?
		    "it is no template, or is a worker already" :
		    strerror(-r));
	close(fd);
	return ISO_EX_OK;
}
