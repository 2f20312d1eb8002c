// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * pci.c - shows the GPUs as PCI devices of this guest
 *
 * NVIDIA's programs read a GPU's identity in /sys/bus/pci/devices too, not only
 * through its device files. A worker has no such device. This file gives it one
 * that consists of a configuration header, without memory, interrupts or
 * a driver: on a root bus of the module's own, at the address that HELLO_OK
 * names.
 */
#include <linux/pci.h>
#include <linux/slab.h>

#include "shim.h"

#define HEADER_LEN 64	/* all of the configuration space that there is */
#define FUNCTIONS 256	/* of a bus: devfn is a byte */

struct shim_pci_bus {
	struct list_head node;
	struct pci_sysdata sysdata;
	struct resource numbers;
	struct pci_bus *bus;
	u8 *header[FUNCTIONS];	/* HEADER_LEN bytes, or NULL: nothing there */
};

/* Our bus around the kernel's. */
static struct shim_pci_bus *bus_of(struct pci_bus *bus)
{
	return container_of((struct pci_sysdata *)bus->sysdata,
			    struct shim_pci_bus, sysdata);
}

static int config_read(struct pci_bus *bus, unsigned int devfn, int where,
		       int size, u32 *val)
{
	const u8 *header = bus_of(bus)->header[devfn];
	int i;

	*val = ~0u;
	if (!header)
		return PCIBIOS_DEVICE_NOT_FOUND;
	*val = 0;
	for (i = size - 1; i >= 0; i--)
		*val = *val << 8 |
		       (where + i < HEADER_LEN ? header[where + i] : 0);
	return PCIBIOS_SUCCESSFUL;
}

/* Nothing can be changed, so the kernel, which sizes BARs, finds none. */
static int config_write(struct pci_bus *bus, unsigned int devfn, int where,
			int size, u32 val)
{
	return bus_of(bus)->header[devfn] ? PCIBIOS_SUCCESSFUL :
					    PCIBIOS_DEVICE_NOT_FOUND;
}

static struct pci_ops config_ops = {
	.read = config_read,
	.write = config_write,
};

/* The configuration header of a GPU; NULL without memory. */
static u8 *header_new(const struct iso_gpu *gpu)
{
	u8 *h = kzalloc(HEADER_LEN, GFP_KERNEL);
	u32 class = le32_to_cpu(gpu->class_code);

	if (!h)
		return NULL;
	memcpy(h + PCI_VENDOR_ID, &gpu->vendor, sizeof(gpu->vendor));
	memcpy(h + PCI_DEVICE_ID, &gpu->device, sizeof(gpu->device));
	h[PCI_REVISION_ID] = gpu->revision;
	h[PCI_CLASS_PROG] = class & 0xff;
	h[PCI_CLASS_DEVICE] = class >> 8 & 0xff;
	h[PCI_CLASS_DEVICE + 1] = class >> 16 & 0xff;
	return h;
}

static void bus_free(struct shim_pci_bus *b)
{
	int i;

	for (i = 0; i < FUNCTIONS; i++)
		kfree(b->header[i]);
	kfree(b);
}

/* The bus of a GPU's address, made for the first GPU on it; NULL: no memory. */
static struct shim_pci_bus *bus_get(struct shim *shim,
				    const struct iso_gpu *gpu)
{
	int domain = le32_to_cpu(gpu->domain);
	struct shim_pci_bus *b;

	list_for_each_entry(b, &shim->pci_buses, node)
		if (b->sysdata.domain == domain && b->numbers.start == gpu->bus)
			return b;
	b = kzalloc(sizeof(*b), GFP_KERNEL);
	if (!b)
		return NULL;
	b->sysdata.domain = domain;
	b->sysdata.node = NUMA_NO_NODE;
	b->numbers = (struct resource){
		.name = "nvidia-shim",
		.start = gpu->bus,
		.end = gpu->bus,
		.flags = IORESOURCE_BUS,
	};
	list_add_tail(&b->node, &shim->pci_buses);
	return b;
}

/* Shows a bus and its devices. -EBUSY if the guest has a bus of that number. */
static int bus_show(struct shim_pci_bus *b)
{
	LIST_HEAD(windows);

	pci_add_resource(&windows, &b->numbers);
	b->bus = pci_create_root_bus(NULL, b->numbers.start, &config_ops,
				     &b->sysdata, &windows);
	if (!b->bus) {
		pci_free_resource_list(&windows);
		return -EBUSY;
	}
	pci_scan_child_bus(b->bus);
	pci_bus_add_devices(b->bus);
	return 0;
}

static void buses_drop(struct shim *shim)
{
	struct shim_pci_bus *b, *next;

	list_for_each_entry_safe(b, next, &shim->pci_buses, node) {
		list_del(&b->node);
		if (b->bus) {
			pci_stop_root_bus(b->bus);
			pci_remove_root_bus(b->bus);
		}
		bus_free(b);
	}
}

/* Buses for all GPUs of hello; one that cannot be shown is left out. */
static void buses_make(struct shim *shim, const struct shim_hello *hello)
{
	struct shim_pci_bus *b, *next;
	u32 i;

	for (i = 0; i < le16_to_cpu(hello->ok->n_gpu); i++) {
		const struct iso_gpu *gpu = &hello->gpu[i];

		b = bus_get(shim, gpu);
		if (b && !b->header[gpu->devfn])
			b->header[gpu->devfn] = header_new(gpu);
	}
	list_for_each_entry_safe(b, next, &shim->pci_buses, node) {
		if (!bus_show(b))
			continue;
		pr_shim(KERN_WARNING,
			"PCI bus %04x:%02x is taken; its GPUs are not in /sys\n",
			b->sysdata.domain, (unsigned int)b->numbers.start);
		list_del(&b->node);
		bus_free(b);
	}
}

void shim_pci_update(struct shim *shim, const struct shim_hello *hello)
{
	size_t len = le16_to_cpu(hello->ok->n_gpu) * sizeof(*hello->gpu);

	if (len == shim->pci_len && !memcmp(shim->pci_gpus, hello->gpu, len))
		return;
	pci_lock_rescan_remove();
	buses_drop(shim);
	memcpy(shim->pci_gpus, hello->gpu, len);
	shim->pci_len = len;
	buses_make(shim, hello);
	pci_unlock_rescan_remove();
}

void shim_pci_exit(struct shim *shim)
{
	pci_lock_rescan_remove();
	buses_drop(shim);
	pci_unlock_rescan_remove();
}
