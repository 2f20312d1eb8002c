/* SPDX-License-Identifier: MIT */
/*
 * secret.h - a secret that two programs prove to each other that they know
 *
 * A secret is SECRET_LEN bytes: the broker's and the agents' alike. In a file
 * it is those bytes, or twice as many hexadecimal digits with or without a
 * newline. Whoever has read one wipes it with explicit_bzero() when it is no
 * longer needed, and compares it by equal_ct().
 */
#ifndef ISO_SECRET_H
#define ISO_SECRET_H

#include "base/base.h"

#define SECRET_LEN 32u

/* Reads the file. 0, -EINVAL if it does not hold a secret, or -errno. */
_must_check_ int secret_read(const char *path,
			     uint8_t ret_secret[static SECRET_LEN]);

/* The n bytes of such a file. 0 or -EINVAL. */
_must_check_ int secret_parse(const char *text, size_t n,
			      uint8_t ret_secret[static SECRET_LEN]);

/* The text for a message when secret_read() failed with err. */
const char *secret_error(int err);

#endif /* ISO_SECRET_H */
