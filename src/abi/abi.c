/* SPDX-License-Identifier: MIT */
/* abi.c - looks up what ABI tables say of a call */
#include "abi.h"

#include <string.h>

#include "abi_tables.h"

const struct abi *abi_at(unsigned int i)
{
	return i < abi_n_tables ? &abi_tables[i] : NULL;
}

const struct abi *abi_find(const char *version)
{
	for (unsigned int i = 0; i < abi_n_tables; i++)
		if (strcmp(abi_tables[i].version, version) == 0)
			return &abi_tables[i];
	return NULL;
}

/* The number between the first dot and the second; 0 if there is none. */
static uint32_t minor_of(const char *version)
{
	const char *p = strchr(version, '.');
	uint32_t n = 0;

	for (p = p ? p + 1 : ""; *p >= '0' && *p <= '9' && n < 100000; p++)
		n = n * 10 + (uint32_t)(*p - '0');
	return n;
}

const struct abi *abi_find_nearest(const char *version)
{
	const struct abi *best = abi_find(version);
	size_t branch = strcspn(version, ".");
	uint32_t best_gap = UINT32_MAX, want = minor_of(version);

	if (best)
		return best;
	for (unsigned int i = 0; i < abi_n_tables; i++) {
		const char *v = abi_tables[i].version;
		uint32_t has = minor_of(v);
		uint32_t gap = has > want ? has - want : want - has;

		if (strcspn(v, ".") != branch ||
		    strncmp(v, version, branch) != 0 || gap >= best_gap)
			continue;
		best = &abi_tables[i];
		best_gap = gap;
	}
	return best;
}

