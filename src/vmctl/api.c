/* SPDX-License-Identifier: MIT */
/* api.c - sends one request to a VMM's API */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/num.h"
#include "vmctl/peer.h"

#define MAX_REQUEST (64u << 10)
#define MAX_ANSWER (64u << 10)

struct api {
	struct peer peer;
	const char *method, *path, *body;
	char answer[MAX_ANSWER + 1];
	size_t len;
};

/* Whether s may stand in a request's first line. */
static bool is_word(const char *s, const char *allowed)
{
	return s && *s && strspn(s, allowed) == strlen(s);
}

static void parse_options(int argc, char **argv, struct api *a)
{
	static const struct option longs[] = { PEER_LONGS, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		peer_option(&a->peer, c, optarg);
	argc -= optind;
	argv += optind;
	if (!a->peer.have_addr || argc < 2 || argc > 3 ||
	    !is_word(argv[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") ||
	    !is_word(argv[1], "abcdefghijklmnopqrstuvwxyz"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"))
		die(ISO_EX_USAGE, "api: missing or unexpected operand; see -h");
	a->method = argv[0];
	a->path = argv[1];
	a->body = argc > 2 ? argv[2] : "";
}

/* Connects and sends the request. */
static void ask(struct api *a)
{
	char request[MAX_REQUEST];
	int n = snprintf(request, sizeof(request),
			 "%s %s HTTP/1.1\r\nHost: localhost\r\n"
			 "Accept: application/json\r\n"
			 "Content-Type: application/json\r\n"
			 "Content-Length: %zu\r\n\r\n%s",
			 a->method, a->path, strlen(a->body), a->body);

	if (n >= (int)sizeof(request))
		die(ISO_EX_DATA, "%s: the request has more than %u bytes",
		    a->path, MAX_REQUEST);
	peer_connect(&a->peer);
	peer_write(&a->peer, request, (size_t)n);
}

/* Reads until the answer has at least `want` bytes, or all that it may have. */
static void read_to(struct api *a, size_t want)
{
	while (a->len < want && a->len < MAX_ANSWER) {
		a->len += peer_read(&a->peer, a->answer + a->len,
				    MAX_ANSWER - a->len);
		a->answer[a->len] = 0;
	}
}

static _noreturn_ void bad_answer(const struct api *a)
{
	die(ISO_EX_DATA, "%s: the answer is not HTTP",
	    a->peer.addr.path);
}

/* Reads up to the end of the header; the number of its bytes. */
static size_t read_header(struct api *a)
{
	const char *end;

	do {
		if (a->len == MAX_ANSWER)
			bad_answer(a);
		read_to(a, a->len + 1);
		if (strlen(a->answer) != a->len)
			bad_answer(a);
		end = strstr(a->answer, "\r\n\r\n");
	} while (!end);
	return (size_t)(end - a->answer) + 4;
}

/* The length of the body by the header, a string; 0 if it names none. */
static uint64_t content_length(const struct api *a, char *header)
{
	static const char name[] = "Content-Length:";
	uint64_t length = 0;

	for (char *line = strtok(header, "\r\n"); line;
	     line = strtok(NULL, "\r\n")) {
		if (strncasecmp(line, name, sizeof(name) - 1) != 0)
			continue;
		line += sizeof(name) - 1;
		line += strspn(line, " ");
		if (parse_u64(line, 0, MAX_ANSWER, &length) < 0)
			bad_answer(a);
	}
	return length;
}

int api_main(int argc, char **argv)
{
	static struct api a;
	size_t header, length;
	uint64_t status;
	char code[4];

	parse_options(argc, argv, &a);
	ask(&a);
	header = read_header(&a);
	if (strncmp(a.answer, "HTTP/1.", 7) != 0 || header < 16)
		bad_answer(&a);
	memcpy(code, a.answer + 9, 3);
	code[3] = 0;
	if (parse_u64(code, 100, 599, &status) < 0)
		bad_answer(&a);
	/* a NUL takes the place of the header's last line end */
	a.answer[header - 2] = 0;
	length = content_length(&a, a.answer);
	if (length > MAX_ANSWER - header)
		bad_answer(&a);
	read_to(&a, header + length);
	close_fd(&a.peer.fd);
	if (length && (fwrite(a.answer + header, 1, length, stdout) != length ||
		       puts("") < 0 || fflush(stdout) != 0))
		die(ISO_EX_IO, "stdout: %s", strerror(errno));
	return status / 100 == 2 ? ISO_EX_OK : ISO_EX_NO;
}
