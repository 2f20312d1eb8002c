# SPDX-License-Identifier: MIT
# abi-rows.awk - print the rows of ABI tables, each table whole
#
# usage: LC_ALL=C awk -f abi-rows.awk share/abi/VERSION.tbl...
#
# Programs read a table through this only. Each row comes out led by the name
# of its table: "550.163.01 control 0x00000101 ...". A table whose first line is
# "base VERSION" holds only the differences from that version's table, beside it:
#
#   - KIND NAME              this version lacks the base's rows of that name
#   KIND NUMBER NAME ...     a row; it replaces the base's rows of that name

function fail(msg) {
	printf "abi-rows.awk: %s\n", msg >"/dev/stderr"
	exit 65
}

# The version of a table, from its path.
function version_of(path) {
	sub(/.*\//, "", path)
	sub(/[.]tbl$/, "", path)
	return path
}

# Reads the table at path into line[version, i] for i < lines[version], with
# its base's rows where it has a base.
function load(path,    v, dir, base, text, word, key, n, i, gone, mine, r) {
	v = version_of(path)
	if (v in lines)
		return v
	if (v in loading)
		fail(path ": its chain of bases comes back to it: name another base")
	loading[v] = 1
	n = 0
	while ((r = (getline text <path)) > 0) {
		if (text ~ /^#/ || text ~ /^[ \t]*$/)
			continue
		split(text, word, " ")
		if (word[1] == "base") {
			if (base != "" || n > 0)
				fail(path ": \"base\" must be the first line")
			base = word[2]
			continue
		}
		if (word[1] == "-") {
			key = word[2] " " word[3]
			if (base == "")
				fail(path ": \"- " key "\" needs a base: begin with \"base VERSION\"")
			gone[key] = 1
			continue
		}
		mine[word[1] " " word[3]] = 1
		line[v, n++] = text
	}
	if (r < 0)
		fail(path ": cannot read it")
	close(path)
	if (base != "") {
		dir = path
		sub(/[^\/]*$/, "", dir)
		n = inherit(v, n, load(dir base ".tbl"), gone, mine, path)
		sorted[v] = 1
	}
	lines[v] = n
	delete loading[v]
	return v
}

# Adds to the n rows of v those of base that are neither gone nor replaced by
# one of mine; gives the number of all.
function inherit(v, n, base, gone, mine, path,    i, word, key, left) {
	for (key in gone)
		left[key] = 1
	for (i = 0; i < lines[base]; i++) {
		split(line[base, i], word, " ")
		key = word[1] " " word[3]
		delete left[key]
		if (!(key in gone) && !(key in mine))
			line[v, n++] = line[base, i]
	}
	for (key in left)
		fail(path ": base " base " has no \"" key "\": remove \"- " key "\"")
	return n
}

# Prints the rows in the order that a whole table has.
function show(v,    i) {
	fflush()
	for (i = 0; i < lines[v]; i++)
		if (v in sorted)
			print v " " line[v, i] | "LC_ALL=C sort -k2,2 -k3,3 -k5,5"
		else
			print v " " line[v, i]
	if (v in sorted)
		close("LC_ALL=C sort -k2,2 -k3,3 -k5,5")
}

BEGIN {
	for (a = 1; a < ARGC; a++)
		show(load(ARGV[a]))
}
