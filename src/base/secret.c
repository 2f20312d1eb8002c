/* SPDX-License-Identifier: MIT */
/* secret.c - reads a secret from its file */
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "abi/iso_agent.h"
#include "abi/iso_wire.h"
#include "base/file.h"
#include "base/num.h"

_Static_assert(SECRET_LEN == ISO_SECRET_LEN, "the broker's secret");
_Static_assert(SECRET_LEN == AGENT_SECRET_LEN, "an agent's secret");

#define HEX_LEN (2 * SECRET_LEN)

int secret_parse(const char *text, size_t n,
		 uint8_t ret_secret[static SECRET_LEN])
{
	char hex[HEX_LEN + 1];
	int r;

	if (n == SECRET_LEN) {
		memcpy(ret_secret, text, n);
		return 0;
	}
	if (n == HEX_LEN + 1 && text[n - 1] == '\n')
		n--;
	if (n != HEX_LEN)
		return -EINVAL;
	memcpy(hex, text, n);
	hex[n] = 0;
	r = parse_hex(hex, ret_secret, SECRET_LEN);
	explicit_bzero(hex, sizeof(hex));
	return r;
}

int secret_read(const char *path, uint8_t ret_secret[static SECRET_LEN])
{
	char text[HEX_LEN + 2];
	ssize_t n = file_read(AT_FDCWD, path, text, sizeof(text));
	int r;

	if (n == -EFBIG)
		r = -EINVAL;
	else
		r = n < 0 ? (int)n : secret_parse(text, (size_t)n, ret_secret);
	explicit_bzero(text, sizeof(text));
	return r;
}

const char *secret_error(int err)
{
	return err == -EINVAL ? "neither 32 bytes nor 64 hexadecimal digits" :
				strerror(-err);
}
