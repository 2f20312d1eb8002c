#!/bin/sh
# SPDX-License-Identifier: MIT
# abi-tbl.sh - make an ABI table from NVIDIA's open-gpu-kernel-modules.
#
# usage: abi-tbl.sh TREE VERSION [BASE] >share/abi/VERSION.tbl
#        abi-tbl.sh TREE --status >share/abi/status.tbl
#
# TREE is a checkout of NVIDIA/open-gpu-kernel-modules at the tag VERSION. With
# BASE, a version whose table is in share/abi, the table holds only the differences
# from that one, where that is shorter (abi-rows.awk).
#
# Sizes and offsets come from a small C program that is compiled (CC, cc) with
# TREE's own MIT-licensed headers, the controls from its export tables, the
# classes from its list of resources. abi.spec says which calls are allowed and
# which of their fields have names; measured.tbl adds the calls that no public
# header describes. A name that the two disagree about ends the program. The
# tables are committed, so that only a maintainer runs this.
set -eu
LC_ALL=C
export LC_ALL
tab=$(printf '\t')

die() {
	echo "abi-tbl.sh: $*" >&2
	exit 1
}

# -I for each folder of TREE whose headers the program needs.
includes() {
	local d
	for d in src/common/sdk/nvidia/inc src/nvidia/arch/nvalloc/unix/include \
		kernel-open/common/inc src/common/inc src/nvidia/inc \
		kernel-open/nvidia-uvm; do
		printf '%s\n' "-I$1/$d"
	done
}

# Every exported control: "E id flags struct class", from the NVOC tables.
exports() {
	# shellcheck disable=SC2016 # awk's, not the shell's
	find "$1/src/nvidia/generated" -name '*_nvoc.c' | sort | xargs awk '
	/\/\*flags=\*\//      { flags = $2; sub(/u?,$/, "", flags) }
	/\/\*methodId=\*\//   { id = $2; sub(/u,$/, "", id) }
	/\/\*paramSize=\*\//  { st = "-"
		if (match($0, /sizeof\([^)]*\)/)) {
			st = substr($0, RSTART + 7, RLENGTH - 8)
			gsub(/ /, "", st)
		}
	}
	/\/\*pClassInfo=\*\// {
		match($0, /class_def_[A-Za-z0-9_]+/)
		print "E", id, flags, st, substr($0, RSTART + 10, RLENGTH - 10)
	}'
}

# Every class: "C name internal multi flags params need parents".
classes() {
	awk '
	function value(s) {
		sub(/^[^*]*\*[^*]*\*\/ */, "", s); sub(/,? *$/, "", s)
		return s
	}
	/^#if/      { skip = 1 }
	/^#endif/   { skip = 0 }
	/External Class/   { ext = value($0) }
	/Internal Class  / { ic = value($0) }
	/Multi-Instance  / { multi = value($0) == "NV_TRUE" }
	/Parents   /       { p = value($0)
		gsub(/RS_LIST\(|classId\(|\)| /, "", p)
		if (p == "RS_ROOT_OBJECT") p = "-"
		if (p == "RS_ANY_PARENT") p = "*"
	}
	/Alloc Param Info/ { a = value($0); need = "none"; st = "-"
		if (match(a, /\(.*\)/)) {
			st = substr(a, RSTART + 1, RLENGTH - 2)
			need = a ~ /REQUIRED/ ? "required" : "optional"
		}
	}
	/Flags   /         { f = value($0)
		priv = f ~ /ALLOC_NON_PRIVILEGED/ ? 0 : 1
		if (!skip && ext != "" && ext !~ /</)
			print "C", ext, ic, multi, priv, st, need, p
	}' "$1/src/nvidia/src/kernel/rmapi/resource_list.h"
}

# "N id name" for each control command that a header defines by number.
names() {
	# shellcheck disable=SC2016 # awk's, not the shell's
	find "$1/src/common/sdk/nvidia/inc/ctrl" -name '*.h' | sort | xargs awk '
	$1 == "#define" && $2 ~ /_CTRL_CMD_/ && $3 ~ /^\(0x[0-9a-fA-F]+U?\)$/ {
		n = tolower($3); gsub(/[(u)]/, "", n); print "N", n, $2
	}'
}

# The C program that prints the rows of a table.
program() {
	find "$1/src/common/sdk/nvidia/inc/class" \
		"$1/src/common/sdk/nvidia/inc/ctrl" \
		"$1/src/common/sdk/nvidia/inc/alloc" -name '*.h' |
		sed 's|.*/nvidia/inc/||' | sort >"$tmp/headers"
	{ names "$1"; sed 's/^/S /' "$here/abi.spec"; exports "$1"
	  classes "$1"; sed 's/^/H /' "$tmp/headers"; } |
		awk -v version="$2" -v probes="$tmp/probes" -f "$here/abi-tbl.awk"
}

# compile TREE FILE.c [ARG...]: with the headers of TREE.
compile() {
	local tree

	tree=$1
	shift
	# shellcheck disable=SC2046 # one word each by construction
	"${CC:-cc}" -w -D_GNU_SOURCE -DNVRM -DNV_UNIX -DNV_LINUX \
		$(includes "$tree") "$@"
}

# Fails if the version has one of the names that abi.spec states as absent.
probe() {
	local name expression

	while IFS="$tab" read -r name expression; do
		{
			grep '^#include' "$tmp/abi.c"
			printf 'unsigned long long probe(void) { return %s; }\n' \
				"$expression"
		} >"$tmp/probe.c"
		compile "$1" -fsyntax-only "$tmp/probe.c" 2>/dev/null || continue
		die "$2 has $name: abi.spec must not say \"not ${2%%.*}\""
	done <"$tmp/probes"
}

# "0xN NAME" for each status that RM returns.
status() {
	awk '/^NV_STATUS_CODE\(/ {
		match($0, /NV_[A-Z0-9_]+,/); n = substr($0, RSTART, RLENGTH - 1)
		match($0, /0x[0-9A-Fa-f]+/); v = substr($0, RSTART, RLENGTH)
		printf "%s %s\n", v, n
	}' "$1/src/common/sdk/nvidia/inc/nvstatuscodes.h"
}

