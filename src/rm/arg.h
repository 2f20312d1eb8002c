/* SPDX-License-Identifier: MIT */
/*
 * arg.h - the arguments of the escapes by which RM is used
 *
 * An argument is bytes, laid out by a row of the ABI table. It says nothing of
 * the way it takes to RM: an ioctl, the wire, or a driver's function.
 */
#ifndef ISO_RM_ARG_H
#define ISO_RM_ARG_H

#include "abi/abi.h"
#include "base/base.h"

#define RM_ARG_MAX 128u

struct rm_arg {
	const struct abi_row *row;
	uint32_t size;			/* bytes that count */
	uint8_t bytes[RM_ARG_MAX];
};

/* The row of an escape that may have several forms: RM_ALLOC has one of 32
 * bytes and one of 48. NULL if the table has none. */
enum rm_form { RM_SHORTEST, RM_LONGEST };
const struct abi_row *rm_escape(const struct abi *abi, enum abi_r id,
				enum rm_form form);

/*
 * RM_ALLOC, RM_FREE and RM_CONTROL. params is what stands in the pointer's
 * place. A root object is allocated with root 0; object is 0 where RM shall
 * choose the handle.
 */
void rm_arg_alloc(struct rm_arg *a, const struct abi_row *row, uint32_t root,
		  uint32_t parent, uint32_t object, uint32_t class_id,
		  uint64_t params);
void rm_arg_free(struct rm_arg *a, const struct abi_row *row, uint32_t root,
		 uint32_t parent, uint32_t object);
void rm_arg_control(struct rm_arg *a, const struct abi_row *row,
		    uint32_t client, uint32_t object, uint32_t cmd,
		    uint64_t params, uint32_t params_size);

/* A field of the argument; 0, or nothing done, where the row has none. */
uint64_t rm_arg_get(const struct rm_arg *a, enum abi_f field);
void rm_arg_put(struct rm_arg *a, enum abi_f field, uint64_t value);

/* After the call: RM's status, and the handle that RM_ALLOC has given. */
uint32_t rm_arg_status(const struct rm_arg *a);
uint32_t rm_arg_object(const struct rm_arg *a);

#endif /* ISO_RM_ARG_H */
