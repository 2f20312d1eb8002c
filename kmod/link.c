// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * link.c - moves the bytes of one connection to the broker
 *
 * Nobody waits for credit in order to send: a frame goes into a queue, and the
 * first task that finds no other sending sends for all, as much as the socket
 * takes.
 * Where the socket is full, the thread goes on once the peer gives credit.
 *
 * Receiving is a role. When bytes come, the socket's callback gives it to the
 * newest request that waits: its task was going to be woken anyway, and it is
 * most likely the one that the answer is for, so a call needs no hop over the
 * thread. If no request waits, the thread gets the role. It ends when the
 * socket is empty.
 *
 * An answer is parsed while it is still in the socket (iso_wire.h says why). Once
 * the next request is out, and its answer on the way, all but a few bytes of the
 * last answer are taken; the credit for them travels with the request after that.
 */
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vm_sockets.h>
#include <net/sock.h>

#include "shim.h"

/* Frames that one sender sends for others before the thread takes over. */
#define TX_BUDGET 64

/* At most this many bytes are left in the socket, and this many not taken. */
#define PEEK_MAX 16384
#define PEEK_REST 8

/* ---- bytes out ----------------------------------------------------------- */

struct shim_frame *shim_frame_new(enum iso_type type, u32 tag, u32 file,
				  size_t body, gfp_t gfp)
{
	struct shim_frame *frame;
	struct iso_hdr *hdr;

	frame = kvmalloc(struct_size(frame, data, sizeof(*hdr) + body), gfp);
	if (!frame)
		return NULL;
	INIT_LIST_HEAD(&frame->node);
	refcount_set(&frame->refs, 1);
	frame->len = sizeof(*hdr) + body;
	frame->answer = false;
	hdr = shim_frame_hdr(frame);
	hdr->len = cpu_to_le32(frame->len);
	hdr->type = cpu_to_le16(type);
	hdr->flags = 0;
	hdr->tag = cpu_to_le32(tag);
	hdr->file = cpu_to_le32(file);
	return frame;
}

void shim_frame_put(struct shim_frame *frame)
{
	if (frame && refcount_dec_and_test(&frame->refs))
		kvfree(frame);
}

/* One try to send the rest of a frame. Bytes sent, or -errno. */
static int tx_some(struct shim_link *link, struct shim_frame *frame)
{
	struct kvec vec = {
		.iov_base = frame->data + link->tx_off,
		.iov_len = frame->len - link->tx_off,
	};
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };

	return kernel_sendmsg(link->sock, &msg, &vec, 1, vec.iov_len);
}

/*
 * Accounts for one try to send, which gave n. True to go on with the queue. A
 * finished frame leaves it in *ret_done, for the caller to put without the
 * lock. link->lock is held.
 */
static bool tx_account(struct shim_link *link, struct shim_frame *frame, int n,
		       struct shim_frame **ret_done)
{
	*ret_done = NULL;
	if (n == -EAGAIN) {
		link->tx_blocked = !link->tx_space;
		return link->tx_space;
	}
	if (n < 0)
		return false;
	link->tx_off += n;
	if (link->tx_off == frame->len) {
		list_del_init(&frame->node);
		link->tx_off = 0;
		link->n_answers -= frame->answer;
		*ret_done = frame;
	}
	return true;
}

void shim_link_flush(struct shim_link *link)
{
	struct shim_frame *frame, *done;
	int budget = TX_BUDGET;
	int n = 0;

	spin_lock_bh(&link->lock);
	if (link->tx_busy || link->tx_blocked || link->dead) {
		spin_unlock_bh(&link->lock);
		return;
	}
	link->tx_busy = true;
	while (!link->dead && !list_empty(&link->tx)) {
		bool more;

		if (!budget--) {
			link->tx_kick = true;
			wake_up(&link->thread_wait);
			break;
		}
		frame = list_first_entry(&link->tx, struct shim_frame, node);
		link->tx_space = false;
		spin_unlock_bh(&link->lock);
		n = tx_some(link, frame);
		spin_lock_bh(&link->lock);
		more = tx_account(link, frame, n, &done);
		if (done) {
			spin_unlock_bh(&link->lock);
			shim_frame_put(done);
			spin_lock_bh(&link->lock);
		}
		if (!more)
			break;
	}
	link->tx_busy = false;
	if (link->dead)
		wake_up(&link->idle_wait);
	spin_unlock_bh(&link->lock);
	if (n < 0 && n != -EAGAIN)
		shim_link_fail(link, "send failed");
}

void shim_link_queue(struct shim_link *link, struct shim_frame *frame)
{
	link->n_answers += frame->answer;
	refcount_inc(&frame->refs);
	list_add_tail(&frame->node, &link->tx);
}

