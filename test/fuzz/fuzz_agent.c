/* SPDX-License-Identifier: MIT */
/* links: src/agent */
/*
 * fuzz_agent.c - fuzzes the parsers of the agent
 *
 * The first byte picks frames with their EXEC and ADOPT bodies, or boot.conf.
 */
#include <string.h>

#include "agent/agent.h"
#include "base/chan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void frames(const uint8_t *data, size_t n)
{
	struct chan_frame f;
	struct agent_adopt who;
	struct exec_spec spec;
	struct chan_in in;
	struct chan c;

	if (chan_init_auth(&c) < 0 || chan_open(&c) < 0 ||
	    chan_in_init(&in) < 0)
		abort();
	c.in_len = MIN(n, c.in_cap);
	memcpy(c.in, data, c.in_len);
	while (chan_next(&c, &f) > 0) {
		if (f.type == AGENT_DATA && chan_in_take(&in, &f.body) < 0)
			break;
		if (f.type == AGENT_ADOPT && adopt_parse(f.body, &who) == 0 &&
		    (!who.name[0] || who.name[AGENT_NAME_LEN - 1]))
			abort();
		if (f.type != AGENT_EXEC || exec_parse(f.body, &spec) < 0)
			continue;
		if (!spec.argv[0] || !spec.cwd)
			abort();
		for (const char **e = spec.envp; *e; e++)
			if (!strchr(*e, '='))
				abort();
		exec_spec_free(&spec);
	}
	chan_in_free(&in);
	chan_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agent_boot boot;
	uint32_t line = 0;

	if (n == 0)
		return 0;
	if (data[0] & 1)
		frames(data + 1, n - 1);
	else if (boot_parse((const char *)data + 1, n - 1, &boot, &line) < 0 &&
		 line == 0)
		abort();
	return 0;
}
