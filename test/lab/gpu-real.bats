#!/usr/bin/env bats
# bats file_tags=lab
# gpu-vm with GPU_DRIVER=real on a card that is not an NVIDIA GPU, up to the point
# where it needs one. isospin build gpu-rootfs makes the image.

load ../lib/common.sh

vga=0000:01:00.0 audio=0000:01:00.1
version=550.163.01

setup()
{
	cd "$TOP" || return
	export ISOSPIN_GPU_DRIVER=real ISOSPIN_GPU_BDF=$vga
	export ISOSPIN_DRIVER_VERSION=$version ISOSPIN_GPU_VM_MEM=512M ISOSPIN_GPU_VM_CPUS=1
	# KVM is nested here, and the probe would exceed its five seconds.
	export ISOSPIN_ACCEL=kvm ISOSPIN_GPU_VMM=qemu
}

teardown()
{
	bin/isospin kill-vms
	scripts/vfio-unbind.sh $vga
}

gpu_vm()
{
	timeout 200 bin/isospin gpu-vm --detach "$@" 3>&-
}

@test "gpu-vm with the real driver wants the card on vfio-pci, and says how" {
	run -69 --separate-stderr gpu_vm
	has "$stderr" "$vga is not bound to vfio-pci"
	has "$stderr" "isospin vfio-bind $vga"
}

@test "gpu-vm with the real driver wants an image with that driver" {
	scripts/vfio-bind.sh --force $vga
	ISOSPIN_DRIVER_VERSION=535.261.03 run -66 --separate-stderr gpu_vm
	has "$stderr" 'isospin build --driver 535.261.03 gpu-rootfs'
}

@test "gpu-vm with huge pages wants them reserved" {
	image
	scripts/vfio-bind.sh --force $vga
	ISOSPIN_GPU_VM_HUGEPAGES=yes run -69 --separate-stderr gpu_vm
	has "$stderr" 'sysctl vm.nr_hugepages=256'
}

# no_gpu VMM: the command that starts the GPU VM shows the message of NVIDIA's module.
no_gpu()
{
	image
	export ISOSPIN_GPU_VMM=$1
	scripts/vfio-bind.sh --force $vga
	run -69 --separate-stderr gpu_vm
	echo "$stderr"
	# Try once more, because a nested guest hangs now and then.
	case $stderr in
	*'did not get there in time'*)
		run -69 --separate-stderr gpu_vm ;;
	esac
	has "$stderr" 'failed: nvidia.ko: No such device'
	has "$stderr" "NVIDIA's module $version found no GPU that it knows \
(ENODEV) in what the VM was given: $vga ($(id_of $vga)), $audio ($(id_of $audio))"
}

@test "NVIDIA's module finds no GPU in a card of another kind: gpu-vm says so" {
	no_gpu qemu
}

@test "in Cloud Hypervisor NVIDIA's module finds none either, and gpu-vm says so" {
	command -v cloud-hypervisor >/dev/null ||
		skip 'LAB_VMMS has no cloud-hypervisor'
	no_gpu cloud-hypervisor
}

# image: skips the test if the image has not been made.
image()
{
	set -- build/images/gpu-rootfs-"$version"-*.ext4
	[ -f "$1" ] || skip "no build/images/gpu-rootfs-$version"
}

id_of()
{
	sed 's/0x//' /sys/bus/pci/devices/"$1"/{vendor,device} | paste -sd:
}