int shim_link_send(struct shim_link *link, struct shim_frame *frame)
{
	int err = 0;

	spin_lock_bh(&link->lock);
	if (link->dead)
		err = -ENODEV;
	else if (frame->answer && link->n_answers == SHIM_MAX_ANSWERS)
		err = -EPROTO;
	else
		shim_link_queue(link, frame);
	spin_unlock_bh(&link->lock);
	if (!err)
		shim_link_flush(link);
	return err;
}

int shim_link_answer(struct shim_link *link, enum iso_type type, u32 tag,
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

void shim_link_send_more(struct shim_link *link)
{
	spin_lock_bh(&link->lock);
	link->tx_kick = false;
	spin_unlock_bh(&link->lock);
	shim_link_flush(link);
}

/* ---- bytes in ------------------------------------------------------------ */

/*
 * Makes a task the rx owner if there is something to receive. link->lock is
 * held.
 */
static void rx_dispatch(struct shim_link *link)
{
	wait_queue_head_t *owner = &link->thread_wait;

	if (!link->rx_kick || link->rx_owner || link->dead)
		return;
	if (!list_empty(&link->waiters))
		owner = &list_last_entry(&link->waiters, struct shim_waiter,
					 node)->wait;
	WRITE_ONCE(link->rx_owner, owner);
	wake_up(owner);
}

void shim_link_leave(struct shim_link *link)
{
	WRITE_ONCE(link->rx_owner, NULL);
	rx_dispatch(link);
	if (link->dead)
		wake_up(&link->idle_wait);
}

/* Up to n bytes into rx_buf, behind those that are there. */
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
 * Takes all but `rest` of the bytes that were looked at, and parsed, but left
 * in the socket. They land behind the bytes that are still to be parsed, and are
 * forgotten. False: the link has ended.
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

/* Receives once. True if there may be more. */
static bool rx_some(struct shim_link *link)
{
	bool peek = !link->rx_len;
	size_t room = peek ? PEEK_MAX : ISO_MAX_FRAME - link->rx_len;
	size_t old = link->rx_peeked;
	int n;

	n = rx_recv(link, room, peek ? MSG_PEEK : 0);
	/* Nothing new came, or there is no room to look further. */
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
	if (!link->ops->received(link, old))
		return false;
	/* The rest of a frame has to come behind the part that is here. */
	if (link->rx_len && !rx_take(link, 0))
		return false;
	return n == room || READ_ONCE(link->rx_end);
}

void shim_link_trim(struct shim_link *link, struct shim_waiter *waiter)
{
	bool mine;

	spin_lock_bh(&link->lock);
	mine = !link->rx_owner && !link->dead && link->rx_peeked > PEEK_REST;
	if (mine)
		WRITE_ONCE(link->rx_owner, &waiter->wait);
	spin_unlock_bh(&link->lock);
	if (!mine)
		return;
	rx_take(link, PEEK_REST);
	spin_lock_bh(&link->lock);
	shim_link_leave(link);
	spin_unlock_bh(&link->lock);
}

void shim_link_receive(struct shim_link *link)
{
	bool more;

	do {
		spin_lock_bh(&link->lock);
		link->rx_kick = false;
		more = !link->dead;
		spin_unlock_bh(&link->lock);
	} while (more && rx_some(link));

	spin_lock_bh(&link->lock);
	shim_link_leave(link);
	spin_unlock_bh(&link->lock);
}

/* ---- the socket ---------------------------------------------------------- */

/* Bytes came, or with `end` perhaps their end: the link is to be received. */
static void link_kick(struct sock *sk, bool end)
{
	struct shim_link *link;

	read_lock_bh(&sk->sk_callback_lock);
	link = sk->sk_user_data;
	if (link) {
		spin_lock(&link->lock);
		link->rx_kick = true;
		if (end)
			WRITE_ONCE(link->rx_end, true);
		rx_dispatch(link);
		spin_unlock(&link->lock);
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

static void link_data_ready(struct sock *sk)
{
	link_kick(sk, false);
}

/* The peer closed, or an error: receiving tells which. */
static void link_ended(struct sock *sk)
{
	link_kick(sk, true);
}

/* The peer gave credit: a sender may have to go on. */
static void link_write_space(struct sock *sk)
{
	struct shim_link *link;

	read_lock_bh(&sk->sk_callback_lock);
	link = sk->sk_user_data;
	if (link) {
		spin_lock(&link->lock);
		link->tx_space = true;
		if (link->tx_blocked) {
			link->tx_blocked = false;
			link->tx_kick = true;
			wake_up(&link->thread_wait);
		}
		spin_unlock(&link->lock);
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

/* Puts the link's callbacks in the place of the socket's own. */
static void link_hook(struct shim_link *link)
{
	struct sock *sk = link->sock->sk;

	write_lock_bh(&sk->sk_callback_lock);
	link->old_data_ready = sk->sk_data_ready;
	link->old_state_change = sk->sk_state_change;
	link->old_error_report = sk->sk_error_report;
	link->old_write_space = sk->sk_write_space;
	sk->sk_user_data = link;
	sk->sk_data_ready = link_data_ready;
	sk->sk_state_change = link_ended;
	sk->sk_error_report = link_ended;
	sk->sk_write_space = link_write_space;
	write_unlock_bh(&sk->sk_callback_lock);
	link_kick(sk, false);	/* for bytes that came before */
}

static void link_unhook(struct shim_link *link)
{
	struct sock *sk = link->sock->sk;

	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_data_ready = link->old_data_ready;
	sk->sk_state_change = link->old_state_change;
	sk->sk_error_report = link->old_error_report;
	sk->sk_write_space = link->old_write_space;
	sk->sk_user_data = NULL;
	write_unlock_bh(&sk->sk_callback_lock);
}

static int link_socket(struct shim *shim, struct socket **ret_sock)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = shim->cid,
		.svm_port = shim->port,
	};
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, AF_VSOCK, SOCK_STREAM, 0, &sock);
	if (err)
		return err;
	err = kernel_connect(sock, (struct sockaddr *)&addr, sizeof(addr), 0);
	if (err) {
		sock_release(sock);
		return err;
	}
	*ret_sock = sock;
	return 0;
}

/* ---- from connect() to the end ------------------------------------------- */

struct shim_link *shim_link_connect(struct shim *shim,
				    const struct shim_link_ops *ops)
{
	struct shim_link *link = kzalloc(sizeof(*link), GFP_KERNEL);
	int err;

	if (!link)
		return ERR_PTR(-ENOMEM);
	refcount_set(&link->refs, 1);
	link->shim = shim;
	link->ops = ops;
	link->last_rx = jiffies;
	spin_lock_init(&link->lock);
	xa_init(&link->files);
	init_waitqueue_head(&link->poll_wait);
	init_waitqueue_head(&link->slot_wait);
	init_waitqueue_head(&link->thread_wait);
	init_waitqueue_head(&link->idle_wait);
	INIT_LIST_HEAD(&link->waiters);
	INIT_LIST_HEAD(&link->tx);
	link->rx_buf = shim->rx_buf;
	err = link_socket(shim, &link->sock);
	if (err) {
		shim_link_put(link);
		return ERR_PTR(err);
	}
	link_hook(link);
	return link;
}

struct shim_link *shim_link_current(struct shim *shim)
{
	struct shim_link *link;

	spin_lock(&shim->lock);
	link = shim->link;
	if (link && READ_ONCE(link->dead))
		link = NULL;
	if (link)
		refcount_inc(&link->refs);
	spin_unlock(&shim->lock);
	return link;
}

void shim_link_fail(struct shim_link *link, const char *why)
{
	bool was_up;

	spin_lock_bh(&link->lock);
	if (link->dead) {
		spin_unlock_bh(&link->lock);
		return;
	}
	was_up = link->up;
	WRITE_ONCE(link->dead, true);
	link->ops->died(link);
	spin_unlock_bh(&link->lock);
	wake_up(&link->thread_wait);
	wake_up_poll(&link->poll_wait, EPOLLHUP | EPOLLERR);
	if (why && was_up)
		pr_shim(KERN_WARNING, "link lost: %s\n", why);
}

/* Whether no task uses the socket. */
static bool link_idle(struct shim_link *link)
{
	bool idle;

	spin_lock_bh(&link->lock);
	idle = !link->rx_owner && !link->tx_busy;
	spin_unlock_bh(&link->lock);
	return idle;
}

void shim_link_close(struct shim_link *link)
{
	struct shim_frame *frame, *next;

	spin_lock_bh(&link->lock);
	if (link->rx_owner == &link->thread_wait)
		shim_link_leave(link);
	spin_unlock_bh(&link->lock);
	wait_event_idle(link->idle_wait, link_idle(link));
	link_unhook(link);
	kernel_sock_shutdown(link->sock, SHUT_RDWR);
	sock_release(link->sock);
	link->sock = NULL;
	link->rx_buf = NULL;	/* for another link from now on */
	list_for_each_entry_safe(frame, next, &link->tx, node) {
		list_del_init(&frame->node);
		shim_frame_put(frame);
	}
}

void shim_link_put(struct shim_link *link)
{
	if (!refcount_dec_and_test(&link->refs))
		return;
	link->ops->freed(link);
	xa_destroy(&link->files);
	kfree(link);
}
