// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * dev.c - device nodes; open, release, poll
 */
#include <linux/cred.h>
#include <linux/device.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "shim.h"

#define UVM_MINORS 2

/* ---- open ---------------------------------------------------------------- */

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
	return minor < UVM_MINORS ? 0 : -ENODEV;
}

/* The link that is up, waited for. NULL: none came, or the task was killed. */
static struct shim_link *link_wait(struct shim *shim)
{
	struct shim_link *link = NULL;
	long left;

	left = wait_event_killable_timeout(shim->up_wait,
					   (link = shim_link_current(shim)),
					   msecs_to_jiffies(shim->open_wait_ms));
	return left > 0 ? link : NULL;
}

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
	frame = shim_frame_new(ISO_OPEN, req->tag, 0, sizeof(*open),
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

		err = code ? (code < 512 ? -(int)code : -EIO) : 0;
		sf->id = req->file;
	}
out:
	shim_req_free(req);
	return err;
}

/* From OPENED to the CLOSE frame, whatever else happens. */
static void file_close(struct shim_file *sf)
{
	struct iso_hdr *hdr = (struct iso_hdr *)sf->close->data;

	hdr->file = cpu_to_le32(sf->id);
	shim_link_send(sf->link, sf->close);
}

static void file_free(struct shim_file *sf)
{
	shim_link_put(sf->link);
	shim_frame_put(sf->close);
	kfree(sf);
}

static int shim_open(struct inode *inode, struct file *file)
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

static int shim_release(struct inode *inode, struct file *file)
{
	struct shim_file *sf = file->private_data;

	xa_erase(&sf->link->files, sf->id);
	file_close(sf);
	file_free(sf);
	return 0;
}

/* ---- poll ---------------------------------------------------------------- */

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
 * The broker is asked once and tells once; what it told is reported once, as
 * the driver does with its events (nvidia_poll() in kernel-open/nvidia/nv.c).
 */
static __poll_t shim_poll(struct file *file, poll_table *wait)
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

static const struct file_operations shim_fops = {
	.owner = THIS_MODULE,
	.open = shim_open,
	.release = shim_release,
	.unlocked_ioctl = shim_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = shim_poll,
	.mmap = shim_mmap,
};

struct shim_file *shim_file_of(struct file *file)
{
	return file->f_op == &shim_fops ? file->private_data : NULL;
}

/* ---- nodes --------------------------------------------------------------- */

static char *node_mode(DEVNODE_CONST struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static int node_add(struct shim *shim, dev_t dev, const char *name, u32 n)
{
	struct device *device;

	device = device_create(&shim->class, NULL, dev, NULL, name, n);
	return PTR_ERR_OR_ZERO(device);
}

void shim_dev_gpus(struct shim *shim, const struct shim_hello *hello)
{
	u32 minor;

	for (minor = 0; minor < SHIM_MINOR_CTL; minor++) {
		bool want = hello && shim_hello_has_gpu(hello, minor);
		dev_t dev = MKDEV(SHIM_MAJOR, minor);

		if (want == test_bit(minor, shim->gpus))
			continue;
		if (!want) {
			device_destroy(&shim->class, dev);
			__clear_bit(minor, shim->gpus);
		} else if (!node_add(shim, dev, "nvidia%u", minor)) {
			__set_bit(minor, shim->gpus);
		} else {
			pr_shim(KERN_WARNING, "cannot make nvidia%u\n", minor);
		}
	}
}

static int cdevs_add(struct shim *shim)
{
	int err;

	err = register_chrdev_region(MKDEV(SHIM_MAJOR, 0), SHIM_MINORS,
				     "nvidia");
	if (err)
		return err;
	err = alloc_chrdev_region(&shim->uvm_dev, 0, UVM_MINORS, "nvidia-uvm");
	if (err)
		goto err_nv;
	cdev_init(&shim->cdev_nv, &shim_fops);
	shim->cdev_nv.owner = THIS_MODULE;
	cdev_init(&shim->cdev_uvm, &shim_fops);
	shim->cdev_uvm.owner = THIS_MODULE;
	err = cdev_add(&shim->cdev_nv, MKDEV(SHIM_MAJOR, 0), SHIM_MINORS);
	if (err)
		goto err_uvm;
	err = cdev_add(&shim->cdev_uvm, shim->uvm_dev, UVM_MINORS);
	if (!err)
		return 0;
	cdev_del(&shim->cdev_nv);
err_uvm:
	unregister_chrdev_region(shim->uvm_dev, UVM_MINORS);
err_nv:
	unregister_chrdev_region(MKDEV(SHIM_MAJOR, 0), SHIM_MINORS);
	return err;
}

static void cdevs_del(struct shim *shim)
{
	cdev_del(&shim->cdev_uvm);
	cdev_del(&shim->cdev_nv);
	unregister_chrdev_region(shim->uvm_dev, UVM_MINORS);
	unregister_chrdev_region(MKDEV(SHIM_MAJOR, 0), SHIM_MINORS);
}

int shim_dev_init(struct shim *shim)
{
	dev_t ctl = MKDEV(SHIM_MAJOR, SHIM_MINOR_CTL);
	int err;

	err = cdevs_add(shim);
	if (err)
		return err;
	shim->class.name = "nvidia";
	shim->class.devnode = node_mode;
	err = class_register(&shim->class);
	if (err)
		goto err_cdevs;
	err = node_add(shim, ctl, "nvidiactl", 0);
	if (err)
		goto err_class;
	err = node_add(shim, shim->uvm_dev, "nvidia-uvm", 0);
	if (err)
		goto err_ctl;
	err = node_add(shim, shim->uvm_dev + 1, "nvidia-uvm-tools", 0);
	if (!err)
		return 0;
	device_destroy(&shim->class, shim->uvm_dev);
err_ctl:
	device_destroy(&shim->class, ctl);
err_class:
	class_unregister(&shim->class);
err_cdevs:
	cdevs_del(shim);
	return err;
}

void shim_dev_exit(struct shim *shim)
{
	shim_dev_gpus(shim, NULL);
	device_destroy(&shim->class, shim->uvm_dev + 1);
	device_destroy(&shim->class, shim->uvm_dev);
	device_destroy(&shim->class, MKDEV(SHIM_MAJOR, SHIM_MINOR_CTL));
	class_unregister(&shim->class);
	cdevs_del(shim);
}
