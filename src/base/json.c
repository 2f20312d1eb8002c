/* SPDX-License-Identifier: MIT */
/* json.c - writes JSON */
#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_FORMATTED 512

static void put(struct json *j, const char *s)
{
	wr_bytes(j->out, s, strlen(s));
}

/* Writes s in quotes, as ASCII. */
static void put_string(struct json *j, const char *s)
{
	put(j, "\"");
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		char escape[8];

		if (c == '"' || c == '\\')
			snprintf(escape, sizeof(escape), "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			snprintf(escape, sizeof(escape), "\\u%04x", c);
		else if (c > 0x7f)
			snprintf(escape, sizeof(escape), "\\ufffd");
		else
			snprintf(escape, sizeof(escape), "%c", c);
		put(j, escape);
	}
	put(j, "\"");
}

/* Writes what stands before a value: comma, key. */
static void begin(struct json *j, const char *key)
{
	if (j->comma)
		put(j, ",");
	j->comma = true;
	if (key) {
		put_string(j, key);
		put(j, ":");
	}
}

static void nest(struct json *j, const char *key, const char *open, char close)
{
	begin(j, key);
	if (j->depth == JSON_DEPTH_MAX) {
		j->out->bad = true;
		return;
	}
	put(j, open);
	j->close[j->depth++] = close;
	j->comma = false;
}

void json_object(struct json *j, const char *key)
{
	nest(j, key, "{", '}');
}

void json_array(struct json *j, const char *key)
{
	nest(j, key, "[", ']');
}

void json_end(struct json *j)
{
	if (j->depth == 0) {
		j->out->bad = true;
		return;
	}
	wr_bytes(j->out, &j->close[--j->depth], 1);
	j->comma = j->depth > 0;
	if (j->depth == 0)
		put(j, "\n");
}

void json_str(struct json *j, const char *key, const char *s)
{
	if (!s) {
		json_null(j, key);
		return;
	}
	begin(j, key);
	put_string(j, s);
}

void json_strf(struct json *j, const char *key, const char *fmt, ...)
{
	char text[MAX_FORMATTED];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text)) {
		j->out->bad = true;
		return;
	}
	json_str(j, key, text);
}

void json_u64(struct json *j, const char *key, uint64_t v)
{
	char text[24];

	begin(j, key);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	put(j, text);
}

void json_bool(struct json *j, const char *key, bool v)
{
	begin(j, key);
	put(j, v ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
	begin(j, key);
	put(j, "null");
}

void json_ms(struct json *j, const char *key, uint64_t ns)
{
	char text[32];

	begin(j, key);
	snprintf(text, sizeof(text), "%llu.%03llu",
		 (unsigned long long)(ns / 1000000),
		 (unsigned long long)(ns / 1000 % 1000));
	put(j, text);
}
