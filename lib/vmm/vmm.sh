# shellcheck shell=sh
# vmm.sh - the virtual machine monitors behind one interface
#
# A monitor is a file of functions with a prefix (qemu.sh: qemu, fc.sh: fc, ch.sh:
# ch). No command knows which one it has:
#
#	init           it can run this VM here, or the command ends; sets
#	               vmm_vsock and vmm_vsock_why
#	kernel RELEASE sets vm_kernel to the form of that kernel that it boots
#	place          once its CID is known: makes what its sockets need, sets
#	               vm_uds if they are not at vm_home/vsock.sock
#	start          starts the VM that vm_* describe, as process vmm; its
#	               console goes to console.log
#	ready          the guest is up: what is to go on beside it
#	saves          it can snapshot and restore this VM, or the command ends
#	key            prints what of it, and of how it starts any VM here, must be
#	               as it was for restore
#	snapshot       pauses the running VM and writes it to vm_snapshot
#	restore        instead of start: goes on from vm_snapshot
#	describe       prints name and version
#
# Every one of them ends at SIGTERM; vm_remove is the stop for all. A VM's
# description: vm_name, vm_role (gpu, worker, lab), vm_cpus, vm_mem (bytes),
# vm_cid, vm_home, vm_kernel, vm_initrd, vm_append (words for the kernel),
# vm_devices (PCI addresses handed to it), vm_disk (not empty: fd 5 of the monitor
# is a disk to be read), vm_snapshot (not empty: see snapshot.sh; fds 5 and 6 of
# the monitor are its state and memory), vm_hugepages, vm_remedy (see vmm_remedy),
# vm_kept (1: it outlives this command).
# Needs base conf proc; qemu fc ch boot, of which it is called.

use conf qemu fc ch boot

vm_devices=
vm_disk=
vm_snapshot=
vm_hugepages=no
vm_remedy=

# vmm_init: chooses the accelerator and the monitor of a VM of vm_role; sets vmm,
# vmm_why, vmm_accel, vmm_accel_why, vmm_vsock and vmm_vsock_why, or ends the
# command.
vmm_init()
{
	qemu_choose_accel
	vmm_pick
}

# vmm_pick: the same with the accelerator chosen.
vmm_pick()
{
	local key=

	case $vm_role in
	gpu) key=GPU_VMM ;;
	worker) key=WORKER_VMM ;;
	esac
	vm_uds=$vm_home/vsock.sock
	vmm="qemu"
	vmm_why='nothing else serves here'
	if [ -n "$key" ]; then
		conf_get vmm "$key" "$vm_name"
		vmm_why="set by $key"
	fi
	[ "$vmm" != auto ] || vmm_choose
	case $vmm in
	qemu) vmm_prefix=qemu ;;
	firecracker) vmm_prefix='fc' ;;
	cloud-hypervisor) vmm_prefix=ch ;;
	esac
	[ "$vmm" = qemu ] || [ "$vmm_accel" = kvm ] ||
		die 69 "$key=$vmm needs KVM: $vmm_accel_why"
	"${vmm_prefix}_init"
}

vmm_choose()
{
	local wanted=firecracker

	[ "$vm_role" = worker ] || wanted=cloud-hypervisor
	vmm="qemu"
	if [ "$vmm_accel" != kvm ]; then
		vmm_why='no KVM here'
	elif ! command -v "$wanted" >/dev/null; then
		vmm_why="$wanted is not installed"
	else
		vmm=$wanted
		vmm_why='it is installed, and KVM works'
	fi
}

# vmm_said: one line about what was chosen, and why.
vmm_said()
{
	printf 'monitor: %s (%s); accelerator: %s (%s); vsock: %s (%s)\n' \
		"$(vmm_describe)" "$vmm_why" "$vmm_accel" "$vmm_accel_why" \
		"$vmm_vsock" "$vmm_vsock_why"
}

vmm_kernel() { "${vmm_prefix}_kernel" "$@"; }
vmm_place() { "${vmm_prefix}_place"; }
vmm_start() { "${vmm_prefix}_start"; }
vmm_ready() { "${vmm_prefix}_ready"; }
vmm_saves() { "${vmm_prefix}_saves"; }
vmm_key() { "${vmm_prefix}_key"; }
vmm_snapshot() { "${vmm_prefix}_snapshot"; }
vmm_restore() { "${vmm_prefix}_restore"; }
vmm_describe() { "${vmm_prefix}_describe"; }

