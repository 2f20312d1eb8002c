/* SPDX-License-Identifier: MIT */
/* soft_model.c - sets up the GPUs that the soft driver pretends to drive */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "drv/soft/soft_rm.h"

static void uuid_format(struct soft_gpu *g)
{
	const uint8_t *u = g->uuid;

	snprintf(g->uuid_text, sizeof(g->uuid_text),
		 "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x",
		 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9],
		 u[10], u[11], u[12], u[13], u[14], u[15]);
}

int soft_model_init(struct soft_model *m, const struct soft_config *c)
{
	if (c->count > SOFT_MAX_GPUS ||
	    strnlen(c->name, sizeof(c->name)) == sizeof(m->name) ||
	    c->domain > UINT16_MAX || c->bus + c->count > 256 ||
	    c->slot > 31 || c->function > 7)
		return -EINVAL;
	memset(m, 0, sizeof(*m));
	m->count = c->count;
	memcpy(m->name, c->name, strlen(c->name));
	m->mem_bytes = c->mem_bytes;
	m->util_percent = MIN(c->util_percent, 100);
	m->temp_celsius = c->temp_celsius;
	m->power_mw = c->power_mw;
	for (uint32_t i = 0; i < c->count; i++) {
		struct soft_gpu *g = &m->gpu[i];

		g->minor = i;
		g->domain = c->domain;
		g->bus = (uint8_t)(c->bus + i);
		g->slot = c->slot;
		g->function = c->function;
		/* gpuGenerate32BitId makes one number of its bus address. */
		g->id = g->domain << 16 | (uint32_t)g->bus << 8 | g->slot;
		memcpy(g->uuid, c->uuid, sizeof(g->uuid));
		g->uuid[15] = (uint8_t)(g->uuid[15] + i);
		uuid_format(g);
	}
	return 0;
}

struct soft_gpu *soft_gpu_by_id(struct soft_model *m, uint32_t id)
{
	for (unsigned int i = 0; i < m->count; i++)
		if (m->gpu[i].id == id)
			return &m->gpu[i];
	return NULL;
}
