#!/bin/sh
# vfio.sh - the VFIO commands in the lab, and the lab itself
#
# usage: test/bench/vfio.sh [PAIRS]
#
# Boots the lab, a few times to see how long it takes to its first command. In
# the last one, in turn: vfio-status of four cards, without the search for users,
# and lspci -nnk; the writes of vfio-bind --function-only, by its own clock, and
# driverctl --nosave set-override of the same card. The checks of vfio-bind are
# told apart.
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

# now VAR: in ms.
now()
{
	local ns

	ns=$("$TOP/build/bin/vmctl" now) || leave $?
	base_set "$1" $((ns / 1000000))
}

# boot: the lab, which stays. Adds to `times`.
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

# lines WORD: what stands behind it in `measured`.
lines()
{
	printf '%s\n' "$measured" | sed -n "s/^$1 //p"
}

times_of()
{
	jq -Rnc -f "$TOP/test/bench/times.jq" --arg bench "$1"
}

# pairs_of BENCH WORD OURS THEIRS AT_MOST
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
