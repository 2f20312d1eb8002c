/* SPDX-License-Identifier: MIT */
/* wr.c - builds a message in a buffer */
#include "base/wr.h"

#include <string.h>

void wr_init(struct wr *w, size_t max)
{
	*w = (struct wr){ .max = max };
}

void wr_free(struct wr *w)
{
	free(w->p);
	*w = (struct wr){ .max = w->max };
}

void wr_reset(struct wr *w)
{
	w->len = 0;
	w->bad = false;
}

/* Adds n bytes with no particular content; NULL if bad. */
static uint8_t *reserve(struct wr *w, size_t n)
{
	uint8_t *p;

	if (w->bad || n > w->max - w->len) {
		w->bad = true;
		return NULL;
	}
	if (n > w->cap - w->len) {
		size_t cap = MAX(w->cap, (size_t)256);

		while (cap - w->len < n)
			cap = cap > w->max / 2 ? w->max : cap * 2;
		p = realloc(w->p, cap);
		if (!p) {
			w->bad = true;
			return NULL;
		}
		w->p = p;
		w->cap = cap;
	}
	p = w->p + w->len;
	w->len += n;
	return p;
}

void *wr_room(struct wr *w, size_t n)
{
	uint8_t *p = reserve(w, n);

	if (p && n > 0)
		memset(p, 0, n);
	return p;
}

void wr_bytes(struct wr *w, const void *p, size_t n)
{
	uint8_t *d = reserve(w, n);

	if (d && n > 0)
		memcpy(d, p, n);
}

void wr_zero(struct wr *w, size_t n)
{
	(void)wr_room(w, n);
}

void wr_pad8(struct wr *w, const void *p, size_t n)
{
	wr_bytes(w, p, n);
	wr_zero(w, pad8(n) - n);
}

void wr_u16(struct wr *w, uint16_t v)
{
	uint8_t *p = reserve(w, 2);

	for (unsigned int i = 0; p && i < 2; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void wr_u32(struct wr *w, uint32_t v)
{
	uint8_t *p = reserve(w, 4);

	for (unsigned int i = 0; p && i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void wr_u64(struct wr *w, uint64_t v)
{
	wr_u32(w, (uint32_t)v);
	wr_u32(w, (uint32_t)(v >> 32));
}
