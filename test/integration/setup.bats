#!/usr/bin/env bats
# The files that isospin setup left on this machine are complete.

load ../lib/common.sh

@test "a second setup passes without any network" {
	run -0 --separate-stderr unshare -n "$TOP/bin/isospin" setup check
	has "$stderr" 'everything for check is here'
}

@test "a module builds against each kernel's headers, without a word" {
	cd "$BATS_TEST_TMPDIR"
	cat >m.c <<-'EOT'
	#include <linux/module.h>
	MODULE_LICENSE("GPL");
	MODULE_DESCRIPTION("nothing");
	EOT
	echo 'obj-m := m.o' >Kbuild
	for dir in "$TOP"/.vm-assets/kernels/[0-9]*; do
		run -0 make -s -C "$dir/headers" M="$PWD" modules
		equal '' "$output"
		has "$(modinfo -F vermagic m.ko)" "${dir##*/} "
		rm -f m.ko
	done
}

@test "each kernel's modules are there with what they need" {
	for dir in "$TOP"/.vm-assets/kernels/[0-9]*; do
		run -0 /sbin/modprobe -d "$dir" -S "${dir##*/}" \
			--show-depends vmw_vsock_virtio_transport
		has "$output" /vsock.ko
	done
}

@test "NVIDIA's programs start and find their library" {
	for dir in "$TOP"/.vm-assets/nvidia/[0-9]*; do
		[ -d "$dir" ] || skip 'NVIDIA programs could not be had'
		LD_LIBRARY_PATH=$dir/lib run "$dir/nvidia-smi" --version
		has "$output" NVIDIA-SMI
		[ -e "$dir/lib/libcuda.so.${dir##*/}" ]
	done
}
