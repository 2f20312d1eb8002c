// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * link.c - one connection to the broker: frames out, requests, its end
 *
 * Nobody waits for credit in order to send: a frame goes into a queue, and
 * the first who finds nobody sending sends what the socket takes, for all.
 * Where the socket is full, the thread goes on once the peer gives credit.
 */
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/slab.h>
#include <linux/vm_sockets.h>
#include <net/sock.h>

#include "shim.h"

/* Frames that one sender sends for others before the thread takes over. */
#define TX_BUDGET 64

/* ---- frames out ---------------------------------------------------------- */

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
	hdr = (struct iso_hdr *)frame->data;
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
 * Takes the outcome of one try to send. True to go on with the queue; frees
 * nothing: a finished frame is given back in *ret_done. link->lock is held.
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

static void tx_pump(struct shim_link *link)
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

int shim_link_send(struct shim_link *link, struct shim_frame *frame)
{
	int err = 0;

	spin_lock_bh(&link->lock);
	if (link->dead)
		err = -ENODEV;
	else if (frame->answer && link->n_answers == SHIM_MAX_ANSWERS)
		err = -EPROTO;
	if (err) {
		spin_unlock_bh(&link->lock);
		return err;
	}
	link->n_answers += frame->answer;
	refcount_inc(&frame->refs);
	list_add_tail(&frame->node, &link->tx);
	spin_unlock_bh(&link->lock);
	tx_pump(link);
	return 0;
}

void shim_link_send_more(struct shim_link *link)
{
	spin_lock_bh(&link->lock);
	link->tx_kick = false;
	spin_unlock_bh(&link->lock);
	tx_pump(link);
}

/* ---- requests ------------------------------------------------------------ */

void shim_req_put(struct shim_req *req)
{
	if (refcount_dec_and_test(&req->refs)) {
		kvfree(req->reply);
		kfree(req);
	}
}

void shim_req_free(struct shim_req *req)
{
	struct shim_link *link = req->link;

	if (!req->sent) {
		spin_lock_bh(&link->lock);
		link->slot[req->tag - 1] = NULL;
		__clear_bit(req->tag - 1, link->slot_used);
		spin_unlock_bh(&link->lock);
		wake_up(&link->slot_wait);
		shim_req_put(req);	/* the slot's */
	}
	shim_req_put(req);
}

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

/* True if it got a slot, or the link is dead (*ret_err is set). */
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
	init_waitqueue_head(&req->wait);
	INIT_LIST_HEAD(&req->node);
	err = shim_req_room(req, cap);
	if (!err)
		err = wait_event_interruptible(link->slot_wait,
					       req_slot(link, req, &got_err));
	if (!err)
		err = got_err;
	if (err) {
		shim_req_put(req);
		return ERR_PTR(err);
	}
	return req;
}

/* Its task has something to do: an answer to read, or to receive. */
static bool req_due(struct shim_req *req)
{
	return READ_ONCE(req->state) != REQ_WAITING ||
	       READ_ONCE(req->link->rx_owner) == &req->wait;
}

static int req_wait(struct shim_req *req)
{
	struct shim_link *link = req->link;
	bool killed = false;
	int err;

	do {
		if (wait_event_killable(req->wait, req_due(req)))
			break;
		if (READ_ONCE(link->rx_owner) == &req->wait)
			shim_rx_pump(link);
	} while (READ_ONCE(req->state) == REQ_WAITING);

	spin_lock_bh(&link->lock);
	err = req->err;
	if (req->state == REQ_WAITING) {
		list_del_init(&req->node);
		WRITE_ONCE(req->state, REQ_ORPHAN);
		killed = true;
		err = -EINTR;
	}
	if (link->rx_owner == &req->wait)	/* chosen as it left */
		shim_rx_leave(link);
	spin_unlock_bh(&link->lock);

	if (killed && req->asked == ISO_IOCTL) {
		struct shim_frame *cancel;

		cancel = shim_frame_new(ISO_CANCEL, req->tag, 0, 0,
					GFP_KERNEL | __GFP_NOFAIL);
		shim_link_send(link, cancel);
		shim_frame_put(cancel);
	}
	return err;
}

