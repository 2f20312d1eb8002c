/* SPDX-License-Identifier: MIT */
/* metrics.c - logs the broker's counters */
#include "broker/metrics.h"

#include <stdio.h>

#include "base/log.h"

void metrics_log(const struct metrics *m, const char *name)
{
	static const char *const key[] = {
#define METRICS_NAME(n) #n,
		METRICS(METRICS_NAME)
#undef METRICS_NAME
	};
	const uint64_t value[] = {
#define METRICS_VALUE(n) m->n,
		METRICS(METRICS_VALUE)
#undef METRICS_VALUE
	};
	char line[900];
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(value) && len < sizeof(line); i++)
		if (value[i])
			len += (size_t)snprintf(line + len, sizeof(line) - len,
						", \"%s\": %llu", key[i],
						(unsigned long long)value[i]);
	line[MIN(len, sizeof(line) - 1)] = 0;
	log_info("{\"metrics\": \"%s\"%s}", name, line);
}
