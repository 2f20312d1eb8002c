#!/bin/sh
# SPDX-License-Identifier: MIT
# abi-c.sh - turn the tables of share/abi into C.
#
# usage: abi-c.sh h|n|c TABLE...
#
# Writes abi_gen.h (h), abi_numbers.h (n) or abi_tables.c (c) from status.tbl
# and VERSION.tbl files; the tables come in ascending order of their versions.
set -eu
LC_ALL=C
export LC_ALL

main() {
	local mode here rows

	case ${1:-} in
	h | n | c) [ $# -ge 2 ] || set -- ;;
	*) set -- ;;
	esac
	[ $# -gt 0 ] || { echo "usage: abi-c.sh h|n|c TABLE..." >&2; exit 64; }
	mode=$1
	shift
	here=$(dirname "$0")
	# The caller's order is alphabetic: 580.142 before 580.95.05.
	IFS='
'
	# shellcheck disable=SC2046 # a path a line
	set -- $(printf '%s\n' "$@" | sort -V)
	unset IFS
	rows=$(awk -f "$here/abi-rows.awk" "$@") # a pipe would hide a failure
	printf '%s\n' "$rows" | awk -v mode="$mode" -f "$here/abi-c.awk"
}

main "$@"
