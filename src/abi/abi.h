/* SPDX-License-Identifier: MIT */
/*
 * abi.h - the calls of NVIDIA's driver as data, a table for each version
 *
 * A table is text, share/abi/VERSION.tbl. scripts/gen/abi-c.sh turns all tables
 * into build/gen/abi_gen.h (names) and abi_tables.c (sorted const arrays).
 * Nothing here allocates memory, and string.h is all that is needed.
 *
 * The number of a call may differ between versions, so code knows a call by its
 * identity: ABI_R_NV_ESC_RM_ALLOC stands for RM_ALLOC in every version.
 * Numbers come from a worker and are looked up in its version's table
 * (abi_escape, abi_control, abi_class, abi_uvm); the row that is found has the
 * identity in row->id. abi_row() goes the other way.
 *
 * What the broker reads in a row:
 *
 *   device rows for the shim   every ABI_ESCAPE and ABI_UVM row with
 *                              abi_allowed(): dev, nr, sizes, ptrs, fds
 *   class sizes for RM_ALLOC   every ABI_CLASS row with abi_allowed(): its
 *                              params are row->sizes[0] bytes (0: none).
 *                              Programs send paramsSize 0, so nothing but the
 *                              row says how many there are
 *   a call from a worker       abi_escape(nr, size) or abi_uvm(nr); it refuses
 *                              a call whose row is NULL or not allowed. Each
 *                              ptr of the row names one depth-one buffer. If
 *                              its rule is ABI_LEN_CONTROL, the ptrs of the
 *                              control's own row are the nested ranges that it
 *                              asks the shim for; with ABI_LEN_CLASS those of
 *                              the class's row
 *   vetting                    row->clients lists the offsets of handles that
 *                              name an RM client, row->fds those of fds
 */
#ifndef ISO_ABI_H
#define ISO_ABI_H

#include <stddef.h>
#include <stdint.h>

#include "abi_gen.h" /* values of fields; ABI_R_*, ABI_F_*, ABI_IC_* */

enum abi_kind {
	ABI_ESCAPE,
	ABI_CONTROL,
	ABI_CLASS,
	ABI_UVM,
	ABI_KIND_COUNT,
};

/* struct abi_row.dev: the device nodes on which a call exists. */
enum abi_dev {
	ABI_DEV_CTL = 1, /* /dev/nvidiactl */
	ABI_DEV_GPU = 2, /* /dev/nvidiaN */
	ABI_DEV_UVM = 4, /* /dev/nvidia-uvm */
};

enum abi_cap {
	ABI_CAP_UTILITY = 1,
	ABI_CAP_COMPUTE = 2,
};

enum abi_dir {
	ABI_IN = 1, /* worker to driver */
	ABI_OUT = 2, /* driver to worker */
	ABI_INOUT = 3,
};

/* How the number of bytes behind a pointer is found. */
enum abi_len {
	ABI_LEN_FIXED, /* unit bytes */
	ABI_LEN_COUNT, /* (field of count_size bytes at count_off) * unit */
	ABI_LEN_CONTROL, /* like COUNT, and the params of the control at sel_off */
	ABI_LEN_CLASS, /* params of the class whose number is at sel_off */
};

/* A field that holds a user-space address; NULL means there is no buffer. */
struct abi_ptr {
	uint32_t off; /* of the 8-byte address */
	uint32_t sel_off; /* CONTROL, CLASS: of the control or class number */
	uint32_t count_off; /* COUNT, CONTROL */
	uint32_t unit; /* bytes for each count, or in all if FIXED */
	uint32_t max; /* bytes; a longer buffer is refused */
	uint8_t count_size; /* 4 or 8 */
	uint8_t rule; /* enum abi_len */
	uint8_t dir; /* enum abi_dir */
};

/* A named field, or one member of each element of an array. */
struct abi_field {
	uint16_t id; /* enum abi_f */
	uint16_t size; /* bytes of one value */
	uint32_t off; /* of the first value */
	uint32_t count; /* 1 if not an array */
	uint32_t stride; /* bytes from one value to the next */
};

/*
 * One call. sizes has one or more exact sizes of the argument; with step > 0
 * every positive multiple of step up to sizes[0] is right. A control with
 * any_size takes opaque bytes of any length up to sizes[0] (RM's GSS-legacy
 * commands, cmd & 0x8000: rmctrl.c).
 */
