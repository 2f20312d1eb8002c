/* SPDX-License-Identifier: MIT */
/*
 * vmctl.h - commands for the shell, which cannot do these things itself
 *
 * The shell has no way to wait for a line of a log, to stop a process without
 * the risk that its pid is another's by now, to run a command in a guest, or to
 * talk to a VMM.
 */
#ifndef ISO_VMCTL_VMCTL_H
#define ISO_VMCTL_VMCTL_H

#include <sys/types.h>

#include "base/base.h"

/* The status when `exec` itself fails; otherwise it is the command's. */
#define VMCTL_EX_OWN 125

/* Each runs one subcommand (argv[0] is its name) and gives the exit status. */
int tsc_main(int argc, char **argv);
int cid_main(int argc, char **argv);
int wait_main(int argc, char **argv);
int stop_main(int argc, char **argv);
int tie_main(int argc, char **argv);
int signal_main(int argc, char **argv);
int exec_main(int argc, char **argv);
int poweroff_main(int argc, char **argv);
int adopt_main(int argc, char **argv);
int api_main(int argc, char **argv);
int qmp_main(int argc, char **argv);
int jail_main(int argc, char **argv);

/* A pidfd of the process if it began at start_time (field 22 of
 * /proc/PID/stat) and has not ended; -ESRCH if not, or another -errno. */
int process_open(pid_t pid, uint64_t start_time);

/* The value of a numeric option. Ends the program with status 64 if it is not a
 * number or out of range. */
uint64_t option_u64(const char *name, const char *value, uint64_t min,
		    uint64_t max);

#endif /* ISO_VMCTL_VMCTL_H */
