# shellcheck shell=sh
# vmm.sh - VMMs (virtual machine monitors) behind one interface
#
# A VMM's back end is a file of this folder that has a function NAME_about; its name is
# the prefix of its functions. It is found by its being there, and no command knows
# which one a VM has. To add one: write its file, name the VMM in share/conf.tbl, make
# etc/isospin.conf again (scripts/gen/conf.sh file), and mention it in the documents.
# Back ends share the functions of launch.sh: launch_version, launch_kernel, launch_vmm,
# launch_api.
#
# DIR is a VM's directory, of which only the record vm.conf is read (lib/vm/vm.sh lists
# the keys). A function that fails sets why.
#
#	about          prints a record: NAME, which comes first; ROLES that it can have (gpu,
#	               worker, lab); CAPS, what it can do besides booting (disk: a
#	               disk that is read; devices: PCI devices of the host's; hugepages;
#	               snapshot: save a VM, and go on from it); FIRST, the roles in
#	               which it is taken before QEMU if it is installed as PROGRAM;
#	               SETUP=yes if the command setup installs it; KVM=yes if it runs
#	               nothing without
#	init NAME      it can run the VM NAME here, or fails with 69; adds to vmm_record:
#	               VMM_TEXT (name and version), VSOCK (vhost, vhost-user, hybrid),
#	               VSOCK_WHY, and any key of its own
#	kernel VAR RELEASE ROLE  sets VAR to the form of that kernel that it boots
#	place DIR      once the VM has its CID: prepares the directories of its sockets,
#	               and adds UDS to the record if that is not vsock.sock
#	start DIR      starts the VM as its process vmm, with `initrd` of the VM's
#	               directory; the console, ttyS0, goes to console.log
#	ready DIR      the guest is up: starts processes that are to run beside it
#	               The next four are called only if CAPS has snapshot.
#	saves DIR      it can snapshot and restore this VM, on top of CAPS
#	key DIR        prints everything about it, and about how it starts any VM here,
#	               that must be the same when a snapshot is restored
#	snapshot DIR   pauses the running VM and writes it to SNAPSHOT_DIR
#	restore DIR    instead of start: goes on from SNAPSHOT_DIR
#
#	remedy DIR TEXT  prints what to do about an error text of its own; 1 if it is none
#
# Every VMM ends at SIGTERM; vm_remove is the stop for all.

use conf record accel

# The records that all of them print, each with its PREFIX.
vmm_table=

# vmm_load: loads the back ends, once.
vmm_load()
{
	local file prefix

	[ -z "$vmm_table" ] || return 0
	vmm_table=$base_nl
	for file in "$TOP"/lib/vmm/*.sh; do
		prefix=${file##*/}
		prefix=${prefix%.sh}
		use "$prefix"
		! command -v "${prefix}_about" >/dev/null ||
			vmm_table=$vmm_table$("${prefix}_about")${base_nl}PREFIX=$prefix$base_nl
	done
}

# vmm_find NAME: sets vmm_about to the record of that VMM, vmm_prefix to its back end.
vmm_find()
{
	local rest prefix

	vmm_load
	rest=${vmm_table#*"${base_nl}NAME=$1$base_nl"}
	[ "$rest" != "$vmm_table" ] || base_bug "no back end for the VMM '$1'"
	vmm_about=${rest%%"${base_nl}NAME="*}
	base_fields "$vmm_about" prefix=PREFIX
	vmm_prefix=$prefix
}

# vmm_names: prints the names of all VMMs, a line each.
vmm_names()
{
	vmm_load
	printf '%s' "$vmm_table" | sed -n 's/^NAME=//p'
}

# vmm_choose ROLE NAME [WANT...]: after accel_choose, chooses the VMM of the VM NAME,
# which needs these capabilities, and sets vmm_record: VMM, VMM_WHY, ACCEL, ACCEL_WHY
# and the keys that init adds. 69, and why, if it cannot run here or lacks one of the
# capabilities; vmm_about is then the record of the VMM that was chosen.
vmm_choose()
{
	local role="$1" name="$2" vmm=qemu reason='nothing else serves here' key=''
	local want caps roles kvm

	shift 2
	case $role in
	gpu) key=GPU_VMM ;;
	worker) key=WORKER_VMM ;;
	esac
	if [ -n "$key" ]; then
		conf_get vmm "$key" "$name"
		reason="set by $key"
	fi
	[ "$vmm" != auto ] || vmm_auto "$role"
	vmm_find "$vmm"
	base_fields "$vmm_about" caps=CAPS roles=ROLES kvm=KVM
	case " $roles " in
	*" $role "*) ;;
	*) fail 69 "$key=$vmm: $vmm runs no VM of the role $role; choose another VMM \
by $key" || return ;;
	esac
	[ "$kvm" != yes ] || [ "$accel_kind" = kvm ] ||
		fail 69 "$key=$vmm needs KVM: $accel_why" || return
	for want; do
		case " $caps " in
		*" $want "*) ;;
		*) fail 69 "$vmm cannot do what VM '$name' needs: $want${key:+; choose \
another VMM by $key}" || return ;;
		esac
	done
	vmm_record="VMM=$vmm${base_nl}VMM_WHY=$reason${base_nl}ACCEL=$accel_kind$base_nl"
	vmm_record="${vmm_record}ACCEL_WHY=$accel_why$base_nl"
	"${vmm_prefix}_init" "$name"
}

