/* SPDX-License-Identifier: MIT */
/* term.h - our own terminal while a guest's is behind it */
#ifndef ISO_VMCTL_TERM_H
#define ISO_VMCTL_TERM_H

#include "base/base.h"

/* Puts the terminal on stdin, if it is one, into raw mode until the program
 * ends, in whatever way but SIGKILL. May be called again. */
void term_raw(void);
void term_restore(void);
/* Size of the terminal on stdin or stdout; zeroes if neither is one. */
void term_size(uint16_t *ret_rows, uint16_t *ret_cols);

#endif /* ISO_VMCTL_TERM_H */