# The rows of the version: those of the program, and the measured ones.
rows() {
	: >"$tmp/probes"
	program "$1" "$2" >"$tmp/abi.c" || exit 1
	compile "$1" -o "$tmp/abi" "$tmp/abi.c" ||
		die "$2 lacks a name, see above: abi.spec must say \"not ${2%%.*}\""
	probe "$1" "$2"
	{
		"$tmp/abi"
		awk -v b="${2%%.*}" '$1 ~ /^[0-9,]+$/ && ("," $1 ",") ~ ("," b ",") {
			sub(/^[0-9,]+[ \t]+/, ""); print }' "$here/measured.tbl"
	} | sort -k1,1 -k2,2 -k4,4
}

# Prints the differences between two files of rows, as abi-rows.awk reads them.
changes() {
	awk '
	{ key = $1 " " $3 }
	NR == FNR { base[key] = base[key] "\n" $0; next }
	{ rows[key] = rows[key] "\n" $0 }
	END {
		for (key in base)
			if (!(key in rows))
				print "- " key
		for (key in rows)
			if (rows[key] != base[key])
				print substr(rows[key], 2)
	}' "$1" "$2" | sort -k1,1 -k2,2 -k4,4
}

# table FILE VERSION [BASE]: prints the rows in FILE, as differences from BASE's if
# that is shorter.
table() {
	echo "# ABI of NVIDIA's driver $2, made by scripts/gen/abi-tbl.sh: README.md"
	if [ -n "${3:-}" ]; then
		awk -f "$here/abi-rows.awk" "$tables/$3.tbl" >"$tmp/base" || exit 1
		sed 's/^[^ ]* //' "$tmp/base" >"$tmp/base-rows"
		{ echo "base $3"; changes "$tmp/base-rows" "$1"; } >"$tmp/changes"
		[ "$(wc -c <"$tmp/changes")" -ge "$(wc -c <"$1")" ] ||
			set -- "$tmp/changes"
	fi
	cat "$1"
}

main() {
	case $# in
	2 | 3) ;;
	*)
		echo "usage: abi-tbl.sh TREE VERSION [BASE]|--status" >&2
		exit 64
		;;
	esac
	here=$(dirname "$0")
	tables=$here/../../share/abi
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	if [ "$2" = --status ]; then
		echo '# RM status codes, made by scripts/gen/abi-tbl.sh: README.md'
		status "$1"
		return
	fi
	rows "$1" "$2" >"$tmp/rows"
	table "$tmp/rows" "$2" "${3:-}"
}

main "$@"
