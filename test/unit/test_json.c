/* SPDX-License-Identifier: MIT */
/* test_json.c - tests the JSON writer */
#include <string.h>

#include "base/json.h"
#include "tap.h"

static bool is(const struct wr *w, const char *text)
{
	return wr_ok(w) && w->len == strlen(text) &&
	       memcmp(w->p, text, w->len) == 0;
}

static void test_values(void)
{
	struct wr w;
	struct json j;

	wr_init(&w, 4096);
	j = json_init(&w);
	json_object(&j, NULL);
	json_str(&j, "s", "x");
	json_strf(&j, "f", "%04x", 0x10deu);
	json_str(&j, "none", NULL);
	json_u64(&j, "max", UINT64_MAX);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	json_ms(&j, "ms", 1234567890);
	json_ms(&j, "small", 7999);
	json_end(&j);
	ok(is(&w, "{\"s\":\"x\",\"f\":\"10de\",\"none\":null,"
		  "\"max\":18446744073709551615,\"yes\":true,\"no\":false,"
		  "\"ms\":1234.567,\"small\":0.007}\n"),
	   "each kind of value is written");
	wr_free(&w);
}

static void test_nesting(void)
{
	struct wr w;
	struct json j;

	wr_init(&w, 4096);
	j = json_init(&w);
	json_object(&j, NULL);
	json_array(&j, "empty");
	json_end(&j);
	json_array(&j, "list");
	json_u64(&j, NULL, 1);
	json_object(&j, NULL);
	json_end(&j);
	json_u64(&j, NULL, 2);
	json_end(&j);
	json_null(&j, "last");
	json_end(&j);
	json_object(&j, NULL);
	json_end(&j);
	ok(is(&w, "{\"empty\":[],\"list\":[1,{},2],\"last\":null}\n{}\n"),
	   "commas stand between values, a newline behind the outermost");
	wr_free(&w);
}

static void test_strings(void)
{
	struct wr w;
	struct json j;

	wr_init(&w, 4096);
	j = json_init(&w);
	json_array(&j, NULL);
	json_str(&j, NULL, "a\"b\\c\n\x1b\x7f\xff");
	json_end(&j);
	ok(is(&w, "[\"a\\\"b\\\\c\\u000a\\u001b\\u007f\\ufffd\"]\n"),
	   "what would end or break a string is escaped");
	wr_free(&w);
}

static void test_limits(void)
{
	struct wr w;
	struct json j;

	wr_init(&w, 8);
	j = json_init(&w);
	json_array(&j, NULL);
	json_str(&j, NULL, "too long for it");
	ok(!wr_ok(&w), "what does not fit turns the buffer bad");
	wr_free(&w);

	wr_init(&w, 4096);
	j = json_init(&w);
	for (unsigned i = 0; i < JSON_DEPTH_MAX; i++)
		json_array(&j, NULL);
	ok(wr_ok(&w), "the deepest nesting is written");
	json_array(&j, NULL);
	ok(!wr_ok(&w), "one level more turns the buffer bad");
	wr_free(&w);

	wr_init(&w, 4096);
	j = json_init(&w);
	json_end(&j);
	ok(!wr_ok(&w), "an end without a beginning turns the buffer bad");
	wr_free(&w);

	wr_init(&w, 4096);
	j = json_init(&w);
	json_array(&j, NULL);
	json_strf(&j, NULL, "%600d", 1);
	ok(!wr_ok(&w), "formatted text that was cut turns the buffer bad");
	wr_free(&w);
}

int main(void)
{
	test_values();
	test_nesting();
	test_strings();
	test_limits();
	return done_testing();
}
