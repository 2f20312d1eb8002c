// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * rx.c - frames in, handed to those who wait
 *
 * Receiving is a role. When bytes come, the socket's callback gives it to the
 * newest request that waits: its task was going to be woken anyway, and
 * is most likely the one that the answer is for, so that a call costs no
 * thread hop. With none waiting, the thread gets it. The role ends when
 * the socket is empty.
 *
 * Taking the last bytes from a socket makes vsock send the peer a packet of
 * credit. So an answer is only looked at. While the next one is on the way, it
 * is taken but for some bytes, and the credit goes with the next request.
 */
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <net/sock.h>

#include "shim.h"

/* At most so many bytes are left in the socket, and so many are not taken. */
#define PEEK_MAX 16384
#define PEEK_REST 8

void shim_rx_dispatch(struct shim_link *link)
{
	wait_queue_head_t *owner = &link->thread_wait;

	if (!link->rx_kick || link->rx_owner || link->dead)
		return;
	if (!list_empty(&link->waiting))
		owner = &list_last_entry(&link->waiting, struct shim_req,
					 node)->wait;
	WRITE_ONCE(link->rx_owner, owner);
	wake_up(owner);
}

void shim_rx_leave(struct shim_link *link)
{
	WRITE_ONCE(link->rx_owner, NULL);
	shim_rx_dispatch(link);
	if (link->dead)
		wake_up(&link->idle_wait);
}

/* 0, or why the link ends: -EPROTO, -ENODEV (it has). */
static int send_answer(struct shim_link *link, enum iso_type type, u32 tag,
		       u32 file, const void *body, size_t len)
{
	struct shim_frame *frame = shim_frame_new(type, tag, file, len,
						  GFP_KERNEL | __GFP_NOFAIL);
	int err;

	frame->answer = true;
	memcpy(shim_frame_body(frame), body, len);
	err = shim_link_send(link, frame);
	shim_frame_put(frame);
	return err;
}

/* An answer to a request whose task is gone leaves nothing open behind. */
static int rx_orphan(struct shim_link *link, const struct iso_hdr *hdr,
		     const void *body)
{
	const struct iso_opened *opened = body;
	struct iso_more more = { .err = cpu_to_le32(EINTR) };

	if (le16_to_cpu(hdr->type) == ISO_OPENED && !opened->err)
		return send_answer(link, ISO_CLOSE, 0, le32_to_cpu(hdr->file),
				   NULL, 0);
	if (le16_to_cpu(hdr->type) == ISO_NEED)
		return send_answer(link, ISO_MORE, le32_to_cpu(hdr->tag),
				   le32_to_cpu(hdr->file), &more, sizeof(more));
	return 0;
}

static bool rx_fits(const struct shim_req *req, u16 type, u32 len)
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
static struct shim_req *rx_find(struct shim_link *link, u32 tag, u16 type,
				u32 len)
{
	struct shim_req *req = NULL;

	spin_lock_bh(&link->lock);
	if (tag >= 1 && tag <= link->n_slot)
		req = link->slot[tag - 1];
	if (req && !rx_fits(req, type, len))
		req = NULL;
	if (req)
		refcount_inc(&req->refs);
	spin_unlock_bh(&link->lock);
	return req;
}

static int rx_answer(struct shim_link *link, const struct iso_hdr *hdr,
		     const void *body, u32 len)
{
	u16 type = le16_to_cpu(hdr->type);
	struct shim_req *req = rx_find(link, le32_to_cpu(hdr->tag), type, len);
	bool last = type != ISO_NEED;
	bool orphan;
	int err = 0;

	if (!req)
		return -EPROTO;
	/* Its task reads this only after the state has changed below. */
	memcpy(req->reply, body, len);

	spin_lock_bh(&link->lock);
	if (last) {
		link->slot[req->tag - 1] = NULL;
		__clear_bit(req->tag - 1, link->slot_used);
		wake_up(&link->slot_wait);
	}
	orphan = req->state == REQ_ORPHAN;
	if (req->state == REQ_WAITING) {
		list_del_init(&req->node);
		req->type = type;
		req->file = le32_to_cpu(hdr->file);
		req->len = len;
		WRITE_ONCE(req->state, REQ_BUSY);
		wake_up(&req->wait);
	}
	spin_unlock_bh(&link->lock);

	if (last)
		shim_req_put(req);	/* the slot's */
	if (orphan)
		err = rx_orphan(link, hdr, body);
	shim_req_put(req);
	return err;
}

/* An EVENT may cross the CLOSE of its file; then nobody wants it. */
static void rx_event(struct shim_link *link, u32 id, u32 events)
{
	struct shim_file *sf;

	xa_lock(&link->files);
	sf = xa_load(&link->files, id);
	if (sf) {
		sf->ready |= events & SHIM_POLL_EVENTS;
		sf->watched = false;
	}
	xa_unlock(&link->files);
	if (sf)
		wake_up_poll(&link->poll_wait,
			     (__force __poll_t)(events & SHIM_POLL_EVENTS));
}

static int rx_hello(struct shim_link *link, const void *body, u32 len)
{
	struct shim_req **slot = NULL;
	unsigned long *used = NULL;
	u32 n;
	int err;

	err = shim_hello_parse(&link->hello, body, len);
	if (err)
		return err;
	n = min_t(u32, le32_to_cpu(link->hello.ok->max_inflight),
		  SHIM_MAX_SLOTS);
	slot = kvcalloc(n, sizeof(*slot), GFP_KERNEL);
	used = bitmap_zalloc(n, GFP_KERNEL);
	if (!slot || !used) {
		kvfree(slot);
		bitmap_free(used);
		return -ENOMEM;
	}
	spin_lock_bh(&link->lock);
	link->slot = slot;
	link->slot_used = used;
	link->n_slot = n;
	WRITE_ONCE(link->up, true);
	spin_unlock_bh(&link->lock);
	wake_up(&link->thread_wait);
	return 0;
}

