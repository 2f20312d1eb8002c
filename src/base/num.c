/* SPDX-License-Identifier: MIT */
/* num.c - reads numbers in text */
#include "base/num.h"

#include <errno.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Digits of s[0..n) to *ret_v; -EINVAL, or -ERANGE past 64 bits. */
static int parse_digits(const char *s, size_t n, unsigned int base,
			uint64_t *ret_v)
{
	uint64_t v = 0;

	if (n == 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int d = hex_digit(s[i]);

		if (d < 0 || (unsigned int)d >= base)
			return -EINVAL;
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)d, &v))
			return -ERANGE;
	}
	*ret_v = v;
	return 0;
}

int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_v)
{
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	const char *p = hex ? s + 2 : s;
	uint64_t v;
	int r = parse_digits(p, strlen(p), hex ? 16 : 10, &v);

	if (r < 0)
		return r;
	if (v < min || v > max)
		return -ERANGE;
	*ret_v = v;
	return 0;
}

int parse_size(const char *s, uint64_t min, uint64_t max, uint64_t *ret_bytes)
{
	size_t n = strlen(s);
	uint64_t unit = 1, v;
	int r;

	if (n > 0 && s[n - 1] == 'K')
		unit = 1u << 10;
	else if (n > 0 && s[n - 1] == 'M')
		unit = 1u << 20;
	else if (n > 0 && s[n - 1] == 'G')
		unit = 1u << 30;
	r = parse_digits(s, n - (unit > 1), 10, &v);
	if (r < 0)
		return r;
	if (__builtin_mul_overflow(v, unit, &v) || v < min || v > max)
		return -ERANGE;
	*ret_bytes = v;
	return 0;
}

int parse_hex(const char *s, uint8_t *ret_bytes, size_t n)
{
	if (strlen(s) != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < 2 * n; i++)
		if (hex_digit(s[i]) < 0)
			return -EINVAL;
	for (size_t i = 0; i < n; i++)
		ret_bytes[i] = (uint8_t)(hex_digit(s[2 * i]) << 4 |
					 hex_digit(s[2 * i + 1]));
	return 0;
}

int parse_bdf(const char *s, struct pci_bdf *ret_bdf)
{
	static const char form[] = "xxxx:xx:xx.f";
	uint64_t domain, bus, dev;

	if (strlen(s) != sizeof(form) - 1)
		return -EINVAL;
	for (size_t i = 0; form[i]; i++) {
		bool ok;

		if (form[i] == 'x')
			ok = hex_digit(s[i]) >= 0 && (s[i] < 'A' || s[i] > 'F');
		else if (form[i] == 'f')
			ok = s[i] >= '0' && s[i] <= '7';
		else
			ok = s[i] == form[i];
		if (!ok)
			return -EINVAL;
	}
	if (parse_digits(s, 4, 16, &domain) < 0 ||
	    parse_digits(s + 5, 2, 16, &bus) < 0 ||
	    parse_digits(s + 8, 2, 16, &dev) < 0 || dev > 31)
		return -EINVAL;
	*ret_bdf = (struct pci_bdf){
		.domain = (uint32_t)domain,
		.bus = (uint8_t)bus,
		.dev = (uint8_t)dev,
		.func = (uint8_t)(s[11] - '0'),
	};
	return 0;
}

bool name_ok(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= 32 &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}
