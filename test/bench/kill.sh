#!/bin/sh
# kill.sh - compare the time in which kill-vms ends ten workers with one second
#
# usage: test/bench/kill.sh [ROUNDS]
#
# Starts a GPU VM and the bridge once. Each round boots ten workers, which kill-vms
# then ends by their names.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base/base.sh"

names='w1 w2 w3 w4 w5 w6 w7 w8 w9 w10'

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance bench-kill "$@"
}

# now VAR: sets it to the time in milliseconds.
now()
{
	local ns

	ns=$("$TOP/build/bin/vmctl" now) || leave $?
	base_set "$1" $((ns / 1000000))
}

main()
{
	local pairs='' n=0 name from to

	base_init bench
	on_exit isospin kill-vms
	isospin gpu-vm --driver soft --detach >&2
	isospin vsock-bridge --detach
	while [ "$n" -lt "${1:-5}" ]; do
		for name in $names; do
			isospin worker-vm --name "$name" --detach >&2
		done
		now from
		# shellcheck disable=SC2086 # a list of names
		isospin kill-vms $names
		now to
		pairs="$pairs$((to - from)) 1000$base_nl"
		n=$((n + 1))
	done
	pairs=$(printf %s "$pairs" | jq -Rnc -f "$TOP/test/bench/pairs.jq" \
		--arg bench kill_10_workers --arg ours kill_ms \
		--arg theirs limit_ms --argjson at_most 1)
	printf '%s\n' "$pairs"
	case $pairs in
	*'"kept":false'*) leave 1 ;;
	esac
}

main "$@"
