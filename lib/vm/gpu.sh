# shellcheck shell=sh
# gpu.sh - a GPU VM with real hardware: what it is handed, and how it came up
#
# Needs conf sysfs pci users judge assets image vm vmm.

use conf proc sysfs pci users judge

gpu_cards=

# gpu_devices BDF: adds all functions of its slot to vm_devices, or ends the command:
# each must be bound to vfio-pci, and nothing stand in the way. Sets gpu_cards to
# what they are.
gpu_devices()
{
	local bdf vendor device

	gpu_look
	for bdf in $(pci_slot_functions "$1"); do
		gpu_device "$bdf"
		base_fields "$judge_record" vendor device
		vm_devices="$vm_devices${vm_devices:+ }$bdf"
		gpu_cards="$gpu_cards${gpu_cards:+, }$bdf ($vendor:$device)"
	done
	[ -n "$gpu_cards" ] || die 69 "GPU_BDF: there is no device $1; isospin \
vfio-status shows what there is"
}

# gpu_look: once before gpu_device.
gpu_look()
{
	pci_iommu_load
	users_scan
}

# gpu_device BDF: ends the command unless a VM can have it.
gpu_device()
{
	local code severity message remedy driver state

	pci_driver_of "$1" driver
	[ "$driver" = vfio-pci ] || die 69 "$1 is not bound to vfio-pci, but to \
${driver:-no driver}; bind it: isospin vfio-bind $1"
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
	[ "$state" != used ] || die 75 "$1 is in use"
	die 69 "$1 cannot be handed to a VM ($state)"
}

# gpu_image_find RELEASE VERSION: sets vm_disk to the image with that driver, which
# runs in that kernel; 1 if there is none.
gpu_image_find()
{
	vm_disk=$image_dir/gpu-rootfs-$2-$1.ext4
	[ -f "$vm_disk" ]
}

# gpu_image RELEASE VERSION: the same, or ends the command.
gpu_image()
{
	gpu_image_find "$1" "$2" || die 66 "no image with NVIDIA's driver $2 for kernel \
$1; make it: isospin build --driver $2 gpu-rootfs"
}

# gpu_memory: whether the host has the huge pages for vm_mem, if they are wanted.
gpu_memory()
{
	local free want=$((vm_mem >> 21))

	conf_get vm_hugepages GPU_VM_HUGEPAGES "$vm_name"
	[ "$vm_hugepages" = yes ] || return 0
	sysfs_get "$SYSFS_ROOT/kernel/mm/hugepages/hugepages-2048kB/free_hugepages" \
		free || free=0
	[ "$free" -ge "$want" ] || die 69 "GPU_VM_HUGEPAGES=yes: $want huge pages \
of 2 MiB wanted, $free are free; reserve them: sysctl vm.nr_hugepages=$want"
}

# gpu_start NAME COMMAND [ARG...]: proc_spawn for a VM that is handed devices: with
# room to lock its memory, which VFIO counts, and the image, if it has one, as fd
# 5: the monitor has no capability, so what belongs to the user behind sudo is
# closed to it.
gpu_start()
{
	local name="$1" kib=$(((vm_mem >> 10) + 1048576))

	shift
	# shellcheck disable=SC2016 # the inner shell's words
	proc_spawn "$name" sh -c 'disk=$1 kib=$2
		shift 2
		ulimit -l unlimited 2>/dev/null || ulimit -l "$kib" 2>/dev/null || :
		[ -z "$disk" ] || exec 5<"$disk"
		exec "$@"' sh "$vm_disk" "$kib" "$@"
}

# gpu_remedy: for boot_explain, what nvidia.ko's ENODEV means.
gpu_remedy()
{
	printf '%s\n' "NVIDIA's module $version found no GPU that it knows \
(ENODEV) in what the VM was given: $gpu_cards"
}

# gpu_phases: how long each step of the guest took, by its own clock, as its
# console says; a line.
gpu_phases()
{
	awk '
	function ms(to, from) { return sprintf("%.0f ms", (to - from) / 1e6) }
	/^isospin: .* at=[0-9]+/ {
		at = $0
		sub(/.* at=/, "", at)
		if (/: kernel up /) kernel = at
		if (/: module nvidia[.]ko /) nvidia = at
		if (/: module nvidia-uvm[.]ko /) uvm = at
		if (/: agent ready /) agent = at
	}
	/gpu-broker: info: driver .* set up in [0-9]+ ms/ {
		firmware = $0
		sub(/.* set up in /, "", firmware)
		sub(/ ms.*/, "", firmware)
	}
	END {
		printf "kernel %s, nvidia.ko %s, nvidia-uvm.ko %s, agent %s, " \
			"firmware and GPU %d ms\n", ms(kernel, 0),
			ms(nvidia, kernel), ms(uvm, nvidia), ms(agent, uvm),
			firmware
	}' "$vm_home/console.log"
}
