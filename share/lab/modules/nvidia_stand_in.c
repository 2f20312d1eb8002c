// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * nvidia_stand_in - stands in for NVIDIA's driver where somebody looks for who
 * uses a GPU: a PCI driver of its name, a character device of its number, and
 * /proc/driver/nvidia/gpus/BDF/information with lines as those of NVIDIA's
 * (kernel-open/nvidia/nv-procfs.c). It drives nothing.
 *
 * It takes any device whose driver_override names it; the first one has minor 0.
 * /dev/nvidiaN is for user space to make, as with NVIDIA's.
 */
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

/* NV_MAJOR_DEVICE_NUMBER and NV_MINOR_DEVICE_NUMBER_CONTROL_DEVICE */
#define NVIDIA_MAJOR 195
#define NVIDIA_CONTROL 255

static DEFINE_IDA(minors);
static struct proc_dir_entry *proc_nvidia, *proc_gpus;

static int information_show(struct seq_file *s, void *v)
{
	struct pci_dev *pdev = s->private;

	seq_puts(s, "Model: \t\t Stand-in of the lab, not NVIDIA's\n");
	seq_printf(s, "IRQ:   \t\t %u\n", pdev->irq);
	seq_printf(s, "Bus Location: \t %s\n", pci_name(pdev));
	seq_printf(s, "Device Minor: \t %u\n",
		   (unsigned int)(uintptr_t)pci_get_drvdata(pdev));
	return 0;
}

static int nvidia_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct proc_dir_entry *dir;
	int minor;

	minor = ida_alloc_max(&minors, NVIDIA_CONTROL - 1, GFP_KERNEL);
	if (minor < 0)
		return minor;
	pci_set_drvdata(pdev, (void *)(uintptr_t)minor);
	dir = proc_mkdir(pci_name(pdev), proc_gpus);
	if (!dir || !proc_create_single_data("information", 0444, dir,
					     information_show, pdev)) {
		proc_remove(dir);
		ida_free(&minors, minor);
		return -ENOMEM;
	}
	return 0;
}

static void nvidia_remove(struct pci_dev *pdev)
{
	remove_proc_subtree(pci_name(pdev), proc_gpus);
	ida_free(&minors, (uintptr_t)pci_get_drvdata(pdev));
}

static struct pci_driver nvidia_driver = {
	.name = "nvidia",
	.probe = nvidia_probe,
	.remove = nvidia_remove,
};

static const struct file_operations nvidia_fops = { .owner = THIS_MODULE };

static int __init nvidia_init(void)
{
	int rc;

	proc_nvidia = proc_mkdir("driver/nvidia", NULL);
	proc_gpus = proc_nvidia ? proc_mkdir("gpus", proc_nvidia) : NULL;
	if (!proc_gpus) {
		rc = -ENOMEM;
		goto out_proc;
	}
	rc = register_chrdev(NVIDIA_MAJOR, "nvidia", &nvidia_fops);
	if (rc < 0)
		goto out_proc;
	rc = pci_register_driver(&nvidia_driver);
	if (rc < 0)
		goto out_chrdev;
	return 0;

out_chrdev:
	unregister_chrdev(NVIDIA_MAJOR, "nvidia");
out_proc:
	proc_remove(proc_nvidia);
	return rc;
}
module_init(nvidia_init);

static void __exit nvidia_exit(void)
{
	pci_unregister_driver(&nvidia_driver);
	unregister_chrdev(NVIDIA_MAJOR, "nvidia");
	proc_remove(proc_nvidia);
}
module_exit(nvidia_exit);

MODULE_DESCRIPTION("stands in for NVIDIA's driver in the lab");
MODULE_LICENSE("Dual MIT/GPL");
