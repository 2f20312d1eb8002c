# conf.awk - read share/conf.tbl, a configuration file, the environment and the flags
#
# Prints KEY=value for each key in the table's order, then KEY@NAME=value for each value
# that holds for one VM only, in the file's order. At the first error it prints the
# error instead and ends with status 3.
#
# In the environment: CONF_TBL; CONF_BRANCHES, the path of share/abi/branches;
# CONF_FILE (empty: none) and CONF_SHOWN, its name in messages; CONF_FLAGS, lines of
# KEY=value. Runs under mawk, gawk and busybox awk.

# Ends the program with an error; place is where in the input.
function fail(place, text)
{
	printf "%s: %s\n", place, text
	failed = 1
	exit 3
}

function trim(s)
{
	sub(/^[ \t]+/, "", s)
	sub(/[ \t]+$/, "", s)
	return s
}

# repeat("[x]", 3) is "[x][x][x]": old mawk has no braces in expressions.
function repeat(s, n,    r)
{
	while (n-- > 0)
		r = r s
	return r
}

# A number as the table allows it, or -1; at most 15 digits fit a double.
function number(s, size,    unit)
{
	unit = 1
	if (size && s ~ /[KMG]$/) {
		unit = index("KMG", substr(s, length(s)))
		unit = unit == 1 ? 1024 : unit == 2 ? 1048576 : 1073741824
		s = substr(s, 1, length(s) - 1)
	}
	if (s !~ /^(0|[1-9][0-9]*)$/ || length(s) > 15)
		return -1
	return s * unit
}

function in_range(v, span, size,    part)
{
	split(span, part, /[.][.]/)
	return v >= number(part[1], size) && v <= number(part[2], size)
}

function in_list(v, list)
{
	return v != "" && v !~ /,/ && index("," list ",", "," v ",")
}

function all_in_list(v, list,    n, i, part)
{
	n = split(v, part, /,/)
	for (i = 1; i <= n; i++)
		if (!in_list(part[i], list))
			return 0
	return n > 0
}

# A phrase for the values that the key may have, if v is none of them; else "".
function wrong(key, v,    t, r)
{
	t = type[key]
	r = range[key]
	if (v ~ /[^ -~]/)
		return "printable ASCII"
	if (t == "int")
		return in_range(number(v, 0), r, 0) ? "" : "a number, " r
	if (t == "size")
		return in_range(number(v, 1), r, 1) ? "" : \
			"bytes, or with K, M or G, " r
	if (t == "bool")
		return in_list(v, "yes,no") ? "" : "yes or no"
	if (t == "enum")
		return in_list(v, r) ? "" : "one of " r
	if (t == "list")
		return all_in_list(v, r) ? "" : "a comma list of " r
	if (t == "str" || t == "path")
		return in_range(length(v), r, 0) ? "" : r " characters"
	if (t == "bdf")
		return v ~ re_bdf ? "" : "a PCI address, dddd:bb:dd.f"
	if (t == "uuid")
		return v ~ re_uuid ? "" : \
			"GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if (t == "driver")
		return in_list(v, "auto,real,soft") || v ~ /^replay:./ ? "" : \
			"auto, real, soft or replay:FILE"
	fail(ENVIRON["CONF_TBL"], key ": unknown type " t)
}