# vmm_version PROGRAM: sets vmm_major, vmm_minor and vmm_text (its first line); or
# ends the command.
vmm_version()
{
	local v

	command -v "$1" >/dev/null || die 69 "$1 is not on PATH"
	vmm_text=$(timeout 10 "$1" --version 2>&1) ||
		die 69 "$1 --version failed: ${vmm_text%%"$base_nl"*}"
	vmm_text=${vmm_text%%"$base_nl"*}
	v=${vmm_text##* }
	v=${v#v}
	vmm_major=${v%%.*}
	v=${v#*.}
	vmm_minor=${v%%[!0-9]*}
	case $vmm_major:$vmm_minor in
	*[!0-9:]* | :* | *:) die 69 "$1 --version said '$vmm_text'" ;;
	esac
}

# vmm_needs PROGRAM MAJOR MINOR FEATURE: after vmm_version.
vmm_needs()
{
	[ "$vmm_major" -gt "$2" ] ||
		{ [ "$vmm_major" -eq "$2" ] && [ "$vmm_minor" -ge "$3" ]; } ||
		die 69 "$1: version $2.$3 is the first with $4; this is '$vmm_text'"
}

# vmm_file PROGRAM: prints what no other file of that path has.
vmm_file()
{
	local bin

	bin=$(command -v "$1") && stat -L -c '%i %s %Y' -- "$bin"
}

# vmm_no_devices: ends the command if the VM is to get a PCI device.
vmm_no_devices()
{
	[ -z "$vm_devices" ] ||
		die 69 "$vmm hands no PCI device to a VM ($vm_devices)"
}

# vmm_api SOCKET METHOD PATH [BODY]: one request to the API of the monitor, process
# vmm, once it takes any; sets vmm_answer. A refusal ends the command with the
# monitor's own words.
vmm_api()
{
	local socket="$1" pid start rc=0

	shift
	if [ "$DRY_RUN" -eq 1 ]; then
		run "$vm_vmctl" api --socket "$socket" "$@"
		return
	fi
	read -r pid start <"$proc_dir/$vm_key/vmm/pid"
	vmm_answer=$("$vm_vmctl" api --socket "$socket" --pid "$pid" \
		--start-time "$start" --timeout-ms 120000 "$@" </dev/null) || rc=$?
	case $rc in
	0) return 0 ;;
	1)
		step_stop
		log_error "$vmm refused $1 $2: $vmm_answer"
		die 69 "VM '$vm_name' did not start; $(vmm_remedy "$vmm_answer" \
			"see isospin logs $vm_name")" ;;
	*) boot_explain "$rc" "its monitor did $1 $2" vmm/log \
		"see isospin logs $vm_name" ;;
	esac
}

# vmm_remedy TEXT ELSE: what to do about an error that a monitor has said, or the
# guest about NVIDIA's module: then vm_remedy prints it.
vmm_remedy()
{
	case $1 in
	*'isospin: failed: nvidia.ko: No such device'*) "${vm_remedy:-:}" ;;
	*/dev/vfio/*'Device or resource busy'* | */dev/vfio/*'ermission denied'*)
		# Under Landlock Cloud Hypervisor gets the second for the first.
		echo 'another process or user has the device; isospin vfio-status names it' ;;
	*/dev/vfio/*'No such file or directory'*)
		echo "the device is not bound to vfio-pci; isospin vfio-bind${vm_devices:+ $vm_devices}" ;;
	*'DMA map'*'nvalid argument'* | *'DMA map'*EINVAL*)
		echo "the IOMMU has too few address bits for the device's BARs" ;;
	*'DMA map'*'ut of memory'* | *dma_map*'annot allocate memory'*)
		echo "the VM's memory may not be locked: run this as root, or raise the limit (ulimit -l)" ;;
	*'not multiple of 2MiB'* | *'not a multiple of 2MiB'*)
		echo 'the size of shared memory must be a multiple of 2 MiB' ;;
	*'guest cid'*'ddress already in use'*)
		echo 'another VM of this machine, or the machine itself, has that CID; choose where the search begins: WORKER_CID, GPU_VM_CID' ;;
	*'ddress in use'* | *AddrInUse* | *'ddress already in use'*)
		echo "something else has the VM's socket; isospin kill-vms $vm_name" ;;
	*'ernel Loader'* | *'ernel loader'* | *KernelLoad*)
		echo "this monitor does not boot that kernel; isospin build fc-gpu-kernel makes one that it does" ;;
	*[Ll]andlock*)
		echo "this kernel has no Landlock switched on: it must be in lsm= on the kernel's command line" ;;
	*/dev/kvm*'ermission denied'*)
		echo 'run isospin by sudo, or add the user to the group of /dev/kvm' ;;
	*'annot allocate memory'* | *'ut of memory'*)
		echo 'this machine has not enough free memory for the VM' ;;
	*) printf '%s\n' "$2" ;;
	esac
}
