/* SPDX-License-Identifier: MIT */
/* conf.c - reads the configuration */
#include "base/conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

extern char **environ;

/* A number of more digits would not fit the arithmetic of lib/base/conf.sh. */
#define MAX_DIGITS 15

struct parse {
	struct conf *conf;
	const char *vm_name;
	char *error;
	bool seen[CONF__COUNT];
	/* KEY@NAME of the file so far: each may be there once. */
	char **at_seen;
	size_t n_at_seen;
	char *vm_value[CONF__COUNT];
};

static _printf_(2, 3) int fail(struct parse *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->error, CONF_ERROR_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int find_key(const char *name, size_t n)
{
	for (int k = 0; k < CONF__COUNT; k++)
		if (strlen(conf_rows[k].name) == n &&
		    memcmp(conf_rows[k].name, name, n) == 0)
			return k;
	return -1;
}

static bool in_list(const char *v, size_t n, const char *list)
{
	while (*list) {
		size_t len = strcspn(list, ",");

		if (len == n && memcmp(list, v, n) == 0)
			return true;
		list += len + (list[len] == ',');
	}
	return false;
}

/* Whether each word of the comma list v is in `list`. */
static bool all_in_list(const char *v, const char *list)
{
	for (;;) {
		size_t n = strcspn(v, ",");

		if (n == 0 || !in_list(v, n, list))
			return false;
		if (!v[n])
			return true;
		v += n + 1;
	}
}

/* Whether v is a decimal number without leading zeros, which both readers
 * take. */
static bool is_number(const char *v, bool size, uint64_t min, uint64_t max)
{
	size_t digits = strspn(v, "0123456789");
	const char *unit = v + digits;
	uint64_t n;

	if (digits == 0 || digits > MAX_DIGITS || (v[0] == '0' && digits > 1))
		return false;
	if (*unit && (!size || !strchr("KMG", *unit) || unit[1]))
		return false;
	return (size ? parse_size(v, min, max, &n) :
		       parse_u64(v, min, max, &n)) == 0;
}

/* Whether v is the UUID of a GPU, in lower case. */
static bool is_uuid(const char *v)
{
	static const char form[] = "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(v) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; form[i]; i++) {
		if (form[i] == 'x' ? !strchr("0123456789abcdef", v[i]) :
				     v[i] != form[i])
			return false;
	}
	return true;
}

static bool printable(const char *v)
{
	for (; *v; v++)
		if (*v < ' ' || *v > '~')
			return false;
	return true;
}

/* Whether v is of the type and in the range of its row. */
static bool value_ok(const struct conf_row *row, const char *v)
{
	size_t n = strlen(v);
	struct pci_bdf bdf;

	if (!printable(v))
		return false;
	switch (row->type) {
	case CONF_T_INT:
		return is_number(v, false, row->min, row->max);
	case CONF_T_SIZE:
		return is_number(v, true, row->min, row->max);
	case CONF_T_BOOL:
		return in_list(v, n, "yes,no");
	case CONF_T_ENUM:
		return !strchr(v, ',') && in_list(v, n, row->choices);
	case CONF_T_LIST:
		return all_in_list(v, row->choices);
	case CONF_T_STR:
	case CONF_T_PATH:
		return n >= row->min && n <= row->max;
	case CONF_T_BDF:
		return parse_bdf(v, &bdf) == 0;
	case CONF_T_UUID:
		return is_uuid(v);
	case CONF_T_DRIVER:
		return in_list(v, n, "auto,real,soft") ||
		       (n > 7 && memcmp(v, "replay:", 7) == 0);
	}
	return false;
}

/* Writes the range for a message, in the words of share/conf.tbl. */
static void describe(const struct conf_row *row, char *buf, size_t n)
{
	static const char units[] = "KMG";
	char text[2][32];
	uint64_t v[2] = { row->min, row->max };

	for (int i = 0; i < 2; i++) {
		int u = -1;

		while (row->type == CONF_T_SIZE && u < 2 && v[i] &&
		       v[i] % 1024 == 0) {
			v[i] /= 1024;
			u++;
		}
		snprintf(text[i], sizeof(text[i]), "%llu%.*s",
			 (unsigned long long)v[i], u >= 0,
			 u >= 0 ? units + u : "");
	}
	snprintf(buf, n, "%s..%s", text[0], text[1]);
}

