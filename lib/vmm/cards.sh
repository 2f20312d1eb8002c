# shellcheck shell=sh
# cards.sh - the devices of the lab: its disks, its IOMMU, and cards that stand in for
# GPUs
#
# isospin-lab(1) lists the cards. Reads the lab's record: LAB_ROOT and
# LAB_MODULES, the file systems; LAB_DISK, the disk that keeps writes; LAB_QEMU, the
# directory of a QEMU that the lab has for itself; LAB_VMMS.

use record proc

# cards_start DIR COMMAND [ARG...]: calls COMMAND, QEMU's command line, as the VM's
# process, with the lab's devices added. The VMM has no capability, so files of the user
# behind sudo reach it open, as fds 5 to 9.
cards_start()
{
	local name home root modules disk qemu vmms cards_blockdev cards_device

	record_read "$1/vm.conf" name=NAME home=DIR root=LAB_ROOT \
		modules=LAB_MODULES disk=LAB_DISK qemu=LAB_QEMU vmms=LAB_VMMS
	shift
	# shellcheck disable=SC2016 # the inner shell's words
	set -- "vms/$name/vmm" sh -c 'root=$1 modules=$2 disk=$3 qemu=$4
		shift 4
		[ -z "$disk" ] || exec 7<>"$disk"
		[ -z "$qemu" ] || exec 8<"$qemu/qemu-system-x86_64" 9<"$qemu/firmware"
		exec "$@" 5<"$root" 6<"$modules"' sh \
		"$root" "$modules" "$disk" "$qemu" "$@"
	[ -z "$qemu" ] || set -- "$@" -L /proc/self/fd/9
	[ -z "$vmms" ] || set -- "$@" -machine kernel-irqchip=split
	set -- "$@" -device intel-iommu,intremap=on,aw-bits=48 \
		-add-fd fd=5,set=1 -add-fd fd=6,set=2
	cards_drive root /dev/fdset/1 on 0x10
	set -- "$@" -blockdev "$cards_blockdev" -device "$cards_device"
	cards_drive modules /dev/fdset/2 on 0x11
	set -- "$@" -blockdev "$cards_blockdev" -device "$cards_device"
	cards_drive checkout "$home/checkout.img" on 0x12
	set -- "$@" -blockdev "$cards_blockdev" -device "$cards_device"
	if [ -n "$disk" ]; then
		cards_drive disk /dev/fdset/3 off 0x13
		set -- "$@" -add-fd fd=7,set=3 \
			-blockdev "$cards_blockdev" -device "$cards_device"
	fi
	cards_all proc_spawn "$@" -machine sata=off,smbus=off
}

# cards_drive NAME FILE READONLY SLOT: sets cards_blockdev and cards_device, which the
# caller has local.
cards_drive()
{
	cards_blockdev="driver=file,node-name=$1,filename=$2,read-only=$3"
	cards_device="virtio-blk-pci,drive=$1,addr=$4"
}

# cards_all COMMAND [ARG...]: calls COMMAND with the cards added, see isospin-lab(1). The
# firmware gives the buses their numbers by slot: port1 has 01, port2 02, bridge 03. The
# bus that stands apart comes last: a device that names no bus would go there.
cards_all()
{
	"$@" -device VGA,addr=0x2 \
		-device pcie-root-port,id=port1,chassis=1,addr=0x3.0,multifunction=on \
		-device secondary-vga,bus=port1,addr=0.0,multifunction=on \
		-device ich9-intel-hda,id=hda,bus=port1,addr=0.1 \
		-audiodev none,id=sound \
		-device hda-output,bus=hda.0,audiodev=sound \
		-device pcie-root-port,id=port2,chassis=2,addr=0x3.1 \
		-device pcie-pci-bridge,id=bridge,bus=port2 \
		-device e1000,bus=bridge,addr=1,romfile= \
		-device pci-testdev,bus=bridge,addr=2 \
		-blockdev driver=null-co,node-name=nvme1,size=1073741824,read-zeroes=on \
		-device nvme,serial=1,drive=nvme1,addr=0x5 \
		-blockdev driver=null-co,node-name=nvme2,size=1073741824,read-zeroes=on \
		-device nvme,serial=2,drive=nvme2,addr=0x6 \
		-device edu,addr=0x7 \
		-device pci-testdev,membar=64G,addr=0x8 \
		-device pxb-pcie,id=apart,bus_nr=16,bypass_iommu=on,addr=0x9 \
		-device pcie-root-port,id=port3,bus=apart,chassis=3 \
		-device pci-testdev,bus=port3
}
