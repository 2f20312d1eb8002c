/* SPDX-License-Identifier: MIT */
/* idmap.c - gives pointers small numbers */
#include "base/idmap.h"

#include <errno.h>

#define NO_SLOT UINT32_MAX

void idmap_init(struct idmap *m, uint32_t max)
{
	*m = (struct idmap){ .first_free = NO_SLOT,
			     .max = MIN(max, IDMAP_MAX) };
}

void idmap_free(struct idmap *m)
{
	free(m->slot);
	idmap_init(m, m->max);
}

/* Makes room for twice as many ids. 0, -ENOSPC (max reached) or -ENOMEM. */
static int idmap_grow(struct idmap *m)
{
	uint32_t n = MIN(m->n_slots ? m->n_slots * 2 : 16, m->max);
	struct idmap_slot *s;

	if (n <= m->n_slots)
		return -ENOSPC;
	s = realloc(m->slot, n * sizeof(*s));
	if (!s)
		return -ENOMEM;
	for (uint32_t i = m->n_slots; i < n; i++)
		s[i] = (struct idmap_slot){
			.next_free = i + 1 < n ? i + 1 : m->first_free,
			.gen = 1,
		};
	m->first_free = m->n_slots;
	m->slot = s;
	m->n_slots = n;
	return 0;
}

int idmap_add(struct idmap *m, void *ptr, uint32_t *ret_id)
{
	struct idmap_slot *s;
	uint32_t i;

	if (m->first_free == NO_SLOT) {
		int r = idmap_grow(m);

		if (r < 0)
			return r;
	}
	i = m->first_free;
	s = &m->slot[i];
	m->first_free = s->next_free;
	s->ptr = ptr;
	m->used++;
	*ret_id = (uint32_t)s->gen << 16 | i;
	return 0;
}

static struct idmap_slot *idmap_slot(const struct idmap *m, uint32_t id)
{
	uint32_t i = id & 0xffff;

	if (i >= m->n_slots || !m->slot[i].ptr || m->slot[i].gen != id >> 16)
		return NULL;
	return &m->slot[i];
}

void *idmap_get(const struct idmap *m, uint32_t id)
{
	const struct idmap_slot *s = idmap_slot(m, id);

	return s ? s->ptr : NULL;
}

void *idmap_del(struct idmap *m, uint32_t id)
{
	struct idmap_slot *s = idmap_slot(m, id);
	void *ptr;

	if (!s)
		return NULL;
	ptr = s->ptr;
	s->ptr = NULL;
	/* 1..0x7fff, so that no id becomes 0 or 0xffffffff */
	s->gen = s->gen == 0x7fff ? 1 : (uint16_t)(s->gen + 1);
	s->next_free = m->first_free;
	m->first_free = id & 0xffff;
	m->used--;
	return ptr;
}
