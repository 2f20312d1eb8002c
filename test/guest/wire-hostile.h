/* SPDX-License-Identifier: MIT */
/* wire-hostile.h - scenarios of wire-client that a broker should refuse */
#ifndef ISO_TEST_WIRE_HOSTILE_H
#define ISO_TEST_WIRE_HOSTILE_H

#include "wire-shim.h"

struct scenario {
	const char *name;
	void (*fn)(struct client *c);
};

/* The last has no name. */
extern const struct scenario hostile_scenarios[];

#endif /* ISO_TEST_WIRE_HOSTILE_H */
