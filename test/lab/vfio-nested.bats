#!/usr/bin/env bats
# bats file_tags=lab
# A VM in the lab gets a card that vfio-bind has bound. In that VM the card has
# NVIDIA's vendor number, there is no IOMMU, and no room for another card's BAR of
# 2 TiB.

load ../lib/common.sh

vga=0000:01:00.0 audio=0000:01:00.1
pci=/sys/bus/pci

setup_file()
{
	cd "$TOP" || return
	export dir=$BATS_FILE_TMPDIR vm=
	scripts/vfio-bind.sh --force $vga
	guest
	# Try once more, because a nested guest hangs now and then.
	start || {
		kill -KILL "$vm"
		start
	}
}

teardown_file()
{
	kill "$vm"
	timeout 60 tail --pid="$vm" -f /dev/null
	"$TOP/scripts/vfio-unbind.sh" $vga
}

setup()
{
	cd "$TOP" || return
	console=$(cat "$dir/console")
}

# guest: makes an initrd whose init prints the PCI devices that it sees and the
# output of isospin's commands about them, and then stays.
guest()
{
	mkdir -p "$dir"/root/{bin,dev,etc,proc,sys,tmp,run,isospin/share/abi}
	cp "$(command -v busybox)" "$dir/root/bin/busybox"
	cp -r lib scripts etc "$dir/root/isospin/"
	cp share/conf.tbl share/version "$dir/root/isospin/share/"
	cp share/abi/branches "$dir/root/isospin/share/abi/"
	cat >"$dir/root/init" <<-'EOT'
	#!/bin/busybox sh
	/bin/busybox --install -s /bin
	export PATH=/bin
	mount -t sysfs sys /sys
	mount -t proc proc /proc
	mount -t devtmpfs dev /dev
	cd /sys/bus/pci/devices
	for dev in *; do
		read -r vendor <$dev/vendor
		read -r device <$dev/device
		echo "guest: $dev $vendor:$device"
	done
	cd /isospin
	scripts/vfio-status.sh
	echo "guest: vfio-status $?"
	scripts/vfio-bind.sh -n --all-nvidia
	echo "guest: vfio-bind $?"
	scripts/vfio-status.sh --no-users 00:07.0
	echo 'guest: that is all'
	exec sleep 1000
	EOT
	chmod +x "$dir/root/init"
	(cd "$dir/root" && find . | cpio -o -H newc --quiet) >"$dir/initrd"
}

# start: starts the VM, and returns when its init has printed everything.
start()
{
	local kernel

	for kernel in .vm-assets/kernels/*-cloud-amd64/vmlinuz; do :; done
	: >"$dir/console"
	qemu-system-x86_64 -accel kvm -cpu host -M q35 -m 512 -nodefaults \
		-no-user-config -nographic -no-reboot -serial "file:$dir/console" \
		-kernel "$kernel" -initrd "$dir/initrd" \
		-append 'console=ttyS0 quiet panic=-1' \
		-device vfio-pci,host=$vga,addr=5.0,multifunction=on,x-pci-vendor-id=0x10de,x-pci-device-id=0x2330 \
		-device vfio-pci,host=$audio,addr=5.1,x-pci-vendor-id=0x10de \
		-device pci-testdev,addr=6 -device pci-testdev,addr=7,membar=2T >"$dir/qemu" 2>&1 3>&- &
	vm=$!
	timeout 150 tail -n +1 -f --pid="$vm" "$dir/console" |
		grep -qm 1 'guest: that is all'
}

@test "a VM sees both functions of the card, with the numbers that it is told" {
	has "$console" 'guest: 0000:00:05.0 0x10de:0x2330'
	has "$console" "guest: 0000:00:05.1 0x10de:$(cat $pci/devices/$audio/device)"
}

@test "while a VM has the card vfio-unbind refuses, and vfio-status names it" {
	run -75 --separate-stderr scripts/vfio-unbind.sh $vga
	has "$stderr" "process $vm (qemu-system-x86)"
	equal vfio-pci "$(basename "$(readlink $pci/devices/$vga/driver)")"
	run -1 --separate-stderr scripts/vfio-status.sh $vga
	has "$output" "$vm"
}

@test "every function made by NVIDIA is shown, with the machine's lack of an IOMMU" {
	has "$console" 'IOMMU off: the firmware reports none (no DMAR or IVRS table)'
	has "$console" '0000:00:05.0 10de:2330 class 038000: blocked'
	has "$console" '0000:00:05.1 10de:293e class 040300: blocked'
	run ! grep -e '^0000:00:06.0' -e '^0000:00:1f' <<<"$console"
	has "$console" 'no_vfio_pci: the kernel has no driver vfio-pci'
	has "$console" 'guest: vfio-status 69'
}

@test "vfio-bind --all-nvidia is refused for each of them where there is no IOMMU" {
	equal 2 "$(grep -c 'vfio-bind: error: the IOMMU is off: the firmware' \
		<<<"$console")"
	has "$console" 'vfio-bind: error: nothing was changed'
	has "$console" 'guest: vfio-bind 69'
}

@test "a BAR for which Linux found no room is told" {
	has "$console" 'BARs     0: 4K mem32; 1: 256 io; 2: ? mem64,pref,unassigned'
	has "$console" 'error    bar_unassigned: BAR 2 of 0000:00:07.0 has no address'
}
