/* SPDX-License-Identifier: MIT */
/* file.h - small files, read at once */
#ifndef ISO_FILE_H
#define ISO_FILE_H

#include <sys/types.h>

#include "base/base.h"

/*
 * Reads a file that is shorter than the `size` bytes of ret, and puts a NUL
 * behind it. path is relative to dir_fd, or to the working directory with
 * AT_FDCWD; a FIFO there does not hold the caller up. How many bytes without
 * the NUL, or -errno: -EFBIG if they do not fit.
 */
ssize_t file_read(int dir_fd, const char *path, char *ret, size_t size);

#endif /* ISO_FILE_H */