int shim_req_call(struct shim_req *req, struct shim_frame *frame)
{
	struct shim_link *link = req->link;

	spin_lock_bh(&link->lock);
	if (link->dead) {
		spin_unlock_bh(&link->lock);
		return -ENODEV;
	}
	req->sent = true;
	WRITE_ONCE(req->state, REQ_WAITING);
	list_add_tail(&req->node, &link->waiting);
	refcount_inc(&frame->refs);
	list_add_tail(&frame->node, &link->tx);
	spin_unlock_bh(&link->lock);
	tx_pump(link);
	shim_rx_trim(link, &req->wait);
	return req_wait(req);
}

/* ---- the socket ---------------------------------------------------------- */

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
		shim_rx_dispatch(link);
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
	link_kick(sk, false);	/* what came before */
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

static int link_hello(struct shim_link *link)
{
	struct iso_hello *hello;
	struct shim_frame *frame;
	int err;

	frame = shim_frame_new(ISO_HELLO, 0, 0, sizeof(*hello), GFP_KERNEL);
	if (!frame)
		return -ENOMEM;
	hello = shim_frame_body(frame);
	*hello = (struct iso_hello){
		.major = cpu_to_le16(ISO_WIRE_MAJOR),
		.minor = cpu_to_le16(ISO_WIRE_MINOR),
		.max_frame = cpu_to_le32(ISO_MAX_FRAME),
	};
	err = shim_link_send(link, frame);
	shim_frame_put(frame);
	return err;
}

struct shim_link *shim_link_connect(struct shim *shim)
{
	struct shim_link *link = kzalloc(sizeof(*link), GFP_KERNEL);
	int err;

	if (!link)
		return ERR_PTR(-ENOMEM);
	refcount_set(&link->refs, 1);
	link->shim = shim;
	link->last_rx = jiffies;
	spin_lock_init(&link->lock);
	xa_init(&link->files);
	init_waitqueue_head(&link->poll_wait);
	init_waitqueue_head(&link->slot_wait);
	init_waitqueue_head(&link->thread_wait);
	init_waitqueue_head(&link->idle_wait);
	INIT_LIST_HEAD(&link->waiting);
	INIT_LIST_HEAD(&link->tx);
	link->rx_buf = shim->rx_buf;
	err = link_socket(shim, &link->sock);
	if (err)
		goto err_put;
	link_hook(link);
	err = link_hello(link);
	if (err)
		goto err_close;
	return link;

err_close:
	shim_link_fail(link, NULL);
	shim_link_close(link);
err_put:
	shim_link_put(link);
	return ERR_PTR(err);
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
	struct shim_req *req, *next;
	bool was_up;

	spin_lock_bh(&link->lock);
	if (link->dead) {
		spin_unlock_bh(&link->lock);
		return;
	}
	was_up = link->up;
	WRITE_ONCE(link->dead, true);
	list_for_each_entry_safe(req, next, &link->waiting, node) {
		list_del_init(&req->node);
		req->err = -ENODEV;
		WRITE_ONCE(req->state, REQ_BUSY);
		wake_up(&req->wait);
	}
	spin_unlock_bh(&link->lock);
	wake_up_all(&link->slot_wait);
	wake_up(&link->thread_wait);
	wake_up_poll(&link->poll_wait, EPOLLHUP | EPOLLERR);
	if (why && was_up)
		pr_shim(KERN_WARNING, "link lost: %s\n", why);
}

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
		shim_rx_leave(link);
	spin_unlock_bh(&link->lock);
	wait_event_idle(link->idle_wait, link_idle(link));
	link_unhook(link);
	kernel_sock_shutdown(link->sock, SHUT_RDWR);
	sock_release(link->sock);
	link->sock = NULL;
	link->rx_buf = NULL;	/* another link's from now on */
	list_for_each_entry_safe(frame, next, &link->tx, node) {
		list_del_init(&frame->node);
		shim_frame_put(frame);
	}
}

void shim_link_put(struct shim_link *link)
{
	u32 i;

	if (!refcount_dec_and_test(&link->refs))
		return;
	for (i = 0; i < link->n_slot; i++)
		if (link->slot[i])
			shim_req_put(link->slot[i]);
	kvfree(link->slot);
	bitmap_free(link->slot_used);
	kvfree(link->hello.body);
	xa_destroy(&link->files);
	kfree(link);
}
