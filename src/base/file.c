/* SPDX-License-Identifier: MIT */
/* file.c - reads a small file whole */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>

ssize_t file_read(int dir_fd, const char *path, char *ret, size_t size)
{
	_cleanup_close_ int fd = -1;
	size_t n = 0;

	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	while (n < size) {
		ssize_t r = read(fd, ret + n, size - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0) {
			ret[n] = 0;
			return (ssize_t)n;
		}
		n += (size_t)r;
	}
	return -EFBIG;
}
