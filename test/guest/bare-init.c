/* SPDX-License-Identifier: MIT */
/*
 * bare-init.c - the least that a guest can run as /init
 *
 * It says on the console that it runs, and stays. A worker's boot is measured
 * against that of a guest with this.
 */
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/base.h"

int main(void)
{
	static const char line[] = "\nisospin: bare init\n";
	int fd;

	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) < 0)
		return ISO_EX_BUG;
	fd = open("/dev/console", O_WRONLY);
	if (fd < 0 || write(fd, line, sizeof(line) - 1) < 0)
		return ISO_EX_IO;
	for (;;)
		pause();
}