/* The index of the first row whose number is not less than nr. */
static uint32_t lower_bound(const struct abi *abi, enum abi_kind kind,
			    uint32_t nr)
{
	const struct abi_row *rows = abi->rows[kind];
	uint32_t lo = 0, hi = abi->n_rows[kind];

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (rows[mid].nr < nr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The row of a number, of a kind that has one row for each. */
static const struct abi_row *find(const struct abi *abi, enum abi_kind kind,
				  uint32_t nr)
{
	uint32_t i = lower_bound(abi, kind, nr);

	if (i == abi->n_rows[kind] || abi->rows[kind][i].nr != nr)
		return NULL;
	return &abi->rows[kind][i];
}

const struct abi_row *abi_escape(const struct abi *abi, uint32_t nr,
				 uint32_t size)
{
	uint32_t i = lower_bound(abi, ABI_ESCAPE, nr);

	for (; i < abi->n_rows[ABI_ESCAPE]; i++) {
		const struct abi_row *row = &abi->rows[ABI_ESCAPE][i];

		if (row->nr != nr)
			return NULL;
		if (abi_size_ok(row, size))
			return row;
	}
	return NULL;
}

const struct abi_row *abi_control(const struct abi *abi, uint32_t cmd)
{
	return find(abi, ABI_CONTROL, cmd);
}

const struct abi_row *abi_class(const struct abi *abi, uint32_t class)
{
	return find(abi, ABI_CLASS, class);
}

const struct abi_row *abi_uvm(const struct abi *abi, uint32_t nr)
{
	return find(abi, ABI_UVM, nr);
}

const struct abi_row *abi_row(const struct abi *abi, enum abi_r id)
{
	static const enum abi_kind order[] = { ABI_ESCAPE, ABI_UVM, ABI_CLASS,
					       ABI_CONTROL };

	for (unsigned int k = 0; id && k < ABI_KIND_COUNT; k++)
		for (uint32_t i = abi->n_rows[order[k]]; i-- > 0;)
			if (abi->rows[order[k]][i].id == id)
				return &abi->rows[order[k]][i];
	return NULL;
}

const char *abi_row_name(enum abi_r id)
{
	for (unsigned int i = 0; i < abi_n_tables; i++) {
		const struct abi_row *row = abi_row(&abi_tables[i], id);

		if (row)
			return row->name;
	}
	return "?";
}

int abi_size_ok(const struct abi_row *row, uint32_t size)
{
	if (row->step)
		return size > 0 && size <= row->sizes[0] &&
		       size % row->step == 0;
	if (row->any_size)
		return size <= row->sizes[0];
	for (uint32_t i = 0; i < row->n_sizes; i++)
		if (row->sizes[i] == size)
			return 1;
	return 0;
}

int abi_on(const struct abi_row *row, uint16_t ic)
{
	for (uint32_t i = 0; i < row->n_on; i++)
		if (row->on[i] == ic || row->on[i] == ABI_IC_any)
			return 1;
	return 0;
}

/* Reads a little-endian integer of size bytes at off. 0, or -1 if it is not
 * within the len bytes at buf. */
static int load(const void *buf, size_t len, size_t off, size_t size,
		uint64_t *ret)
{
	const uint8_t *p = buf;
	uint64_t v = 0;

	if (size > 8 || off > len || size > len - off)
		return -1;
	for (size_t i = size; i-- > 0;)
		v = v << 8 | p[off + i];
	*ret = v;
	return 0;
}

int abi_ptr_len(const struct abi *abi, const struct abi_row *row,
		unsigned int i, const void *buf, size_t len, uint32_t *ret_len)
{
	const struct abi_ptr *ptr;
	const struct abi_row *class;
	uint64_t address, count, nr, bytes = 0;

	if (i >= row->n_ptrs)
		return -1;
	ptr = &row->ptrs[i];
	if (load(buf, len, ptr->off, 8, &address) < 0)
		return -1;
	if (address == 0) {
		*ret_len = 0;
		return 0;
	}
	switch ((enum abi_len)ptr->rule) {
	case ABI_LEN_FIXED:
		bytes = ptr->unit;
		break;
	case ABI_LEN_CLASS:
		if (load(buf, len, ptr->sel_off, 4, &nr) < 0)
			return -1;
		class = abi_class(abi, (uint32_t)nr);
		bytes = class ? class->sizes[0] : 0;
		break;
	case ABI_LEN_COUNT:
	case ABI_LEN_CONTROL:
		if (load(buf, len, ptr->count_off, ptr->count_size, &count) < 0)
			return -1;
		if (count > ptr->max) /* too long even if unit is 1 */
			return -1;
		bytes = count * ptr->unit;
		break;
	}
	if (bytes > ptr->max)
		return -1;
	*ret_len = (uint32_t)bytes;
	return 0;
}

const struct abi_field *abi_field(const struct abi_row *row, enum abi_f id)
{
	for (uint32_t i = 0; i < row->n_fields; i++)
		if (row->fields[i].id == id)
			return &row->fields[i];
	return NULL;
}

/* Finds offset and size of value i of a field. 0, or -1 if there is no such
 * value within len bytes. */
static int locate(const struct abi_row *row, enum abi_f id, uint32_t i,
		  size_t len, size_t *ret_off, size_t *ret_size)
{
	const struct abi_field *f = abi_field(row, id);
	size_t off;

	if (!f || i >= f->count)
		return -1;
	off = f->off + (size_t)i * f->stride;
	if (off > len || f->size > len - off)
		return -1;
	*ret_off = off;
	*ret_size = f->size;
	return 0;
}

uint64_t abi_get(const struct abi_row *row, enum abi_f id, uint32_t i,
		 const void *buf, size_t len)
{
	uint64_t v = 0;
	size_t off, size;

	if (locate(row, id, i, len, &off, &size) < 0 ||
	    load(buf, len, off, size, &v) < 0)
		return 0;
	return v;
}

void abi_put(const struct abi_row *row, enum abi_f id, uint32_t i, void *buf,
	     size_t len, uint64_t value)
{
	uint8_t *p = buf;
	size_t off, size;

	if (locate(row, id, i, len, &off, &size) < 0 || size > 8)
		return;
	for (size_t b = 0; b < size; b++)
		p[off + b] = (uint8_t)(value >> (8 * b));
}

void *abi_bytes(const struct abi_row *row, enum abi_f id, uint32_t i, void *buf,
		size_t len, size_t *ret_size)
{
	size_t off;

	if (locate(row, id, i, len, &off, ret_size) < 0)
		return NULL;
	return (uint8_t *)buf + off;
}

const char *abi_status_name(uint32_t status)
{
	for (unsigned int i = 0; i < abi_n_statuses; i++)
		if (abi_statuses[i].nr == status)
			return abi_statuses[i].name;
	return "NV_ERR_?";
}
