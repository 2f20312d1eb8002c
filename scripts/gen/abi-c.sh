#!/bin/sh
# SPDX-License-Identifier: MIT
# Turns share/abi/*.tbl into C: build/gen/abi_gen.h or abi_tables.c.
#
# usage: abi-c.sh h|c TABLE...      status.tbl and VERSION.tbl files
set -eu
LC_ALL=C
export LC_ALL

# The lines of all tables, each led by "status" or its version.
rows() {
	local f v
	for f; do
		v=${f##*/}
		v=${v%.tbl}
		[ "$v" = status ] || printf 'version %s\n' "$v"
		sed "s/^/$v /" "$f"
	done
}

main() {
	local mode
	[ $# -ge 2 ] || { echo "usage: abi-c.sh h|c TABLE..." >&2; exit 64; }
	mode=$1
	shift
	case $mode in
	h | c) rows "$@" | awk -v mode="$mode" -f "$(dirname "$0")/abi-c.awk" ;;
	*) echo "abi-c.sh: first argument is h or c" >&2; exit 64 ;;
	esac
}

main "$@"
