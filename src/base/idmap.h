/* SPDX-License-Identifier: MIT */
/*
 * idmap.h - small numbers for pointers
 *
 * The low 16 bits of an id are a slot, the bits above them the slot's
 * generation: an id that outlives its object does not name the next one. An id
 * is never 0 or 0xffffffff.
 */
#ifndef ISO_IDMAP_H
#define ISO_IDMAP_H

#include "base/base.h"

#define IDMAP_MAX 65535u

struct idmap_slot {
	void *ptr;
	uint32_t next_free;
	uint16_t gen;
};

struct idmap {
	struct idmap_slot *slot;	/* owned */
	uint32_t n_slots;
	uint32_t first_free;
	uint32_t used;
	uint32_t max;
};

/* max: how many at once, at most IDMAP_MAX. */
void idmap_init(struct idmap *m, uint32_t max);
/* Frees the table, not what it points at. */
void idmap_free(struct idmap *m);

/* ptr is not NULL. 0, or -ENOSPC (max reached), -ENOMEM. */
int idmap_add(struct idmap *m, void *ptr, uint32_t *ret_id);
/* The pointer, or NULL if there is no such id. */
void *idmap_get(const struct idmap *m, uint32_t id);
/* Removes the id. Its pointer, or NULL if there is no such id. */
void *idmap_del(struct idmap *m, uint32_t id);
/* For loops over the slots 0..n_slots-1: the pointer, NULL in a free slot. */
static inline void *idmap_at(const struct idmap *m, uint32_t slot)
{
	return slot < m->n_slots ? m->slot[slot].ptr : NULL;
}

#endif /* ISO_IDMAP_H */
