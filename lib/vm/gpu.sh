# shellcheck shell=sh
# gpu.sh - the GPU VM: its driver, the devices it is handed, and how it came up
#
# DIR is the VM's directory, see vm.sh. A function that fails sets why.

use conf record proc sysfs pci users judge abi assets image accel vmm vm boot bridge

# gpu_choose_driver NAME: sets gpu_driver, gpu_driver_why and gpu_bdf, the device of
# the real one. Chooses soft in the place of a GPU that is there only if told to.
gpu_choose_driver()
{
	local at found

	conf_get gpu_driver GPU_DRIVER "$1"
	conf_get gpu_bdf GPU_BDF "$1"
	gpu_driver_why='asked for'
	case $gpu_driver in
	auto)
		pci_driver_of "$gpu_bdf" at
		if [ "$at" = vfio-pci ]; then
			gpu_driver=real
			gpu_driver_why="$gpu_bdf is bound to vfio-pci"
		elif gpu_find_nvidia found; then
			fail 69 "this host has an NVIDIA GPU ($found), which \
is not bound to vfio-pci; bind it: isospin vfio-bind $found; for the soft driver: \
--driver soft"
		else
			gpu_driver=soft
			gpu_driver_why='this host has no NVIDIA GPU'
		fi ;;
	replay:*)
		fail 69 'GPU_DRIVER=replay is not there yet' ;;
	esac
}

# gpu_find_nvidia VAR: sets VAR to the first NVIDIA display device; 1 if there is none.
gpu_find_nvidia()
{
	local gpu_dir gpu_vendor gpu_class

	for gpu_dir in "$SYSFS_ROOT"/bus/pci/devices/*; do
		{ read -r gpu_vendor <"$gpu_dir/vendor" &&
			read -r gpu_class <"$gpu_dir/class"; } 2>/dev/null || continue
		case $gpu_vendor:$gpu_class in
		0x10de:0x03*)
			base_set "$1" "${gpu_dir##*/}"
			return 0 ;;
		esac
	done
	return 1
}

# gpu_slot BDF: adds all functions of the device's slot to gpu_devices, and their IDs to
# gpu_cards. Each function must be ready for a VM.
gpu_slot()
{
	local bdf vendor device

	for bdf in $(pci_slot_functions "$1"); do
		gpu_device "$bdf" || return
		base_fields "$judge_record" vendor device
		gpu_devices="$gpu_devices${gpu_devices:+ }$bdf"
		gpu_cards="$gpu_cards${gpu_cards:+, }$bdf ($vendor:$device)"
	done
	[ -n "$gpu_cards" ] || fail 69 "GPU_BDF: there is no device $1; isospin \
vfio-status shows what there is"
}

# gpu_look: reads the host's IOMMU and users; call it once before gpu_device.
gpu_look()
{
	pci_iommu_load
	users_scan
}

# gpu_given BDF...: whether these devices, which --device names, can be handed to a VM.
gpu_given()
{
	local bdf

	for bdf; do
		case $bdf in
		[!0-9a-f]* | *[!0-9a-f:.]*) false ;;
		????:??:??.[0-7]) ;;
		*) false ;;
		esac || fail 64 "--device: '$bdf' is no address as 0000:01:00.0" ||
			return
		[ -e "$SYSFS_ROOT/bus/pci/devices/$bdf" ] ||
			fail 69 "there is no PCI device $bdf" || return
		gpu_device "$bdf" || return
	done
}

# gpu_device BDF: whether the device can be handed to a VM.
gpu_device()
{
	local code severity message remedy driver state

	pci_driver_of "$1" driver
	[ "$driver" = vfio-pci ] || fail 69 "$1 is not bound to vfio-pci, but to \
${driver:-no driver}; bind it: isospin vfio-bind $1" || return
	judge_load "$1"
	base_fields "$judge_record" state
	[ "$state" != ready ] || return 0
	while IFS='	' read -r code severity message remedy; do
		case $code:$severity in
		problem=*:error) log_error "$message${remedy:+; $remedy}" ;;
		esac
	done <<-EOT
	$judge_record
	EOT
	[ "$state" != used ] || fail 75 "$1 is in use" || return
	fail 69 "$1 cannot be handed to a VM ($state)"
}

# gpu_image VAR RELEASE VERSION: sets VAR to the image with that driver, which runs in
# that kernel; 66 if there is none.
gpu_image()
{
	base_set "$1" "$image_dir/gpu-rootfs-$3-$2.ext4"
	[ -f "$image_dir/gpu-rootfs-$3-$2.ext4" ] || fail 66 "no image with NVIDIA's \
driver $3 for kernel $2; make it: isospin build --driver $3 gpu-rootfs"
}

# gpu_memory BYTES: whether the host has that much free in huge pages.
gpu_memory()
{
	local free want=$(($1 >> 21))

	sysfs_get "$SYSFS_ROOT/kernel/mm/hugepages/hugepages-2048kB/free_hugepages" \
		free || free=0
	[ "$free" -ge "$want" ] || fail 69 "GPU_VM_HUGEPAGES=yes: $want huge pages \
of 2 MiB wanted, $free are free; reserve them: sysctl vm.nr_hugepages=$want"
}

