/* SPDX-License-Identifier: MIT */
/*
 * cgroup.h - an equal share of the processors for each child (cgroup v2)
 *
 * A worker that keeps its whole pool of threads busy gets no more of the GPU
 * VM's processors than one with a single call out.
 */
#ifndef ISO_BROKER_CGROUP_H
#define ISO_BROKER_CGROUP_H

#include <sys/types.h>

/* Lets the groups below dir, a cgroup v2, have weights. An fd of dir, or
 * -errno. */
int cgroup_open(const char *dir);

/* Puts a process into the group of that slot, which is made if it is not there;
 * the empty group stays when the process has ended. 0 or -errno. */
int cgroup_add(int dir_fd, unsigned int slot, pid_t pid);

#endif /* ISO_BROKER_CGROUP_H */
