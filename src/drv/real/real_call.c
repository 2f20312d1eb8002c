/* SPDX-License-Identifier: MIT */
/* real_call.c - gives calls the numbers that NVIDIA's driver has for them */
#include <linux/ioctl.h>

#include "drv/real/real.h"

/* nv-ioctl-numbers.h: of every escape. */
#define NV_IOCTL_MAGIC 'F'

unsigned long real_request(const struct abi_row *row, uint32_t len)
{
	if (row->kind == ABI_UVM)
		return row->nr; /* bare numbers */
	return _IOC(_IOC_READ | _IOC_WRITE, NV_IOCTL_MAGIC, row->nr, len);
}

bool real_opens_async(const struct abi *abi)
{
	return abi_row(abi, ABI_R_NV_ESC_WAIT_OPEN_COMPLETE) != NULL;
}