# gpu_version VAR NAME: sets VAR to the version that the soft driver has: that of
# NVIDIA's programs at hand, the newest of the branch wanted; without any, the newest
# table's of that branch, or of the newest branch whose programs work with it.
gpu_version()
{
	local gpu_branch gpu_nonfree gpu_found=''

	conf_get gpu_branch NVIDIA_BRANCH "$2"
	[ "$gpu_branch" != auto ] || gpu_branch=
	conf_get gpu_nonfree NONFREE "$2"
	[ "$gpu_nonfree" = no ] ||
		gpu_found=$(assets_nvidia_versions "$gpu_branch" | head -n 1)
	if [ -z "$gpu_found" ]; then
		gpu_branch=${gpu_branch:-$(abi_default_branch)}
		gpu_found=$(abi_versions "$gpu_branch" | head -n 1)
		[ -n "$gpu_found" ] ||
			fail 66 "share/abi has no table of branch $gpu_branch" ||
			return
	fi
	base_set "$1" "$gpu_found"
}

# gpu_prepare VAR NAME KEPT OWNER [BDF...]: decides what the GPU VM NAME is, with these
# devices too, claims it, and makes what it boots from. Sets VAR to its directory.
gpu_prepare()
{
	local gpu_var="$1" name="$2" kept="$3" owner="$4" gpu_dir release cpus mem version=''
	local gpu_driver gpu_driver_why gpu_bdf gpu_devices='' gpu_cards='' disk=''
	local hugepages=no

	shift 4
	accel_choose || return
	[ $# -eq 0 ] || gpu_look
	gpu_given "$@" || return
	gpu_devices=$*
	gpu_choose_driver "$name" || return
	if [ "$gpu_driver" = real ]; then
		[ $# -gt 0 ] || gpu_look
		gpu_slot "$gpu_bdf" || return
	fi
	release=$(assets_kernel) ||
		fail 66 'no kernel; run: isospin setup demo' || return
	conf_get cpus GPU_VM_CPUS "$name"
	if [ "$gpu_driver" = real ]; then
		conf_get_bytes mem GPU_VM_MEM "$name"
		conf_get version DRIVER_VERSION "$name"
		conf_get hugepages GPU_VM_HUGEPAGES "$name"
		gpu_image disk "$release" "$version" || return
		[ "$hugepages" = no ] || gpu_memory "$mem" || return
	else
		conf_get_bytes mem GPU_VM_SOFT_MEM "$name"
		gpu_version version "$name" || return
	fi
	set --
	[ -z "$gpu_devices" ] || set -- "$@" devices
	[ -z "$disk" ] || set -- "$@" disk
	[ "$hugepages" = no ] || set -- "$@" hugepages
	vmm_choose gpu "$name" "$@" || return
	log_info "driver: $gpu_driver ($gpu_driver_why); $(vmm_said)"
	vm_claim gpu_dir "$name" "$owner" || return
	boot_describe "$gpu_dir" "$name" gpu "$release" "$cpus" "$mem" "$kept" \
		DRIVER "$gpu_driver" DRIVER_VERSION "$version" DISK "$disk" \
		DEVICES "$gpu_devices" CARDS "$gpu_cards" \
		HUGEPAGES "$hugepages" &&
		boot_take_cid "$gpu_dir" || return
	base_set "$gpu_var" "$gpu_dir"
	[ "$DRY_RUN" -eq 0 ] || return 0
	vmm_place "$gpu_dir" && boot_secret "$gpu_dir/broker.secret" || return
	{ conf_print "$name" >"$gpu_dir/isospin.conf"; } 2>/dev/null || fail 74 \
		"$gpu_dir/isospin.conf: cannot be written; is the disk full?" ||
		return
	set -- "DRIVER=$gpu_driver" "DRIVER_VERSION=$version"
	[ -z "$disk" ] || set -- "$@" IMAGE=/dev/vda
	boot_files "$gpu_dir" "$@"
}

# gpu_register DIR: tells the bridge about the GPU VM.
gpu_register()
{
	local name port

	record_read "$1/vm.conf" name=NAME port=BROKER_PORT
	bridge_register "$name" gpu <<-EOT
	connect=$(boot_stream_to "$1" "$port")
	secret_file=$1/broker.secret
	EOT
}

# gpu_note_phases DIR: adds PHASES to the record of a VM with the real driver.
gpu_note_phases()
{
	local driver phases

	record_get driver "$1/vm.conf" DRIVER
	[ "$driver" = real ] || return 0
	phases=$(gpu_phases "$1")
	log_info "$phases"
	record_add "$1/vm.conf" PHASES "$phases"
}

# gpu_phases DIR: prints how long each step of the guest took, by its own clock, as its
# console says.
gpu_phases()
{
	awk '
	function ms(to, from) { return sprintf("%.0f ms", (to - from) / 1e6) }
	/^isospin: .* at=[0-9]+/ {
		at = $0
		sub(/.* at=/, "", at)
		if (/ state=kernel-up /) kernel = at
		if (/ module=nvidia[.]ko /) nvidia = at
		if (/ module=nvidia-uvm[.]ko /) uvm = at
		if (/ state=agent-ready /) agent = at
	}
	/gpu-broker: info: driver=real .* setup_ms=[0-9]+/ {
		firmware = $0
		sub(/.* setup_ms=/, "", firmware)
	}
	END {
		printf "kernel %s, nvidia.ko %s, nvidia-uvm.ko %s, agent %s, " \
			"firmware and GPU %d ms\n", ms(kernel, 0),
			ms(nvidia, kernel), ms(uvm, nvidia), ms(agent, uvm),
			firmware
	}' "$1/console.log"
}
