#!/bin/sh
# memory.sh - measure the memory that a worker costs the host besides its own
#
# usage: test/bench/memory.sh [WORKERS]
#
# Boots a GPU VM, the bridge and workers. It adds up the proportional set size of
# each worker's processes in two sums: one of the guest's memory that the worker
# has touched, one of everything else.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf poll proc vm

instance=bench-memory

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance "$instance" "$@"
}

# pss PID KIB: prints both sums of a process, "GUEST OTHER" in KiB. The guest's
# memory is a memfd or, with a VMM that uses none, the mapping whose size is KIB.
pss()
{
	awk -v "kib=$2" '
	/^[0-9a-f]+-[0-9a-f]+ / { guest = /\/memfd:/ }
	/^Size:/ { guest = guest || $2 == kib }
	/^Pss:/ { if (guest) ram += $2; else other += $2 }
	END { print ram + 0, other + 0 }' "/proc/$1/smaps"
}

# measure NAME KIB: prints both sums of all of the worker's processes.
measure()
{
	local process pid

	for process in vmm vsock-device tie; do
		! proc_pid pid "vms/$1/$process" || pss "$pid" "$2"
	done | awk '{ ram += $1; other += $2 } END { print ram, other }'
}

main()
{
	local n=1 mem vmm

	base_init bench
	opt_conf=''
	{ conf_load '' && proc_init "$instance"; } || die $? "$why"
	on_exit isospin kill-vms
	isospin gpu-vm --driver soft --detach >&2
	isospin vsock-bridge --detach
	conf_get_bytes mem WORKER_MEM
	while [ "$n" -le "${1:-5}" ]; do
		isospin worker-vm --name "w$n" --detach >&2
		n=$((n + 1))
	done
	vm_get vmm VMM w1
	n=1
	while [ "$n" -le "${1:-5}" ]; do
		measure "w$n" "$((mem >> 10))"
		n=$((n + 1))
	done | jq -Rnc --arg vmm "$vmm" '
		def median: sort | .[length / 2 | floor];
		[inputs | split(" ") | map(tonumber)] |
		{bench: "worker_memory", n: length, vmm: $vmm,
		guest_kib: (map(.[0]) | median),
		beyond_kib: (map(.[1]) | median)}'
}

main "$@"