/* Says what the value must be. -EINVAL. */
static int bad_value(struct parse *p, const char *place,
		     const struct conf_row *row, const char *v)
{
	char range[72] = "";
	const char *what = "", *list = "";

	describe(row, range, sizeof(range));
	if (!printable(v)) {
		what = "printable ASCII";
		range[0] = 0;
	} else {
		switch (row->type) {
		case CONF_T_INT:
			what = "a number, ";
			break;
		case CONF_T_SIZE:
			what = "bytes, or with K, M or G, ";
			break;
		case CONF_T_STR:
		case CONF_T_PATH:
			list = " characters";
			break;
		default:
			range[0] = 0;
			list = row->choices;
			what = row->type == CONF_T_BOOL ? "yes or no" :
			       row->type == CONF_T_ENUM ? "one of " :
			       row->type == CONF_T_LIST ? "a comma list of " :
			       row->type == CONF_T_BDF ?
					"a PCI address, dddd:bb:dd.f" :
			       row->type == CONF_T_UUID ?
					"GPU-xxxxxxxx-xxxx-xxxx-xxxx-"
					"xxxxxxxxxxxx" :
					"auto, real, soft or replay:FILE";
		}
	}
	return fail(p, "%s: %s: bad value '%s': must be %s%s%s", place,
		    row->name, v, what, range, list);
}

/* Checks v and puts a copy into *slot. 0, -EINVAL or -ENOMEM. */
static int set_value(struct parse *p, const char *place, int key,
		     const char *v, char **slot)
{
	char *copy;

	if (!value_ok(&conf_rows[key], v))
		return bad_value(p, place, &conf_rows[key], v);
	copy = strdup(v);
	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t");
	n = strlen(s);
	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		s[--n] = 0;
	return s;
}

