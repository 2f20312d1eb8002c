#!/bin/sh
# vfio-unbind - give a GPU back to its driver
#
# usage: isospin vfio-unbind [-hnVv] [-c FILE] [--function-only] [--persist]
#                            [--reset] [--rescan] [--all-nvidia | DEVICE...]
#
# Takes PCI devices, with every endpoint of their IOMMU groups, from vfio-pci
# and gives them back the driver, override and power settings that they had before
# vfio-bind. If none are recorded, the kernel picks the driver. Also repairs what a
# vfio-bind that was killed has left. A DEVICE is an address
# (0000:01:00.0 or 01:00.0) or VENDOR:DEVICE; without one it is GPU_BDF.
#
# If its driver does not take a device back, the device is reset, and if that does
# not help, removed from the bus and found again.
#
#   --all-nvidia    every function made by NVIDIA
#   --function-only the devices named, not the rest of their groups
#   --persist       no longer bind them after a reboot either
#   --reset         reset each device before its driver gets it
#   --rescan        remove each device from the bus and have it found again
#   -n, --dry-run   print the writes
#   -c FILE         read this configuration
#   -v              say more
#   -h, -V          this text; the version
#
# Exit status: 0 vfio-pci has none of them any more; 69 there is no such device, or it
# hangs; 74 a driver did not take a device; 75 a VM has one, or another vfio-bind is
# at work; 77 not permitted.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf poll sysfs pci users vfio

# choose: sets targets to those of vfio_devices that vfio-pci has, or that are recorded.
# Each must answer.
choose()
{
	local bdf class driver stuck rc

	targets=
	pci_ask '' "$vfio_devices"
	for bdf in $vfio_devices; do
		pci_load "$bdf" || die 69 "$bdf: there is no such device"
		base_fields "$pci_record" class driver stuck
		case $class in
		06*) die 64 "$bdf is a bridge; vfio-pci takes none" ;;
		esac
		[ "$driver" = vfio-pci ] || {
			recall "$bdf"
			[ -n "$was" ] || continue
		}
		[ "$stuck" -eq 0 ] ||
			die 69 "$bdf: hangs in the kernel; only a reboot heals it"
		targets="$targets $bdf"
	done
}

# recall BDF: sets was to how the device was, or to nothing.
recall()
{
	local rc=0

	vfio_recall "$1" || rc=$?
	[ "$rc" -le 1 ] || die "$rc" "$why"
	was=$vfio_was
}

# free: no process has the group of a target open.
free()
{
	local bdf user kind name held=0

	users_scan
	for bdf in $targets; do
		pci_driver_of "$bdf" name
		[ "$name" = vfio-pci ] || continue
		users_load "$bdf"
		while read -r user kind name; do
			[ "$kind" = vfio ] || continue
			log_error "$bdf: process ${user#user=} ($name) has it; stop that VM first"
			held=1
		done <<-EOT
		$users_list
		EOT
	done
	[ "$held" -eq 0 ] || leave 75
	[ "$DRY_RUN" -eq 1 ] || settle
}

# settle: waits until the kernel too has let go of the group of each target. After the
# end of a VM that may take a moment (a workqueue puts KVM's reference to the group);
# until then no other driver can have a device of the group.
settle()
{
	local bdf group

	for bdf in $targets; do
		sysfs_link "$SYSFS_ROOT/bus/pci/devices/$bdf/iommu_group" group ||
			continue
		! group_free "$group" || continue
		step_begin "waiting for the kernel to let go of group $group"
		poll_until "$vfio_timeout" group_free "$group" || {
			step_stop
			die 75 "$bdf: its group $group is still open, but no process \
with it can be seen; a VM may be about to end: try again"
		}
		step_end
	done
}

# group_free GROUP: the group is not open, or has no node.
group_free()
{
	local node="$DEV_ROOT/vfio/$1"

	[ ! -e "$node" ] || (: <>"$node") 2>/dev/null
}

# aim BDF: sets wanted to the driver that the device shall have, a name, none, or any,
# and was to the record of the settings that it shall have.
aim()
{
	local driver override d3cold_allowed

	recall "$1"
	base_fields "$was" driver override d3cold_allowed
	if [ -n "$was" ] && [ "$driver" != vfio-pci ]; then
		wanted=${driver:-none}
		return 0
	fi
	# The recorded power/control, if any, was set by vfio-pci, which sets it
	# back by itself.
	wanted=any
	[ -n "$override" ] || vfio_saved override "$1"
	[ "$override" != vfio-pci ] || override=
	was="override=$override
d3cold_allowed=$d3cold_allowed
"
}

# has_wanted BDF: true if the device has the driver that aim chose.
has_wanted()
{
	local now

	pci_driver_of "$1" now
	case $wanted in
	any) [ "$now" != vfio-pci ] ;;
	none) [ -z "$now" ] ;;
	*) [ "$now" = "$wanted" ] ;;
	esac
}

# try BDF [RESET]: gives the device back. 1 if that fails, 75 if it hangs.
try()
{
	local rc=0

	vfio_plan=
	vfio_plan_restore "$1" "$wanted" "$was" "${2:-}"
	vfio_execute "$1" || rc=$?
	[ "$rc" -ne 75 ] || vfio_explain 75 "$1" "$before" || log_error "$why"
	[ "$rc" -eq 75 ] || has_wanted "$1" || rc=1
	return "$rc"
}

