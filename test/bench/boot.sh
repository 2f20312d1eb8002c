#!/bin/sh
# boot.sh - a worker's boot, to its shim's first greeting
#
# usage: test/bench/boot.sh [PAIRS]
#
# Boots PAIRS (15) workers, and between them as many VMs that differ in the
# initrd alone, which holds one static program that says that it is there.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base.sh"
. "$TOP/lib/opt.sh"
. "$TOP/lib/conf.sh"
. "$TOP/lib/poll.sh"
. "$TOP/lib/proc.sh"
. "$TOP/lib/assets.sh"
. "$TOP/lib/image.sh"
. "$TOP/lib/qemu.sh"
. "$TOP/lib/vm.sh"
. "$TOP/lib/boot.sh"

at_most=1.15

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance "$opt_instance" "$@"
}

# worker_ns: sets ns.
worker_ns()
{
	isospin worker-vm --name full --detach >/dev/null 2>&1 ||
		die 69 'a worker did not start'
	vm_get ns BOOT_NS full
	vm_remove full
}

# bare_ns: the same machine with the bare init.
bare_ns()
{
	vm_select bare
	vm_claim
	boot_take_cid 5
	boot_kernel "$release"
	vm_role=worker
	conf_get vm_cpus WORKER_CPUS
	conf_get_bytes vm_mem WORKER_MEM
	vm_initrd=$vm_home/initrd
	cp -- "$proc_dir/bare.cpio" "$vm_initrd"
	cp -- "$vm_kernel" "$vm_home/kernel"
	vm_kernel=$vm_home/kernel
	boot_vm 'bare init' 120
	ns=$vm_boot_ns
	vm_remove bare
}

make_bare()
{
	local dir="$proc_dir/bare"

	mkdir -p "$dir"
	cp "$TOP/build/static/test/bare-init" "$dir/init"
	chmod 755 "$dir/init"
	image_cpio "$dir" "$proc_dir/bare.cpio"
}

main()
{
	local n="${1:-15}" i=0 full

	base_init bench
	base_set_level warn
	opt_instance=boot$$
	vm_init
	qemu_init
	release=$(assets_kernel auto) || die 66 'no kernel; run: isospin setup demo'
	on_exit rm -rf -- "$proc_dir"
	on_exit isospin kill-vms
	make_bare
	isospin gpu-vm --driver soft --detach >/dev/null 2>&1 ||
		die 69 'the GPU VM did not start'
	isospin vsock-bridge --detach
	while [ "$i" -lt "$n" ]; do
		worker_ns
		full=$ns
		bare_ns
		printf '%s %s\n' "$full" "$ns"
		i=$((i + 1))
	done >"$proc_dir/pairs"
	jq -Rs --argjson at_most "$at_most" '
		def at(q): sort | .[((length - 1) * q) | round];
		def ms: (. / 1000000) | round;
		split("\n") | map(select(. != "") | split(" ") | map(tonumber)) |
		{ full: map(.[0]), bare: map(.[1]), r: map(.[0] / .[1]) } |
		{ bench: "worker boot to shim ready", n: (.r | length),
		  ratio: (.r | at(0.5) * 1000 | round / 1000),
		  ratio_q1: (.r | at(0.25) * 1000 | round / 1000),
		  ratio_q3: (.r | at(0.75) * 1000 | round / 1000),
		  worker_ms: (.full | at(0.5) | ms),
		  bare_init_ms: (.bare | at(0.5) | ms),
		  at_most: $at_most, kept: ((.r | at(0.5)) <= $at_most) }' \
		-c <"$proc_dir/pairs" >"$proc_dir/result"
	cat "$proc_dir/result"
	jq -e .kept "$proc_dir/result" >/dev/null || leave 1
}

main "$@"
