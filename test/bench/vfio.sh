#!/bin/sh
# vfio.sh - compare the VFIO commands with lspci and driverctl in the lab
#
# usage: test/bench/vfio.sh [PAIRS]
#
# Boots the lab a few times, to measure the time until its first command has run.
# In the last of these labs it compares, in turn, vfio-status of four cards
# (without its search for processes that use them) with lspci -nnk, and the writes
# of vfio-bind --function-only, by its own clock, with driverctl --nosave
# set-override on the same card. The checks of vfio-bind are measured apart, as
# times without a limit.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base/base.sh"

boots=5

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance bench-vfio "$@"
}

# now VAR: sets it to the time in milliseconds.
now()
{
	local ns

	ns=$("$TOP/build/bin/vmctl" now) || leave $?
	base_set "$1" $((ns / 1000000))
}

# Boots the lab, which stays up; adds the time that it took to `times`.
boot()
{
	local from to

	isospin kill-vms
	now from
	isospin lab --name lab --detach >&2 || leave $?
	isospin lab --exec lab -- true || leave $?
	now to
	times="$times$((to - from))$base_nl"
}

# lines WORD: prints the rest of each line of `measured` that starts with WORD.
lines()
{
	printf '%s\n' "$measured" | sed -n "s/^$1 //p"
}

# times_of BENCH: the JSON of the times on stdin.
times_of()
{
	jq -Rnc -f "$TOP/test/bench/times.jq" --arg bench "$1"
}

# pairs_of BENCH WORD OURS THEIRS AT_MOST: the JSON of the pairs behind WORD.
pairs_of()
{
	lines "$2" | jq -Rnc -f "$TOP/test/bench/pairs.jq" --arg bench "$1" \
		--arg ours "$3" --arg theirs "$4" --argjson at_most "$5"
}

main()
{
	local n=0 times='' measured said

	base_init bench
	on_exit isospin kill-vms
	while [ "$n" -lt "$boots" ]; do
		boot
		n=$((n + 1))
	done
	measured=$(isospin lab --exec lab -- test/lab/bench.sh "${1:-15}") || leave $?
	said=$(printf %s "$times" | times_of lab_first_command
		lines checks | times_of vfio_bind_checks
		pairs_of vfio_status status status_ms lspci_ms 2
		pairs_of vfio_bind_writes writes writes_ms driverctl_ms 1.2)
	printf '%s\n' "$said"
	case $said in
	*'"kept":false'*) leave 1 ;;
	esac
}

main "$@"
