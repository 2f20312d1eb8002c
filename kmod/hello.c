// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * hello.c - keeps the content of HELLO_OK, once it is checked
 */
#include <linux/ctype.h>
#include <linux/ioctl.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "rd.h"
#include "shim.h"

#define MIN_FRAME (128u * 1024u)
#define MIN_PING_MS 10u
#define MAX_PING_MS (10u * 60u * 1000u)

/* ---- checks -------------------------------------------------------------- */

static bool name_char_ok(char c)
{
	return isalnum(c) || c == ':' || c == '.' || c == '_' || c == '-';
}

/*
 * A file's path below /proc/driver/nvidia: at most three parts, none empty or
 * "." or "..".
 */
static bool name_ok(const char *name)
{
	const char *p = name, *end, *c;
	int parts = 0;

	if (strnlen(name, ISO_TEXT_NAME_LEN) == ISO_TEXT_NAME_LEN)
		return false;
	for (;; p = end + 1) {
		end = strchrnul(p, '/');
		if (end == p || ++parts > 3)
			return false;
		for (c = p; c < end; c++)
			if (!name_char_ok(*c))
				return false;
		if (p[0] == '.' && (end == p + 1 ||
				    (p[1] == '.' && end == p + 2)))
			return false;
		if (!*end)
			return true;
	}
}

/*
 * Whether both name one file, or one has a file where the other has a
 * directory.
 */
static bool names_clash(const char *a, const char *b)
{
	size_t n = min(strlen(a), strlen(b));

	return !strncmp(a, b, n) && (!a[n] || a[n] == '/') &&
	       (!b[n] || b[n] == '/');
}

/* The last part of the body: n texts. */
static bool texts_ok(struct rd *r, u32 n)
{
	const char *seen[ISO_MAX_TEXTS];
	u32 i, j;

	for (i = 0; i < n; i++) {
		const struct iso_text *text = rd_span(r, sizeof(*text));

		if (!text || text->pad || !name_ok(text->name) ||
		    le32_to_cpu(text->len) > ISO_MAX_TEXT ||
		    !rd_span_pad8(r, le32_to_cpu(text->len)))
			return false;
		for (j = 0; j < i; j++)
			if (names_clash(seen[j], text->name))
				return false;
		seen[i] = text->name;
	}
	return true;
}

/* A pointer field, in each argument of `arg` bytes or more. */
static bool ptr_ok(const struct iso_ptr *ptr, u32 arg)
{
	u32 len = le32_to_cpu(ptr->len);

	if (arg < 8 || le16_to_cpu(ptr->off) > arg - 8)
		return false;
	if (!ptr->dir || (ptr->dir & ~(ISO_DIR_IN | ISO_DIR_OUT)))
		return false;
	if (ptr->len_kind == ISO_LEN_FIXED)
		return len <= ISO_MAX_FRAME;
	return ptr->len_kind <= ISO_LEN_CLASS && len <= arg - 4;
}

/* Whether a row keeps to iso_wire.h, as the look-ups below rely on. */
static bool row_ok(const struct iso_row *row)
{
	u32 min = le32_to_cpu(row->min), max = le32_to_cpu(row->max);
	u32 unit = le32_to_cpu(row->unit), nr = le32_to_cpu(row->nr);
	u32 i;

	if (min > max || max > ISO_MAX_ARG || memchr_inv(row->pad, 0, 3))
		return false;
	if (unit ? (max - min) % unit : max != min)
		return false;
	if (!row->dev || row->dev >> ISO_DEV__COUNT ||
	    (row->flags & ~(ISO_ROW_SIZED | ISO_ROW_XFER)) ||
	    (row->dir & ~(ISO_DIR_IN | ISO_DIR_OUT)))
		return false;
	/* A raw number says no size, so its row must allow exactly one. */
	if (row->flags & ISO_ROW_SIZED ? nr > _IOC_NRMASK : unit)
		return false;
	if (row->flags & ISO_ROW_XFER && max != 16)
		return false;
	if (row->n_ptr > ISO_MAX_PTRS || row->n_fd > ISO_MAX_FDS)
		return false;
	for (i = 0; i < row->n_ptr; i++)
		if (!ptr_ok(&row->ptr[i], min))
			return false;
	for (i = 0; i < row->n_fd; i++)
		if (min < 4 || le16_to_cpu(row->fd[i]) > min - 4)
			return false;
	return true;
}

/* In ascending order of their numbers, for row_first(). */
static bool rows_ok(const struct iso_row *row, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++) {
		if (!row_ok(&row[i]))
			return false;
		if (i && (le32_to_cpu(row[i].nr) < le32_to_cpu(row[i - 1].nr)))
			return false;
	}
	return true;
}

static bool gpu_ok(const struct iso_gpu *gpu)
{
	return !memchr_inv(gpu->pad, 0, sizeof(gpu->pad)) &&
	       le32_to_cpu(gpu->minor) < SHIM_MINOR_CTL &&
	       le32_to_cpu(gpu->domain) <= 0xffff &&
	       le32_to_cpu(gpu->class_code) <= 0xffffff;
}

static bool lists_ok(const struct shim_hello *hello)
{
	const struct iso_hello_ok *ok = hello->ok;
	u32 i;

	for (i = 0; i < le16_to_cpu(ok->n_gpu); i++)
		if (!gpu_ok(&hello->gpu[i]))
			return false;
	for (i = 1; i < le16_to_cpu(ok->n_class); i++)
		if (le32_to_cpu(hello->class[i].class_id) <=
		    le32_to_cpu(hello->class[i - 1].class_id))
			return false;
	return rows_ok(hello->row, le16_to_cpu(ok->n_row));
}

