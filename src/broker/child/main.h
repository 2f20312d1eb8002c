/* SPDX-License-Identifier: MIT */
/* main.h - where a child's process starts */
#ifndef ISO_BROKER_CHILD_MAIN_H
#define ISO_BROKER_CHILD_MAIN_H

#include "base/base.h"

/* `gpu-broker --child NAME`: serves one worker until the monitor closes
 * PROTO_CONTROL. */
_noreturn_ void child_main(const char *name);

#endif /* ISO_BROKER_CHILD_MAIN_H */
