#!/bin/sh
# bench.sh - the measurements that test/bench/vfio.sh makes in the lab
#
# usage: test/lab/bench.sh PAIRS
#
# Prints a line "status OURS THEIRS", "writes OURS THEIRS" or "checks OURS" for each
# measurement, in ms. The clock is /proc/uptime, as in vfio-bind itself: it ticks in
# 10 ms, and reading it needs no fork.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base/base.sh"

cards='0000:01:00.0 0000:00:05.0 0000:00:06.0 0000:03:01.0'
card=0000:03:01.0

# clock VAR: sets VAR to the present time in ms.
clock()
{
	local up rest

	read -r up rest </proc/uptime
	base_set "$1" "${up%.*}${up#*.}0"
}

# took VAR COMMAND [ARG...]: sets VAR to the time that COMMAND takes, in ms; discards
# its output.
took()
{
	local var="$1" rc=0 from to

	shift
	clock from
	"$@" >/dev/null || rc=$?
	clock to
	# The status 1 is vfio-status's answer that not all devices are ready.
	[ "$rc" -le 1 ] || leave "$rc"
	base_set "$var" $((to - from))
}

status_ours()
{
	# shellcheck disable=SC2086 # a list of addresses
	took ours scripts/vfio-status.sh --no-users $cards
}

status_theirs()
{
	took theirs lspci -nnk
}

# At the beginning and at the end of each function, the card is bound to its driver.
writes_ours()
{
	local said

	said=$(scripts/vfio-bind.sh -v --function-only "$card" 2>&1)
	scripts/vfio-unbind.sh --function-only "$card" 2>/dev/null
	said=${said##*hundredths of a second: checks }
	checks=$((${said%%,*} * 10))
	ours=$((${said##*writes } * 10))
}

writes_theirs()
{
	took theirs driverctl --nosave set-override "$card" vfio-pci
	[ -e "/sys/bus/pci/drivers/vfio-pci/$card" ]
	driverctl --nosave unset-override "$card"
}

# in_turn NAME: runs NAME_ours and NAME_theirs, in alternating order.
in_turn()
{
	local i=0

	while [ "$i" -lt "$pairs" ]; do
		if [ $((i % 2)) -eq 0 ]; then
			"$1_ours"
			"$1_theirs"
		else
			"$1_theirs"
			"$1_ours"
		fi
		echo "$1 $ours $theirs"
		[ -z "$checks" ] || echo "checks $checks"
		i=$((i + 1))
	done
}

main()
{
	pairs=$1 checks=
	base_init bench
	cd "$TOP"
	in_turn status
	in_turn writes
}

main "$@"
