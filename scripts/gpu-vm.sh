#!/bin/sh
# gpu-vm - start the VM that has the GPU and lends it
#
# usage: isospin gpu-vm [-hnVv] [-c FILE] [--instance NAME] [--json]
#                       [--name NAME] [--driver DRIVER] [--device BDF]...
#                       [--detach [--owner PID]]
#        isospin gpu-vm --exec NAME [-- COMMAND [ARG...]]
#
# Boots the GPU VM and waits until its broker serves. Then shows its console
# until Ctrl-C, which stops it; with --detach returns and leaves it running.
#
#   --name NAME     its name (gpu0)
#   --driver DRIVER auto, real or soft, in the place of GPU_DRIVER
#   --device BDF    hand it this PCI device too, which is bound to vfio-pci
#   --detach        leave it running; isospin kill-vms stops it
#   --owner PID     with --detach: leave it running as long as process PID is
#                   there; the next command removes it after that
#   --exec NAME     run COMMAND, or a shell, in a GPU VM that runs; its status,
#                   or 125 if it could not be run
#   --json          with --detach: one object instead of a line
#   -n, --dry-run   print the commands that would start it
#   -c FILE         read this configuration
#   --instance NAME another set of VMs than this checkout's own
#   -v              say more
#   -h, -V          this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf abi assets vmm vm boot gpu

sysfs=${SYSFS_ROOT:-/sys}

# choose_driver: sets driver and driver_why. Never soft in the place of a GPU
# that is there, unless somebody said so.
choose_driver()
{
	local bdf at

	conf_get driver GPU_DRIVER "$vm_name"
	conf_get bdf GPU_BDF "$vm_name"
	at=$(readlink -- "$sysfs/bus/pci/devices/$bdf/driver") || at=
	case $driver in
	auto)
		if [ "${at##*/}" = vfio-pci ]; then
			driver=real
			driver_why="$bdf is bound to vfio-pci"
		elif find_nvidia; then
			die 69 "this host has an NVIDIA GPU ($found), which \
is not bound to vfio-pci; bind it: isospin vfio-bind $found; for the soft driver: \
--driver soft"
		else
			driver=soft
			driver_why='this host has no NVIDIA GPU'
		fi ;;
	real)
		driver_why='asked for' ;;
	soft)
		driver_why='asked for' ;;
	replay:*)
		die 69 'GPU_DRIVER=replay is not there yet' ;;
	esac
	[ "$driver" = soft ] || gpu_devices "$bdf"
}

# check_devices: those that --device names can be handed on.
check_devices()
{
	local bdf

	[ -z "$vm_devices" ] || gpu_look
	for bdf in $vm_devices; do
		case $bdf in
		[!0-9a-f]* | *[!0-9a-f:.]*) false ;;
		????:??:??.[0-7]) ;;
		*) false ;;
		esac || die 64 "--device: '$bdf' is no address as 0000:01:00.0"
		[ -e "$sysfs/bus/pci/devices/$bdf" ] ||
			die 69 "there is no PCI device $bdf"
		gpu_device "$bdf"
	done
}

# find_nvidia: sets found to the first NVIDIA display device, or 1.
find_nvidia()
{
	local dir vendor class

	for dir in "$sysfs"/bus/pci/devices/*; do
		{ read -r vendor <"$dir/vendor" &&
			read -r class <"$dir/class"; } 2>/dev/null || continue
		case $vendor:$class in
		0x10de:0x03*)
			found=${dir##*/}
			return 0 ;;
		esac
	done
	return 1
}

# choose_version: sets version: that of NVIDIA's programs at hand, the newest of
# the branch wanted; without any, that of the newest table of that branch.
choose_version()
{
	local branch nonfree

	conf_get branch NVIDIA_BRANCH "$vm_name"
	[ "$branch" != auto ] || branch=
	conf_get nonfree NONFREE "$vm_name"
	version=
	[ "$nonfree" = no ] ||
		version=$(assets_nvidia_versions "$branch" | head -n 1)
	[ -z "$version" ] || return 0
	branch=${branch:-$(abi_default_branch)}
	version=$(abi_versions "$branch" | head -n 1)
	[ -n "$version" ] ||
		die 66 "share/abi has no table of branch $branch"
}

prepare()
{
	local release cid

	check_devices
	choose_driver
	vmm_init
	log_info "driver: $driver ($driver_why); $(vmm_said)"
	release=$(assets_kernel) || die 66 'no kernel; run: isospin setup demo'
	vmm_kernel "$release"
	vm_initrd=$vm_home/initrd
	conf_get vm_cpus GPU_VM_CPUS "$vm_name"
	case $driver in
	soft) conf_get_bytes vm_mem GPU_VM_SOFT_MEM "$vm_name" ;;
	*) conf_get_bytes vm_mem GPU_VM_MEM "$vm_name" ;;
	esac
	if [ "$driver" = real ]; then
		conf_get version DRIVER_VERSION "$vm_name"
		gpu_image "$release" "$version"
		gpu_memory
		vm_remedy=gpu_remedy
	fi
	[ -z "$vm_devices" ] || boot_start=gpu_start
	vm_claim "$owner"
	conf_get cid GPU_VM_CID "$vm_name"
	boot_take_cid "$cid"
	[ "$DRY_RUN" -eq 0 ] || return 0
	[ "$driver" = real ] || choose_version
	vm_note ROLE gpu
	vm_note DRIVER "$driver"
	vm_note DRIVER_VERSION "$version"
	boot_note "$release"
	boot_secret "$vm_home/broker.secret"
	conf_print "$vm_name" >"$vm_home/isospin.conf"
	{
		boot_conf
		printf '%s\n' "DRIVER=$driver" "DRIVER_VERSION=$version"
		[ "$driver" != real ] || echo IMAGE=/dev/vda
	} >"$vm_home/boot.conf"
	boot_initrd "$release"
}

register()
{
	local port

	conf_get port BROKER_PORT "$vm_name"
	boot_register gpu <<-EOT
	connect=$(boot_stream_to "$port")
	secret_file=$vm_home/broker.secret
	EOT
}

option()
{
	case $1 in
	--name) opt_need "$@"; name=$2 opt_n=2 ;;
	--driver)
		opt_need "$@"
		conf_set_flag GPU_DRIVER "$2" || die $? "$why"
		opt_n=2 ;;
	--device)
		opt_need "$@"
		vm_devices="$vm_devices${vm_devices:+ }$2"
		opt_n=2 ;;
	--detach) detach=1 ;;
	--owner) opt_need "$@"; owner=$2 opt_n=2 ;;
	--exec) opt_need "$@"; exec_in=$2 opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	[ -n "$exec_in" ] || opt_none "$@"
	opt_command "$@"
	vm_init
	if [ -n "$exec_in" ]; then
		vm_pass_through "$exec_in" gpu "$@"
	fi
	vm_select "$name"
	vm_role=gpu
	vm_kept=$detach
	prepare
	boot_seconds seconds
	step_begin "booting GPU VM '$vm_name'"
	boot_vm 'Broker running' "$seconds"
	[ "$DRY_RUN" -eq 0 ] || leave 0
	register
	step_end
	if [ "$driver" = real ]; then
		phases=$(gpu_phases)
		log_info "$phases"
		vm_note PHASES "$phases"
	fi
	[ "$detach" -eq 1 ] || boot_stay 'GPU VM'
	vm_keep "$owner"
	vm_show "$vm_name"
}

main()
{
	name=gpu0 detach=0 owner='' exec_in=''
	base_init "$0"
	opt_flags='dry-run json instance'
	opt_parse option work "$@"
}

main "$@"