/* The fixed part, before anything that it counts is looked at. */
static bool head_ok(const struct iso_hello_ok *ok)
{
	if (le16_to_cpu(ok->major) != ISO_WIRE_MAJOR) {
		pr_shim(KERN_ERR, "broker speaks wire version %u, not %u\n",
			le16_to_cpu(ok->major), ISO_WIRE_MAJOR);
		return false;
	}
	return le16_to_cpu(ok->n_gpu) <= ISO_MAX_GPUS &&
	       le16_to_cpu(ok->n_row) <= ISO_MAX_ROWS &&
	       le16_to_cpu(ok->n_class) <= ISO_MAX_CLASSES &&
	       le16_to_cpu(ok->n_text) <= ISO_MAX_TEXTS &&
	       le32_to_cpu(ok->max_frame) >= MIN_FRAME &&
	       ok->max_inflight && ok->max_files &&
	       le32_to_cpu(ok->ping_ms) >= MIN_PING_MS &&
	       le32_to_cpu(ok->ping_ms) <= MAX_PING_MS &&
	       strnlen(ok->version, ISO_VERSION_LEN) < ISO_VERSION_LEN;
}

/* Fills hello's pointers into its copy of the body. */
static int hello_take(struct shim_hello *hello, size_t len)
{
	struct rd r = rd_init(hello->body, len);
	const struct iso_hello_ok *ok = rd_span(&r, sizeof(*ok));

	if (!ok || !head_ok(ok))
		return -EPROTO;
	hello->ok = ok;
	hello->gpu = rd_span(&r, le16_to_cpu(ok->n_gpu) *
				 sizeof(*hello->gpu));
	hello->row = rd_span(&r, le16_to_cpu(ok->n_row) *
				 sizeof(*hello->row));
	hello->class = rd_span(&r, le16_to_cpu(ok->n_class) *
				   sizeof(*hello->class));
	if (r.bad || !lists_ok(hello))
		return -EPROTO;
	hello->texts = r.p;
	hello->texts_len = r.left;
	if (!texts_ok(&r, le16_to_cpu(ok->n_text)) || !rd_done(&r))
		return -EPROTO;
	hello->max_frame = min(le32_to_cpu(ok->max_frame), ISO_MAX_FRAME);
	hello->ping_ms = le32_to_cpu(ok->ping_ms);
	return 0;
}

int shim_hello_parse(struct shim_hello *hello, const void *body, size_t len)
{
	int err;

	hello->body = kvmalloc(len, GFP_KERNEL);
	if (!hello->body)
		return -ENOMEM;
	memcpy(hello->body, body, len);
	err = hello_take(hello, len);
	if (err) {
		kvfree(hello->body);
		hello->body = NULL;
	}
	return err;
}

/* ---- look-ups ------------------------------------------------------------ */

/* Whether the row allows an argument of that size. */
static bool row_takes(const struct iso_row *row, u32 size)
{
	u32 min = le32_to_cpu(row->min), unit = le32_to_cpu(row->unit);

	return size >= min && size <= le32_to_cpu(row->max) &&
	       (!unit || (size - min) % unit == 0);
}

/* The index of the first row whose number is nr or greater. */
static u32 row_first(const struct shim_hello *hello, u32 nr)
{
	u32 lo = 0, hi = le16_to_cpu(hello->ok->n_row);

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (le32_to_cpu(hello->row[mid].nr) < nr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The row for a number; with `sized`, one that allows the size too. */
static const struct iso_row *row_find(const struct shim_hello *hello,
				      enum iso_dev kind, u32 nr, bool sized,
				      u32 size)
{
	u32 n = le16_to_cpu(hello->ok->n_row);
	u32 i;

	for (i = row_first(hello, nr); i < n; i++) {
		const struct iso_row *row = &hello->row[i];

		if (le32_to_cpu(row->nr) != nr)
			break;
		if (!(row->dev & (1u << kind)) ||
		    sized != !!(row->flags & ISO_ROW_SIZED))
			continue;
		if (!sized || row_takes(row, size))
			return row;
	}
	return NULL;
}

const struct iso_row *shim_hello_row_sized(const struct shim_hello *hello,
					   enum iso_dev kind, u32 nr, u32 size)
{
	return row_find(hello, kind, nr, true, size);
}

const struct iso_row *shim_hello_row(const struct shim_hello *hello,
				     enum iso_dev kind, u32 cmd,
				     u32 *ret_size)
{
	const struct iso_row *row;

	row = row_find(hello, kind, _IOC_NR(cmd), true, _IOC_SIZE(cmd));
	if (row) {
		*ret_size = _IOC_SIZE(cmd);
		return row;
	}
	row = row_find(hello, kind, cmd, false, 0);
	if (row)
		*ret_size = le32_to_cpu(row->min);
	return row;
}

u32 shim_hello_class(const struct shim_hello *hello, u32 class_id)
{
	u32 lo = 0, hi = le16_to_cpu(hello->ok->n_class);

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		u32 id = le32_to_cpu(hello->class[mid].class_id);

		if (id == class_id)
			return le32_to_cpu(hello->class[mid].size);
		if (id < class_id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

bool shim_hello_has_gpu(const struct shim_hello *hello, u32 minor)
{
	u32 i;

	for (i = 0; i < le16_to_cpu(hello->ok->n_gpu); i++)
		if (le32_to_cpu(hello->gpu[i].minor) == minor)
			return true;
	return false;
}
