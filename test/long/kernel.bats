#!/usr/bin/env bats
# The workers' own kernel is compiled, and booted on each kind of machine.

load ../lib/common.sh

setup_file()
{
	cd "$BATS_TEST_DIRNAME/../.." || return
	bin/isospin build fc-gpu-kernel fc-initramfs fc-rootfs >&2 3>&-
}

setup()
{
	cd "$TOP" || return
	kernel=$(bin/isospin build --print fc-gpu-kernel)
	initramfs=$(bin/isospin build --print fc-initramfs)
	rootfs=$(bin/isospin build --print fc-rootfs)
	console=$BATS_TEST_TMPDIR/console
}

# boot QEMU-ARG...: boots the kernel under TCG until the agent in the guest says that
# it finds no boot.conf.
boot()
{
	local rc=0

	: >"$console"
	timeout 120 qemu-system-x86_64 -nodefaults -no-user-config \
		-display none -no-reboot -accel tcg -m 256 \
		-serial "file:$console" \
		-cpu max,la57=off,cx16=off,erms=off,fsrm=off \
		-kernel "$kernel" "$@" </dev/null 3>&- &
	TOP=$TOP sh -c '. "$0/lib/base/base.sh"; use poll; poll_until 100 "$@"' \
		"$TOP" grep -q 'state=failed reason=/isospin/boot.conf: No such' "$console" ||
		rc=1
	kill "$!" || :
	wait "$!" || :
	[ "$rc" -eq 0 ] || {
		tail -n 40 "$console"
		return 1
	}
}

args()
{
	echo "console=ttyS0 quiet panic=-1 $* tsc=reliable clocksource=tsc" \
		"tsc_early_khz=$(build/bin/vmctl tsc-khz)"
}

@test "it boots a microvm with ACPI" {
	boot -M microvm -initrd "$initramfs" -append "$(args)"
}

@test "it boots a microvm without ACPI, which names devices on the command line" {
	boot -M microvm,acpi=off -initrd "$initramfs" -append "$(args)"
}

@test "it boots a q35" {
	boot -M q35 -initrd "$initramfs" -append "$(args)"
}

@test "it boots from the root file system, on a virtio-mmio and on a PCI disk" {
	cp --sparse=always "$rootfs" "$BATS_TEST_TMPDIR/root"
	boot -M microvm -append "$(args root=/dev/vda rw init=/init)" \
		-drive "if=none,id=root,format=raw,file=$BATS_TEST_TMPDIR/root" \
		-device virtio-blk-device,drive=root
	boot -M q35 -append "$(args root=/dev/vda rw init=/init)" \
		-drive "if=none,id=root,format=raw,file=$BATS_TEST_TMPDIR/root" \
		-device virtio-blk-pci,drive=root
}

@test "its only module is the shim" {
	modules=$(find "$(dirname "$kernel")/lib" -name '*.ko*')
	equal '' "$modules"
	run -0 modinfo -F vermagic "build/kmod/$(basename "$(dirname "$kernel")")/nvidia-shim.ko"
	has "$output" "$(basename "$(dirname "$kernel")") SMP mod_unload"
}

@test "workers boot it, and a program there finds the GPU" {
	export ISOSPIN_RUN_DIR
	ISOSPIN_RUN_DIR=$(mktemp -d /tmp/isospin-k.XXXXXX)
	bin/isospin gpu-vm --detach --driver soft >&2 3>&-
	bin/isospin vsock-bridge --detach 3>&-
	run -0 --separate-stderr bin/isospin worker-vm -- sh -c \
		'uname -r; isospin-smi -L' 3>&-
	bin/isospin kill-vms
	rm -rf -- "$ISOSPIN_RUN_DIR"
	has "$output" "$(basename "$(dirname "$kernel")")"
	has "$output" 'Isospin Soft GPU'
}

@test "the same source gives the same bytes" {
	before=$(sha256sum <"$kernel")
	rm -f build/stamps/fc-gpu-kernel
	run -0 bin/isospin build fc-gpu-kernel nvidia-shim 3>&-
	equal "$before" "$(sha256sum <"$kernel")"
}
