// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * hang.c - a driver whose remove() does not come back, like that of some GPUs
 * which a process still uses: the process that unbinds it sleeps uninterruptibly
 * and holds the device's lock.
 *
 * It drives QEMU's edu device. Writing 1 to /sys/module/hang/parameters/release
 * lets those go that hang now; the next remove() hangs again.
 */
#include <linux/completion.h>
#include <linux/module.h>
#include <linux/pci.h>

#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11e8

static DECLARE_COMPLETION(let_go);

static int release_set(const char *value, const struct kernel_param *kp)
{
	complete_all(&let_go);
	return 0;
}

static const struct kernel_param_ops release_ops = { .set = release_set };
module_param_cb(release, &release_ops, NULL, 0200);
MODULE_PARM_DESC(release, "lets a hanging remove() return");

static int hang_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return pci_enable_device(pdev);
}

static void hang_remove(struct pci_dev *pdev)
{
	reinit_completion(&let_go);
	pci_info(pdev, "remove hangs\n");
	wait_for_completion(&let_go);
	pci_disable_device(pdev);
}

static const struct pci_device_id hang_ids[] = {
	{ PCI_DEVICE(EDU_VENDOR, EDU_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, hang_ids);

static struct pci_driver hang_driver = {
	.name = "hang",
	.id_table = hang_ids,
	.probe = hang_probe,
	.remove = hang_remove,
};
module_pci_driver(hang_driver);

MODULE_DESCRIPTION("a driver that hangs when it is to let a device go");
MODULE_LICENSE("Dual MIT/GPL");
