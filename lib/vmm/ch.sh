# shellcheck shell=sh
# ch.sh - Cloud Hypervisor; the functions are vmm.sh's
#
# Its own seccomp filter and Landlock rules stay on: it reaches the files that its
# command line names, and for a snapshot the directory of that. The node of a
# device's IOMMU group is named too: Cloud Hypervisor 53 itself allows one with the
# name of the device, which does not exist.

use assets vmm boot

ch_bin=cloud-hypervisor

ch_init()
{
	vmm_version "$ch_bin"
	vmm_needs "$ch_bin" 41 0 '--landlock'
	ch_text=$vmm_text
	vmm_vsock=hybrid
	vmm_vsock_why='it has its own'
}

ch_describe()
{
	printf '%s\n' "$ch_text"
}

ch_kernel()
{
	vm_kernel=$(assets_kernel_dir "$1")/vmlinuz
}

ch_start()
{
	local device group rules='' huge=''

	set --
	[ "$vm_hugepages" = no ] || huge=',hugepages=on,hugepage_size=2M'
	for device in $vm_devices; do
		device=/sys/bus/pci/devices/$device
		set -- "$@" "path=$device"
		group=$(readlink -- "$device/iommu_group") || group=
		rules="$rules path=/dev/vfio/${group##*/},access=rw"
	done
	[ $# -eq 0 ] || set -- --device "$@"
	[ -z "$vm_disk" ] || set -- "$@" --disk path=/proc/self/fd/5,readonly=on
	# shellcheck disable=SC2086 # a list of rules
	ch_spawn --kernel "$vm_kernel" --initramfs "$vm_initrd" \
		--cmdline "console=ttyS0 quiet panic=-1${vm_append:+ $vm_append}" \
		--cpus "boot=$vm_cpus" --memory "size=$((vm_mem >> 20))M$huge" \
		--serial "file=$vm_home/console.log" --console off \
		--vsock "cid=$vm_cid,socket=$vm_home/vsock.sock" \
		--landlock --landlock-rules "path=$vm_home,access=rw" $rules "$@"
	vmm_api "$vm_home/api.sock" GET /api/v1/vmm.ping
}

ch_spawn()
{
	boot_spawn_vmm "$ch_bin" --api-socket "path=$vm_home/api.sock" \
		--seccomp true "$@"
}

ch_place() { :; }
ch_ready() { :; }

ch_saves() { :; }

ch_key()
{
	printf '%s\n' "$ch_text"
	vmm_file "$ch_bin"
}

# ch_snapshot: a device of the host's cannot be in it, and Cloud Hypervisor
# says so.
ch_snapshot()
{
	local new="$vm_home/snapshot"

	[ "$DRY_RUN" -eq 1 ] || mkdir -- "$new" || die 74 "$new: cannot be made"
	vmm_api "$vm_home/api.sock" PUT /api/v1/vm.pause
	vmm_api "$vm_home/api.sock" PUT /api/v1/vm.snapshot \
		"$(jq -cn --arg url "file://$new" '{destination_url: $url}')"
	run mv -T -- "$new" "$vm_snapshot"
}

# ch_restore: sockets and console are at the paths of the VM it was made from,
# so only one of that name can be.
ch_restore()
{
	ch_spawn --restore "source_url=file://$vm_snapshot"
	vmm_api "$vm_home/api.sock" PUT /api/v1/vm.resume
}
