/* SPDX-License-Identifier: MIT */
/* tsc.c - prints the rate of the time stamp counter */
#include <stdio.h>
#include <x86intrin.h>

#include "base/log.h"
#include "vmctl/vmctl.h"

#define MEASURE_NS 20000000u

/* Measures the rate, for no file of /proc has it and users may not read the
 * boot log. 20 ms are plenty, because the clock is itself made of the TSC. */
int tsc_main(int argc, char **argv)
{
	uint64_t from, ticks, now;

	(void)argv;
	if (argc != 1)
		die(ISO_EX_USAGE, "tsc-khz takes no operand; see -h");
	from = now_ns();
	ticks = __rdtsc();
	do {
		now = now_ns();
	} while (now - from < MEASURE_NS);
	ticks = __rdtsc() - ticks;
	printf("%llu\n", (unsigned long long)(ticks * 1000000 / (now - from)));
	return ISO_EX_OK;
}
