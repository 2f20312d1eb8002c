# shellcheck shell=sh
# bare.sh - a worker's VM whose /init is bare-init, for the benchmarks
#
# Needs test/lib/vm.sh; vm_init must have been called.

# bare_boot RELEASE VERSION: boots the kernel RELEASE in a worker's VM, with the
# initrd of a worker. If VERSION is not empty, NVIDIA's programs of that version are
# in it. Sets bare_ms, the time until init prints its line.
bare_boot()
{
	local release="$1" vm_version="$2"

	# shellcheck disable=SC2034 # read by the functions below
	vm_role=worker vm_kept=0
	vm_select bare
	vm_claim
	vmm_init
	vmm_kernel "$release"
	vm_initrd=$vm_home/initrd
	conf_get vm_cpus WORKER_CPUS "$vm_name"
	conf_get_bytes vm_mem WORKER_MEM "$vm_name"
	boot_take_cid 100
	boot_note "$release"
	boot_conf >"$vm_home/boot.conf"
	boot_initrd "$release"
	mkdir -- "$vm_home/bare"
	cp -- "$TOP/build/static/test/bare-init" "$vm_home/bare/init"
	image_cpio "$vm_home/bare" "$vm_home/bare.cpio"
	cat -- "$vm_home/bare.cpio" >>"$vm_initrd"
	boot_vm 'isospin: bare init' 180
	vm_remove bare
	bare_ms=$((vm_boot_ns / 1000000))
}
