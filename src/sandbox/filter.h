/* SPDX-License-Identifier: MIT */
/* filter.h - the last stage of sandbox.c */
#ifndef ISO_SANDBOX_FILTER_H
#define ISO_SANDBOX_FILTER_H

#include "base/base.h"

/* The runtime of the sanitizers makes calls of its own; when a process ends, it
 * traces the process and looks into /proc. */
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

/* From now on the process is killed by any system call but those n
 * (1..SANDBOX_MAX_SYSCALLS), by a clone that makes no thread, by a signal to
 * another process, and by a fcntl about anything but flags and seals. Needs
 * no_new_privs. 0 or -errno. */
int filter_install(const int *syscalls, size_t n);

#endif /* ISO_SANDBOX_FILTER_H */
