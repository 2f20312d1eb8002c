// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * rx.c - hands each frame that arrives to the part that it is for
 */
#include <linux/mm.h>
#include <linux/poll.h>

#include "shim.h"

/* An EVENT that crossed the CLOSE of its file is dropped. */
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

/* The link is up from here on. */
static int rx_hello(struct shim_link *link, const void *body, u32 len)
{
	u32 max;
	int err;

	err = shim_hello_parse(&link->hello, body, len);
	if (err)
		return err;
	max = le32_to_cpu(link->hello.ok->max_inflight);
	err = shim_req_slots(link, min_t(u32, max, SHIM_MAX_SLOTS));
	if (err)
		return err;
	spin_lock_bh(&link->lock);
	WRITE_ONCE(link->up, true);
	spin_unlock_bh(&link->lock);
	wake_up(&link->thread_wait);
	return 0;
}

/*
 * One frame. 0, or why the link has to end: -EPROTO, -ENOMEM, -ESHUTDOWN (the
 * peer's BYE), or -ENODEV if it has ended.
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
		return shim_req_answer(link, hdr, body, len);
	case ISO_EVENT:
		if (len != sizeof(*event) || event->pad)
			return -EPROTO;
		rx_event(link, le32_to_cpu(hdr->file),
			 le32_to_cpu(event->events));
		return 0;
	case ISO_PING:
		if (len != sizeof(struct iso_ping))
			return -EPROTO;
		return shim_link_answer(link, ISO_PONG,
					le32_to_cpu(hdr->tag), 0, body, len);
	case ISO_PONG:
		return len == sizeof(struct iso_ping) ? 0 : -EPROTO;
	default:
		return -EPROTO;
	}
}

/* All whole frames behind the first `off` bytes. 0, or -errno as above. */
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
		 * Bodies are read as structs, so they have to be aligned: the
		 * buffer is, and each length must be a multiple of 8.
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

static bool rx_received(struct shim_link *link, size_t off)
{
	int err = rx_frames(link, off);

	if (err)
		shim_link_fail(link, err == -EPROTO ? "protocol error" :
			       err == -ESHUTDOWN ? "closed by broker" :
						   "out of memory");
	return !err;
}

static void rx_freed(struct shim_link *link)
{
	shim_req_slots_free(link);
	kvfree(link->hello.body);
}

const struct shim_link_ops shim_rx_ops = {
	.received = rx_received,
	.died = shim_req_fail_all,
	.freed = rx_freed,
};
