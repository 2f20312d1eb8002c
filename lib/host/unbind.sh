# shellcheck shell=sh
# unbind.sh - give PCI devices back to their drivers

use poll sysfs pci users vfio

unbind_targets=
unbind_was=

# unbind_begin RESET RESCAN: call this first. RESET, if not empty, has each device reset
# before its driver gets it; RESCAN, 0 or 1, has each removed from the bus and found
# again.
unbind_begin()
{
	unbind_reset=$1
	unbind_rescan=$2
}

# unbind_choose: sets unbind_targets to those of vfio_devices that vfio-pci has, or that
# are recorded. 64, 65 or 69, and why, if one cannot be given back.
unbind_choose()
{
	local bdf class driver stuck

	unbind_targets=
	pci_ask '' "$vfio_devices"
	for bdf in $vfio_devices; do
		pci_load "$bdf" || fail 69 "$bdf: there is no such device" ||
			return
		base_fields "$pci_record" class driver stuck
		case $class in
		06*) fail 64 "$bdf is a bridge; vfio-pci takes none" || return ;;
		esac
		unbind_recall "$bdf" || return
		[ -n "$unbind_was" ] || [ "$driver" = vfio-pci ] || continue
		[ "$stuck" -eq 0 ] ||
			fail 69 "$bdf: hangs in the kernel; only a reboot heals it" ||
			return
		unbind_targets="$unbind_targets $bdf"
	done
}

# unbind_recall BDF: sets unbind_was to the record of how the device was, or to nothing.
# 65, and why, if the record is damaged.
unbind_recall()
{
	local rc=0

	vfio_recall "$1" || rc=$?
	unbind_was=$vfio_was
	[ "$rc" -le 1 ] || return "$rc"
}

# unbind_free: makes sure that no process has the group of a target open. 75, and why, if
# one has; each is logged.
unbind_free()
{
	local bdf user kind name held=0

	users_scan
	for bdf in $unbind_targets; do
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
	[ "$held" -eq 0 ] || fail 75 'nothing was changed' || return
	[ "$DRY_RUN" -eq 1 ] || unbind_settle
}

# unbind_settle: waits until the kernel too has let go of the group of each target. After
# the end of a VM that may take a moment (a workqueue puts KVM's reference to the
# group); until then no other driver can have a device of the group. 75, and why, if it
# takes longer than vfio_timeout.
unbind_settle()
{
	local bdf group

	for bdf in $unbind_targets; do
		sysfs_link "$SYSFS_ROOT/bus/pci/devices/$bdf/iommu_group" group ||
			continue
		! unbind_group_free "$group" || continue
		step_begin "waiting for the kernel to let go of group $group"
		poll_until "$vfio_timeout" unbind_group_free "$group" || {
			step_stop
			fail 75 "$bdf: its group $group is still open, but no process \
with it can be seen; a VM may be about to end: try again" || return
		}
		step_end
	done
}

# unbind_group_free GROUP: the group is not open, or has no node.
unbind_group_free()
{
	local node="$DEV_ROOT/vfio/$1"

	[ ! -e "$node" ] || (: <>"$node") 2>/dev/null
}

# unbind_aim BDF: sets unbind_wanted to the driver that the device shall have (a name,
# none, or any), and unbind_was to the record of the settings that it shall have. 65,
# and why, if the record is damaged.
unbind_aim()
{
	local driver override d3cold_allowed

	unbind_recall "$1" || return
	base_fields "$unbind_was" driver override d3cold_allowed
	if [ -n "$unbind_was" ] && [ "$driver" != vfio-pci ]; then
		unbind_wanted=${driver:-none}
		return 0
	fi
	# The recorded power/control, if any, was set by vfio-pci, which sets it
	# back by itself.
	unbind_wanted=any
	[ -n "$override" ] || vfio_saved override "$1"
	[ "$override" != vfio-pci ] || override=
	unbind_was="override=$override
d3cold_allowed=$d3cold_allowed
"
}

# unbind_has_wanted BDF: true if the device has the driver that unbind_aim chose.
unbind_has_wanted()
{
	local now

	pci_driver_of "$1" now
	case $unbind_wanted in
	any) [ "$now" != vfio-pci ] ;;
	none) [ -z "$now" ] ;;
	*) [ "$now" = "$unbind_wanted" ] ;;
	esac
}

# unbind_try BDF [RESET]: gives the device back. 1 if that fails, 75 if it hangs.
unbind_try()
{
	local rc=0

	vfio_plan_new
	vfio_plan_restore "$1" "$unbind_wanted" "$unbind_was" "${2:-}"
	vfio_execute "$1" || rc=$?
	[ "$rc" -ne 75 ] || vfio_explain 75 "$1" "$unbind_before" || log_error "$why"
	[ "$rc" -eq 75 ] || unbind_has_wanted "$1" || rc=1
	return "$rc"
}

