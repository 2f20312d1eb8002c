/* SPDX-License-Identifier: MIT */
/* log.h - lines `program: level: message` on stderr */
#ifndef ISO_LOG_H
#define ISO_LOG_H

#include "base/base.h"
#include "base/bucket.h"

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

/* Names the program (a string that lives as long as the process). */
void log_init(const char *program);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/*
 * Each writes one line of at most 1000 bytes. Bytes outside printable ASCII
 * come out as `?`, so that text of a guest can be logged as it is. errno is
 * kept.
 */
void log_error(const char *fmt, ...) _printf_(1, 2);
void log_warn(const char *fmt, ...) _printf_(1, 2);
void log_info(const char *fmt, ...) _printf_(1, 2);
void log_debug(const char *fmt, ...) _printf_(1, 2);

/*
 * For lines that a less trusted side can provoke: 30 at once, then one in two
 * seconds. False: the caller keeps the line back; the next line that may be
 * written is preceded by their number.
 */
struct log_limit {
	struct bucket bucket;	/* zeroes to begin with */
	uint32_t kept_back;
};
_must_check_ bool log_limit_ok(struct log_limit *limit);

/* Logs an error and ends the process with `status` (enum iso_exit). For
 * main. */
_noreturn_ void die(int status, const char *fmt, ...) _printf_(2, 3);

#endif /* ISO_LOG_H */
