/* SPDX-License-Identifier: MIT */
/* main.h - where the monitor's process starts */
#ifndef ISO_BROKER_MONITOR_MAIN_H
#define ISO_BROKER_MONITOR_MAIN_H

/* gpu-broker with its options, until a signal ends it; an exit status. */
int monitor_main(int argc, char **argv);

#endif /* ISO_BROKER_MONITOR_MAIN_H */
