# shellcheck shell=sh
# bare.sh - a worker's VM whose /init is bare-init, for the benchmarks
#
# Needs test/lib/vm.sh; vm_init must have been called.

# bare_boot RELEASE VERSION: boots the kernel RELEASE in a worker's VM, with the
# initrd of a worker. If VERSION is not empty, NVIDIA's programs of that version are
# in it. Sets bare_ms, the time until init prints its line.
bare_boot()
{
	local dir cpus mem

	{ accel_choose && vm_claim dir bare && vmm_choose worker bare; } ||
		die $? "$why"
	conf_get cpus WORKER_CPUS bare
	conf_get_bytes mem WORKER_MEM bare
	{ boot_describe "$dir" bare worker "$1" "$cpus" "$mem" no \
		DRIVER_VERSION "$2" && boot_take_cid "$dir" &&
		vmm_place "$dir" && boot_files "$dir"; } || die $? "$why"
	mkdir -- "$dir/bare"
	cp -- "$TOP/build/static/test/bare-init" "$dir/bare/init"
	image_cpio "$dir/bare" "$dir/bare.cpio"
	cat -- "$dir/bare.cpio" >>"$dir/initrd"
	boot_vm "$dir" 'isospin: bare init' || die $? "$why"
	vm_get bare_ms BOOT_NS bare
	bare_ms=$((bare_ms / 1000000))
	vm_remove bare || die $? "$why"
}