/* Remembers KEY@NAME. 0, -EEXIST if it was there before, or -ENOMEM. */
static int see_override(struct parse *p, const char *key_at_name)
{
	char **grown;

	for (size_t i = 0; i < p->n_at_seen; i++)
		if (strcmp(p->at_seen[i], key_at_name) == 0)
			return -EEXIST;
	grown = realloc(p->at_seen, (p->n_at_seen + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->at_seen = grown;
	grown[p->n_at_seen] = strdup(key_at_name);
	if (!grown[p->n_at_seen])
		return -ENOMEM;
	p->n_at_seen++;
	return 0;
}

/* Takes KEY@NAME=value. */
static int parse_override(struct parse *p, const char *place, int key,
			  const char *left, const char *name, const char *v)
{
	char *other = NULL;
	bool ours = p->vm_name && strcmp(p->vm_name, name) == 0;
	int r;

	if (!name_ok(name))
		return fail(p, "%s: bad VM name '%s': 1 to 32 of a-z, 0-9 and -",
			    place, name);
	r = see_override(p, left);
	if (r == -EEXIST)
		return fail(p, "%s: %s is given twice", place, left);
	if (r == 0)
		r = set_value(p, place, key, v,
			      ours ? &p->vm_value[key] : &other);
	free(other);
	return r;
}

/* Takes one line of the file. 0 or -EINVAL. */
static int parse_line(struct parse *p, const char *place, char *line)
{
	char *eq = strchr(line, '='), *at, *v;
	size_t n;
	int key;

	if (line[0] == '#' || !line[strspn(line, " \t")])
		return 0;
	if (!eq)
		return fail(p, "%s: not KEY=value", place);
	*eq = 0;
	v = trim(eq + 1);
	at = strchr(line, '@');
	n = at ? (size_t)(at - line) : strlen(line);
	key = find_key(line, n);
	if (key < 0)
		return fail(p, "%s: unknown key '%.*s'", place, (int)n, line);
	if (at)
		return parse_override(p, place, key, line, at + 1, v);
	if (p->seen[key])
		return fail(p, "%s: %s is given twice", place, line);
	p->seen[key] = true;
	return set_value(p, place, key, v, &p->conf->value[key]);
}

/* Takes all lines of the file. 0 or -errno. */
static int parse_file(struct parse *p, const char *path)
{
	char line[CONF_LINE_MAX], place[CONF_ERROR_MAX / 4];
	unsigned int no = 0;
	FILE *f = fopen(path, "re");
	int r = 0;

	if (!f) {
		r = -errno;
		fail(p, "%s: %s", path,
		     r == -ENOENT ? "no such file" : "cannot be read");
		return r;
	}
	while (r == 0 && fgets(line, sizeof(line), f)) {
		size_t n = strlen(line);

		snprintf(place, sizeof(place), "%.300s:%u", path, ++no);
		if (n > 0 && line[n - 1] == '\n')
			line[--n] = 0;
		else if (!feof(f))
			r = fail(p, "%s: line is too long", place);
		if (r == 0)
			r = parse_line(p, place, line);
	}
	if (r == 0 && ferror(f)) {
		fail(p, "%s: cannot be read", path);
		r = -EIO;
	}
	fclose(f);
	return r;
}

/* Refuses an unknown variable, the first by name; then takes the values in the
 * order of the table. */
static int parse_environment(struct parse *p)
{
	static const char prefix[] = "ISOSPIN_";
	const size_t skip = sizeof(prefix) - 1;
	const char *unknown = NULL;
	char name[64], place[96];
	size_t unknown_len = 0;

	for (char **e = environ; *e; e++) {
		size_t n = strcspn(*e, "=");

		if (strncmp(*e, prefix, skip) != 0 ||
		    find_key(*e + skip, n - skip) >= 0)
			continue;
		if (!unknown || strcmp(*e, unknown) < 0) {
			unknown = *e;
			unknown_len = n;
		}
	}
	if (unknown)
		return fail(p, "environment: unknown variable %.*s",
			    (int)unknown_len, unknown);
	for (int k = 0; k < CONF__COUNT; k++) {
		_cleanup_free_ char *copy = NULL;
		const char *v;
		int r;

		snprintf(name, sizeof(name), "%s%s", prefix, conf_rows[k].name);
		v = getenv(name);
		if (!v)
			continue;
		copy = strdup(v);
		if (!copy)
			return -ENOMEM;
		snprintf(place, sizeof(place), "environment: %s", name);
		r = set_value(p, place, k, trim(copy), &p->conf->value[k]);
		if (r < 0)
			return r;
		free(take_ptr(p->vm_value[k]));
	}
	return 0;
}

int conf_load(struct conf *conf, const char *path, const char *vm_name,
	      char error[CONF_ERROR_MAX])
{
	struct parse p = { .conf = conf, .vm_name = vm_name, .error = error };
	int r = 0;

	*conf = (struct conf){ 0 };
	snprintf(error, CONF_ERROR_MAX, "out of memory");
	for (int k = 0; k < CONF__COUNT && r == 0; k++)
		r = set_value(&p, "share/conf.tbl", k, conf_rows[k].def,
			      &conf->value[k]);
	if (r == 0 && path)
		r = parse_file(&p, path);
	if (r == 0)
		r = parse_environment(&p);
	for (int k = 0; k < CONF__COUNT; k++) {
		if (r == 0 && p.vm_value[k]) {
			free(conf->value[k]);
			conf->value[k] = take_ptr(p.vm_value[k]);
		}
		free(p.vm_value[k]);
	}
	for (size_t i = 0; i < p.n_at_seen; i++)
		free(p.at_seen[i]);
	free(p.at_seen);
	if (r < 0)
		conf_free(conf);
	return r;
}

void conf_free(struct conf *conf)
{
	for (int k = 0; k < CONF__COUNT; k++) {
		free(conf->value[k]);
		conf->value[k] = NULL;
	}
}

const char *conf_str(const struct conf *conf, enum conf_key key)
{
	return conf->value[key];
}

uint64_t conf_num(const struct conf *conf, enum conf_key key)
{
	const char *v = conf->value[key];
	uint64_t n = 0;

	if (conf_rows[key].type == CONF_T_BOOL)
		return strcmp(v, "yes") == 0;
	/* cannot fail: the value was checked when it was read */
	if (parse_size(v, 0, UINT64_MAX, &n) < 0)
		return 0;
	return n;
}
