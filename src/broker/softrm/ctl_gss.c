/* SPDX-License-Identifier: MIT */
/*
 * Temperature, power, fan and utilization: controls that no public header
 * describes (the GSS_ rows). The meaning of each word was found by watching
 * what nvidia-smi shows when it changes.
 */
#include <string.h>

#include "softrm.h"

/* Opcodes of the thermal instruction list. */
enum {
	THERMAL_GET_TARGETS = 0x100,
	THERMAL_GET_TARGET_TYPE = 0x101,
	THERMAL_GET_TEMPERATURE = 0x1500,
};

static uint32_t thermal(struct soft_ctl *c)
{
	(void)c;
	return NV_ERR_NOT_SUPPORTED;
}

/* Sets words [0, n) to v. */
static void fill_words(struct soft_ctl *c, uint32_t n, uint32_t v)
{
	for (uint32_t i = 0; i < n; i++)
		CTL_PUT_AT(c, words, i, v);
}

/* The sensor readings start with a head of 37 words; then mW. */
static uint32_t power(struct soft_ctl *c)
{
	fill_words(c, 37, 1);
	CTL_PUT_AT(c, words, 37, c->rm->model.power_mw);
	return NV_OK;
}

static uint32_t util_status(struct soft_ctl *c)
{
	fill_words(c, 10, c->rm->model.util_percent);
	return NV_OK;
}

uint32_t soft_ctl_gss(struct soft_ctl *c)
{
	switch (c->row->nr) {
	case THERMAL_SYSTEM_EXECUTE_V2:
		return thermal(c);
	case GSS_PERF_CURRENT_PSTATE:
		CTL_PUT(c, currPstate, 1); /* a mask: P0 */
		return NV_OK;
	case GSS_POWER_STATUS:
		return power(c);
	case GSS_UTIL_INFO:
		CTL_PUT_AT(c, words, 1, 0xf); /* four domains, as a mask */
		return NV_OK;
	case GSS_UTIL_CONTROL:
		fill_words(c, c->len / 4, 1);
		return NV_OK;
	case GSS_UTIL_STATUS:
		return util_status(c);
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}
