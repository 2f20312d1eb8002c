#!/usr/bin/env bats
# vfio-bind --persist, across a reboot of the lab.

load ../lib/common.sh
load ../lib/stack.sh

setup_file()
{
	stack_new
}

teardown_file()
{
	stack_end
}

@test "what --persist has bound is bound after a reboot, before its driver comes" {
	disk=$BATS_TEST_TMPDIR/disk
	isospin lab --disk "$disk" -- sh -c '
		cd /isospin && scripts/vfio-bind.sh --force --persist 01:00.0 00:05.0 &&
		sync'
	# Since the reboot, only udev has handled the cards.
	run -0 --separate-stderr isospin lab --disk "$disk" -- sh -ec '
		cd /sys/bus/pci/devices
		for bdf in 0000:01:00.0 0000:01:00.1 0000:00:05.0 0000:00:06.0; do
			printf "%s %s %s %s\n" $bdf "$(basename \
				"$(readlink $bdf/driver)")" "$(cat \
				$bdf/driver_override)" "$(cat $bdf/power/control)"
		done
		driverctl list-overrides
		dmesg | grep "nvme 0000:00:05.0" || :
		cd /isospin
		scripts/vfio-unbind.sh --persist 01:00.0 00:05.0
		find /etc/driverctl.d /etc/udev/rules.d -type f -name "*isospin*" \
			-o -name "pci-*"
		basename "$(readlink /sys/bus/pci/devices/0000:00:05.0/driver)"'
	equal '0000:01:00.0 vfio-pci vfio-pci on
0000:01:00.1 vfio-pci vfio-pci on
0000:00:05.0 vfio-pci vfio-pci on
0000:00:06.0 nvme (null) on
0000:00:05.0 vfio-pci
0000:01:00.0 vfio-pci
0000:01:00.1 vfio-pci
nvme' "$output"
	has "$stderr" '0000:01:00.0: given back to bochs-drm'
}
