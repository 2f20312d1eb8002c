/* SPDX-License-Identifier: MIT */
/* arg.c - lays out the arguments of RM's escapes */
#include "rm/arg.h"

#include <assert.h>

const struct abi_row *rm_escape(const struct abi *abi, enum abi_r id,
				enum rm_form form)
{
	const struct abi_row *row = NULL;

	/* the forms of an escape stand by size */
	for (uint32_t i = 0; i < abi->n_rows[ABI_ESCAPE]; i++) {
		if (abi->rows[ABI_ESCAPE][i].id != id)
			continue;
		row = &abi->rows[ABI_ESCAPE][i];
		if (form == RM_SHORTEST)
			break;
	}
	return row;
}

static void init(struct rm_arg *a, const struct abi_row *row)
{
	assert(row->sizes[0] <= RM_ARG_MAX);
	*a = (struct rm_arg){ .row = row, .size = row->sizes[0] };
}

uint64_t rm_arg_get(const struct rm_arg *a, enum abi_f field)
{
	return abi_get(a->row, field, 0, a->bytes, a->size);
}

void rm_arg_put(struct rm_arg *a, enum abi_f field, uint64_t value)
{
	abi_put(a->row, field, 0, a->bytes, a->size, value);
}

void rm_arg_alloc(struct rm_arg *a, const struct abi_row *row, uint32_t root,
		  uint32_t parent, uint32_t object, uint32_t class_id,
		  uint64_t params)
{
	init(a, row);
	rm_arg_put(a, ABI_F_hRoot, root);
	rm_arg_put(a, ABI_F_hObjectParent, parent);
	rm_arg_put(a, ABI_F_hObjectNew, object);
	rm_arg_put(a, ABI_F_hClass, class_id);
	rm_arg_put(a, ABI_F_pAllocParms, params);
}

void rm_arg_free(struct rm_arg *a, const struct abi_row *row, uint32_t root,
		 uint32_t parent, uint32_t object)
{
	init(a, row);
	rm_arg_put(a, ABI_F_hRoot, root);
	rm_arg_put(a, ABI_F_hObjectParent, parent);
	rm_arg_put(a, ABI_F_hObjectOld, object);
}

void rm_arg_control(struct rm_arg *a, const struct abi_row *row,
		    uint32_t client, uint32_t object, uint32_t cmd,
		    uint64_t params, uint32_t params_size)
{
	init(a, row);
	rm_arg_put(a, ABI_F_hClient, client);
	rm_arg_put(a, ABI_F_hObject, object);
	rm_arg_put(a, ABI_F_cmd, cmd);
	rm_arg_put(a, ABI_F_params, params);
	rm_arg_put(a, ABI_F_paramsSize, params_size);
}

uint32_t rm_arg_status(const struct rm_arg *a)
{
	return (uint32_t)rm_arg_get(a, ABI_F_status);
}

uint32_t rm_arg_object(const struct rm_arg *a)
{
	return (uint32_t)rm_arg_get(a, ABI_F_hObjectNew);
}
