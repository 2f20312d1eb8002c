/* SPDX-License-Identifier: MIT */
/*
 * main.c - runs gpu-broker as the process that it was started as
 *
 * Two kinds of process run this program: the monitor, which an administrator
 * starts, and children, which the monitor starts. Neither of the folders
 * monitor/ and child/ includes the other; proto.h is what they share.
 */
#include <string.h>

#include "broker/child/main.h"
#include "broker/monitor/main.h"

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--child") == 0)
		child_main(argv[2]);
	return monitor_main(argc, argv);
}
