/* SPDX-License-Identifier: MIT */
/* hello.c - tells the shim in HELLO_OK what it has to know of the driver */
#include "broker/child/hello.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "abi/iso_wire.h"
#include "broker/child/call.h"
#include "broker/child/frame.h"

#define PING_MS 5000	/* HELLO_OK's ping_ms */

struct rows {
	struct iso_row row[ISO_MAX_ROWS];
	uint32_t n;
};

/* Says how the shim finds the length behind a pointer. */
static struct iso_ptr tell_ptr(const struct abi_ptr *ptr)
{
	struct iso_ptr p = { .off = (uint16_t)ptr->off, .dir = ptr->dir };

	switch ((enum abi_len)ptr->rule) {
	case ABI_LEN_FIXED:
		p.len_kind = ISO_LEN_FIXED;
		p.len = ptr->unit;
		break;
	case ABI_LEN_CLASS:
		p.len_kind = ISO_LEN_CLASS;
		p.len = ptr->sel_off;
		break;
	case ABI_LEN_COUNT:
	case ABI_LEN_CONTROL:
		p.len_kind = ISO_LEN_FIELD;
		p.len = ptr->count_off;
		break;
	}
	return p;
}

/* Adds the row with one size, or a range of sizes; false if the wire has no
 * room for it. */
static bool add_row(struct rows *rows, const struct abi_row *abi, uint32_t min,
		    uint32_t max, uint32_t unit)
{
	struct iso_row *r = &rows->row[rows->n];

	if (rows->n == ISO_MAX_ROWS || abi->n_fds > ISO_MAX_FDS)
		return false;
	*r = (struct iso_row){
		.nr = abi->nr, .min = min, .max = max, .unit = unit,
		.dev = abi->dev, .dir = abi->dir, .n_fd = abi->n_fds,
		.flags = abi->kind == ABI_ESCAPE ? ISO_ROW_SIZED : 0,
	};
	for (unsigned int i = 0; i < abi->n_ptrs; i++)
		if (call_ptr_told(&abi->ptrs[i])) {
			if (r->n_ptr == ISO_MAX_PTRS)
				return false;
			r->ptr[r->n_ptr++] = tell_ptr(&abi->ptrs[i]);
		}
	for (unsigned int i = 0; i < abi->n_fds; i++)
		r->fd[i] = (uint16_t)abi->fds[i];
	rows->n++;
	return true;
}

static bool add_sizes(struct rows *rows, const struct abi_row *abi)
{
	if (abi->step)
		return add_row(rows, abi, abi->step, abi->sizes[0], abi->step);
	for (unsigned int i = 0; i < abi->n_sizes; i++)
		if (!add_row(rows, abi, abi->sizes[i], abi->sizes[i], 0))
			return false;
	return true;
}

static int compare_rows(const void *a, const void *b)
{
	const struct iso_row *x = a, *y = b;

	if (x->nr != y->nr)
		return x->nr < y->nr ? -1 : 1;
	return (x->min > y->min) - (x->min < y->min);
}

/* Collects every call that the worker may make. 0, or -E2BIG: more than the
 * wire has room for. */
static int collect_rows(struct rows *rows, const struct abi *abi, uint32_t caps)
{
	static const enum abi_kind kinds[] = { ABI_ESCAPE, ABI_UVM };

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (uint32_t i = 0; i < abi->n_rows[kinds[k]]; i++) {
			const struct abi_row *r = &abi->rows[kinds[k]][i];

			if (abi_allowed(r, caps) && !add_sizes(rows, r))
				return -E2BIG;
		}
	qsort(rows->row, rows->n, sizeof(rows->row[0]), compare_rows);
	return 0;
}

static void put_rows(struct wr *w, const struct rows *rows)
{
	for (uint32_t i = 0; i < rows->n; i++) {
		const struct iso_row *r = &rows->row[i];
		const uint8_t small[8] = { r->dev, r->flags, r->dir, r->n_ptr,
					   r->n_fd };

		wr_u32(w, r->nr);
		wr_u32(w, r->min);
		wr_u32(w, r->max);
		wr_u32(w, r->unit);
		wr_bytes(w, small, sizeof(small));
		for (int k = 0; k < ISO_MAX_PTRS; k++) {
			const uint8_t kind[2] = { r->ptr[k].dir,
						  r->ptr[k].len_kind };

			wr_u16(w, r->ptr[k].off);
			wr_bytes(w, kind, sizeof(kind));
			wr_u32(w, r->ptr[k].len);
		}
		for (int k = 0; k < ISO_MAX_FDS; k++)
			wr_u16(w, r->fd[k]);
	}
}

/* Appends the classes that have parameters; any other class has none. How
 * many. */
