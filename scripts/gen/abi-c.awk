# SPDX-License-Identifier: MIT
# abi-c.awk - write C from the rows of ABI tables
#
# Part of abi-c.sh, which sets mode to h, n or c. The input is what abi-rows.awk
# prints: "status 0xN NAME" and "VERSION ROW" lines, where a ROW is
# "kind number name size direction capabilities attribute...":
#
#   size       N | xSTEP:MAX | ?MAX (opaque, any size up to MAX)
#   attribute  .field=off,size[,count,stride]  client=off  fd=off
#              ptr=off:dir:rule:...  dev=  on=  ic=  parent=  opt multi priv

function fail(msg) {
	printf "abi-c.awk: %s\n", msg >"/dev/stderr"
	bad = 1
	exit 1
}

# A value that a field may hold. The code knows it as one number, so all tables
# must agree on it.
function value(name, v, where) {
	if (name in val && val[name] != v)
		fail(name " is " val[name] " in " val_from[name] " and " v \
			" in " where ": the code needs one value of it")
	if (name in val)
		return
	val[name] = v
	val_from[name] = where
	val_order[n_val++] = name
}

# The identity of a call that workers may make. Its number may differ between
# tables.
function row_id(name, nr) {
	if (!(name in row_nr)) {
		row_nr[name] = nr
		row_order[n_row++] = name
	} else if (row_nr[name] != nr) {
		moved[name] = 1
	}
	return "ABI_R_" name
}

# The enumerators of a field and of an internal class.
function field_id(name) {
	if (!(name in field)) { field[name] = 1; field_order[n_field++] = name }
	return "ABI_F_" name
}

function ic_id(name) {
	if (!(name in ic)) { ic[name] = 1; ic_order[n_ic++] = name }
	return "ABI_IC_" name
}

# "a,b" as flags: "PREFIX_A | PREFIX_B".
function mask(s, prefix,    f, n, i, out) {
	if (s == "-")
		return "0"
	n = split(s, f, ",")
	for (i = 1; i <= n; i++)
		out = out (i > 1 ? " | " : "") prefix toupper(f[i])
	return out
}

function dir(s) { return "ABI_" toupper(s) }

# The initializer of a struct abi_ptr, from the value of ptr=.
function pointer(s,    f, c) {
	split(s, f, ":")
	if (f[3] == "fixed")
		return "{ " f[1] ", 0, 0, " f[4] ", " f[4] ", 0, ABI_LEN_FIXED, " dir(f[2]) " }"
	if (f[3] == "class")
		return "{ " f[1] ", " f[4] ", 0, 0, " f[5] ", 0, ABI_LEN_CLASS, " dir(f[2]) " }"
	if (f[3] == "control") {
		split(f[5], c, "/")
		return "{ " f[1] ", " f[4] ", " c[1] ", " f[6] ", " f[7] ", " c[2] ", ABI_LEN_CONTROL, " dir(f[2]) " }"
	}
	if (f[3] != "count")
		fail("ptr=" s " has a rule that is none: fixed, count, control, class")
	split(f[4], c, "/")
	return "{ " f[1] ", 0, " c[1] ", " f[5] ", " f[6] ", " c[2] ", ABI_LEN_COUNT, " dir(f[2]) " }"
}

# The name of a static array with these n elements; equal arrays are one.
function array(type, list, n,    key) {
	if (n == 0)
		return "NULL"
	key = type "{" list
	if (!(key in arrays)) {
		arrays[key] = "a" n_arrays++
		text[n_text++] = "static const " type " " arrays[key] "[] = {" list " };"
	}
	return arrays[key]
}

# The internal classes of on= and parent= as elements of an array.
function names_to_ids(s,    f, n, i, out) {
	if (s == "-" || s == "*")
		return s == "*" ? " " ic_id("any") "," : ""
	n = split(s, f, ",")
	for (i = 1; i <= n; i++)
		out = out " " ic_id(f[i]) ","
	return out
}

