/* SPDX-License-Identifier: MIT */
/* list.c - keeps objects that have ended until they can be freed */
#include "base/list.h"

void list_add(struct list *l, struct list_item *item)
{
	*item = (struct list_item){ .prev = l->last };
	if (l->last)
		l->last->next = item;
	else
		l->first = item;
	l->last = item;
	l->n++;
}

bool list_end(struct list *l, struct list_item *item)
{
	if (item->ended)
		return false;
	item->ended = true;
	l->n_ended++;
	return true;
}

void list_remove(struct list *l, struct list_item *item)
{
	if (item->prev)
		item->prev->next = item->next;
	else
		l->first = item->next;
	if (item->next)
		item->next->prev = item->prev;
	else
		l->last = item->prev;
	l->n--;
	l->n_ended -= item->ended;
	item->next = item->prev = NULL;
}

void list_reap(struct list *l, void (*release)(struct list_item *item))
{
	struct list_item *next;

	if (l->n_ended == 0)
		return;
	for (struct list_item *item = l->first; item; item = next) {
		next = item->next;
		if (!item->ended || item->holds)
			continue;
		list_remove(l, item);
		release(item);
	}
}
