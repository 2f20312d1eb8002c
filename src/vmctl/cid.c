/* SPDX-License-Identifier: MIT */
/* cid.c - prints the vsock address of this machine */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#include "base/log.h"
#include "vmctl/vmctl.h"

/* The kernel has to be asked: no file of /proc or /sys has the address. */
int cid_main(int argc, char **argv)
{
	_cleanup_close_ int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
	unsigned int cid;

	(void)argv;
	if (argc != 1)
		die(ISO_EX_USAGE, "cid takes no operand; see -h");
	if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		return 1;
	printf("%u\n", cid);
	return ISO_EX_OK;
}
