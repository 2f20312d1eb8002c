# shellcheck shell=sh
# lab.sh - a machine to try VFIO on: QEMU without KVM, with an IOMMU, nested
# virtualization and cards that stand in for GPUs
#
# Its Debian is read only; what is written goes to memory, or to a disk that is
# kept. What the cards are stands in isospin-lab(1). Needs assets boot disk image
# qemu vm.

use conf proc disk assets image

# Where share/lab/up puts the checkout.
lab_top=/isospin
lab_disk_mib=4096
# What the initial RAM disk loads.
lab_modules='virtio_pci virtio_blk ext4 overlay vmw_vsock_virtio_transport'

# What of build/ goes along.
lab_built='bin static/bin static/test kmod lab test/bin test/unit'

# lab_init: sets lab_release (its kernel) and lab_root (its file system), or ends
# the command.
lab_init()
{
	lab_release=$(assets_lab_kernel) || lab_release=
	lab_root=$(assets_lab)/root.img
	if [ -z "$lab_release" ] || [ ! -f "$lab_root" ]; then
		die 66 'the lab is not there; run: isospin setup lab'
	fi
	lab_modules_img=$(assets_kernel_dir "$lab_release")/modules.img
	lab_qemu=
	conf_get lab_vmms LAB_VMMS
	[ -z "$lab_vmms" ] || lab_init_vmms
	lab_hang=$paths_state/lab/$lab_release/hang.ko
	[ -f "$lab_hang" ] || [ "$DRY_RUN" -eq 1 ] ||
		die 69 "$lab_hang is not built; run: isospin build lab"
}

# lab_init_vmms: for the monitors of LAB_VMMS. Of QEMU 7.2 their guests die, or
# take the lab with them; what 10 has for a processor needs none of our masks.
lab_init_vmms()
{
	conf_get_path lab_vmms LAB_VMMS
	[ -f "$lab_vmms/firecracker" ] || [ -f "$lab_vmms/cloud-hypervisor" ] ||
		die 78 "LAB_VMMS: $lab_vmms has no firecracker or cloud-hypervisor"
	qemu_cpu_off=
	case $(command -v "$qemu_bin" >/dev/null && "$qemu_bin" --version) in
	'QEMU emulator version '[1-9][0-9].*) return 0 ;;
	esac
	lab_qemu=$(assets_qemu) ||
		die 66 'the lab has no QEMU for LAB_VMMS; run: isospin setup lab'
	qemu_bin=$lab_qemu/qemu-system-x86_64
	qemu_run=/proc/self/fd/8
}

# image_lab RELEASE: the initial RAM disk, up to the boot's own part.
image_lab()
{
	image_make "lab-$1.cpio" lab_stage "$1"
}