# Adds the line at hand, a row of a call, to the rows of its version and kind.
function row(    i, a, id, v, f, ptrs, np, fields, nf, clients, nc, fds, nd, on, no, dev, cls, opt, multi, priv, any, step, sizes, out) {
	dev = "0"; cls = "0"; opt = multi = priv = any = step = 0
	sizes = " " $5 ","
	if ($5 ~ /^x/) {
		split(substr($5, 2), f, ":")
		step = f[1]; sizes = " " f[2] ","
	} else if ($5 ~ /^[?]/) {
		any = 1; sizes = " " substr($5, 2) ","
	}
	for (i = 8; i <= NF; i++) {
		v = $i
		sub(/^[^=]*=/, "", v)
		if ($i ~ /^[.]/) {
			a = substr($i, 2)
			sub(/=.*/, "", a)
			if (split(v, f, ",") == 2) { f[3] = 1; f[4] = 0 }
			fields = fields " { " field_id(a) ", " f[2] ", " f[1] ", " f[3] ", " f[4] " },"
			nf++
		} else if ($i ~ /^ptr=/) { ptrs = ptrs " " pointer(v) ","; np++ }
		else if ($i ~ /^client=/) { clients = clients " " v ","; nc++ }
		else if ($i ~ /^fd=/) { fds = fds " " v ","; nd++ }
		else if ($i ~ /^dev=/) dev = mask(v, "ABI_DEV_")
		else if ($i ~ /^ic=/) cls = ic_id(v)
		else if ($i ~ /^(on|parent)=/) {
			on = names_to_ids(v)
			no = gsub(/,/, ",", on)
		}
		else if ($i == "opt") opt = 1
		else if ($i == "multi") multi = 1
		else if ($i == "priv") priv = 1
		else fail($1 " " $4 ": no attribute is called \"" $i "\"")
	}
	id = $7 == "-" ? "ABI_R_none" : row_id($4, $3)
	out = "\t{ \"" $4 "\", " array("uint32_t", sizes, 1)
	out = out ", " array("struct abi_ptr", ptrs, np)
	out = out ", " array("struct abi_field", fields, nf)
	out = out ", " array("uint32_t", clients, nc)
	out = out ", " array("uint32_t", fds, nd)
	out = out ", " array("uint16_t", on, no)
	out = out ",\n\t  " $3 ", " step ", " id ", " cls ", ABI_" toupper($2) ", " dev
	out = out ", " dir($6) ", " mask($7, "ABI_CAP_") ", 1, " np + 0 ", " nf + 0
	out = out ", " nc + 0 ", " nd + 0 ", " no + 0 ", " any ", " opt ", " multi ", " priv " },"
	rows[$1, $2] = rows[$1, $2] out "\n"
	count[$1, $2]++
}

$1 == "status" { value($3, $2, $1); status[n_status++] = $3; next }
!($1 in known) { known[$1] = 1; version[n_version++] = $1 }
$2 == "const" { value($4, $3, $1); next }
NF < 7 { fail("a row needs seven columns: " $0) }
{ row() }

# Defines the n names of list as the numbers in nr; an enum holds no number that
# needs 32 bits.
function numbers(list, n, nr,    i, name) {
	print "enum {"
	for (i = 0; i < n; i++)
		if (!is_big(nr[list[i]]))
			print "\t" list[i] " = " nr[list[i]] ","
	print "};\n"
	for (i = 0; i < n; i++)
		if (is_big(nr[list[i]]))
			print "#define " list[i] " " nr[list[i]] "u"
}

function is_big(v) { return v ~ /^0x[89a-fA-F].......$/ }

function header(    i) {
	print made "#ifndef ISO_ABI_GEN_H\n#define ISO_ABI_GEN_H\n"
	print "/* Values of fields, by NVIDIA's names: the same in all tables. */"
	numbers(val_order, n_val, val)
	print "\n/* Calls that workers may make, whatever their numbers. */"
	print "enum abi_r {\n\tABI_R_none,"
	for (i = 0; i < n_row; i++)
		print "\tABI_R_" row_order[i] ","
	print "};\n\n/* Fields, whatever the row. */\nenum abi_f {"
	for (i = 0; i < n_field; i++)
		print "\tABI_F_" field_order[i] ","
	print "};\n\n/* RM's internal classes; any: below every object. */\nenum abi_ic {\n\tABI_IC_none,"
	for (i = 0; i < n_ic; i++)
		print "\tABI_IC_" ic_order[i] ","
	print "};\n\n#endif"
}

# For the tests, which play NVIDIA's programs and so make calls by number.
function call_numbers(    i, n, same) {
	for (i = 0; i < n_row; i++)
		if (!(row_order[i] in moved))
			same[n++] = row_order[i]
	print made "#ifndef ISO_ABI_NUMBERS_H\n#define ISO_ABI_NUMBERS_H\n"
	print "/* Numbers of calls, by NVIDIA's names, that are the same in all"
	print " * tables. For tests only: other code goes by enum abi_r. */"
	numbers(same, n, row_nr)
	print "\n#endif"
}

function tables(    i, k, v, n, kinds) {
	print made "#include \"abi/abi_tables.h\"\n"
	for (i = 0; i < n_text; i++)
		print text[i]
	n = split("escape control class uvm", kinds, " ")
	for (v = 0; v < n_version; v++)
		for (k = 1; k <= n; k++)
			printf "\nstatic const struct abi_row %s_%d[] = {\n%s};\n",
				kinds[k], v, rows[version[v], kinds[k]]
	print "\nconst struct abi abi_tables[] = {"
	for (v = 0; v < n_version; v++) {
		printf "\t{ \"%s\", {", version[v]
		for (k = 1; k <= n; k++)
			printf " %s_%d,", kinds[k], v
		printf " }, {"
		for (k = 1; k <= n; k++)
			printf " %d,", count[version[v], kinds[k]]
		print " } },"
	}
	print "};\nconst unsigned int abi_n_tables = " n_version ";\n"
	print "const struct abi_status abi_statuses[] = {"
	for (i = 0; i < n_status; i++)
		printf "\t{ %s, \"%s\" },\n", val[status[i]], status[i]
	print "};\nconst unsigned int abi_n_statuses = " n_status ";"
}

BEGIN { made = "/* Made from share/abi by scripts/gen/abi-c.sh. */\n" }

END {
	if (bad)
		exit 1
	if (mode == "h")
		header()
	else if (mode == "n")
		call_numbers()
	else
		tables()
}
