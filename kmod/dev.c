// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * dev.c - makes the device nodes
 */
#include <linux/device.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>

#include "shim.h"

static const struct file_operations shim_fops = {
	.owner = THIS_MODULE,
	.open = shim_open,
	.release = shim_release,
	.unlocked_ioctl = shim_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = shim_poll,
	.mmap = shim_mmap,
};

/* Everybody may open the nodes. */
static char *node_mode(DEVNODE_CONST struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

/* name is a format for n. 0 or -errno. */
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
			pr_shim(KERN_WARNING, "cannot make /dev/nvidia%u\n",
				minor);
		}
	}
}

/* Both ranges of device numbers, and files behind them. */
static int cdevs_add(struct shim *shim)
{
	int err;

	err = register_chrdev_region(MKDEV(SHIM_MAJOR, 0), SHIM_MINORS,
				     "nvidia");
	if (err)
		return err;
	err = alloc_chrdev_region(&shim->uvm_dev, 0, SHIM_UVM_MINORS,
				  "nvidia-uvm");
	if (err)
		goto err_nv;
	cdev_init(&shim->cdev_nv, &shim_fops);
	shim->cdev_nv.owner = THIS_MODULE;
	cdev_init(&shim->cdev_uvm, &shim_fops);
	shim->cdev_uvm.owner = THIS_MODULE;
	err = cdev_add(&shim->cdev_nv, MKDEV(SHIM_MAJOR, 0), SHIM_MINORS);
	if (err)
		goto err_uvm;
	err = cdev_add(&shim->cdev_uvm, shim->uvm_dev, SHIM_UVM_MINORS);
	if (!err)
		return 0;
	cdev_del(&shim->cdev_nv);
err_uvm:
	unregister_chrdev_region(shim->uvm_dev, SHIM_UVM_MINORS);
err_nv:
	unregister_chrdev_region(MKDEV(SHIM_MAJOR, 0), SHIM_MINORS);
	return err;
}

static void cdevs_del(struct shim *shim)
{
	cdev_del(&shim->cdev_uvm);
	cdev_del(&shim->cdev_nv);
	unregister_chrdev_region(shim->uvm_dev, SHIM_UVM_MINORS);
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
