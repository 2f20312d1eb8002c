/* SPDX-License-Identifier: MIT */
/* filter.h - the system call filter, for sandbox.c */
#ifndef ISO_SANDBOX_FILTER_H
#define ISO_SANDBOX_FILTER_H

#include "base/base.h"

/* The sanitizers' runtime makes calls of its own, and at the end of a process
 * traces it and looks into /proc. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* From now on any system call but those n (1..SANDBOX_MAX_SYSCALLS) kills the
 * process, and so does a clone that is no thread, a signal to another process,
 * or a fcntl but for flags and seals. Needs no_new_privs. 0 or
 * -errno. */
int filter_install(const int *syscalls, size_t n);

#endif /* ISO_SANDBOX_FILTER_H */
