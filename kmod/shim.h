/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * shim.h - the structures and functions that the files of nvidia-shim share
 *
 * The module knows nothing of NVIDIA except two device numbers and the tables
 * of the broker's HELLO_OK. It protects nobody: every rule is enforced by the
 * broker.
 *
 * A file calls only files above it in this list, never one below:
 *
 *   hello.c  HELLO_OK: checked, kept, looked up
 *   link.c   one connection to the broker: bytes out, bytes in, its end
 *   req.c    a request, from its tag to its last answer
 *   rx.c     frames that arrive, each given to its request, file or link
 *   file.c   an open file: open, release, poll
 *   xfer.c   ioctl
 *   map.c    mmap
 *   dev.c    device nodes
 *   proc.c   /proc/driver/nvidia
 *   pci.c    /sys/bus/pci/devices
 *   main.c   the thread that keeps the link up
 *
 * The one way back is struct shim_link_ops, through which link.c hands the
 * bytes that it received to rx.c.
 */
#ifndef SHIM_H
#define SHIM_H

#include <linux/bitmap.h>
#include <linux/cdev.h>
#include <linux/device/class.h>
#include <linux/list.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "iso_wire.h"

#define pr_shim(level, fmt, ...) \
	printk_ratelimited(level "nvidia-shim: " fmt, ##__VA_ARGS__)

/* The driver's own numbers: kernel-open/common/inc/nv-chardev-numbers.h */
#define SHIM_MAJOR 195
#define SHIM_MINORS 256
#define SHIM_MINOR_CTL 255
#define SHIM_UVM_MINORS 2

/* Errnos from here on never leave the kernel (ERESTARTSYS, ...). */
#define SHIM_ERRNO_END 512

/* Requests in flight on one link, even if the broker would allow more. */
#define SHIM_MAX_SLOTS 1024

/*
 * Answers that wait to be sent: more than all the calls and files about which a
 * broker can ask.
 */
#define SHIM_MAX_ANSWERS (4 * SHIM_MAX_SLOTS)

/* The events that poll() asks of the broker and reports; poll(2)'s numbers. */
#define SHIM_POLL_EVENTS \
	((__force u32)(EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLERR | EPOLLHUP))

struct socket;
struct task_struct;

/* The only instance is main.c's; every other file is given a pointer to it. */
struct shim {
	struct cdev cdev_nv;
	struct cdev cdev_uvm;
	dev_t uvm_dev;
	struct class class;
	unsigned int cid;
	unsigned short port;
	unsigned int open_wait_ms;
	bool hold;			/* make no new link */

	struct task_struct *thread;
	u8 *rx_buf;			/* ISO_MAX_FRAME bytes, for the link */
	spinlock_t lock;		/* guards link */
	struct shim_link *link;		/* the one that is up, or NULL */
	wait_queue_head_t up_wait;	/* for a link, or the end of hold */

	/* The thread's own: */
	DECLARE_BITMAP(gpus, SHIM_MINOR_CTL);	/* nodes that exist */
	struct proc_dir_entry *proc;	/* /proc/driver/nvidia */
	void *proc_texts;		/* the bytes its files show */
	size_t proc_len;
	struct list_head pci_buses;	/* of pci.c */
	struct iso_gpu pci_gpus[ISO_MAX_GPUS];	/* the GPUs that they show */
	size_t pci_len;			/* bytes used of pci_gpus */
};

/* A frame to send. Owned by its sender, which may read it again, and by tx. */
struct shim_frame {
	struct list_head node;	/* in link->tx; link->lock */
	refcount_t refs;
	u32 len;
	bool answer;		/* counts in link->n_answers */
	u8 data[] __aligned(8);	/* struct iso_hdr, body */
};

/* A task that waits for a frame, and may have to receive for all others. */
struct shim_waiter {
	struct list_head node;	/* in link->waiters; link->lock */
	wait_queue_head_t wait;
};

/* HELLO_OK, checked. Pointers lead into `body`. */
struct shim_hello {
	void *body;		/* kvmalloc'ed, or NULL */
	const struct iso_hello_ok *ok;
	const struct iso_gpu *gpu;
	const struct iso_row *row;
	const struct iso_class *class;
	const void *texts;
	size_t texts_len;
	u32 max_frame;
	u32 ping_ms;
};

struct shim_link;

/* The functions of rx.c that a link calls. */
struct shim_link_ops {
	/*
	 * Takes the whole frames out of rx_buf, whose first `off` bytes were
	 * parsed before. False: the link has ended.
	 */
	bool (*received)(struct shim_link *link, size_t off);
	/* The link is dead now. link->lock is held. */
	void (*died)(struct shim_link *link);
	/* Its last owner is gone. */
	void (*freed)(struct shim_link *link);
};

/*
 * One connection. Each open file, the thread and shim->link own it.
 *
 *   connect() ──> greeting ──> up ──> dead ──> closed ──> freed
 *                     └────────────────^
 *
 * greeting  The thread waits for HELLO_OK; nobody else knows the link.
 *           - shim_link_connect() enters it
 *           - only the thread sends, and receives no frame but HELLO_OK or BYE
 * up        HELLO_OK came: link->up is set, link->hello constant from now on.
 *           - rx.c enters it
 *           - main.c publishes it; tasks with an open file send and receive
 * dead      For good: link->dead is set. Nothing is queued or received.
 *           - anybody enters it, by shim_link_fail(), at any time
 *           - all requests that wait end with -ENODEV, as does each new one
 *           - the rx owner and the task that set tx_busy may still use sock
 * closed    sock and rx_buf are gone, the queue is empty.
 *           - only the thread enters it, by shim_link_close()
 *           - files stay open on it until their owners close them
 */
struct shim_link {
	refcount_t refs;
	struct shim *shim;
	const struct shim_link_ops *ops;
	struct shim_hello hello;	/* constant once `up` */
	/* id -> shim_file; its lock guards their ready and watched too. */
	struct xarray files;
	wait_queue_head_t poll_wait;	/* poll() on any of the files */
	wait_queue_head_t slot_wait;	/* for a free slot, or the end */
	wait_queue_head_t thread_wait;	/* the thread */
	wait_queue_head_t idle_wait;	/* for no rx_owner, no tx_busy */
	unsigned long last_rx;		/* jiffies */

	/*
	 * Used by the rx owner and by the task that set tx_busy; released by
	 * the thread when the link is dead and both are clear.
	 */
	struct socket *sock;
	void (*old_data_ready)(struct sock *sk);
	void (*old_state_change)(struct sock *sk);
	void (*old_error_report)(struct sock *sk);
	void (*old_write_space)(struct sock *sk);

	/* The rx owner's own: */
	u8 *rx_buf;			/* shim's; until the link is closed */
	size_t rx_len;			/* bytes in it, not yet parsed */
	size_t rx_peeked;		/* bytes parsed, still in the socket;
					 * read by others while there is no
					 * owner
					 */

	spinlock_t lock;		/* guards all below */
	bool up;			/* HELLO_OK came */
	bool dead;			/* for good */
	bool rx_kick;			/* there may be bytes to receive */
	bool rx_end;			/* and their end, or an error */
	wait_queue_head_t *rx_owner;	/* whose task receives, or NULL */
	struct list_head waiters;	/* the newest last */
	struct list_head tx;		/* frames */
	u32 tx_off;			/* bytes of the first that are out */
	bool tx_busy;			/* a task sends */
	bool tx_blocked;		/* until the peer gives credit */
	bool tx_space;			/* it did so during the last try */
	bool tx_kick;			/* the thread is to send the rest */
	u32 n_answers;			/* in tx, to frames of the broker */
	u32 n_slot;
	struct shim_req **slot;		/* tag - 1 -> request; req.c's */
	unsigned long *slot_used;
};

enum shim_req_state {
	REQ_BUSY,	/* its task prepares, or reads the answer */
	REQ_WAITING,	/* in link->waiters */
	REQ_ORPHAN,	/* its task was killed; the answer is dropped */
};

/*
 * A request that gets an answer. Owned by its task and, until the last answer
 * came, by its slot of the link. req.c says which task may touch it when.
 */
struct shim_req {
	refcount_t refs;
	struct shim_link *link;	/* outlives it: a slot or a file holds it */
	struct shim_waiter waiter;
	enum shim_req_state state;	/* link->lock, as all below */
	bool sent;
	u32 tag;
	u16 asked;		/* enum iso_type of the request */
	u16 type;		/* of the answer */
	int err;		/* -ENODEV: the link went */
	u32 file;		/* hdr.file of the answer */
	u32 len;		/* of its body, in reply */
	/* Set by the task while BUSY, filled while WAITING. */
	u32 cap;
	void *reply;
};

/* An open file. Owned by its struct file. */
struct shim_file {
	struct shim_link *link;
	enum iso_dev kind;
	u32 id;				/* hdr.file */
	u32 ready;			/* EPOLL bits told and not yet read */
	bool watched;			/* a POLL is out */
	struct shim_frame *close;	/* made at open(), which may fail */
};

/* hello.c */

/* Checks HELLO_OK's body and keeps a copy. 0, -EPROTO or -ENOMEM. */
int shim_hello_parse(struct shim_hello *hello, const void *body, size_t len);
/*
 * The row for a command on a device, or NULL. Size is _IOC_SIZE, or that of
 * the row where the number does not tell (then it is returned).
 */
const struct iso_row *shim_hello_row(const struct shim_hello *hello,
				     enum iso_dev kind, u32 cmd,
				     u32 *ret_size);
/* The same for {number, size} given apart. */
const struct iso_row *shim_hello_row_sized(const struct shim_hello *hello,
					   enum iso_dev kind, u32 nr, u32 size);
/* Parameter size of an allocation class; 0 if unknown. */
u32 shim_hello_class(const struct shim_hello *hello, u32 class_id);
bool shim_hello_has_gpu(const struct shim_hello *hello, u32 minor);

/* link.c */

/*
 * Connects. The link, owned by the caller, or an ERR_PTR with the error of
 * connect().
 */
struct shim_link *shim_link_connect(struct shim *shim,
				    const struct shim_link_ops *ops);
void shim_link_put(struct shim_link *link);
/* The link that is up, with a reference, or NULL. */
struct shim_link *shim_link_current(struct shim *shim);
/*
 * Declares the link dead; every task that waits gets -ENODEV. With `why` NULL
 * nothing is logged.
 */
void shim_link_fail(struct shim_link *link, const char *why);
/* After shim_link_fail(), by the thread: closes the socket. */
void shim_link_close(struct shim_link *link);

/*
 * A frame with its header and room for the body, owned by the caller; NULL
 * without memory. The tag of a request's frame is set as it is sent.
 */
struct shim_frame *shim_frame_new(enum iso_type type, u32 tag, u32 file,
				  size_t body, gfp_t gfp);
void shim_frame_put(struct shim_frame *frame);
static inline struct iso_hdr *shim_frame_hdr(struct shim_frame *frame)
{
	return (struct iso_hdr *)frame->data;
}

static inline void *shim_frame_body(struct shim_frame *frame)
{
	return frame->data + sizeof(struct iso_hdr);
}

/*
 * Queues a frame (with a reference of the queue's own) and sends as much as the
 * socket takes. -ENODEV on a dead link; -EPROTO: too many answers wait for a
 * broker that does not read them.
 */
int shim_link_send(struct shim_link *link, struct shim_frame *frame);
/* Answers the broker. 0; -ENODEV or -EPROTO as above. */
int shim_link_answer(struct shim_link *link, enum iso_type type, u32 tag,
		     u32 file, const void *body, size_t len);
/* The two halves of a send: link->lock is held, and then it is not. */
void shim_link_queue(struct shim_link *link, struct shim_frame *frame);
void shim_link_flush(struct shim_link *link);
/* For the thread: goes on where a sender stopped. */
void shim_link_send_more(struct shim_link *link);

/*
 * Receives bytes and has rx.c hand out their frames. The caller is the rx
 * owner, and no longer is afterwards.
 */
void shim_link_receive(struct shim_link *link);
/* The owner leaves without receiving; link->lock is held. */
void shim_link_leave(struct shim_link *link);
/*
 * Takes bytes that were parsed out of the socket, if nobody receives now. The
 * caller is about to wait as `waiter`.
 */
void shim_link_trim(struct shim_link *link, struct shim_waiter *waiter);

/* req.c */

/* Room for n requests at once, for a link that has none. 0, or -ENOMEM. */
int shim_req_slots(struct shim_link *link, u32 n);
/* For struct shim_link_ops: died, freed. */
void shim_req_fail_all(struct shim_link *link);
void shim_req_slots_free(struct shim_link *link);

/*
 * A request with a tag and room for an answer of `cap` bytes; waits for a free
 * slot. The request, or an ERR_PTR: -ENODEV, -ENOMEM, -ERESTARTSYS.
 */
struct shim_req *shim_req_new(struct shim_link *link, enum iso_type asked,
			      u32 cap);
/* Makes room for a longer answer. 0, or -ENOMEM. */
int shim_req_room(struct shim_req *req, u32 cap);
/*
 * Sends a frame with the request's tag and waits for the next answer. 0;
 * -ENODEV; -EINTR: killed.
 */
int shim_req_call(struct shim_req *req, struct shim_frame *frame);
/* Its task is done with it. */
void shim_req_free(struct shim_req *req);
/*
 * A frame that answers a request: OPENED, NEED, RESULT, MAPPED. 0; -EPROTO: it
 * answers none; -ENODEV.
 */
int shim_req_answer(struct shim_link *link, const struct iso_hdr *hdr,
		    const void *body, u32 len);

/* rx.c */

extern const struct shim_link_ops shim_rx_ops;

/* file.c: of struct file_operations */

int shim_open(struct inode *inode, struct file *file);
int shim_release(struct inode *inode, struct file *file);
__poll_t shim_poll(struct file *file, poll_table *wait);
/* The open file behind a struct file, or NULL if it is not one of ours. */
struct shim_file *shim_file_of(struct file *file);

/* xfer.c, map.c: of struct file_operations */

long shim_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
int shim_mmap(struct file *file, struct vm_area_struct *vma);

/* dev.c */

int shim_dev_init(struct shim *shim);
void shim_dev_exit(struct shim *shim);
/* Makes nodes for the GPUs of hello, and removes all others; NULL: all. */
void shim_dev_gpus(struct shim *shim, const struct shim_hello *hello);

/* proc.c: shows the texts of HELLO_OK; a failure leaves some out. */
void shim_proc_update(struct shim *shim, const struct shim_hello *hello);
void shim_proc_exit(struct shim *shim);

/* pci.c: shows the GPUs of HELLO_OK, no others; a failure leaves some out. */
void shim_pci_update(struct shim *shim, const struct shim_hello *hello);
void shim_pci_exit(struct shim *shim);

#endif /* SHIM_H */
