/* SPDX-License-Identifier: MIT */
/*
 * soft_ctl_gss.c - answers the controls for temperature, power and utilization
 *
 * No public header describes these (the GSS_ rows). The meaning of each word
 * was found by changing it and watching what nvidia-smi shows.
 */
#include <string.h>

#include "drv/soft/soft_rm.h"

/* Opcodes of the thermal instruction list, and their first operands. */
enum {
	THERMAL_COUNT_SENSORS = 0x100, /* out: how many */
	THERMAL_SENSOR_TARGET = 0x101, /* in: sensor; out: what it measures */
	THERMAL_READ_SENSOR = 0x1500, /* in: sensor; out: degrees Celsius */
};

/* Carries out instruction i; false if it is unknown. */
static bool thermal_step(struct soft_ctl *c, uint32_t i)
{
	switch (CTL_GET_AT(c, opcode, i)) {
	case THERMAL_COUNT_SENSORS:
		CTL_PUT_AT(c, operand0, i, 1);
		return true;
	case THERMAL_SENSOR_TARGET:
		CTL_PUT_AT(c, operand1, i, 1); /* the GPU */
		return true;
	case THERMAL_READ_SENSOR:
		CTL_PUT_AT(c, operand1, i, c->rm->model.temp_celsius);
		return true;
	default:
		return false;
	}
}

static uint32_t thermal(struct soft_ctl *c)
{
	const struct abi_field *f = abi_field(c->row, ABI_F_opcode);
	uint32_t n = CTL_GET(c, count), done = 0;

	if (!f || n > f->count)
		return NV_ERR_INVALID_ARGUMENT;
	for (uint32_t i = 0; i < n; i++) {
		bool ok = thermal_step(c, i);

		CTL_PUT_AT(c, executed, i, 1);
		CTL_PUT_AT(c, result, i, ok ? NV_OK : NV_ERR_NOT_SUPPORTED);
		done += ok;
	}
	CTL_PUT(c, succeeded, done);
	return NV_OK;
}

/* Sets words [0, n) to v. */
static void fill_words(struct soft_ctl *c, uint32_t n, uint32_t v)
{
	for (uint32_t i = 0; i < n; i++)
		CTL_PUT_AT(c, words, i, v);
}

/* The first reading, in mW, follows a head of 37 words. */
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
	switch (c->row->id) {
	case ABI_R_THERMAL_SYSTEM_EXECUTE_V2:
		return thermal(c);
	case ABI_R_GSS_PERF_CURRENT_PSTATE:
		CTL_PUT(c, currPstate, 1); /* a mask: P0 */
		return NV_OK;
	case ABI_R_GSS_POWER_STATUS:
		return power(c);
	case ABI_R_GSS_UTIL_INFO:
		CTL_PUT_AT(c, words, 1, 0xf); /* four domains, as a mask */
		return NV_OK;
	case ABI_R_GSS_UTIL_CONTROL:
		fill_words(c, c->len / 4, 1);
		return NV_OK;
	case ABI_R_GSS_UTIL_STATUS:
		return util_status(c);
	default:
		return NV_ERR_NOT_SUPPORTED;
	}
}
