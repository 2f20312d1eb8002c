/* SPDX-License-Identifier: MIT */
/* filter.h - the system call filter, for sandbox.c */
#ifndef ISO_SANDBOX_FILTER_H
#define ISO_SANDBOX_FILTER_H

#include "base/base.h"

/* From now on any system call but those n (1..SANDBOX_MAX_SYSCALLS) kills the
 * process. Needs no_new_privs. 0 or -errno. */
int filter_install(const int *syscalls, size_t n);

#endif /* ISO_SANDBOX_FILTER_H */
