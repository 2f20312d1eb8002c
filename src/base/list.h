/* SPDX-License-Identifier: MIT */
/*
 * list.h - objects that handlers end and the loop's after hook frees
 *
 * An event handler must not free the object it runs on, nor another one that an
 * event of the same batch may name. So an object's life has two ends:
 *
 *	list_add()	it is in the list and seen by list_each()
 *	list_end()	marked: list_each() passes over it, and its owner stops
 *			watching its fds; it stays where it is in memory
 *	list_reap()	from the after hook: it leaves the list and is freed
 *
 * The list links objects through a `struct list_item` inside them and owns none
 * of their memory. They stay in the order in which they came. A zeroed list is
 * empty; a zeroed item is in no list.
 *
 *	struct stream { struct list_item item; ... };
 *
 *	static void stream_release(struct list_item *item)
 *	{
 *		free(container_of(item, struct stream, item));
 *	}
 *
 *	list_each(s, &streams, item)
 *		if (s->deadline_ns < now)
 *			list_end(&streams, &s->item);
 *	...
 *	list_reap(&streams, stream_release);
 */
#ifndef ISO_LIST_H
#define ISO_LIST_H

#include "base/base.h"

struct list_item {
	struct list_item *next, *prev;	/* of list.c */
	bool ended;			/* read by anybody, set by list_end() */
	uint32_t holds;			/* the owner's: work that still uses it;
					 * list_reap() leaves it until 0 */
};

struct list {
	struct list_item *first, *last;
	uint32_t n;			/* items in it, ended ones too */
	uint32_t n_ended;		/* of those */
};

/* Adds it at the end. */
void list_add(struct list *l, struct list_item *item);

/* Marks it. False if it was marked before, so that the caller closes fds and
 * the like only once. */
bool list_end(struct list *l, struct list_item *item);

/*
 * Takes every ended item that nobody holds out of the list and hands it to
 * release(), which may free it and may end other items of the list. Costs
 * nothing while no item has ended.
 */
void list_reap(struct list *l, void (*release)(struct list_item *item));

/* Takes it out at once, ended or not: only where no handler runs on it and no
 * event of this batch can name it. */
void list_remove(struct list *l, struct list_item *item);

/* How many have not ended. */
static inline uint32_t list_live(const struct list *l)
{
	return l->n - l->n_ended;
}

/* The item, or the first one behind it that has not ended; NULL: none. */
static inline struct list_item *list_skip(struct list_item *item)
{
	while (item && item->ended)
		item = item->next;
	return item;
}

/* The object around an item, or NULL; v is a pointer of the object's type. */
#define list_object(item_, v, member)                                     \
	__extension__({                                                   \
		struct list_item *list_tmp = (item_);                     \
		list_tmp ? container_of(list_tmp, __typeof__(*(v)), member) \
			 : NULL;                                          \
	})

/* The oldest object that has not ended, or NULL. */
#define list_first(l, v, member) \
	list_object(list_skip((l)->first), v, member)

/* Runs through the objects that have not ended, the oldest first, with v, a
 * pointer of their type. The body may end any of them and may add others, which
 * it meets later. NULL in v afterwards, unless it left by `break`. */
#define list_each(v, l, member)                       \
	for ((v) = list_first(l, v, member); (v);     \
	     (v) = list_object(list_skip((v)->member.next), v, member))

#endif /* ISO_LIST_H */
