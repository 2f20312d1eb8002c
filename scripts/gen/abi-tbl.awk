# SPDX-License-Identifier: MIT
# abi-tbl.awk - write the C program that prints one ABI table
#
# Part of abi-tbl.sh, which runs it with two variables: version, and probes, a
# file for C expressions that this version must refuse. The input lines come
# in this order:
#
#   N id name                        a control's name, from the headers
#   S line                           a line of abi.spec
#   E id flags struct class          an exported control
#   C name internal multi priv struct need parents
#                                    a class, from RM's list of resources
#   H header                         a header that the program includes

function fail(msg) {
	printf "abi-tbl.awk: %s\n", msg >"/dev/stderr"
	bad = 1
}

# The version lacks a name that abi.spec gives it, or the other way round.
function lacks(name) {
	fail(version " has no " name ": abi.spec must say \"not " branch "\"")
}

function has(name) {
	fail(version " has " name ": abi.spec must not say \"not " branch "\"")
}

# Whether the branch at hand is in a list of branches.
function is_branch(list) { return index("," list ",", "," branch ",") }

# Notes that the expression must not compile: its name is stated as absent.
function probe(name, expression) { print name "\t" expression >probes }

# "a[].b" as the C expression of its first element.
function first(e) { gsub(/\[\]/, "[0]", e); return e }

# C expressions for where the member e of struct t is, and for the member.
function offset(t, e) { return "offsetof(" t ", " first(e) ")" }

function member(t, e) { return "((" t " *)0)->" first(e) }

# Code that prints one named field of struct t.
function field(t, item,    name, e, a) {
	e = item
	if (match(item, /^[A-Za-z0-9_]+=/)) {
		name = substr(item, 1, RLENGTH - 1)
		e = substr(item, RLENGTH + 1)
	} else {
		name = e
		gsub(/\[\]/, "", name)
		gsub(/[.]/, "_", name)
	}
	a = e
	if (sub(/\[\].*/, "", a))
		return sprintf("\tfield(\"%s\", %s, sizeof(%s), sizeof(%s) / sizeof(%s), sizeof(%s));\n",
			name, offset(t, e), member(t, e), member(t, a),
			member(t, a "[]"), member(t, a "[]"))
	return sprintf("\tfield(\"%s\", %s, sizeof(%s), 1, 0);\n", name,
		offset(t, e), member(t, e))
}

# Code that prints the ptr= attribute of an item "ptr:...".
function pointer(t, item,    f, n, s, c) {
	n = split(item, f, ":")
	s = sprintf("\tprintf(\" ptr=%%zu:%s:%s\", %s);\n", f[3], f[4],
		offset(t, f[2]))
	if (f[4] == "fixed")
		return s "\tprintf(\":%zu\", (size_t)" f[5] ");\n"
	c = 5
	if (f[4] == "class" || f[4] == "control")
		s = s sprintf("\tprintf(\":%%zu\", %s);\n", offset(t, f[c++]))
	if (f[4] == "class")
		return s "\tprintf(\":%zu\", (size_t)" f[c] ");\n"
	s = s sprintf("\tprintf(\":%%zu/%%zu\", %s, sizeof(%s));\n",
		offset(t, f[c]), member(t, f[c]))
	return s sprintf("\tprintf(\":%%zu:%%zu\", (size_t)%s, (size_t)%s);\n",
		f[c + 1], f[c + 2])
}

# The field or FIELD of an item, which may be renamed or a pointer.
function field_of(item) {
	sub(/^(client|fd|ptr):/, "", item)
	sub(/:.*/, "", item)
	return substr(item, index(item, "=") + 1)
}

# Code that prints the attributes of a call whose argument is struct t. An item
# led by "!" is one that this branch lacks.
function attrs(t, items,    n, i, f, s, e) {
	n = split(items, f, " ")
	for (i = 1; i <= n; i++) {
		if (f[i] ~ /^!/) {
			e = field_of(substr(f[i], 2))
			probe(t "." e, offset(t, e))
			continue
		}
		if (f[i] ~ /^(dir|step):/)
			continue
		e = f[i]
		if (f[i] ~ /^(client|fd):/) {
			sub(/^(client|fd):/, "", e)
			s = s sprintf("\tprintf(\" %s=%%zu\", %s);\n",
				substr(f[i], 1, index(f[i], ":") - 1),
				offset(t, substr(e, index(e, "=") + 1)))
		} else if (f[i] ~ /^ptr:/) {
			s = s pointer(t, f[i])
			e = substr(f[i], 5)
			sub(/:.*/, "", e)
		}
		s = s field(t, e)
	}
	return s
}

