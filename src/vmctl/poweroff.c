/* SPDX-License-Identifier: MIT */
/* poweroff.c - ends a guest */
#include <endian.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "vmctl/agent.h"
#include "vmctl/vmctl.h"

int poweroff_main(int argc, char **argv)
{
	static const struct option longs[] = { AGENT_LONGS, { 0 } };
	const struct agent_hdr frame = {
		.len = htole32(sizeof(frame)),
		.type = htole16(AGENT_POWEROFF),
	};
	struct agent_addr a = { 0 };
	char byte;
	int c, fd, r;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (c == '?' || agent_option(&a, c, optarg) < 0)
			die(ISO_EX_USAGE, "see -h");
	if (optind != argc)
		die(ISO_EX_USAGE, "poweroff takes no operand; see -h");
	signal(SIGPIPE, SIG_IGN);
	fd = agent_connect(&a, ISO_EX_UNAVAILABLE);
	r = write_full(fd, &frame, sizeof(frame));
	if (r < 0)
		die(ISO_EX_IO, "cannot ask the guest: %s", strerror(-r));
	/* the stream ends with the machine */
	while (read(fd, &byte, 1) > 0)
		;
	close(fd);
	return ISO_EX_OK;
}
