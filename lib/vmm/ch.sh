# shellcheck shell=sh
# ch.sh - the back end of Cloud Hypervisor; vmm.sh explains its functions
#
# Its own seccomp filter and Landlock rules stay on: it reaches the files that its
# command line names, and for a snapshot the directory of that. The node of a
# device's IOMMU group is named too: Cloud Hypervisor 53 itself allows one with the
# name of the device, which does not exist.

use record assets launch

ch_bin=cloud-hypervisor

ch_about()
{
	cat <<-'EOT'
	NAME=cloud-hypervisor
	ROLES=gpu worker
	CAPS=disk devices hugepages snapshot
	FIRST=gpu
	PROGRAM=cloud-hypervisor
	KVM=yes
	EOT
}

ch_init()
{
	launch_version "$ch_bin" &&
		launch_needs "$ch_bin" 41 0 '--landlock' || return
	vmm_record="${vmm_record}VMM_TEXT=$launch_text${base_nl}VSOCK=hybrid
VSOCK_WHY=it has its own$base_nl"
}

ch_kernel()
{
	base_set "$1" "$(assets_kernel_dir "$2")/vmlinuz"
}

ch_start()
{
	local dir="$1" home cpus mem cid devices disk hugepages append kernel
	local device group rules='' huge=''

	record_read "$dir/vm.conf" home=DIR cpus=CPUS mem=MEM cid=CID \
		devices=DEVICES disk=DISK hugepages=HUGEPAGES append=APPEND
	launch_kernel kernel "$dir"
	set --
	[ "$hugepages" != yes ] || huge=',hugepages=on,hugepage_size=2M'
	for device in $devices; do
		device=/sys/bus/pci/devices/$device
		set -- "$@" "path=$device"
		group=$(readlink -- "$device/iommu_group") || group=
		rules="$rules path=/dev/vfio/${group##*/},access=rw"
	done
	[ $# -eq 0 ] || set -- --device "$@"
	[ -z "$disk" ] || set -- "$@" --disk path=/proc/self/fd/5,readonly=on
	# shellcheck disable=SC2086 # a list of rules
	ch_spawn "$dir" "$home" --kernel "$kernel" --initramfs "$home/initrd" \
		--cmdline "console=ttyS0 quiet panic=-1${append:+ $append}" \
		--cpus "boot=$cpus" --memory "size=$((mem >> 20))M$huge" \
		--serial "file=$home/console.log" --console off \
		--vsock "cid=$cid,socket=$home/vsock.sock" \
		--landlock --landlock-rules "path=$home,access=rw" $rules "$@" &&
		launch_api "$dir" "$home/api.sock" GET /api/v1/vmm.ping
}

# ch_spawn DIR HOME ARG...
ch_spawn()
{
	local dir="$1" home="$2"

	shift 2
	launch_vmm "$dir" "$ch_bin" --api-socket "path=$home/api.sock" \
		--seccomp true "$@"
}

ch_place() { :; }
ch_ready() { :; }

ch_saves() { :; }

ch_key()
{
	local text

	record_get text "$1/vm.conf" VMM_TEXT
	printf '%s\n' "$text"
	launch_file "$ch_bin"
}

# A device of the host's cannot be in a snapshot, and Cloud Hypervisor says so.
ch_snapshot()
{
	local home to

	record_read "$1/vm.conf" home=DIR to=SNAPSHOT_DIR
	[ "$DRY_RUN" -eq 1 ] || mkdir -- "$home/snapshot" ||
		fail 74 "$home/snapshot: cannot be made; is the disk full?" || return
	launch_api "$1" "$home/api.sock" PUT /api/v1/vm.pause &&
		launch_api "$1" "$home/api.sock" PUT /api/v1/vm.snapshot \
			"$(jq -cn --arg url "file://$home/snapshot" \
				'{destination_url: $url}')" || return
	run mv -T -- "$home/snapshot" "$to" ||
		fail 74 "$to: cannot be made; is the disk full?"
}

# The clone's sockets and console are at the paths of the template, so only one VM of
# that name can run.
ch_restore()
{
	local home from

	record_read "$1/vm.conf" home=DIR from=SNAPSHOT_DIR
	ch_spawn "$1" "$home" --restore "source_url=file://$from" &&
		launch_api "$1" "$home/api.sock" PUT /api/v1/vm.resume
}

ch_remedy()
{
	case $2 in
	*'not multiple of 2MiB'* | *'not a multiple of 2MiB'*)
		echo 'the size of shared memory must be a multiple of 2 MiB' ;;
	*KernelLoad*)
		echo 'Cloud Hypervisor does not boot that kernel; isospin build fc-gpu-kernel makes one that it does' ;;
	*[Ll]andlock*)
		echo "this kernel has no Landlock switched on: it must be in lsm= on the kernel's command line" ;;
	*) return 1 ;;
	esac
}
