/* SPDX-License-Identifier: MIT */
/* ask.c - asks VFIO about a device */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vfio/vfio.h"

#define MAX_ANSWER 65536u	/* bytes */

struct answer {
	void *p;	/* owned; answer_free() */
	size_t n;	/* bytes */
};

/* Makes an ioctl whose answer may be longer than its structure, the n bytes of
 * head. 0 or -errno. */
static int ask(int fd, unsigned long request, const void *head, size_t n,
	       struct answer *ret_answer)
{
	size_t size = n;

	/* The kernel says how much room it needs, which may grow meanwhile. */
	for (int round = 0; round < 3; round++) {
		_cleanup_free_ void *p = calloc(1, size);
		uint32_t argsz = (uint32_t)size;

		if (!p)
			return -ENOMEM;
		memcpy(p, head, n);
		memcpy(p, &argsz, sizeof(argsz));
		if (ioctl(fd, request, p) < 0)
			return -errno;
		memcpy(&argsz, p, sizeof(argsz));
		if (argsz <= size) {
			ret_answer->p = take_ptr(p);
			ret_answer->n = size;
			return 0;
		}
		if (argsz > MAX_ANSWER)
			return -EMSGSIZE;
		size = argsz;
	}
	return -EMSGSIZE;
}

static void answer_free(struct answer *a)
{
	free(a->p);
	*a = (struct answer){ 0 };
}

int vfio_region(const struct vfio_dev *d, uint32_t index,
		struct parse_region *ret_region)
{
	struct vfio_region_info head = { .index = index };
	struct answer answer;
	int r = ask(d->device, VFIO_DEVICE_GET_REGION_INFO, &head, sizeof(head),
		    &answer);

	if (r < 0)
		return r;
	r = parse_region(answer.p, answer.n, ret_region);
	answer_free(&answer);
	return r;
}

int vfio_header(const struct vfio_dev *d, struct parse_header *ret_header)
{
	struct parse_region config;
	uint8_t bytes[64];
	ssize_t n;
	int r = vfio_region(d, VFIO_PCI_CONFIG_REGION_INDEX, &config);

	if (r < 0)
		return r;
	n = pread(d->device, bytes, sizeof(bytes), (off_t)config.offset);
	if (n < 0)
		return -errno;
	return parse_header(bytes, (size_t)n, ret_header);
}

int vfio_iommu(const struct vfio_dev *d, struct parse_iommu *ret_iommu)
{
	struct vfio_iommu_type1_info head = { 0 };
	struct answer answer;
	int r = ask(d->container, VFIO_IOMMU_GET_INFO, &head, sizeof(head),
		    &answer);

	if (r < 0)
		return r;
	r = parse_iommu(answer.p, answer.n, ret_iommu);
	answer_free(&answer);
	return r;
}

int vfio_affected(const struct vfio_dev *d,
		  struct parse_affected ret[PARSE_MAX_AFFECTED],
		  uint32_t *ret_n)
{
	/* The kernel does not say how much it needs: room for a whole bus. */
	uint8_t head[sizeof(struct vfio_pci_hot_reset_info) +
		     PARSE_MAX_AFFECTED *
			     sizeof(struct vfio_pci_dependent_device)] = { 0 };
	struct answer answer;
	int r = ask(d->device, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, head,
		    sizeof(head), &answer);

	if (r < 0)
		return r;
	r = parse_hot_reset(answer.p, answer.n, ret, ret_n);
	answer_free(&answer);
	return r;
}
