// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * main.c - keeps a link up, as long as the module is loaded
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/vm_sockets.h>
#include <linux/vmalloc.h>

#include "shim.h"

/* Between two tries to connect: doubled from one to the other. */
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 1000
/* From connect() to HELLO_OK. */
#define HELLO_MS 10000
/* PINGs to a silent peer, ping_ms apart, before the link is given up. */
#define MAX_PINGS 2

static struct shim the_shim = {
	.cid = VMADDR_CID_HOST,
	.port = ISO_BROKER_PORT,
	.open_wait_ms = 5000,
	/* Setting "hold" wakes it, and may come before shim_init(). */
	.up_wait = __WAIT_QUEUE_HEAD_INITIALIZER(the_shim.up_wait),
};

module_param_named(cid, the_shim.cid, uint, 0444);
MODULE_PARM_DESC(cid, "vsock CID of the broker's side (2: the host)");
module_param_named(port, the_shim.port, ushort, 0444);
MODULE_PARM_DESC(port, "vsock port of the broker");
module_param_named(open_wait_ms, the_shim.open_wait_ms, uint, 0644);
MODULE_PARM_DESC(open_wait_ms, "how long open() waits for the broker");

static int hold_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_bool(val, kp);

	if (!err)
		wake_up_all(&the_shim.up_wait);
	return err;
}

static const struct kernel_param_ops hold_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = hold_set,
	.get = param_get_bool,
};

module_param_cb(hold, &hold_ops, &the_shim.hold, 0644);
__MODULE_PARM_TYPE(hold, "bool");
MODULE_PARM_DESC(hold, "make no new connection to the broker");

/* ---- one link ------------------------------------------------------------ */

/* The thread has something to do. */
static bool thread_due(const struct shim_link *link)
{
	return kthread_should_stop() || READ_ONCE(link->dead) ||
	       READ_ONCE(link->rx_owner) == &link->thread_wait ||
	       READ_ONCE(link->tx_kick);
}

/* One turn of the thread's work on a link, waiting `timeout` at most. */
static void serve_once(struct shim_link *link, long timeout)
{
	/* A tick may have passed since the caller subtracted jiffies. */
	wait_event_idle_timeout(link->thread_wait, thread_due(link),
				max(timeout, 1L));
	if (READ_ONCE(link->rx_owner) == &link->thread_wait)
		shim_link_receive(link);
	if (READ_ONCE(link->tx_kick))
		shim_link_send_more(link);
}

static bool serving(const struct shim_link *link)
{
	return !kthread_should_stop() && !READ_ONCE(link->dead);
}

static void send_hello(struct shim_link *link)
{
	struct shim_frame *frame;
	struct iso_hello *hello;

	frame = shim_frame_new(ISO_HELLO, 0, 0, sizeof(*hello),
			       GFP_KERNEL | __GFP_NOFAIL);
	hello = shim_frame_body(frame);
	*hello = (struct iso_hello){
		.major = cpu_to_le16(ISO_WIRE_MAJOR),
		.minor = cpu_to_le16(ISO_WIRE_MINOR),
		.max_frame = cpu_to_le32(ISO_MAX_FRAME),
	};
	shim_link_send(link, frame);
	shim_frame_put(frame);
}

static void send_ping(struct shim_link *link)
{
	struct shim_frame *frame;
	struct iso_ping *ping;

	frame = shim_frame_new(ISO_PING, 0, 0, sizeof(*ping),
			       GFP_KERNEL | __GFP_NOFAIL);
	ping = shim_frame_body(frame);
	ping->cookie = cpu_to_le64(jiffies);
	shim_link_send(link, frame);
	shim_frame_put(frame);
}

static void send_bye(struct shim_link *link)
{
	struct shim_frame *frame;
	struct iso_bye *bye;

	frame = shim_frame_new(ISO_BYE, 0, 0, sizeof(*bye),
			       GFP_KERNEL | __GFP_NOFAIL);
	bye = shim_frame_body(frame);
	*bye = (struct iso_bye){
		.reason = cpu_to_le32(ISO_BYE_SHUTDOWN),
	};
	shim_link_send(link, frame);
	shim_frame_put(frame);
}

/* Says HELLO and waits for HELLO_OK. True if it came. */
static bool greet(struct shim_link *link)
{
	unsigned long end = jiffies + msecs_to_jiffies(HELLO_MS);

	send_hello(link);
	while (serving(link) && !READ_ONCE(link->up)) {
		if (time_after_eq(jiffies, end))
			return false;
		serve_once(link, end - jiffies);
	}
	return serving(link);
}