/*
 * 0, or why the link ends: -EPROTO, -ENOMEM, -ENODEV (it has), -ESHUTDOWN (the
 * peer's BYE).
 */
static int rx_frame(struct shim_link *link, const struct iso_hdr *hdr,
		    const void *body, u32 len)
{
	u16 type = le16_to_cpu(hdr->type);
	const struct iso_poll *event = body;
	const struct iso_bye *bye = body;

	if (hdr->flags)
		return -EPROTO;
	if (type == ISO_BYE && len == sizeof(*bye)) {
		pr_shim(KERN_INFO, "broker says bye, reason %u\n",
			le32_to_cpu(bye->reason));
		return -ESHUTDOWN;
	}
	if (!link->up)
		return type == ISO_HELLO_OK ? rx_hello(link, body, len) :
					      -EPROTO;
	switch (type) {
	case ISO_OPENED:
	case ISO_NEED:
	case ISO_RESULT:
	case ISO_MAPPED:
		return rx_answer(link, hdr, body, len);
	case ISO_EVENT:
		if (len != sizeof(*event) || event->pad)
			return -EPROTO;
		rx_event(link, le32_to_cpu(hdr->file),
			 le32_to_cpu(event->events));
		return 0;
	case ISO_PING:
		if (len != sizeof(struct iso_ping))
			return -EPROTO;
		return send_answer(link, ISO_PONG, le32_to_cpu(hdr->tag), 0,
				   body, len);
	case ISO_PONG:
		return len == sizeof(struct iso_ping) ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}

/* Takes the whole frames out of rx_buf; the first `off` bytes are none. */
static int rx_frames(struct shim_link *link, size_t off)
{
	int err = 0;

	while (link->rx_len - off >= sizeof(struct iso_hdr)) {
		struct iso_hdr hdr;
		u32 len;

		memcpy(&hdr, link->rx_buf + off, sizeof(hdr));
		len = le32_to_cpu(hdr.len);
		if (len < sizeof(hdr) || len > ISO_MAX_FRAME)
			return -EPROTO;
		if (len > link->rx_len - off)
			break;
		/*
		 * Bodies are read as structs: they start where kvmalloc or a
		 * multiple of 8 does, for all lengths are multiples of 8.
		 */
		if (len & 7)
			return -EPROTO;
		err = rx_frame(link, &hdr, link->rx_buf + off + sizeof(hdr),
			       len - sizeof(hdr));
		if (err)
			return err;
		off += len;
	}
	link->rx_len -= off;
	if (off && link->rx_len)
		memmove(link->rx_buf, link->rx_buf + off, link->rx_len);
	return 0;
}

/* Into rx_buf, behind what is there: up to n bytes. */
static int rx_recv(struct shim_link *link, size_t n, int flags)
{
	struct kvec vec = {
		.iov_base = link->rx_buf + link->rx_len,
		.iov_len = n,
	};
	struct msghdr msg = { };

	return kernel_recvmsg(link->sock, &msg, &vec, 1, n,
			      flags | MSG_DONTWAIT);
}

/*
 * Takes all but `rest` bytes of what was only looked at; it was parsed, nobody
 * wants it any more.
 */
static bool rx_take(struct shim_link *link, size_t rest)
{
	while (link->rx_peeked > rest) {
		int n = rx_recv(link, link->rx_peeked - rest, 0);

		if (n <= 0) {
			shim_link_fail(link, "receive failed");
			return false;
		}
		link->rx_peeked -= n;
	}
	return true;
}

/* True if there may be more. */
static bool rx_some(struct shim_link *link)
{
	bool peek = !link->rx_len;
	size_t room = peek ? PEEK_MAX : ISO_MAX_FRAME - link->rx_len;
	size_t old = link->rx_peeked;
	int n, err;

	n = rx_recv(link, room, peek ? MSG_PEEK : 0);
	/* Nothing new, the end, or no room to look further. */
	if (n > 0 && n == old)
		return rx_take(link, 0);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		shim_link_fail(link, n ? "receive failed" : "closed by peer");
		return false;
	}
	WRITE_ONCE(link->last_rx, jiffies);
	link->rx_len += n;
	if (peek)
		link->rx_peeked = n;
	err = rx_frames(link, old);
	if (err)
		shim_link_fail(link, err == -EPROTO ? "protocol error" :
			       err == -ESHUTDOWN ? "closed by broker" :
						   "out of memory");
	/* What follows a part of a frame has to come behind it. */
	if (err || (link->rx_len && !rx_take(link, 0)))
		return false;
	return n == room || READ_ONCE(link->rx_end);
}

void shim_rx_trim(struct shim_link *link, wait_queue_head_t *wait)
{
	bool mine;

	spin_lock_bh(&link->lock);
	mine = !link->rx_owner && !link->dead && link->rx_peeked > PEEK_REST;
	if (mine)
		WRITE_ONCE(link->rx_owner, wait);
	spin_unlock_bh(&link->lock);
	if (!mine)
		return;
	rx_take(link, PEEK_REST);
	spin_lock_bh(&link->lock);
	shim_rx_leave(link);
	spin_unlock_bh(&link->lock);
}

void shim_rx_pump(struct shim_link *link)
{
	bool more;

	do {
		spin_lock_bh(&link->lock);
		link->rx_kick = false;
		more = !link->dead;
		spin_unlock_bh(&link->lock);
	} while (more && rx_some(link));

	spin_lock_bh(&link->lock);
	shim_rx_leave(link);
	spin_unlock_bh(&link->lock);
}
