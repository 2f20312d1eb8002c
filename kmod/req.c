// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * req.c - leads a request from its tag to its last answer
 *
 *   shim_req_new()
 *         │
 *         v       shim_req_call()
 *       BUSY ────────────────────────> WAITING
 *         │  <────────────────────────    │
 *         │    an answer, or the          │ the task is killed
 *         v    link is dead               v
 *       freed <─────────────────────── ORPHAN
 *   shim_req_free()    the last answer, or the link is freed
 *
 * BUSY     The task prepares the next frame, or reads the last answer.
 *          - shim_req_new() begins here; shim_req_answer() and
 *            shim_req_fail_all() come back here
 *          - all fields but tag and refs are the task's alone; no answer is
 *            accepted
 * WAITING  A frame is out, and its answer is to come. In link->waiters.
 *          - shim_req_call() enters it
 *          - the rx owner may fill reply, and with link->lock held sets
 *            type, file, len and the state; the task reads nothing but the
 *            state until that has changed
 * ORPHAN   The task was killed and is gone. The slot keeps the request and its
 *          tag, for the answers still come.
 *          - only the task enters it, from WAITING, in req_wait()
 *          - the rx owner may write reply, then drops it; a file that the
 *            answer opened is closed again
 *
 * A tag is free again once the last answer came (any but NEED), or if nothing
 * was sent. Every change of state is made with link->lock held.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "shim.h"

static void req_put(struct shim_req *req)
{
	if (refcount_dec_and_test(&req->refs)) {
		kvfree(req->reply);
		kfree(req);
	}
}

/* ---- tags ---------------------------------------------------------------- */

int shim_req_slots(struct shim_link *link, u32 n)
{
	struct shim_req **slot = kvcalloc(n, sizeof(*slot), GFP_KERNEL);
	unsigned long *used = bitmap_zalloc(n, GFP_KERNEL);

	if (!slot || !used) {
		kvfree(slot);
		bitmap_free(used);
		return -ENOMEM;
	}
	spin_lock_bh(&link->lock);
	link->slot = slot;
	link->slot_used = used;
	link->n_slot = n;
	spin_unlock_bh(&link->lock);
	return 0;
}

void shim_req_slots_free(struct shim_link *link)
{
	u32 i;

	for (i = 0; i < link->n_slot; i++)
		if (link->slot[i])
			req_put(link->slot[i]);
	kvfree(link->slot);
	bitmap_free(link->slot_used);
}

/* Gives the tag back; the slot's reference is the caller's now. Locked. */
static void slot_clear(struct shim_req *req)
{
	struct shim_link *link = req->link;

	link->slot[req->tag - 1] = NULL;
	__clear_bit(req->tag - 1, link->slot_used);
	wake_up(&link->slot_wait);
}

/* ---- begin and end ------------------------------------------------------- */

int shim_req_room(struct shim_req *req, u32 cap)
{
	void *reply;

	if (cap <= req->cap)
		return 0;
	reply = kvmalloc(cap, GFP_KERNEL_ACCOUNT);
	if (!reply)
		return -ENOMEM;
	kvfree(req->reply);
	req->reply = reply;
	req->cap = cap;
	return 0;
}

/* Takes a slot, and with it a tag. False: wait. *ret_err: 0, or -ENODEV. */
static bool req_slot(struct shim_link *link, struct shim_req *req, int *ret_err)
{
	bool got = false;
	u32 i;

	spin_lock_bh(&link->lock);
	i = find_first_zero_bit(link->slot_used, link->n_slot);
	if (link->dead) {
		*ret_err = -ENODEV;
		got = true;
	} else if (i < link->n_slot) {
		__set_bit(i, link->slot_used);
		refcount_inc(&req->refs);
		link->slot[i] = req;
		req->tag = i + 1;
		*ret_err = 0;
		got = true;
	}
	spin_unlock_bh(&link->lock);
	return got;
}

struct shim_req *shim_req_new(struct shim_link *link, enum iso_type asked,
			      u32 cap)
{
	struct shim_req *req = kzalloc(sizeof(*req), GFP_KERNEL_ACCOUNT);
	int err, got_err;

	if (!req)
		return ERR_PTR(-ENOMEM);
	refcount_set(&req->refs, 1);
	req->link = link;
	req->asked = asked;
	req->state = REQ_BUSY;
	init_waitqueue_head(&req->waiter.wait);
	INIT_LIST_HEAD(&req->waiter.node);
	err = shim_req_room(req, cap);
	if (!err)
		err = wait_event_interruptible(link->slot_wait,
					       req_slot(link, req, &got_err));
	if (!err)
		err = got_err;
	if (err) {
		req_put(req);
		return ERR_PTR(err);
	}
	return req;
}

void shim_req_free(struct shim_req *req)
{
	struct shim_link *link = req->link;

	if (!req->sent) {
		spin_lock_bh(&link->lock);
		slot_clear(req);
		spin_unlock_bh(&link->lock);
		req_put(req);	/* the slot's */
	}
	req_put(req);
}

/* ---- out, and wait ------------------------------------------------------- */

/* Its task has something to do: an answer to read, or to receive. */
static bool req_due(struct shim_req *req)
{
	return READ_ONCE(req->state) != REQ_WAITING ||
	       READ_ONCE(req->link->rx_owner) == &req->waiter.wait;
}

/*
 * Until an answer, the link's end or a fatal signal; the last is told to the
 * broker by CANCEL. 0, -ENODEV, -EINTR.
 */
