// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * file.c - keeps an open file, from open() to release()
 */
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "shim.h"

/* ---- open ---------------------------------------------------------------- */

/* The device behind a node. 0, or -ENODEV: there is none of that minor. */
static int file_kind(const struct inode *inode, struct shim **ret_shim,
		     enum iso_dev *ret_kind)
{
	u32 minor = iminor(inode);

	if (imajor(inode) == SHIM_MAJOR) {
		*ret_shim = container_of(inode->i_cdev, struct shim, cdev_nv);
		*ret_kind = minor == SHIM_MINOR_CTL ? ISO_DEV_CTL : ISO_DEV_GPU;
		return 0;
	}
	*ret_shim = container_of(inode->i_cdev, struct shim, cdev_uvm);
	*ret_kind = minor ? ISO_DEV_UVM_TOOLS : ISO_DEV_UVM;
	return minor < SHIM_UVM_MINORS ? 0 : -ENODEV;
}

/* Waits for a link that is up. NULL: none came, or the task was killed. */
static struct shim_link *link_wait(struct shim *shim)
{
	struct shim_link *link = NULL;
	long left;

	left = wait_event_killable_timeout(shim->up_wait,
					   (link = shim_link_current(shim)),
					   msecs_to_jiffies(shim->open_wait_ms));
	return left > 0 ? link : NULL;
}

/* Opens the device in the broker. 0, or the error of open(). */
static int file_open(struct shim_file *sf, struct file *file, u32 minor)
{
	struct shim_link *link = sf->link;
	struct shim_frame *frame;
	struct iso_open *open;
	struct shim_req *req;
	int err;

	if (sf->kind == ISO_DEV_GPU && !shim_hello_has_gpu(&link->hello, minor))
		return -ENODEV;
	req = shim_req_new(link, ISO_OPEN, sizeof(struct iso_opened));
	if (IS_ERR(req))
		return PTR_ERR(req);
	err = -ENOMEM;
	frame = shim_frame_new(ISO_OPEN, 0, 0, sizeof(*open),
			       GFP_KERNEL_ACCOUNT);
	if (!frame)
		goto out;
	open = shim_frame_body(frame);
	*open = (struct iso_open){
		.kind = cpu_to_le32(sf->kind),
		.minor = cpu_to_le32(sf->kind == ISO_DEV_GPU ? minor : 0),
		.flags = cpu_to_le32(file->f_flags & (O_ACCMODE | O_NONBLOCK)),
		.tgid = cpu_to_le32(task_tgid_nr(current)),
		.uid = cpu_to_le32(from_kuid_munged(&init_user_ns,
						    current_uid())),
	};
	err = shim_req_call(req, frame);
	shim_frame_put(frame);
	if (!err) {
		const struct iso_opened *opened = req->reply;
		u32 code = le32_to_cpu(opened->err);

		err = code < SHIM_ERRNO_END ? -(int)code : -EIO;
		sf->id = req->file;
	}
out:
	shim_req_free(req);
	return err;
}

/* Sends CLOSE. Must happen once for each file that OPENED gave. */
static void file_close(struct shim_file *sf)
{
	shim_frame_hdr(sf->close)->file = cpu_to_le32(sf->id);
	shim_link_send(sf->link, sf->close);
}

static void file_free(struct shim_file *sf)
{
	shim_link_put(sf->link);
	shim_frame_put(sf->close);
	kfree(sf);
}

int shim_open(struct inode *inode, struct file *file)
{
	struct shim_file *sf;
	enum iso_dev kind;
	struct shim *shim;
	int err;

	err = file_kind(inode, &shim, &kind);
	if (err)
		return err;
	sf = kzalloc(sizeof(*sf), GFP_KERNEL_ACCOUNT);
	if (!sf)
		return -ENOMEM;
	sf->kind = kind;
	sf->close = shim_frame_new(ISO_CLOSE, 0, 0, 0, GFP_KERNEL_ACCOUNT);
	if (!sf->close) {
		kfree(sf);
		return -ENOMEM;
	}
	sf->link = link_wait(shim);
	if (!sf->link) {
		shim_frame_put(sf->close);
		kfree(sf);
		return -ENODEV;
	}
	err = file_open(sf, file, iminor(inode));
	if (err)
		goto err_free;
	err = xa_insert(&sf->link->files, sf->id, sf, GFP_KERNEL);
	if (err == -EBUSY) {
		shim_link_fail(sf->link, "file id given twice");
		err = -ENODEV;
	}
	if (err) {
		file_close(sf);
		goto err_free;
	}
	file->private_data = sf;
	return nonseekable_open(inode, file);

err_free:
	file_free(sf);
	return err;
}

int shim_release(struct inode *inode, struct file *file)
{
	struct shim_file *sf = file->private_data;

	xa_erase(&sf->link->files, sf->id);
	file_close(sf);
	file_free(sf);
	return 0;
}

struct shim_file *shim_file_of(struct file *file)
{
	return file->f_op->release == shim_release ? file->private_data : NULL;
}

/* ---- poll ---------------------------------------------------------------- */

/* Asks the broker for one EVENT. */
static void file_watch(struct shim_file *sf)
{
	struct shim_frame *frame;
	struct iso_poll *poll;

	frame = shim_frame_new(ISO_POLL, 0, sf->id, sizeof(*poll),
			       GFP_KERNEL | __GFP_NOFAIL);
	poll = shim_frame_body(frame);
	*poll = (struct iso_poll){
		.events = cpu_to_le32(SHIM_POLL_EVENTS),
	};
	shim_link_send(sf->link, frame);
	shim_frame_put(frame);
}

/*
 * Each POLL gets one EVENT, and each EVENT is reported to one poll(), as the
 * driver does with its events (nvidia_poll() in kernel-open/nvidia/nv.c).
 */
__poll_t shim_poll(struct file *file, poll_table *wait)
{
	struct shim_file *sf = file->private_data;
	struct shim_link *link = sf->link;
	bool watch = false;
	u32 ready;

	poll_wait(file, &link->poll_wait, wait);
	if (READ_ONCE(link->dead))
		return EPOLLERR | EPOLLHUP;
	xa_lock(&link->files);
	ready = sf->ready;
	sf->ready = 0;
	if (!ready && !sf->watched) {
		sf->watched = true;
		watch = true;
	}
	xa_unlock(&link->files);
	if (watch)
		file_watch(sf);
	return (__force __poll_t)ready;
}