/*
 * Until the link is dead or the module goes: receives frames for which no
 * request waits, sends frames that others could not, and PINGs a silent peer.
 * Such a peer is given up only after it had the time to answer each PING,
 * however long this thread or the whole VM stood still.
 */
static void serve(struct shim_link *link)
{
	unsigned long ping = msecs_to_jiffies(link->hello.ping_ms);
	unsigned long last = READ_ONCE(link->last_rx);
	unsigned long due = last + ping;
	unsigned int asked = 0;		/* PINGs since the last byte came */

	while (serving(link)) {
		if (READ_ONCE(link->last_rx) != last) {
			last = READ_ONCE(link->last_rx);
			due = last + ping;
			asked = 0;
		}
		if (time_after_eq(jiffies, due)) {
			if (asked == MAX_PINGS) {
				shim_link_fail(link, "no sign of life");
				break;
			}
			send_ping(link);
			asked++;
			due = jiffies + ping;
		}
		serve_once(link, due - jiffies);
	}
}

/* Shows the guest the GPUs of HELLO_OK, and lets open() use the link. */
static void publish(struct shim *shim, struct shim_link *link)
{
	shim_dev_gpus(shim, &link->hello);
	shim_proc_update(shim, &link->hello);
	shim_pci_update(shim, &link->hello);
	refcount_inc(&link->refs);
	spin_lock(&shim->lock);
	shim->link = link;
	spin_unlock(&shim->lock);
	wake_up_all(&shim->up_wait);
	pr_shim(KERN_INFO, "link up: driver %s, %u GPU(s)\n",
		link->hello.ok->version, le16_to_cpu(link->hello.ok->n_gpu));
}

static void unpublish(struct shim *shim, struct shim_link *link)
{
	spin_lock(&shim->lock);
	shim->link = NULL;
	spin_unlock(&shim->lock);
	shim_link_put(link);
}

/* One link, from its start to its end. True if it was up. */
static bool run_link(struct shim *shim)
{
	struct shim_link *link = shim_link_connect(shim, &shim_rx_ops);
	bool up;

	if (IS_ERR(link))
		return false;
	up = greet(link);
	if (up) {
		publish(shim, link);
		serve(link);
		unpublish(shim, link);
	}
	if (kthread_should_stop())
		send_bye(link);
	shim_link_fail(link, NULL);
	shim_link_close(link);
	shim_link_put(link);
	return up;
}

/* ---- the module ---------------------------------------------------------- */

static int link_thread(void *data)
{
	struct shim *shim = data;
	unsigned int delay_ms = RETRY_MIN_MS;

	while (!kthread_should_stop()) {
		if (READ_ONCE(shim->hold)) {
			wait_event_idle(shim->up_wait,
					!READ_ONCE(shim->hold) ||
					kthread_should_stop());
			delay_ms = RETRY_MIN_MS;
			continue;
		}
		if (run_link(shim))
			delay_ms = RETRY_MIN_MS;
		wait_event_idle_timeout(shim->up_wait, kthread_should_stop(),
					msecs_to_jiffies(delay_ms));
		delay_ms = min(2 * delay_ms, RETRY_MAX_MS);
	}
	return 0;
}

static int __init shim_init(void)
{
	struct shim *shim = &the_shim;
	int err;

	spin_lock_init(&shim->lock);
	INIT_LIST_HEAD(&shim->pci_buses);
	/*
	 * Once for all links: a worker that goes on from a snapshot would need
	 * time to get, and clear, that much memory again.
	 */
	shim->rx_buf = vmalloc(ISO_MAX_FRAME);
	if (!shim->rx_buf)
		return -ENOMEM;
	shim->thread = kthread_create(link_thread, shim, "nvidia-shim");
	if (IS_ERR(shim->thread)) {
		err = PTR_ERR(shim->thread);
		goto err_free;
	}
	/* Comes last, for from here on there can be open files. */
	err = shim_dev_init(shim);
	if (err)
		goto err_stop;
	wake_up_process(shim->thread);
	return 0;

err_stop:
	kthread_stop(shim->thread);	/* never ran */
err_free:
	vfree(shim->rx_buf);
	return err;
}

static void __exit shim_exit(void)
{
	struct shim *shim = &the_shim;

	kthread_stop(shim->thread);
	shim_pci_exit(shim);
	shim_proc_exit(shim);
	shim_dev_exit(shim);
	vfree(shim->rx_buf);
}

module_init(shim_init);
module_exit(shim_exit);

MODULE_DESCRIPTION("NVIDIA device files served by gpu-broker over vsock");
MODULE_LICENSE("Dual MIT/GPL");