# unbind_try_rescan BDF: removes the device from the bus, has it found again, and gives it
# back. 1 if that fails, 75 if it hangs.
unbind_try_rescan()
{
	vfio_plan_new
	vfio_plan_rescan "$1"
	vfio_execute "$1" || {
		vfio_explain "$?" "$1" "$unbind_before" || log_error "$why"
		return 75
	}
	pci_exists "$1" || {
		log_error "$1: has not come back to the bus; see dmesg"
		return 75
	}
	unbind_try "$1"
}

# unbind_one BDF: gives the device back: by itself, then with a reset, then removed from
# the bus and found again. 1 if none of these helps.
unbind_one()
{
	local rc=0 dev="$SYSFS_ROOT/bus/pci/devices/$1"

	unbind_aim "$1" || {
		log_error "$why"
		return 1
	}
	pci_driver_of "$1" unbind_before
	vfio_driver_module "$unbind_wanted"
	if [ "$unbind_rescan" -eq 1 ]; then
		unbind_try_rescan "$1" || rc=$?
	else
		unbind_try "$1" "$unbind_reset" || rc=$?
	fi
	[ "$rc" -ne 1 ] || ! unbind_claimed "$1" || rc=69
	if [ "$rc:$unbind_rescan" = 1:0 ] && [ -z "$unbind_reset" ] &&
		[ -e "$dev/reset" ]; then
		log_warn "$1: '$unbind_wanted' does not take it; resetting it"
		rc=0
		unbind_try "$1" 1 || rc=$?
	fi
	if [ "$rc:$unbind_rescan" = 1:0 ]; then
		log_warn "$1: '$unbind_wanted' does not take it; removing it from the bus"
		rc=0
		unbind_try_rescan "$1" || rc=$?
	fi
	if [ "$rc" -eq 0 ]; then
		vfio_revoke "$1"
		vfio_forget "$1"
		pci_driver_of "$1" unbind_before
		log_info "$1: given back to ${unbind_before:-no driver}"
		return 0
	fi
	[ "$rc" -ne 1 ] || log_error "$1: '$unbind_wanted' does not take it; see dmesg"
	return 1
}

# unbind_claimed BDF: true, and logs it, if the driver that the kernel picks is vfio-pci,
# which no reset changes.
unbind_claimed()
{
	local now vendor device

	pci_driver_of "$1" now
	[ "$unbind_wanted:$now" = any:vfio-pci ] || return 1
	sysfs_get "$SYSFS_ROOT/bus/pci/devices/$1/vendor" vendor || :
	sysfs_get "$SYSFS_ROOT/bus/pci/devices/$1/device" device || :
	vendor=${vendor#0x} device=${device#0x}
	log_error "$1: the kernel gives it to vfio-pci again, which lists \
$vendor:$device: take it from ids= of vfio-pci (kernel command line, \
/etc/modprobe.d); until the next boot, write '$vendor $device' to \
$SYSFS_ROOT/bus/pci/drivers/vfio-pci/remove_id"
}

# unbind_show: prints the writes that would be made. 65, and why, if a record is damaged.
unbind_show()
{
	local bdf

	for bdf in $unbind_targets; do
		unbind_aim "$bdf" || return
		if [ "$unbind_rescan" -eq 1 ]; then
			vfio_plan_rescan "$bdf"
		fi
		vfio_plan_restore "$bdf" "$unbind_wanted" "$unbind_was" "$unbind_reset"
	done
	vfio_show
}

# unbind_all: gives the targets back; a signal waits until the device at hand is done. 74,
# and why, if one was not given back, which is logged.
unbind_all()
{
	local bdf failed=0

	base_hold
	for bdf in $unbind_targets; do
		unbind_one "$bdf" || failed=1
		[ -z "$base_held" ] || break
	done
	base_go
	[ "$failed" -eq 0 ] ||
		fail 74 'not every device was given back; see above' || return
	[ -n "$unbind_targets" ] || log_info "vfio-pci has none of them: $vfio_devices"
}

# unbind_saved: logs which of vfio_devices vfio-pci gets again at the next boot.
unbind_saved()
{
	local bdf driver

	for bdf in $vfio_devices; do
		vfio_saved driver "$bdf"
		[ "$driver" != vfio-pci ] || log_info "$bdf: vfio-pci gets it again \
at the next boot; vfio-unbind --persist ends that"
	done
}
