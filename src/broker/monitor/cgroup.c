/* SPDX-License-Identifier: MIT */
/* cgroup.c - puts each child into a cgroup of its own */
#include "broker/monitor/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"

#define WEIGHT "100"	/* the kernel's default, the same for all */

static int write_value(int dir_fd, const char *file, const char *value)
{
	_cleanup_close_ int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return -errno;
	return 0;
}

int cgroup_open(const char *dir)
{
	_cleanup_close_ int fd =
		open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = write_value(fd, "cgroup.subtree_control", "+cpu");
	return r < 0 ? r : take_fd(&fd);
}

int cgroup_add(int dir_fd, unsigned int slot, pid_t pid)
{
	_cleanup_close_ int fd = -1;
	char name[32], text[32];
	int r;

	snprintf(name, sizeof(name), "worker%u", slot);
	snprintf(text, sizeof(text), "%d", pid);
	if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write_value(fd, "cpu.weight", WEIGHT);
	return r < 0 ? r : write_value(fd, "cgroup.procs", text);
}
