# shellcheck shell=sh
# lab.sh - a machine to try VFIO on: QEMU without KVM, with an IOMMU, nested
# virtualization and cards that stand in for GPUs
#
# Its Debian is read only; writes go to memory, or to a disk that is kept. DIR is
# the lab's directory, see vm.sh. A function that fails sets why.
#
# Adds to the record the keys that cards.sh reads, LAB_VMMS, a directory of VMMs for its
# PATH, and for qemu.sh QEMU, QEMU_RUN and CPU_MODEL.

use conf record proc disk accel assets vmm vm launch boot

# Paths in the lab: where commands start, then, below /isospin, share/lab, the built
# files and the downloads. In the lab all runs as root.
lab_top=/isospin${paths_command#"$paths_top"}
lab_top=${lab_top%/bin/isospin}
lab_share=${paths_share#"$paths_top"}/lab
lab_state=/build
lab_assets=/.vm-assets
if [ -z "$paths_source" ]; then
	lab_state=/var/lib/isospin
	lab_assets=$lab_state/assets
fi
lab_disk_mib=4096
# The parts of paths_state that are copied too.
lab_built='bin static/bin static/test kmod lab test/bin test/unit'

# lab_prepare VAR NAME-VAR NAME DISK APPEND KEPT OWNER: decides what the lab NAME is, or
# if that is empty one of the next free name, claims it, and makes what it boots from.
# Sets VAR to its directory, NAME-VAR to its name.
lab_prepare()
{
	local lab_var="$1" lab_name_var="$2" lab_name="$3" disk="$4" append="$5" kept="$6"
	local lab_dir release root modules hang vmms qemu='' run='' cpu cpus mem

	shift 6
	release=$(assets_lab_kernel) || release=
	root=$(assets_lab)/root.img
	if [ -z "$release" ] || [ ! -f "$root" ]; then
		fail 66 'the lab is not there; run: isospin setup lab' || return
	fi
	modules=$(assets_kernel_dir "$release")/modules.img
	# A test must see the same processor on any machine.
	cpu=EPYC,+svm,cx16=off,erms=off,fsrm=off
	conf_get vmms LAB_VMMS
	[ -z "$vmms" ] || lab_find_vmms || return
	hang=$paths_state/lab/$release/hang.ko
	[ -f "$hang" ] || [ "$DRY_RUN" -eq 1 ] ||
		fail 69 "$hang is not built; run: isospin build lab" || return
	[ -z "$qemu" ] || accel_use "$qemu/qemu-system-x86_64"
	accel_choose || return
	if [ -n "$lab_name" ]; then
		vm_claim lab_dir "$lab_name" "$1" || return
	else
		vm_claim_next lab_dir lab_name lab "$1" || return
	fi
	base_set "$lab_name_var" "$lab_name"
	base_set "$lab_var" "$lab_dir"
	vmm_choose lab "$lab_name" || return
	conf_get cpus LAB_CPUS "$lab_name"
	conf_get_bytes mem LAB_MEM "$lab_name"
	if [ -n "$vmms" ]; then
		[ "$cpus" -ge 2 ] || cpus=2
		[ "$mem" -ge 4294967296 ] || mem=4294967296
	fi
	# On a busy machine the kernel's check takes the timer for broken, and
	# panics where interrupts are remapped.
	boot_describe "$lab_dir" "$lab_name" lab "$release" "$cpus" "$mem" "$kept" \
		APPEND "intel_iommu=on no_timer_check${append:+ $append}" \
		LOG_MAX unlimited CPU_MODEL "$cpu" \
		QEMU "${qemu:+$qemu/qemu-system-x86_64}" QEMU_RUN "$run" \
		LAB_QEMU "$qemu" LAB_ROOT "$root" LAB_MODULES "$modules" \
		LAB_DISK "$disk" LAB_VMMS "$vmms" &&
		boot_take_cid "$lab_dir" || return
	[ "$DRY_RUN" -eq 0 ] || return 0
	boot_files "$lab_dir" || return
	lab_checkout "$lab_dir" "$vmms" || fail 74 \
		"$lab_dir/checkout.img: cannot be made; is the disk full?" || return
	[ -z "$disk" ] || [ -e "$disk" ] || lab_disk_new "$disk"
}

# lab_find_vmms: for lab_prepare, where LAB_VMMS names VMMs. Under QEMU 7.2 their guests
# die, or take the lab with them, so this takes QEMU 10, whose processor needs no masks.
lab_find_vmms()
{
	conf_get_path vmms LAB_VMMS
	[ -f "$vmms/firecracker" ] || [ -f "$vmms/cloud-hypervisor" ] || fail 78 \
		"LAB_VMMS: $vmms has no firecracker or cloud-hypervisor" || return
	cpu=EPYC,+svm
	case $(command -v "$accel_qemu" >/dev/null && "$accel_qemu" --version) in
	'QEMU emulator version '[1-9][0-9].*) return 0 ;;
	esac
	qemu=$(assets_qemu) || fail 66 \
		'the lab has no QEMU for LAB_VMMS; run: isospin setup lab' || return
	run=/proc/self/fd/8
}

# lab_disk_new FILE: makes the disk that keeps the lab's writes.
lab_disk_new()
{
	disk_empty "$1" "$lab_disk_mib" ||
		fail 74 "$1: cannot be made; is the disk full?" || return
	base_owner_fix "$1"
}

# lab_up NAME: runs share/lab/up, which makes the VM the lab, once the agent answers.
lab_up()
{
	local dir="$proc_dir/vms/$1"

	vm_exec "$1" -- sh "/mnt$lab_share/up" "/isospin$lab_state/lab" \
		>"$dir/up.log" 2>&1 </dev/null ||
		launch_failed $? "$dir" 'its drivers were loaded' up.log || {
		boot_advise "$dir"
		return 69
	}
}

# lab_checkout DIR VMMS: makes DIR/checkout.img, a file system with the checkout, or with
# the installed isospin, and with a kernel for the VMs.
lab_checkout()
{
	local stage="$1/checkout" vmms="$2"

	mkdir -- "$stage" || return 74
	on_exit rm -rf -- "$stage"
	lab_copy "$paths_top/" "$stage" lab_files &&
		lab_copy "$paths_state" "$stage$lab_state" lab_built_files &&
		lab_copy "$assets_dir" "$stage$lab_assets" lab_asset_files \
		"$vmms" || return 74
	if [ -n "$vmms" ]; then
		mkdir -p -- "$stage$lab_state/lab/vmms" &&
			cp -- "$vmms"/* "$stage$lab_state/lab/vmms/" || return 74
	fi
	disk_make "$stage" "$1/checkout.img" || return 74
	rm -rf -- "$stage"
}

# lab_copy FROM TO LIST [ARG...]: copies to TO the files below FROM whose paths the
# function LIST prints there, each ended by a null byte.
lab_copy()
{
	local from="$1" to="$2"

	shift 2
	mkdir -p -- "$to" || return
	(cd -- "$from" && "$@" | /usr/bin/cpio -0 -p -d -m --quiet "$to")
}

# lab_files: prints the files of the checkout, or of the installed isospin, except built
# ones.
lab_files()
{
	if [ -n "$paths_source" ]; then
		find . \( -name .git -o -path ./.vm-assets -o -path ./build \) \
			-prune -o -print0
		return
	fi
	set -- "$TOP" "$paths_share" "$paths_command"
	[ ! -f "$paths_conf" ] || set -- "$@" "$paths_conf"
	while [ $# -gt 0 ]; do
		find ".${1#"$paths_top"}" -print0
		shift
	done
}

# lab_built_files: prints the built files that the lab needs.
lab_built_files()
{
	local dir

	for dir in $lab_built; do
		[ ! -d "$dir" ] || find "$dir" -print0
	done
	for dir in images/gpu-rootfs-*.ext4; do
		[ ! -f "$dir" ] || printf '%s\0' "$dir"
	done
}

# lab_asset_files VMMS: prints the downloads that boot VMs.
lab_asset_files()
{
	local dir release

	release=$(assets_kernel) || return 0
	dir=kernels/$release
	# In the packages of Debian 13 lib leads to usr/lib.
	find "$dir/boot" "$dir/lib/modules/" "$dir/vmlinuz" -print0
	[ -n "$1" ] || return 0
	if release=$(assets_own_kernel); then
		dir=kernels/$release
		find "$dir/lib" "$dir/vmlinuz" -print0
	fi
	# For a stack in the lab: NVIDIA's programs of the newest version.
	release=$(assets_nvidia_versions | head -n 1)
	[ -z "$release" ] || find "nvidia/$release" \( -type d -o \
		-name 'nvidia-smi' -o -name 'libnvidia-ml.so*' -o -name lib \) -print0
}
