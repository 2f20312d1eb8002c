#!/bin/sh
# boot.sh - a worker's boot to shim ready, against one that does nothing
#
# usage: test/bench/boot.sh [PAIRS]
#
# Boots a GPU VM and the bridge; then in turn a worker as worker-vm does, and the
# same VM with the same initrd whose /init is bare-init.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base.sh"
. "$TOP/lib/opt.sh"
. "$TOP/lib/conf.sh"
. "$TOP/lib/poll.sh"
. "$TOP/lib/proc.sh"
. "$TOP/lib/assets.sh"
. "$TOP/lib/image.sh"
. "$TOP/lib/vmm.sh"
. "$TOP/lib/qemu.sh"
. "$TOP/lib/fc.sh"
. "$TOP/lib/ch.sh"
. "$TOP/lib/vm.sh"
. "$TOP/lib/boot.sh"

instance=bench

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance "$instance" "$@"
}

# worker_boot: sets ours, in ms.
worker_boot()
{
	ours=$(isospin worker-vm --name w1 --detach --json) || leave $?
	ours=$(printf '%s\n' "$ours" | jq .boot_ms)
	isospin kill-vms w1
}

# bare_boot: sets theirs, in ms.
bare_boot()
{
	local release

	release=$(assets_worker_kernel) || die 66 'no kernel; run: isospin setup demo'
	vm_role=worker vm_kept=0
	vm_select bare
	vm_claim
	vmm_init
	vmm_kernel "$release"
	vm_initrd=$vm_home/initrd
	conf_get vm_cpus WORKER_CPUS "$vm_name"
	conf_get_bytes vm_mem WORKER_MEM "$vm_name"
	boot_take_cid 100
	vm_get vm_version DRIVER_VERSION gpu0
	boot_note "$release"
	boot_conf >"$vm_home/boot.conf"
	boot_initrd "$release"
	mkdir -- "$vm_home/bare"
	cp -- "$TOP/build/static/test/bare-init" "$vm_home/bare/init"
	image_cpio "$vm_home/bare" "$vm_home/bare.cpio"
	cat -- "$vm_home/bare.cpio" >>"$vm_initrd"
	boot_vm 'isospin: bare init' 180
	vm_remove bare
	theirs=$((vm_boot_ns / 1000000))
}

main()
{
	local pairs='' n=0 ours theirs

	base_init bench
	opt_conf='' opt_instance=$instance opt_json=0
	on_exit isospin kill-vms
	vm_init
	isospin gpu-vm --driver soft --detach >&2
	isospin vsock-bridge --detach
	while [ "$n" -lt "${1:-15}" ]; do
		if [ $((n % 2)) -eq 0 ]; then
			worker_boot
			bare_boot
		else
			bare_boot
			worker_boot
		fi
		pairs="$pairs$ours $theirs$base_nl"
		n=$((n + 1))
	done
	pairs=$(printf %s "$pairs" | jq -Rnc -f "$TOP/test/bench/pairs.jq" \
		--arg bench worker_boot --arg ours worker_ms \
		--arg theirs bare_ms --argjson at_most 1.15)
	printf '%s\n' "$pairs"
	case $pairs in
	*'"kept":false'*) leave 1 ;;
	esac
}

main "$@"
