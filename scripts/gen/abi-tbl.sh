#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes one ABI table from NVIDIA's open-gpu-kernel-modules.
#
# usage: abi-tbl.sh TREE VERSION > share/abi/VERSION.tbl
#        abi-tbl.sh TREE --status > share/abi/status.tbl
#
# TREE is a checkout of NVIDIA/open-gpu-kernel-modules at the tag VERSION.
# For maintainers: the tables are committed. Sizes and offsets come from a
# small C program compiled against TREE's own MIT-licensed headers (CC, cc),
# the control list from its export tables, the classes from its resource
# list. abi.spec says which calls are allowed and which of their fields we
# name; measured.tbl adds calls that no public header describes.
set -eu
LC_ALL=C
export LC_ALL

# The headers in TREE that suffice, as -I flags.
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

# The C program that prints the rows, from the lists above and abi.spec.
program() {
	find "$1/src/common/sdk/nvidia/inc/class" \
		"$1/src/common/sdk/nvidia/inc/ctrl" \
		"$1/src/common/sdk/nvidia/inc/alloc" -name '*.h' |
		sed 's|.*/nvidia/inc/||' | sort >"$tmp/headers"
	{ names "$1"; sed 's/^/S /' "$here/abi.spec"; exports "$1"
	  classes "$1"; sed 's/^/H /' "$tmp/headers"; } |
		awk -v version="$2" -f "$here/abi-tbl.awk"
}

status() {
	awk '/^NV_STATUS_CODE\(/ {
		match($0, /NV_[A-Z0-9_]+,/); n = substr($0, RSTART, RLENGTH - 1)
		match($0, /0x[0-9A-Fa-f]+/); v = substr($0, RSTART, RLENGTH)
		printf "%s %s\n", v, n
	}' "$1/src/common/sdk/nvidia/inc/nvstatuscodes.h"
}

main() {
	[ $# = 2 ] || { echo "usage: abi-tbl.sh TREE VERSION|--status" >&2; exit 64; }
	here=$(dirname "$0")
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	if [ "$2" = --status ]; then
		echo '# RM status codes, made by scripts/gen/abi-tbl.sh: README.md'
		status "$1"
		return
	fi
	program "$1" "$2" >"$tmp/abi.c"
	# shellcheck disable=SC2046 # one word each by construction
	"${CC:-cc}" -w -D_GNU_SOURCE -DNVRM -DNV_UNIX -DNV_LINUX \
		-o "$tmp/abi" $(includes "$1") "$tmp/abi.c"
	echo "# ABI of NVIDIA's driver $2, made by scripts/gen/abi-tbl.sh: README.md"
	{
		"$tmp/abi"
		awk -v b="${2%%.*}" '$1 ~ /^[0-9,]+$/ && ("," $1 ",") ~ ("," b ",") {
			sub(/^[0-9,]+[ \t]+/, ""); print }' "$here/measured.tbl"
	} | sort -k1,1 -k2,2 -k4,4
}

main "$@"
