/* SPDX-License-Identifier: MIT */
/* term.h - our own terminal, while a command in a guest uses it */
#ifndef ISO_VMCTL_TERM_H
#define ISO_VMCTL_TERM_H

#include "base/base.h"

/* Puts stdin, if it is a terminal, into raw mode until the program exits. May
 * be called again. */
void term_raw(void);
/* Puts it back. */
void term_restore(void);
/* Size of the terminal on stdin or stdout; zeroes if neither is one. */
void term_size(uint16_t *ret_rows, uint16_t *ret_cols);

#endif /* ISO_VMCTL_TERM_H */