static int req_wait(struct shim_req *req)
{
	struct shim_link *link = req->link;
	struct shim_frame *cancel = NULL;
	int err;

	do {
		if (wait_event_killable(req->waiter.wait, req_due(req)))
			break;
		if (READ_ONCE(link->rx_owner) == &req->waiter.wait)
			shim_link_receive(link);
	} while (READ_ONCE(req->state) == REQ_WAITING);
	if (READ_ONCE(req->state) == REQ_WAITING && req->asked == ISO_IOCTL)
		cancel = shim_frame_new(ISO_CANCEL, req->tag, 0, 0,
					GFP_KERNEL | __GFP_NOFAIL);

	spin_lock_bh(&link->lock);
	err = req->err;
	if (req->state == REQ_WAITING) {
		list_del_init(&req->waiter.node);
		WRITE_ONCE(req->state, REQ_ORPHAN);
		err = -EINTR;
		/*
		 * Queued before the lock is dropped: the last answer may come
		 * right after, and then the tag is the next call's.
		 */
		if (cancel)
			shim_link_queue(link, cancel);
	}
	/* It may have been made the owner while it was leaving. */
	if (link->rx_owner == &req->waiter.wait)
		shim_link_leave(link);
	spin_unlock_bh(&link->lock);

	if (cancel)
		shim_link_flush(link);
	shim_frame_put(cancel);
	return err;
}

int shim_req_call(struct shim_req *req, struct shim_frame *frame)
{
	struct shim_link *link = req->link;

	shim_frame_hdr(frame)->tag = cpu_to_le32(req->tag);
	spin_lock_bh(&link->lock);
	if (link->dead) {
		spin_unlock_bh(&link->lock);
		return -ENODEV;
	}
	req->sent = true;
	WRITE_ONCE(req->state, REQ_WAITING);
	list_add_tail(&req->waiter.node, &link->waiters);
	shim_link_queue(link, frame);
	spin_unlock_bh(&link->lock);
	shim_link_flush(link);
	shim_link_trim(link, &req->waiter);
	return req_wait(req);
}

/* ---- the answer ---------------------------------------------------------- */

/* An answer to a request whose task is gone leaves nothing open behind. */
static int orphan_answer(struct shim_link *link, const struct iso_hdr *hdr,
			 const void *body)
{
	const struct iso_opened *opened = body;
	struct iso_more more = { .err = cpu_to_le32(EINTR) };

	if (le16_to_cpu(hdr->type) == ISO_OPENED && !opened->err)
		return shim_link_answer(link, ISO_CLOSE, 0,
					le32_to_cpu(hdr->file), NULL, 0);
	if (le16_to_cpu(hdr->type) == ISO_NEED)
		return shim_link_answer(link, ISO_MORE, le32_to_cpu(hdr->tag),
					le32_to_cpu(hdr->file), &more,
					sizeof(more));
	return 0;
}

/* Whether a frame can be the answer that the request waits for. */
static bool req_fits(const struct shim_req *req, u16 type, u32 len)
{
	if (req->state == REQ_BUSY || len > req->cap)
		return false;
	switch (type) {
	case ISO_OPENED:
		return req->asked == ISO_OPEN &&
		       len == sizeof(struct iso_opened);
	case ISO_MAPPED:
		return req->asked == ISO_MAP &&
		       len == sizeof(struct iso_mapped);
	default:	/* NEED, RESULT */
		return req->asked == ISO_IOCTL;
	}
}

/* The request that a frame answers, with a reference, or NULL. */
static struct shim_req *req_find(struct shim_link *link, u32 tag, u16 type,
				 u32 len)
{
	struct shim_req *req = NULL;

	spin_lock_bh(&link->lock);
	if (tag >= 1 && tag <= link->n_slot)
		req = link->slot[tag - 1];
	if (req && !req_fits(req, type, len))
		req = NULL;
	if (req)
		refcount_inc(&req->refs);
	spin_unlock_bh(&link->lock);
	return req;
}

int shim_req_answer(struct shim_link *link, const struct iso_hdr *hdr,
		    const void *body, u32 len)
{
	u16 type = le16_to_cpu(hdr->type);
	struct shim_req *req = req_find(link, le32_to_cpu(hdr->tag), type, len);
	bool last = type != ISO_NEED;
	bool orphan;
	int err = 0;

	if (!req)
		return -EPROTO;
	/* Its task reads this only after the state has changed below. */
	memcpy(req->reply, body, len);

	spin_lock_bh(&link->lock);
	if (last)
		slot_clear(req);
	orphan = req->state == REQ_ORPHAN;
	if (req->state == REQ_WAITING) {
		list_del_init(&req->waiter.node);
		req->type = type;
		req->file = le32_to_cpu(hdr->file);
		req->len = len;
		WRITE_ONCE(req->state, REQ_BUSY);
		wake_up(&req->waiter.wait);
	}
	spin_unlock_bh(&link->lock);

	if (last)
		req_put(req);	/* the slot's */
	if (orphan)
		err = orphan_answer(link, hdr, body);
	req_put(req);
	return err;
}

void shim_req_fail_all(struct shim_link *link)
{
	struct shim_req *req, *next;

	list_for_each_entry_safe(req, next, &link->waiters, waiter.node) {
		list_del_init(&req->waiter.node);
		req->err = -ENODEV;
		WRITE_ONCE(req->state, REQ_BUSY);
		wake_up(&req->waiter.wait);
	}
	wake_up_all(&link->slot_wait);
}
