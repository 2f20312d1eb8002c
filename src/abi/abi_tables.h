/* SPDX-License-Identifier: MIT */
/* abi_tables.h - the tables in build/gen/abi_tables.c, for abi.c alone */
#ifndef ISO_ABI_TABLES_H
#define ISO_ABI_TABLES_H

#include "abi.h"

struct abi_status {
	uint32_t nr;
	const char *name;
};

extern const struct abi abi_tables[]; /* ascending versions */
extern const unsigned int abi_n_tables;
extern const struct abi_status abi_statuses[]; /* ascending numbers */
extern const unsigned int abi_n_statuses;

#endif
