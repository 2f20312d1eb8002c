/* SPDX-License-Identifier: MIT */
/*
 * json.h - writes JSON into a struct wr
 *
 * Inside an object each value has a key; in an array, and for the outermost
 * value, the key is NULL. A value that does not fit turns the struct wr bad.
 */
#ifndef ISO_JSON_H
#define ISO_JSON_H

#include "base/base.h"
#include "base/wr.h"

#define JSON_DEPTH_MAX 16u

struct json {
	struct wr *out;
	char close[JSON_DEPTH_MAX];	/* the bracket that ends each level */
	unsigned depth;
	bool comma;			/* the next value needs one before it */
};

static inline struct json json_init(struct wr *out)
{
	return (struct json){ .out = out };
}

void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
/* Ends the innermost object or array; after the outermost comes a newline. */
void json_end(struct json *j);

/* A string; NULL is null. A byte outside ASCII becomes U+FFFD. */
void json_str(struct json *j, const char *key, const char *s);
void json_strf(struct json *j, const char *key, const char *fmt, ...)
	_printf_(3, 4);
void json_u64(struct json *j, const char *key, uint64_t v);
void json_bool(struct json *j, const char *key, bool v);
void json_null(struct json *j, const char *key);
/* Nanoseconds, as milliseconds with three decimals. */
void json_ms(struct json *j, const char *key, uint64_t ns);

#endif /* ISO_JSON_H */