lab_stage()
{
	local dir file list='' paths

	dir=$(assets_kernel_dir "$1")
	paths=$(lab_module_files "$dir" "$1") || return
	image_put "$paths_guest/isospin-agent" isospin/agent 755 &&
		image_put "$image_busybox" bin/busybox 755 &&
		image_put "$paths_share/lab/init" init 755 || return
	for file in $paths; do
		dir=${file##*/}
		dir=${dir%.xz}
		image_put "$file" "modules/$dir" 644 || return
		list="$list$dir$base_nl"
	done
	printf '%s' "$list" | image_text modules/list 644 &&
		image_text isospin/modules 644 </dev/null || return
	[ -n "$image_root" ] || return 0
	mkdir -p "$image_root/dev" "$image_root/proc" &&
		for file in sh $("$image_busybox" --list); do
			[ "$file" = busybox ] || [ -e "$image_root/bin/$file" ] ||
				ln -s busybox "$image_root/bin/$file" || return
		done
}

# lab_module_files DIR RELEASE: the files of lab_modules and of what those need,
# in the order in which they are loaded.
lab_module_files()
{
	local module

	for module in $lab_modules; do
		/sbin/modprobe -d "$1" -S "$2" --show-depends "$module" ||
			die 65 "kernel $2 has no module $module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# lab_checkout FILE: the checkout as a file system, with a kernel for the VMs.
lab_checkout()
{
	local stage="$vm_home/checkout"

	mkdir -- "$stage" || return 74
	on_exit rm -rf -- "$stage"
	lab_files | (cd -- "$TOP" &&
		/usr/bin/cpio -0 -p -d -m --quiet "$stage") || return 74
	if [ -n "$lab_vmms" ]; then
		mkdir -p -- "$stage/build/lab/vmms" &&
			cp -- "$lab_vmms"/* "$stage/build/lab/vmms/" || return 74
	fi
	disk_make "$stage" "$1" || return 74
	rm -rf -- "$stage"
}

# lab_files: the paths of what goes into it, each ended by a null byte.
lab_files()
{
	local dir release

	cd -- "$TOP" || return
	find . \( -name .git -o -path ./.vm-assets -o -path ./build \) -prune \
		-o -print0
	for dir in $lab_built; do
		[ ! -d "build/$dir" ] || find "build/$dir" -print0
	done
	for dir in build/images/gpu-rootfs-*.ext4; do
		[ ! -f "$dir" ] || printf '%s\0' "$dir"
	done
	release=$(assets_kernel) || return 0
	dir=.vm-assets/kernels/$release
	# In the packages of Debian 13 lib leads to usr/lib.
	find "$dir/boot" "$dir/lib/modules/" "$dir/vmlinuz" -print0
	[ -n "$lab_vmms" ] || return 0
	if release=$(assets_own_kernel); then
		dir=.vm-assets/kernels/$release
		find "$dir/lib" "$dir/vmlinuz" -print0
	fi
	# For a stack in the lab: NVIDIA's programs of the newest version.
	release=$(assets_nvidia_versions | head -n 1)
	[ -z "$release" ] || find ".vm-assets/nvidia/$release" \( -type d -o \
		-name 'nvidia-smi' -o -name 'libnvidia-ml.so*' -o -name lib \) -print0
}

# lab_start NAME COMMAND [ARG...]: proc_spawn with the lab's devices. The monitor
# has no capability, so what belongs to the user behind sudo reaches it as open
# files, fds 5 to 9.
lab_start()
{
	local name="$1"

	shift
	# shellcheck disable=SC2016 # the inner shell's words
	set -- "$name" sh -c 'root=$1 modules=$2 disk=$3 qemu=$4
		shift 4
		[ -z "$disk" ] || exec 7<>"$disk"
		[ -z "$qemu" ] || exec 8<"$qemu/qemu-system-x86_64" 9<"$qemu/firmware"
		exec "$@" 5<"$root" 6<"$modules"' sh \
		"$lab_root" "$lab_modules_img" "$lab_disk" "$lab_qemu" "$@"
	[ -z "$lab_qemu" ] || set -- "$@" -L /proc/self/fd/9
	[ -z "$lab_vmms" ] || set -- "$@" -machine kernel-irqchip=split
	set -- "$@" -device intel-iommu,intremap=on,aw-bits=48 \
		-add-fd fd=5,set=1 -add-fd fd=6,set=2
	lab_drive root /dev/fdset/1 on 0x10
	set -- "$@" -blockdev "$lab_blockdev" -device "$lab_device"
	lab_drive modules /dev/fdset/2 on 0x11
	set -- "$@" -blockdev "$lab_blockdev" -device "$lab_device"
	lab_drive checkout "$vm_home/checkout.img" on 0x12
	set -- "$@" -blockdev "$lab_blockdev" -device "$lab_device"
	if [ -n "$lab_disk" ]; then
		lab_drive disk /dev/fdset/3 off 0x13
		set -- "$@" -add-fd fd=7,set=3 \
			-blockdev "$lab_blockdev" -device "$lab_device"
	fi
	lab_cards proc_spawn "$@" -machine sata=off,smbus=off
}

# lab_drive NAME FILE READONLY SLOT: sets lab_blockdev and lab_device.
lab_drive()
{
	lab_blockdev="driver=file,node-name=$1,filename=$2,read-only=$3"
	lab_device="virtio-blk-pci,drive=$1,addr=$4"
}

# lab_cards COMMAND [ARG...]: the cards, see isospin-lab(1). The firmware gives
# the buses their numbers by slot: port1 has 01, port2 02, bridge 03. Last what is
# apart: a device that names no bus would go there.
lab_cards()
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