struct abi_row {
	const char *name; /* NVIDIA's */
	const uint32_t *sizes;
	const struct abi_ptr *ptrs;
	const struct abi_field *fields;
	const uint32_t *clients; /* offsets of client handles, 4 bytes each */
	const uint32_t *fds; /* offsets of fds, 4 bytes each */
	const uint16_t *on; /* CONTROL: the enum abi_ic that have it;
			     * CLASS: the enum abi_ic that may be its parent */
	uint32_t nr; /* in this version */
	uint32_t step;
	uint16_t id; /* enum abi_r; ABI_R_none if no worker may call it */
	uint16_t ic; /* CLASS: its internal class, enum abi_ic */
	uint8_t kind; /* enum abi_kind */
	uint8_t dev; /* ESCAPE, UVM: mask of enum abi_dev */
	uint8_t dir; /* enum abi_dir, of the argument itself */
	uint8_t caps; /* mask of enum abi_cap, one of which a worker needs;
		       * 0: no worker may make the call */
	uint8_t n_sizes, n_ptrs, n_fields, n_clients, n_fds, n_on;
	uint8_t any_size;
	uint8_t params_optional; /* CLASS: params may be NULL */
	uint8_t multi; /* CLASS: a parent may have several objects of it */
	uint8_t priv; /* the RM client must be privileged (root) */
};

struct abi {
	const char *version; /* "550.163.01" */
	const struct abi_row *rows[ABI_KIND_COUNT]; /* sorted by nr, size */
	uint32_t n_rows[ABI_KIND_COUNT];
};

/* The table of exactly this version, or NULL. */
const struct abi *abi_find(const char *version);

/*
 * The table of this version; if there is none, the nearest of the same branch
 * (the part before the first dot); if there is none either, NULL. The table's
 * own version says which it is. Only the soft driver and isospin-smi may take a
 * near table; the real driver needs the exact one.
 */
const struct abi *abi_find_nearest(const char *version);

/* Version i in ascending order, or NULL past the end. */
const struct abi *abi_at(unsigned int i);

/*
 * The row of a number, or NULL if the table has none. An escape may have forms
 * of several sizes, each with a row (RM_ALLOC of 32 and of 48 bytes).
 */
const struct abi_row *abi_escape(const struct abi *abi, uint32_t nr,
				 uint32_t size);
const struct abi_row *abi_control(const struct abi *abi, uint32_t cmd);
const struct abi_row *abi_class(const struct abi *abi, uint32_t class);
const struct abi_row *abi_uvm(const struct abi *abi, uint32_t nr);

/*
 * The row of an identity, or NULL if this version lacks the call. Of an escape
 * with several forms it is the last row, which is the largest form.
 */
const struct abi_row *abi_row(const struct abi *abi, enum abi_r id);

/* NVIDIA's name of a call, from any table that has it; "?" if none does. */
const char *abi_row_name(enum abi_r id);

/* Whether a worker with these capabilities may make the call. */
static inline int abi_allowed(const struct abi_row *row, uint32_t caps)
{
	return row && (row->caps & caps) != 0;
}

/* Whether an argument of size bytes fits the row. */
int abi_size_ok(const struct abi_row *row, uint32_t size);

/* Whether row->on has ic, or ABI_IC_any. */
int abi_on(const struct abi_row *row, uint16_t ic);

/*
 * Finds how many bytes are behind pointer i of row; the len bytes at buf are
 * the row's argument or params. Returns 0 and sets *ret_len, or returns -1 if the
 * row has no such pointer, buf is too short, or the bytes are more than the
 * pointer's max. ABI_LEN_CLASS looks the class up in abi; a class without a row
 * has 0 bytes. A NULL pointer has 0 bytes.
 */
int abi_ptr_len(const struct abi *abi, const struct abi_row *row,
		unsigned int i, const void *buf, size_t len, uint32_t *ret_len);

/* The field, or NULL if this version's row has none of that name. */
const struct abi_field *abi_field(const struct abi_row *row, enum abi_f id);

/*
 * Value i of a field of 1 to 8 bytes, little-endian. If the row has no such
 * value, or the value is not within the len bytes at buf, abi_get() returns 0
 * and abi_put() writes nothing; so both are safe on any input. abi_bytes() is for
 * a value that is no integer: it returns the address and sets the size, or
 * returns NULL.
 */
uint64_t abi_get(const struct abi_row *row, enum abi_f id, uint32_t i,
		 const void *buf, size_t len);
void abi_put(const struct abi_row *row, enum abi_f id, uint32_t i, void *buf,
	     size_t len, uint64_t value);
void *abi_bytes(const struct abi_row *row, enum abi_f id, uint32_t i, void *buf,
		size_t len, size_t *ret_size);

/* "NV_ERR_INVALID_CLIENT" for 0x23; "NV_ERR_?" if unknown. */
const char *abi_status_name(uint32_t status);

#endif