static uint32_t put_classes(struct wr *w, const struct abi *abi, uint32_t caps)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < abi->n_rows[ABI_CLASS]; i++) {
		const struct abi_row *r = &abi->rows[ABI_CLASS][i];

		if (!abi_allowed(r, caps) || r->sizes[0] == 0)
			continue;
		wr_u32(w, r->nr);
		wr_u32(w, r->sizes[0]);
		n++;
	}
	return n;
}

static void put_text(struct wr *w, const char *name, const char *text)
{
	char padded[ISO_TEXT_NAME_LEN] = { 0 };
	size_t len = strlen(text);

	memcpy(padded, name, strnlen(name, sizeof(padded) - 1));
	wr_bytes(w, padded, sizeof(padded));
	wr_u32(w, (uint32_t)len);
	wr_u32(w, 0);
	wr_pad8(w, text, len);
}

/* Appends the files of /proc/driver/nvidia, as NVIDIA's driver has them. How
 * many. */
static uint32_t put_texts(struct wr *w, struct drv *drv, uint32_t n_gpu)
{
	char name[ISO_TEXT_NAME_LEN], text[512];
	struct drv_gpu g;

	snprintf(text, sizeof(text),
		 "NVRM version: Isospin broker, driver interface %s\n",
		 drv->version);
	put_text(w, "version", text);
	for (uint32_t i = 0; i < n_gpu; i++) {
		if (drv->ops->gpu(drv, i, &g) < 0)
			return 1 + i;
		snprintf(name, sizeof(name), "gpus/%04x:%02x:%02x.%x/information",
			 g.domain, g.bus, g.slot, g.function);
		snprintf(text, sizeof(text),
			 "Model: \t\t %s\nGPU UUID: \t %s\n"
			 "Bus Location: \t %04x:%02x:%02x.%x\n"
			 "Device Minor: \t %u\n",
			 g.name, g.uuid, g.domain, g.bus, g.slot, g.function,
			 g.minor);
		put_text(w, name, text);
	}
	return 1 + n_gpu;
}

/* Appends the GPUs. How many. */
static uint32_t put_gpus(struct wr *w, struct drv *drv)
{
	struct drv_gpu g;
	uint32_t n = 0;

	for (; n < ISO_MAX_GPUS && drv->ops->gpu(drv, n, &g) == 0; n++) {
		const uint8_t small[8] = {
			g.bus, (uint8_t)(g.slot << 3 | g.function), g.revision,
		};

		wr_u32(w, g.minor);
		wr_u32(w, g.domain);
		wr_u32(w, g.class_code);
		wr_u16(w, g.vendor_id);
		wr_u16(w, g.device_id);
		wr_bytes(w, small, sizeof(small));
	}
	return n;
}

static void put_head(struct wr *w, const struct hello *hello, uint32_t n_gpu,
		     uint32_t n_row, uint32_t n_class, uint32_t n_text)
{
	char version[ISO_VERSION_LEN] = { 0 };

	memcpy(version, hello->drv->version,
	       strnlen(hello->drv->version, sizeof(version) - 1));
	wr_u16(w, ISO_WIRE_MAJOR);
	wr_u16(w, ISO_WIRE_MINOR);
	wr_u32(w, 0);
	wr_u64(w, hello->session);
	wr_u32(w, ISO_MAX_FRAME);
	wr_u32(w, hello->max_calls);
	wr_u32(w, hello->max_files);
	wr_u32(w, PING_MS);
	wr_u16(w, (uint16_t)n_gpu);
	wr_u16(w, (uint16_t)n_row);
	wr_u16(w, (uint16_t)n_class);
	wr_u16(w, (uint16_t)n_text);
	wr_bytes(w, version, sizeof(version));
}

int hello_put(struct wr *out, const struct hello *hello)
{
	const struct abi *abi = hello->drv->abi;
	_cleanup_free_ struct rows *rows = calloc(1, sizeof(*rows));
	uint32_t n_gpu, n_class, n_text;
	struct wr body, head;
	int r;

	if (!rows)
		return -ENOMEM;
	r = collect_rows(rows, abi, hello->caps);
	if (r < 0)
		return r;
	wr_init(&body, ISO_MAX_FRAME);
	wr_init(&head, ISO_MAX_FRAME);
	n_gpu = put_gpus(&body, hello->drv);
	put_rows(&body, rows);
	n_class = put_classes(&body, abi, hello->caps);
	n_text = put_texts(&body, hello->drv, n_gpu);
	put_head(&head, hello, n_gpu, rows->n, n_class, n_text);
	if (n_class > ISO_MAX_CLASSES) {
		r = -E2BIG;
	} else if (!wr_ok(&body) || !wr_ok(&head)) {
		r = -ENOMEM;
	} else {
		frame_header(out, (uint32_t)(sizeof(struct iso_hdr) +
					     head.len + body.len),
			     ISO_HELLO_OK, 0, 0);
		wr_bytes(out, head.p, head.len);
		wr_bytes(out, body.p, body.len);
	}
	wr_free(&body);
	wr_free(&head);
	return r;
}
