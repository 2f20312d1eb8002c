/* SPDX-License-Identifier: MIT */
/* num.h - numbers in text, whole strings only */
#ifndef ISO_NUM_H
#define ISO_NUM_H

#include "base/base.h"

/*
 * Reads a decimal number, or a hexadecimal one after 0x: no sign, no space,
 * nothing behind it.
 * 0, or -EINVAL (not a number) or -ERANGE (outside min..max).
 */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_v);

/* Decimal bytes with an optional K, M or G (powers of 1024). As parse_u64. */
int parse_size(const char *s, uint64_t min, uint64_t max, uint64_t *ret_bytes);

/* 2 * n hexadecimal digits to n bytes. 0 or -EINVAL. */
int parse_hex(const char *s, uint8_t *ret_bytes, size_t n);

/* PCI address dddd:bb:dd.f, lower-case hex. 0 or -EINVAL. */
struct pci_bdf {
	uint32_t domain;
	uint8_t bus, dev, func;
};
int parse_bdf(const char *s, struct pci_bdf *ret_bdf);

/* VM and worker names: [a-z0-9-]{1,32}. */
bool name_ok(const char *s);

#endif /* ISO_NUM_H */