# The values of a branch of NVIDIA's programs.
function read_branches(    line, n)
{
	branches = "auto"
	while ((n = (getline line < ENVIRON["CONF_BRANCHES"])) > 0)
		if (line !~ /^#/)
			branches = branches "," line
	if (n < 0)
		fail(ENVIRON["CONF_BRANCHES"], "cannot be read")
}

# Ends the program if v is no value of the key.
function check(place, key, v,    allowed)
{
	allowed = wrong(key, v)
	if (!failed && allowed != "")
		fail(place, key ": bad value '" v "': must be " allowed)
}

# Reads share/conf.tbl: the keys, their types, ranges and defaults.
function read_table(    line, f, name, n)
{
	while ((n = (getline line < ENVIRON["CONF_TBL"])) > 0) {
		if (line ~ /^#/ || line ~ /^[ \t]*$/)
			continue
		if (split(line, f, /[|]/) < 5)
			fail(ENVIRON["CONF_TBL"], "bad row: " line)
		name = trim(f[1])
		keys[++nkeys] = name
		type[name] = trim(f[2])
		value[name] = trim(f[3])
		range[name] = trim(f[4])
		if (type[name] == "branch") {
			type[name] = "enum"
			range[name] = branches
		}
		check(ENVIRON["CONF_TBL"], name, value[name])
	}
	if (n < 0 || !nkeys)
		fail(ENVIRON["CONF_TBL"], "cannot be read")
}

# Takes a line of the configuration file.
function read_line(place, line,    eq, key, name, at, v)
{
	if (length(line) > 1022)
		fail(place, "line is too long")
	if (line ~ /^#/ || line ~ /^[ \t]*$/)
		return
	eq = index(line, "=")
	if (!eq)
		fail(place, "not KEY=value")
	key = substr(line, 1, eq - 1)
	v = trim(substr(line, eq + 1))
	at = index(key, "@")
	if (at) {
		name = substr(key, at + 1)
		key = substr(key, 1, at - 1)
	}
	if (!(key in type))
		fail(place, "unknown key '" key "'")
	if (at && (name !~ /^[a-z0-9-]+$/ || length(name) > 32))
		fail(place, "bad VM name '" name "': 1 to 32 of a-z, 0-9 and -")
	if ((key "@" name) in seen)
		fail(place, (at ? key "@" name : key) " is given twice")
	seen[key "@" name] = 1
	check(place, key, v)
	if (!at) {
		value[key] = v
		return
	}
	vm_key[++nvm] = key
	vm_line[nvm] = key "@" name "=" v
}

function read_file(    line, place, n, no)
{
	if (ENVIRON["CONF_FILE"] == "")
		return
	while ((n = (getline line < ENVIRON["CONF_FILE"])) > 0)
		read_line(ENVIRON["CONF_SHOWN"] ":" (++no), line)
	if (n < 0)
		fail(ENVIRON["CONF_SHOWN"], "cannot be read")
}

# Takes the variables ISOSPIN_KEY. above[] marks the keys for which a line KEY@NAME of
# the file no longer counts.
function read_environment(    v, key, unknown)
{
	for (v in ENVIRON) {
		if (v !~ /^ISOSPIN_/)
			continue
		key = substr(v, 9)
		if (!(key in type) && (unknown == "" || v < unknown))
			unknown = v
	}
	if (unknown != "")
		fail("environment", "unknown variable " unknown)
	for (v = 1; v <= nkeys; v++) {
		key = keys[v]
		if (!(("ISOSPIN_" key) in ENVIRON))
			continue
		value[key] = trim(ENVIRON["ISOSPIN_" key])
		check("environment: ISOSPIN_" key, key, value[key])
		above[key] = 1
	}
}

# Takes the values that the command line gives.
function read_flags(    n, i, line, eq, key)
{
	n = split(ENVIRON["CONF_FLAGS"], line, /\n/)
	for (i = 1; i <= n; i++) {
		if (line[i] == "")
			continue
		eq = index(line[i], "=")
		key = substr(line[i], 1, eq - 1)
		value[key] = trim(substr(line[i], eq + 1))
		if (!(key in type))
			fail("command line", "unknown key '" key "'")
		check("command line", key, value[key])
		above[key] = 1
	}
}

BEGIN {
	h = "[0-9a-f]"
	re_bdf = "^" repeat(h, 4) ":" repeat(h, 2) ":[01]" h "[.][0-7]$"
	re_uuid = "^GPU-" repeat(h, 8) repeat("-" repeat(h, 4), 3) "-" \
		repeat(h, 12) "$"
	read_branches()
	read_table()
	read_file()
	read_environment()
	read_flags()
	for (i = 1; i <= nkeys; i++)
		print keys[i] "=" value[keys[i]]
	for (i = 1; i <= nvm; i++)
		if (!(vm_key[i] in above))
			print vm_line[i]
}