# vmm_auto ROLE: sets vmm of vmm_choose to the VMM that serves best here, and reason.
vmm_auto()
{
	local name first program

	vmm="qemu"
	for name in $(vmm_names); do
		vmm_find "$name"
		base_fields "$vmm_about" first=FIRST program=PROGRAM
		case " $first " in
		*" $1 "*) ;;
		*) continue ;;
		esac
		if [ "$accel_kind" != kvm ]; then
			reason='no KVM here'
		elif ! command -v "$program" >/dev/null; then
			reason="$name is not installed"
		else
			vmm=$name
			reason='it is installed, and KVM works'
			return 0
		fi
	done
}

# vmm_said: prints a line with the choices of vmm_choose and their reasons.
vmm_said()
{
	local text reason accel_is accel_reason vsock vsock_reason

	base_fields "$vmm_record" text=VMM_TEXT reason=VMM_WHY accel_is=ACCEL \
		accel_reason=ACCEL_WHY vsock=VSOCK vsock_reason=VSOCK_WHY
	printf 'VMM: %s (%s); accelerator: %s (%s); vsock: %s (%s)\n' "$text" \
		"$reason" "$accel_is" "$accel_reason" "$vsock" "$vsock_reason"
}

# vmm_call FUNCTION DIR [ARG...]: calls the function of the back end of that VM.
vmm_call()
{
	local vmm_of vmm_fn="$1"

	shift
	record_get vmm_of "$1/vm.conf" VMM || :
	vmm_find "$vmm_of"
	"${vmm_prefix}_$vmm_fn" "$@"
}

vmm_place() { vmm_call place "$@"; }
vmm_start() { vmm_call start "$@"; }
vmm_ready() { vmm_call ready "$@"; }
vmm_key() { vmm_call key "$@"; }
vmm_snapshot() { vmm_call snapshot "$@"; }
vmm_restore() { vmm_call restore "$@"; }

# vmm_kernel VAR RELEASE ROLE: calls the function kernel of the VMM that vmm_choose has
# chosen.
vmm_kernel()
{
	local vmm_of

	base_fields "$vmm_record" vmm_of=VMM
	vmm_find "$vmm_of"
	"${vmm_prefix}_kernel" "$@"
}

# vmm_saves DIR: whether the VM can be saved and go on from its snapshot.
vmm_saves()
{
	local vmm_of vmm_caps

	record_get vmm_of "$1/vm.conf" VMM || :
	vmm_find "$vmm_of"
	base_fields "$vmm_about" vmm_caps=CAPS
	case " $vmm_caps " in
	*' snapshot '*) "${vmm_prefix}_saves" "$1" ;;
	*) fail 69 "$vmm_of makes no snapshot of a VM; go without one, or choose another \
VMM by WORKER_VMM" ;;
	esac
}

# vmm_remedy DIR TEXT ELSE: prints what to do about an error that the VMM or the guest
# has reported: a remedy of the VMM's back end, else one for any VMM, else ELSE.
vmm_remedy()
{
	local name devices cards version

	! vmm_call remedy "$1" "$2" || return 0
	record_read "$1/vm.conf" name=NAME devices=DEVICES cards=CARDS \
		version=DRIVER_VERSION
	case $2 in
	*'isospin: state=failed reason=nvidia.ko: No such device'*)
		echo "NVIDIA's module $version found no GPU that it knows \
(ENODEV) in what the VM was given: $cards" ;;
	*/dev/vfio/*'Device or resource busy'* | */dev/vfio/*'ermission denied'*)
		# Under Landlock Cloud Hypervisor gets the second error in the place
		# of the first.
		echo 'another process or user has the device; isospin vfio-status names it' ;;
	*/dev/vfio/*'No such file or directory'*)
		echo "the device is not bound to vfio-pci; isospin vfio-bind${devices:+ $devices}" ;;
	*'DMA map'*'nvalid argument'* | *'DMA map'*EINVAL*)
		echo "the IOMMU has too few address bits for the device's BARs" ;;
	*'DMA map'*'ut of memory'* | *dma_map*'annot allocate memory'*)
		echo "the VM's memory may not be locked: run this as root, or raise the limit (ulimit -l)" ;;
	*'guest cid'*'ddress already in use'*)
		echo 'another VM of this machine, or the machine itself, has that CID; choose where the search begins: WORKER_CID, GPU_VM_CID' ;;
	*'ddress in use'* | *AddrInUse* | *'ddress already in use'*)
		echo "something else has the VM's socket; isospin kill-vms $name" ;;
	*/dev/kvm*'ermission denied'*)
		echo 'run isospin by sudo, or add the user to the group of /dev/kvm' ;;
	*'annot allocate memory'* | *'ut of memory'*)
		echo 'this machine has not enough free memory for the VM' ;;
	*) printf '%s\n' "$3" ;;
	esac
}