# The rest of the item "name:rest", or def if the call has no such item.
function option(items, name, def,    n, i, f) {
	n = split(items, f, " ")
	for (i = 1; i <= n; i++)
		if (index(f[i], name ":") == 1)
			return substr(f[i], length(name) + 2)
	return def
}

# Adds code that prints one row; code prints its attributes.
function row(kind, nr, name, size, items, caps, code) {
	body[nbody++] = sprintf("\trow(\"%s\", %s, \"%s\", %s, \"%s\", \"%s\");\n%s\tputchar('\\n');\n",
		kind, nr, name, size, option(items, "dir", "inout"), caps, code)
}

# One call of abi.spec each: the columns of its line in h, and its items. Of an
# absent one only the name counts.
function escape(h, items, absent,    step, size) {
	if (absent) {
		probe(h[2], h[2])
		return
	}
	step = option(items, "step", "")
	if (step == "")
		size = "\"%zu\", sizeof(" h[3] ")"
	else
		size = "\"x%zu:%zu\", sizeof(" h[3] "), sizeof(" h[3] ") * " step
	row("escape", h[2], h[2], "text(" size ")", items, h[5],
		"\tprintf(\" dev=" h[4] "\");\n" attrs(h[3], items))
}

function uvm(h, items, absent,    st, size) {
	if (absent) {
		probe(h[2], h[2])
		return
	}
	st = h[3] == "=" ? h[2] "_PARAMS" : h[3]
	size = st == "-" ? "\"0\"" : "text(\"%zu\", sizeof(" st "))"
	row("uvm", h[2], h[2], size, items, h[4],
		"\tprintf(\" dev=uvm\");\n" attrs(st, items))
}

# Exports come later: a control's row is written at the end.
function control(name, caps, items, absent,    id) {
	if (absent) {
		absent_control[name] = 1
		return
	}
	if (!(name in id_of)) {
		lacks(name)
		return
	}
	id = id_of[name]
	name_of[id] = name
	if (id in ctl_caps)
		fail(name " stands twice in abi.spec")
	ctl_caps[id] = caps
	ctl_items[id] = items
}

function class(name, caps, items, absent) {
	if (absent) {
		absent_class[name] = 1
		return
	}
	cl_caps[name] = caps
	cl_items[name] = items
}

function constant(name, absent) {
	if (absent)
		probe(name, name)
	else
		body[nbody++] = "\tconstant(\"" name "\", " name ");\n"
}

# Takes "not BRANCH,..." off the end of the n words in w; sets ABSENT if this
# branch is among them, and gives the number of words left.
function absence(w, n) {
	ABSENT = 0
	if (n < 3 || w[n - 1] != "not")
		return n
	if (w[n] !~ /^[0-9]+(,[0-9]+)*$/)
		fail("abi.spec: \"not " w[n] "\": a branch is a number, such as 535")
	ABSENT = is_branch(w[n]) ? 1 : 0
	return n - 2
}

# Ends the call that the last lines of abi.spec described.
function end_call(    h, n, absent, columns) {
	if (call == "")
		return
	n = absence(h, split(call, h, " "))
	absent = ABSENT
	columns["escape"] = 5; columns["uvm"] = 4; columns["control"] = 3
	columns["legacy"] = 5; columns["class"] = 3; columns["const"] = 2
	if (n != columns[h[1]]) {
		fail("abi.spec: a " h[1] " line needs " columns[h[1]] + 0 " columns: " call)
	} else if (h[1] == "escape") {
		escape(h, items, absent)
	} else if (h[1] == "uvm") {
		uvm(h, items, absent)
	} else if (h[1] == "class") {
		class(h[2], h[3], items, absent)
	} else if (h[1] == "const") {
		constant(h[2], absent)
	} else if (h[1] == "legacy") {
		if (!absent) {
			legacy_struct[h[2]] = h[3]
			legacy_on[h[2]] = h[4]
		}
		control(h[2], h[5], items, absent)
	} else {
		control(h[2], h[3], items, absent)
	}
	call = items = ""
}

BEGIN { branch = version; sub(/[.].*/, "", branch) }

$1 == "N" { if (!($2 in name_of)) name_of[$2] = $3; id_of[$3] = $2; next }

