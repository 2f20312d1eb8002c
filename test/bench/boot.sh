#!/bin/sh
# boot.sh - compare a worker's boot with that of a VM that does nothing
#
# usage: test/bench/boot.sh [PAIRS]
#
# Starts a GPU VM and the bridge. Then it boots two VMs in turn: a worker, by
# worker-vm, until its shim is ready; and the same VM with the same initrd, in
# which bare-init takes the place of /init.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/test/lib/vm.sh"
. "$TOP/test/lib/bare.sh"

instance=bench

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance "$instance" "$@"
}

# Boots the worker; sets ours to the milliseconds that it took.
worker_boot()
{
	ours=$(isospin worker-vm --name w1 --detach --json) || leave $?
	ours=$(printf '%s\n' "$ours" | jq .boot_ms)
	isospin kill-vms w1
}

# Boots the VM that does nothing; sets theirs.
theirs_boot()
{
	local release version

	release=$(assets_worker_kernel) || die 66 'no kernel; run: isospin setup demo'
	vm_get version DRIVER_VERSION gpu0
	bare_boot "$release" "$version"
	theirs=$bare_ms
}

main()
{
	local pairs='' n=0 ours theirs

	base_init bench
	opt_conf='' opt_instance=$instance opt_json=0
	on_exit isospin kill-vms
	vm_init || die $? "$why"
	isospin gpu-vm --driver soft --detach >&2
	isospin vsock-bridge --detach
	while [ "$n" -lt "${1:-15}" ]; do
		if [ $((n % 2)) -eq 0 ]; then
			worker_boot
			theirs_boot
		else
			theirs_boot
			worker_boot
		fi
		pairs="$pairs$ours $theirs$base_nl"
		n=$((n + 1))
	done
	pairs=$(printf %s "$pairs" | jq -Rnc -f "$TOP/test/bench/pairs.jq" \
		--arg bench worker_boot --arg ours worker_ms \
		--arg theirs bare_ms --argjson at_most 1.1)
	printf '%s\n' "$pairs"
	case $pairs in
	*'"kept":false'*) leave 1 ;;
	esac
}

main "$@"
