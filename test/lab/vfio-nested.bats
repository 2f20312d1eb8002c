#!/usr/bin/env bats
# bats file_tags=lab
# A VM in the lab gets a card that vfio-bind has bound.

load ../lib/common.sh

vga=0000:01:00.0 audio=0000:01:00.1
pci=/sys/bus/pci

setup()
{
	cd "$TOP" || return
	dir=$BATS_TEST_TMPDIR
	vm=
}

teardown()
{
	[ -z "$vm" ] || kill "$vm" 2>/dev/null || :
	scripts/vfio-unbind.sh $vga
}

# guest: an initrd whose init shows the PCI devices that it sees, and stays.
guest()
{
	mkdir -p "$dir/root/bin" "$dir/root/sys"
	cp "$(command -v busybox)" "$dir/root/bin/busybox"
	cat >"$dir/root/init" <<-'EOT'
	#!/bin/busybox sh
	/bin/busybox mount -t sysfs sys /sys
	cd /sys/bus/pci/devices
	for dev in *; do
		read -r vendor <$dev/vendor
		read -r device <$dev/device
		echo "guest: $dev $vendor:$device"
	done
	echo 'guest: that is all'
	exec /bin/busybox sleep 1000
	EOT
	chmod +x "$dir/root/init"
	(cd "$dir/root" && find . | cpio -o -H newc --quiet) >"$dir/initrd"
}

# start: the VM; true when its init has said all.
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
		-device vfio-pci,host=$audio,addr=5.1 >"$dir/qemu" 2>&1 3>&- &
	vm=$!
	timeout 150 tail -n +1 -f --pid="$vm" "$dir/console" |
		grep -qm 1 'guest: that is all'
}

@test "a VM sees both functions of the card, and keeps it from vfio-unbind" {
	scripts/vfio-bind.sh --force $vga
	guest
	# A nested guest hangs now and then.
	start || {
		kill -KILL "$vm"
		wait "$vm" || :
		start
	}
	has "$(cat "$dir/console")" 'guest: 0000:00:05.0 0x10de:0x2330'
	has "$(cat "$dir/console")" "guest: 0000:00:05.1 $(cat $pci/devices/$audio/vendor):$(
		cat $pci/devices/$audio/device)"

	run -75 --separate-stderr scripts/vfio-unbind.sh $vga
	has "$stderr" "process $vm (qemu-system-x86)"
	equal vfio-pci "$(basename "$(readlink $pci/devices/$vga/driver)")"
	run -1 --separate-stderr scripts/vfio-status.sh $vga
	has "$output" "$vm"
}
