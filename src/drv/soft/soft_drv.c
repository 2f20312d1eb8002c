/* SPDX-License-Identifier: MIT */
/* soft_drv.c - executes the soft driver's operations under one lock */
#include <errno.h>
#include <string.h>

#include "drv/soft/soft_rm.h"

static struct soft_rm *rm_of(struct drv *drv)
{
	return container_of(drv, struct soft_rm, base);
}

static struct soft_file *file_of(struct drv_file *file)
{
	return container_of(file, struct soft_file, base);
}

static int soft_open(struct drv *drv, enum drv_kind kind, uint32_t minor,
		     uint32_t flags, const struct drv_cred *cred,
		     struct drv_file **ret_file)
{
	struct soft_rm *rm = rm_of(drv);
	struct soft_file *file;

	(void)flags; /* a soft GPU is ready at once */
	(void)cred;
	if (kind == DRV_GPU && minor >= rm->model.count)
		return -ENODEV;
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->base.drv = drv;
	file->base.kind = kind;
	file->base.minor = minor;
	file->refs = 1;
	if (kind == DRV_GPU) { /* the first open brings the GPU up */
		pthread_mutex_lock(&rm->lock);
		rm->model.gpu[minor].attached = true;
		pthread_mutex_unlock(&rm->lock);
	}
	*ret_file = &file->base;
	return 0;
}

static int soft_ioctl(struct drv_file *base, struct drv_call *call)
{
	static const uint8_t device[DRV_KIND_COUNT] = {
		[DRV_CTL] = ABI_DEV_CTL,
		[DRV_GPU] = ABI_DEV_GPU,
		[DRV_UVM] = ABI_DEV_UVM,
	};
	struct soft_rm *rm = rm_of(base->drv);
	struct soft_file *file = file_of(base);
	int r;

	if (!(call->row->dev & device[base->kind]))
		return -EINVAL;
	pthread_mutex_lock(&rm->lock);
	if (call->row->kind == ABI_UVM)
		r = soft_uvm(rm, file, call);
	else
		r = soft_escape(rm, file, call);
	pthread_mutex_unlock(&rm->lock);
	return r;
}

static int soft_mmap(struct drv_file *file, const struct drv_map *map)
{
	(void)file;
	(void)map;
	return -EOPNOTSUPP;
}

static int soft_poll_fd(struct drv_file *file)
{
	(void)file;
	return -1;
}

/* Lets go of a file, with the lock held. A control file, with its RM clients,
 * stays while a file that is registered with it is open. */
static void put(struct soft_rm *rm, struct soft_file *file)
{
	struct soft_file *ctl = file->ctl;

	if (--file->refs > 0)
		return;
	soft_clients_drop(rm, file);
	free(file);
	if (ctl)
		put(rm, ctl); /* one level: a control file has no ctl */
}

static void soft_close(struct drv_file *base)
{
	struct soft_rm *rm = rm_of(base->drv);

	pthread_mutex_lock(&rm->lock);
	put(rm, file_of(base));
	pthread_mutex_unlock(&rm->lock);
}

static int soft_gpu(struct drv *drv, unsigned int i, struct drv_gpu *ret)
{
	const struct soft_model *m = &rm_of(drv)->model;

	if (i >= m->count)
		return -ENODEV;
	memset(ret, 0, sizeof(*ret));
	ret->minor = m->gpu[i].minor;
	ret->domain = m->gpu[i].domain;
	ret->bus = m->gpu[i].bus;
	ret->slot = m->gpu[i].slot;
	ret->function = m->gpu[i].function;
	ret->vendor_id = SOFT_PCI_VENDOR;
	ret->device_id = SOFT_PCI_DEVICE;
	ret->revision = SOFT_CHIP_REVISION;
	ret->class_code = SOFT_PCI_CLASS;
	memcpy(ret->name, m->name, sizeof(ret->name));
	memcpy(ret->uuid, m->gpu[i].uuid_text, sizeof(ret->uuid));
	return 0;
}

static void soft_destroy(struct drv *drv)
{
	struct soft_rm *rm = rm_of(drv);

	pthread_mutex_destroy(&rm->lock);
	free(rm);
}

static const struct drv_ops soft_ops = {
	.open = soft_open,
	.ioctl = soft_ioctl,
	.mmap = soft_mmap,
	.poll_fd = soft_poll_fd,
	.close = soft_close,
	.gpu = soft_gpu,
	.destroy = soft_destroy,
};

int soft_new(const struct abi *abi, const char *version,
		 const struct soft_config *config, struct drv **ret_drv)
{
	struct soft_rm *rm;
	int r;

	if (strlen(version) >= sizeof(rm->base.version))
		return -EINVAL;
	rm = calloc(1, sizeof(*rm));
	if (!rm)
		return -ENOMEM;
	r = soft_model_init(&rm->model, config);
	if (r < 0) {
		free(rm);
		return r;
	}
	rm->base.ops = &soft_ops;
	rm->base.abi = abi;
	memcpy(rm->base.version, version, strlen(version) + 1);
	rm->max_clients = config->max_clients;
	rm->max_objects = config->max_objects;
	rm->max_mem = config->max_mem_bytes;
	pthread_mutex_init(&rm->lock, NULL);
	*ret_drv = &rm->base;
	return 0;
}
