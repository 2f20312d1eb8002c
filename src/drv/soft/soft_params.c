/* SPDX-License-Identifier: MIT */
/* soft_params.c - finds the buffers of a call for the files that answer it */
#include <string.h>

#include "drv/soft/soft_rm.h"

struct drv_mem *soft_buffer(const struct drv_call *call, int parent,
			 const struct abi_row *row, enum abi_f id,
			 int *ret_index)
{
	const struct abi_field *f = abi_field(row, id);

	for (uint32_t i = 0; f && i < call->n_mem; i++) {
		if (call->mem[i].parent != parent || call->mem[i].off != f->off)
			continue;
		if (ret_index)
			*ret_index = (int)i;
		return &call->mem[i];
	}
	return NULL;
}

void soft_put_text(struct soft_ctl *c, enum abi_f id, const char *s)
{
	size_t size, n = strlen(s);
	char *p = abi_bytes(c->row, id, 0, c->params, c->len, &size);

	if (!p || size == 0)
		return;
	memset(p, 0, size);
	memcpy(p, s, MIN(n, size - 1));
}