# try_rescan BDF: the same, after the device was removed and found again.
try_rescan()
{
	vfio_plan=
	vfio_plan_rescan "$1"
	vfio_execute "$1" || {
		vfio_explain "$?" "$1" "$before" || log_error "$why"
		return 75
	}
	pci_exists "$1" || {
		log_error "$1: has not come back to the bus; see dmesg"
		return 75
	}
	try "$1"
}

# give_back BDF: tries in turn what may help; 1 if nothing does.
give_back()
{
	local rc=0 dev="$SYSFS_ROOT/bus/pci/devices/$1"

	aim "$1"
	pci_driver_of "$1" before
	vfio_driver_module "$wanted"
	if [ "$rescan" -eq 1 ]; then
		try_rescan "$1" || rc=$?
	else
		try "$1" "$reset" || rc=$?
	fi
	[ "$rc" -ne 1 ] || ! claimed "$1" || rc=69
	if [ "$rc:$rescan" = 1:0 ] && [ -z "$reset" ] && [ -e "$dev/reset" ]; then
		log_warn "$1: '$wanted' does not take it; resetting it"
		rc=0
		try "$1" 1 || rc=$?
	fi
	if [ "$rc:$rescan" = 1:0 ]; then
		log_warn "$1: '$wanted' does not take it; removing it from the bus"
		rc=0
		try_rescan "$1" || rc=$?
	fi
	if [ "$rc" -eq 0 ]; then
		vfio_revoke "$1"
		vfio_forget "$1"
		pci_driver_of "$1" before
		log_info "$1: given back to ${before:-no driver}"
		return 0
	fi
	[ "$rc" -ne 1 ] || log_error "$1: '$wanted' does not take it; see dmesg"
	return 1
}

# claimed BDF: true, and logs it, if the driver that the kernel picks is vfio-pci, which
# no reset changes.
claimed()
{
	local now vendor device

	pci_driver_of "$1" now
	[ "$wanted:$now" = any:vfio-pci ] || return 1
	sysfs_get "$SYSFS_ROOT/bus/pci/devices/$1/vendor" vendor || :
	sysfs_get "$SYSFS_ROOT/bus/pci/devices/$1/device" device || :
	vendor=${vendor#0x} device=${device#0x}
	log_error "$1: the kernel gives it to vfio-pci again, which lists \
$vendor:$device: take it from ids= of vfio-pci (kernel command line, \
/etc/modprobe.d); until the next boot, write '$vendor $device' to \
$SYSFS_ROOT/bus/pci/drivers/vfio-pci/remove_id"
}

# show: prints what would be written.
show()
{
	local bdf

	for bdf in $targets; do
		aim "$bdf"
		if [ "$rescan" -eq 1 ]; then
			vfio_plan_rescan "$bdf"
		fi
		vfio_plan_restore "$bdf" "$wanted" "$was" "$reset"
	done
	vfio_show
}

# give_back_all: a signal waits until the device at hand is done.
give_back_all()
{
	local bdf failed=0

	base_hold
	for bdf in $targets; do
		give_back "$bdf" || failed=1
		[ -z "$base_held" ] || break
	done
	base_go
	[ "$failed" -eq 0 ] || leave 74
	[ -n "$targets" ] || log_info "vfio-pci has none of them: $vfio_devices"
}

# saved_all: with --persist, removes what vfio-bind --persist has written; without,
# mentions it.
saved_all()
{
	local bdf driver

	if [ "$persist" -eq 1 ]; then
		# shellcheck disable=SC2086 # a list of addresses
		vfio_unsave $vfio_devices || die $? "$why"
		return
	fi
	for bdf in $vfio_devices; do
		vfio_saved driver "$bdf"
		[ "$driver" != vfio-pci ] || log_info "$bdf: vfio-pci gets it again \
at the next boot; vfio-unbind --persist ends that"
	done
}

option()
{
	case $1 in
	--all-nvidia) all=1 ;;
	--function-only) function_only=1 ;;
	--persist) persist=1 ;;
	--reset) reset=1 ;;
	--rescan) rescan=1 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	conf_load "$opt_conf" || die $? "$why"
	vfio_init
	if [ "$all" -eq 1 ]; then
		opt_none "$@"
		vfio_name_nvidia || die $? "$why"
	else
		vfio_name_devices "$@" || die $? "$why"
	fi
	[ "$function_only" -eq 1 ] || vfio_add_groups
	# shellcheck disable=SC2086 # a list of addresses
	[ "$DRY_RUN" -eq 1 ] || vfio_permitted $vfio_devices || die $? "$why"
	vfio_lock || die $? "$why"
	choose
	free
	if [ "$DRY_RUN" -eq 1 ]; then show; else give_back_all; fi
	saved_all
}

main()
{
	all=0 function_only=0 persist=0 reset='' rescan=0
	base_init "$0"
	opt_flags='dry-run'
	opt_parse option work "$@"
}

main "$@"
