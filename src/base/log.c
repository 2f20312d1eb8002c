/* SPDX-License-Identifier: MIT */
/* log.c - writes lines to stderr */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const char *log_program = "isospin";
static enum log_level log_max = LOG_LVL_INFO;

static const char *const level_name[] = {
	[LOG_LVL_ERROR] = "error",
	[LOG_LVL_WARN] = "warning",
	[LOG_LVL_INFO] = "info",
	[LOG_LVL_DEBUG] = "debug",
};

void log_init(const char *program)
{
	log_program = program;
}

void log_set_level(enum log_level level)
{
	log_max = level;
}

bool log_enabled(enum log_level level)
{
	return level <= log_max;
}

static _printf_(2, 0) void vlog(enum log_level level, const char *fmt,
				va_list ap)
{
	char line[1000];
	int saved = errno;
	int n, m;

	if (level > log_max)
		return;
	n = snprintf(line, sizeof(line) - 1, "%s: %s: ", log_program,
		     level_name[level]);
	if (n < 0 || (size_t)n >= sizeof(line) - 1)
		n = 0;
	m = vsnprintf(line + n, sizeof(line) - 1 - (size_t)n, fmt, ap);
	if (m < 0)
		m = 0;
	n = (int)MIN((size_t)n + (size_t)m, sizeof(line) - 2);
	for (int i = 0; i < n; i++)
		if (line[i] < 0x20 || line[i] > 0x7e)
			line[i] = '?';
	line[n] = '\n';
	/* One write, so that lines of several processes do not mix. */
	if (write(STDERR_FILENO, line, (size_t)n + 1) < 0)
		(void)errno; /* there is nowhere left to say so */
	errno = saved;
}

#define DEFINE_LOG(name, level)                   \
	void log_##name(const char *fmt, ...)     \
	{                                         \
		va_list ap;                       \
                                                  \
		va_start(ap, fmt);                \
		vlog(level, fmt, ap);             \
		va_end(ap);                       \
	}

DEFINE_LOG(error, LOG_LVL_ERROR)
DEFINE_LOG(warn, LOG_LVL_WARN)
DEFINE_LOG(info, LOG_LVL_INFO)
DEFINE_LOG(debug, LOG_LVL_DEBUG)

bool log_limit_ok(struct log_limit *limit)
{
	static const struct bucket_rate rate = {
		.burst = 30, .each_ns = UINT64_C(2000000000),
	};

	if (bucket_take(&limit->bucket, &rate, now_ns()) > 0) {
		limit->kept_back++;
		return false;
	}
	if (limit->kept_back)
		log_warn("%u lines were kept back", limit->kept_back);
	limit->kept_back = 0;
	return true;
}

void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(LOG_LVL_ERROR, fmt, ap);
	va_end(ap);
	exit(status);
}
