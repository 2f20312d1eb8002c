# SPDX-License-Identifier: MIT
# Writes the C program that prints a table. Part of abi-tbl.sh; input lines:
#   N id name                        a control's name
#   S spec line                      see abi.spec
#   E id flags struct class          an exported control
#   C name internal multi priv params need parents
#   H header
# Everything about one call is gathered first, since N and S come first.

function fail(msg) {
	printf "abi-tbl.awk: %s\n", msg >"/dev/stderr"
	bad = 1
}

# "a[].b" as the C expression of its first element.
function first(e) { gsub(/\[\]/, "[0]", e); return e }

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

# Code for the attributes of one call, from the items of its spec line.
function attrs(t, items,    n, i, f, s, e) {
	n = split(items, f, " ")
	for (i = 1; i <= n; i++) {
		if (match(f[i], /^@[0-9,]+:/)) {
			if (!index("," substr(f[i], 2, RLENGTH - 2) ",",
			    "," branch ","))
				continue
			f[i] = substr(f[i], RLENGTH + 1)
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

function option(items, name, def,    n, i, f) {
	n = split(items, f, " ")
	for (i = 1; i <= n; i++)
		if (index(f[i], name ":") == 1)
			return substr(f[i], length(name) + 2)
	return def
}

function tail(from,    s, i) {
	for (i = from; i <= NF; i++)
		s = s " " $i
	return s
}

function row(kind, nr, name, size, items, caps, code) {
	body[nbody++] = sprintf("\trow(\"%s\", %s, \"%s\", %s, \"%s\", \"%s\");\n%s\tputchar('\\n');\n",
		kind, nr, name, size, option(items, "dir", "inout"), caps, code)
}

BEGIN { branch = version; sub(/[.].*/, "", branch) }

$1 == "N" { if (!($2 in name_of)) name_of[$2] = $3; id_of[$3] = $2; next }

$1 == "S" && (NF < 2 || $2 ~ /^#/) { next }
$1 == "S" && $2 == "const" {
	for (i = 3; i <= NF; i++)
		body[nbody++] = "\tconstant(\"" $i "\", " $i ");\n"
	next
}
$1 == "S" && $2 == "escape" {
	items = tail(7)
	step = option(items, "step", "")
	if (step == "") {
		size = "\"%zu\", sizeof(" $4 ")"
	} else {
		size = "\"x%zu:%zu\", sizeof(" $4 "), sizeof(" $4 ") * " step
	}
	body[nbody++] = "#ifdef " $3 "\n"
	row("escape", $3, $3, "text(" size ")", items, $6,
		"\tprintf(\" dev=" $5 "\");\n" attrs($4, items))
	body[nbody++] = "#endif\n"
	next
}
$1 == "S" && $2 == "uvm" {
	items = tail(6)
	st = $4 == "=" ? $3 "_PARAMS" : $4
	size = st == "-" ? "\"0\"" : "text(\"%zu\", sizeof(" st "))"
	row("uvm", $3, $3, size, items, $5,
		"\tprintf(\" dev=uvm\");\n" attrs(st, items))
	next
}
# legacy: once exported, later converted by RM before its table is asked.
$1 == "S" && $2 == "legacy" {
	legacy_struct[$3] = $4; legacy_on[$3] = $5
	$4 = $5 = ""
	$2 = "control"
	$0 = $0
}
$1 == "S" && $2 == "control" {
	if (!($3 in id_of)) {
		printf "abi-tbl.awk: %s has no %s\n", version, $3 >"/dev/stderr"
		next
	}
	id = id_of[$3]; name_of[id] = $3
	if (id in ctl_caps)
		fail($3 " stands twice in abi.spec")
	ctl_caps[id] = $4; ctl_items[id] = tail(5)
	next
}
$1 == "S" && $2 == "class" { cl_caps[$3] = $4; cl_items[$3] = tail(5); next }
$1 == "S" { fail("abi.spec: " $0); next }

$1 == "E" {
	id = tolower($2)
	if (!(id in on)) { order[norder++] = id; on[id] = $5 }
	else on[id] = on[id] "," $5
	struct[id] = $4; flags[id] = $3
	next
}

$1 == "C" {
	nclass++
	size = $6 == "-" ? "\"0\"" : "text(\"%zu\", sizeof(" $6 "))"
	code = "\tprintf(\" ic=" $3 " parent=" $8 "\");\n"
	if ($7 == "optional") code = code "\tprintf(\" opt\");\n"
	if ($4) code = code "\tprintf(\" multi\");\n"
	if ($5) code = code "\tprintf(\" priv\");\n"
	caps = $2 in cl_caps ? cl_caps[$2] : "-"
	row("class", $2, $2, size, cl_items[$2], caps,
		code attrs($6, cl_items[$2]))
	delete cl_caps[$2]
	next
}

$1 == "H" { print "#include \"" $2 "\"" }

function controls(    i, id, n, size) {
	for (n in legacy_struct) {
		id = id_of[n]
		if (id in on)
			continue
		order[norder++] = id
		struct[id] = legacy_struct[n]; on[id] = legacy_on[n]
		flags[id] = "0x10"
	}
	for (i = 0; i < norder; i++) {
		id = order[i]
		# 0x10 is RMCTRL_FLAGS_NON_PRIVILEGED; the test is in C,
		# since awk has no bits.
		size = struct[id] == "-" ? "\"0\"" : "text(\"%zu\", sizeof(" struct[id] "))"
		row("control", id, (id in name_of ? name_of[id] : "CTRL_" substr(id, 3)),
			size, ctl_items[id], (id in ctl_caps ? ctl_caps[id] : "-"),
			"\tprintf(\" on=" on[id] "\");\n" \
			"\tif (!(" flags[id] " & 0x10))\n\t\tprintf(\" priv\");\n" \
			attrs(struct[id], ctl_items[id]))
	}
	for (id in ctl_caps)
		if (!(id in on))
			fail(name_of[id] " is not exported: put it into measured.tbl")
}

END {
	controls()
	for (id in cl_caps)
		printf "abi-tbl.awk: %s has no class %s\n", version, id >"/dev/stderr"
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
