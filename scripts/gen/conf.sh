#!/bin/sh
# conf.sh - turn share/conf.tbl into C, a configuration file and a man page
#
# usage: scripts/gen/conf.sh h|c|file|man
#
#   h, c   conf_tbl.h and conf_tbl.c: the table for C programs
#   file   etc/isospin.conf
#   man    isospin.conf(5) in scdoc's markup, with the list of keys
#
# The output goes to stdout.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)

# The start of an awk program: it calls row(key, type, default, range, doc) for
# each row of the table. A branch of NVIDIA's programs is an enum, whose range is
# in share/abi.
branches=auto$(sed -n '/^[0-9]/s/^/,/p' "$TOP/share/abi/branches" | tr -d '\n')
# shellcheck disable=SC2016 # $1 is awk's
read_table='
	function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); return s }
	BEGIN { FS = "[|]" }
	/^#/ || /^[ \t]*$/ { next }
	trim($2) == "branch" { $2 = "enum"; $4 = "'"$branches"'" }
	{ row(trim($1), trim($2), trim($3), trim($4), trim($5)) }
'

# The keys, as an enum.
gen_h()
{
	echo '/* Made from share/conf.tbl by scripts/gen/conf.sh. */'
	echo '#pragma once'
	echo
	echo 'enum conf_key {'
	awk "$read_table"'
		function row(key, type, def, range, doc) {
			print "\tCONF_" key ","
		}
	' "$TOP/share/conf.tbl"
	echo '	CONF__COUNT'
	echo '};'
}

# The rows, as an array. A range "1K..4M" becomes two numbers; another range stays
# text.
gen_c()
{
	echo '/* Made from share/conf.tbl by scripts/gen/conf.sh. */'
	echo '#include "base/conf.h"'
	echo
	echo 'const struct conf_row conf_rows[CONF__COUNT] = {'
	awk "$read_table"'
		function bytes(s,    u) {
			u = s ~ /[KMG]$/ ? index("KMG", substr(s, length(s))) : 0
			if (u)
				s = substr(s, 1, length(s) - 1)
			return "UINT64_C(" s ")" (u ? " << " u * 10 : "")
		}
		function row(key, type, def, range, doc,    dots, span) {
			dots = index(range, "..")
			span = "0, 0"
			if (dots) {
				span = bytes(substr(range, 1, dots - 1)) ", " \
					bytes(substr(range, dots + 2))
				range = ""
			}
			printf "\t{ \"%s\", CONF_T_%s, \"%s\", %s, \"%s\" },\n",
				key, toupper(type), def, span, range
		}
	' "$TOP/share/conf.tbl"
	echo '};'
}

# A configuration file that shows every default, commented out.
gen_file()
{
	cat <<-'EOT'
	# Configuration of isospin; isospin.conf(5) explains it.
	#
	# KEY=value, or KEY@NAME=value for the VM NAME alone. The value is everything
	# after the sign up to the end of the line; there are no quotes and no
	# expansion. A line that is commented out shows the default. A command takes its
	# flags first, then the environment variable ISOSPIN_KEY, then this file.

	EOT
	awk "$read_table"'
		function row(key, type, def, range, doc) {
			if (n++)
				print ""
			print "# " doc what(type, range)
			print "#" key "=" def
		}
		function what(type, range) {
			if (type == "bool")
				return " (yes, no)"
			if (type == "int" || type == "size" || type == "enum")
				return " (" range ")"
			return ""
		}
	' "$TOP/share/conf.tbl"
}

# The list of keys, with scdoc's special characters escaped.
gen_keys()
{
	awk "$read_table"'
		function esc(s) { gsub(/[_*\\]/, "\\\\&", s); return s }
		function row(key, type, def, range, doc) {
			printf "*%s* (%s%s)\n\t%s.", esc(key), type,
				range == "" ? "" : ", " esc(range), esc(doc)
			print def == "" ? "" : " Default: " esc(def)
			print ""
		}
	' "$TOP/share/conf.tbl"
}

# The page, with the list in place of the line @KEYS@.
gen_man()
{
	local line

	while IFS= read -r line; do
		case $line in
		@KEYS@) gen_keys ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <"$TOP/share/man/isospin.conf.5.scd"
}

case ${1:-} in
h) gen_h ;;
c) gen_c ;;
file) gen_file ;;
man) gen_man ;;
*)
	echo 'usage: conf.sh h|c|file|man' >&2
	exit 64 ;;
esac
