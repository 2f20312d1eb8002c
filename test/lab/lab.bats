#!/usr/bin/env bats
# bats file_tags=lab
# The lab has the cards, drivers and IOMMU groups that isospin-lab(1) describes.

load ../lib/common.sh

pci=/sys/bus/pci/devices

# card BDF: prints the card's driver and the members of its group.
card()
{
	local driver

	driver=$(readlink "$pci/$1/driver") || driver=none
	echo "${driver##*/}:" "$pci/$1/iommu_group/devices"/*
}

is()
{
	local groups

	groups=$(card "$1" | sed "s|$pci/$1/iommu_group/devices/||g")
	equal "$2: $3" "$groups"
}

@test "the boot display is in a group of its own, with its driver" {
	is 0000:00:02.0 bochs-drm 0000:00:02.0
	equal 1 "$(cat $pci/0000:00:02.0/boot_vga)"
	equal "0000:00:02.0" "$(basename "$(readlink -f /sys/class/graphics/fb0/device)")"
}

@test "graphics and audio of one slot share a group, each with its driver" {
	is 0000:01:00.0 bochs-drm '0000:01:00.0 0000:01:00.1'
	is 0000:01:00.1 snd_hda_intel '0000:01:00.0 0000:01:00.1'
	equal 0x038000 "$(cat $pci/0000:01:00.0/class)"
	[ ! -e $pci/0000:01:00.0/boot_vga ]
}

@test "two cards are the same but for their address, each in a group of its own" {
	is 0000:00:05.0 nvme 0000:00:05.0
	is 0000:00:06.0 nvme 0000:00:06.0
	for file in vendor device subsystem_vendor subsystem_device class revision; do
		equal "$(cat "$pci/0000:00:05.0/$file")" \
			"$(cat "$pci/0000:00:06.0/$file")"
	done
}

@test "cards behind a bridge share a group with it" {
	is 0000:03:01.0 e1000 '0000:02:00.0 0000:03:01.0 0000:03:02.0'
	is 0000:03:02.0 none '0000:02:00.0 0000:03:01.0 0000:03:02.0'
	equal 0x060400 "$(cat $pci/0000:02:00.0/class)"
}

@test "a card has a BAR of 64 GiB" {
	is 0000:00:08.0 none 0000:00:08.0
	read -r start end _ < <(sed -n 3p $pci/0000:00:08.0/resource)
	equal $((64 << 30)) $((end - start + 1))
}

@test "a card behind another host bridge has no group, though the IOMMU is on" {
	[ ! -e $pci/0000:11:00.0/iommu_group ]
	equal 0x1b36:0x0005 "$(cat $pci/0000:11:00.0/vendor):$(
		cat $pci/0000:11:00.0/device)"
}

@test "a driver hangs in remove, uninterruptibly, until it is let go" {
	local dev=0000:00:07.0

	is "$dev" hang "$dev"
	echo "$dev" >/sys/bus/pci/drivers/hang/unbind &
	stuck=$!
	stuck_is()
	{
		[[ $(sed 's/.*) //' "/proc/$stuck/stat") == "$1 "* ]]
	}
	for _ in {1..100}; do
		! stuck_is D || break
		read -rt 0.1 <> <(:) || :
	done
	kill -KILL "$stuck"
	stuck_is D
	echo 1 >/sys/module/hang/parameters/release
	wait "$stuck" || :
	is "$dev" none "$dev"
	echo "$dev" >/sys/bus/pci/drivers/hang/bind
	is "$dev" hang "$dev"
}

@test "vfio-pci, nested KVM and vhost-vsock are there" {
	[ -d /sys/bus/pci/drivers/vfio-pci ]
	for node in vfio/vfio kvm vhost-vsock; do
		: <>"/dev/$node"
	done
	equal 1 "$(cat /sys/module/kvm_amd/parameters/nested)"
}

@test "udev runs and knows the cards" {
	udevadm settle --timeout=10
	has "$(udevadm info --query=property "$pci/0000:01:00.0")" DRIVER=bochs-drm
}
