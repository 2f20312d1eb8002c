/* SPDX-License-Identifier: MIT */
/*
 * adopt.c - makes a clone of a template the worker that the host names
 *
 * The saved machine goes on in many VMs at once. So before any command runs,
 * each gets what must differ: its name, the state of the kernel's random
 * generator, the clock. The shim is let go last, for its first connection
 * already tells the broker which worker this is.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <linux/random.h>

#include "agent/agent.h"
#include "base/num.h"
#include "base/sock.h"

#define HOLD "/sys/module/nvidia_shim/parameters/hold"

int adopt_parse(struct rd body, struct agent_adopt *ret_who)
{
	struct agent_adopt who;
	size_t n;

	rd_copy(&body, &who, sizeof(who));
	n = strnlen(who.name, sizeof(who.name));
	if (!rd_done(&body) || n == sizeof(who.name) || !name_ok(who.name))
		return -EPROTO;
	for (; n < sizeof(who.name); n++)
		if (who.name[n])
			return -EPROTO;
	*ret_who = who;
	return 0;
}

/* Adds entropy that counts as such, and has the kernel use it at once. */
static int mix_entropy(const uint8_t entropy[AGENT_ENTROPY_LEN])
{
	union {
		struct rand_pool_info info;
		uint8_t bytes[sizeof(struct rand_pool_info) +
			      AGENT_ENTROPY_LEN];
	} pool = {
		.info.entropy_count = AGENT_ENTROPY_LEN * 8,
		.info.buf_size = AGENT_ENTROPY_LEN,
	};
	_cleanup_close_ int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return -errno;
	memcpy(pool.bytes + sizeof(pool.info), entropy, AGENT_ENTROPY_LEN);
	if (ioctl(fd, RNDADDENTROPY, &pool) < 0 ||
	    ioctl(fd, RNDRESEEDCRNG) < 0)
		r = -errno;
	explicit_bzero(&pool, sizeof(pool));
	return r;
}

static int set_clock(uint64_t realtime_ns)
{
	const struct timespec ts = {
		.tv_sec = (time_t)(realtime_ns / 1000000000u),
		.tv_nsec = (long)(realtime_ns % 1000000000u),
	};

	return clock_settime(CLOCK_REALTIME, &ts) < 0 ? -errno : 0;
}

static int let_shim_go(void)
{
	_cleanup_close_ int fd = open(HOLD, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : write_full(fd, "0", 1);
}

int adopt_machine(const struct agent_adopt *who, const char **ret_what)
{
	int r;

	*ret_what = "entropy";
	r = mix_entropy(who->entropy);
	if (r < 0)
		return r;
	*ret_what = "clock";
	r = set_clock(le64toh(who->realtime_ns));
	if (r < 0)
		return r;
	*ret_what = "host name";
	if (sethostname(who->name, strlen(who->name)) < 0)
		return -errno;
	*ret_what = "nvidia-shim";
	return let_shim_go();
}