$1 == "S" && (NF < 2 || $2 ~ /^#/) { next }
/^S \t/ {
	n = absence(word, split(substr($0, 3), word, " "))
	if (call == "" || n != 1)
		fail("abi.spec: an item is one word below a call: " substr($0, 3))
	else
		items = items " " (ABSENT ? "!" : "") word[1]
	next
}
{ end_call() }
$1 == "S" { call = substr($0, 3); next }

$1 == "E" {
	id = tolower($2)
	if (!(id in on)) { order[norder++] = id; on[id] = $5 }
	else on[id] = on[id] "," $5
	struct[id] = $4; flags[id] = $3
	next
}

$1 == "C" {
	size = $6 == "-" ? "\"0\"" : "text(\"%zu\", sizeof(" $6 "))"
	code = "\tprintf(\" ic=" $3 " parent=" $8 "\");\n"
	if ($7 == "optional") code = code "\tprintf(\" opt\");\n"
	if ($4) code = code "\tprintf(\" multi\");\n"
	if ($5) code = code "\tprintf(\" priv\");\n"
	caps = $2 in cl_caps ? cl_caps[$2] : "-"
	row("class", $2, $2, size, cl_items[$2], caps,
		code attrs($6, cl_items[$2]))
	has_class[$2] = 1
	next
}

$1 == "H" { print "#include \"" $2 "\"" }

# Adds the legacy controls to the exported ones.
function legacy(    n, id) {
	for (n in legacy_struct) {
		id = id_of[n]
		if (id in on)
			continue
		order[norder++] = id
		struct[id] = legacy_struct[n]
		on[id] = legacy_on[n]
		flags[id] = "0x10"
	}
}

# The row of each control. 0x10 is RMCTRL_FLAGS_NON_PRIVILEGED; the program
# tests it, since awk has no operations on bits.
function controls(    i, id, size) {
	for (i = 0; i < norder; i++) {
		id = order[i]
		size = struct[id] == "-" ? "\"0\"" : "text(\"%zu\", sizeof(" struct[id] "))"
		row("control", id, (id in name_of ? name_of[id] : "CTRL_" substr(id, 3)),
			size, ctl_items[id], (id in ctl_caps ? ctl_caps[id] : "-"),
			"\tprintf(\" on=" on[id] "\");\n" \
			"\tif (!(" flags[id] " & 0x10))\n\t\tprintf(\" priv\");\n" \
			attrs(struct[id], ctl_items[id]))
	}
}

# Fails where a name of abi.spec is missing in this version's lists, or a name that it
# states as absent is in them.
function compare(    id, name) {
	for (id in ctl_caps)
		if (!(id in on))
			fail(version " does not export " name_of[id] ": describe it in measured.tbl, or say \"not " branch "\"")
	for (name in absent_control)
		if (name in id_of && id_of[name] in on)
			has(name)
	for (name in cl_caps)
		if (!(name in has_class))
			lacks(name)
	for (name in absent_class)
		if (name in has_class)
			has(name)
}

END {
	end_call()
	legacy()
	controls()
	compare()
	if (bad)
		exit 1
	print "#include <stddef.h>\n#include <stdarg.h>\n#include <stdio.h>"
	print "#include <string.h>\n#include <linux/ioctl.h>"
	print "#include \"nvos.h\"\n#include \"nv-ioctl.h\"\n#include \"nv_escape.h\""
	print "#include \"nv-ioctl-numbers.h\"\n#include \"nv-ioctl-numa.h\""
	print "#include \"nv-unix-nvos-params-wrappers.h\""
	print "#include \"swref/published/nv_ref.h\""
	print "#include \"uvm_ioctl.h\"\n#include \"uvm_linux_ioctl.h\""
	print "static const char *text(const char *f, ...)\n{"
	print "\tstatic char s[64]; va_list ap;"
	print "\tva_start(ap, f); vsnprintf(s, sizeof(s), f, ap); va_end(ap);"
	print "\treturn s;\n}"
	print "static void row(const char *k, unsigned nr, const char *n,"
	print "\t\tconst char *s, const char *d, const char *c)\n{"
	print "\tprintf(\"%s 0x%08x %s %s %s %s\", k, nr, n, s, d, c);\n}"
	print "static void constant(const char *n, unsigned long long v)\n{"
	print "\tprintf(\"const 0x%08llx %s\\n\", v, n);\n}"
	print "static void field(const char *n, size_t off, size_t size,"
	print "\t\tsize_t count, size_t stride)\n{"
	print "\tprintf(\" .%s=%zu,%zu\", n, off, size);"
	print "\tif (stride)\n\t\tprintf(\",%zu,%zu\", count, stride);\n}"
	print "int main(void)\n{"
	for (i = 0; i < nbody; i++)
		printf "%s", body[i]
	print "\treturn 0;\n}"
}
