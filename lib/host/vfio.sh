# shellcheck shell=sh
# vfio.sh - hand PCI devices to vfio-pci, and give them back
#
# How a device was is recorded in $RUN_DIR/pci/BDF before the first write, and
# forgotten after the last one that restores it: if a command is killed in between,
# vfio-unbind brings the device back. The writes are planned as lines "BDF VALUE
# PATH"; --dry-run shows that list, else it is executed.
#
# The writes of a device are made in a child, since a driver may hang in the
# kernel where no signal gets at it. The child has VFIO_TIMEOUT seconds; then it
# is left where it is.

use conf poll proc sysfs pci

vfio_rule=$ETC_ROOT/udev/rules.d/04-isospin-vfio.rules
vfio_plan=
vfio_was=

# vfio_init: sets vfio_dir and vfio_timeout. Needs conf_load. The directory is in
# RUN_DIR itself: a device belongs to the machine, not to a user.
vfio_init()
{
	conf_get vfio_dir RUN_DIR
	vfio_dir=${vfio_dir:-/run/isospin}/pci
	conf_get vfio_timeout VFIO_TIMEOUT
}

# vfio_lock: one command of this machine at a time changes bindings. 75, and why, if
# another is at work.
vfio_lock()
{
	[ "$DRY_RUN" -eq 0 ] || return 0
	proc_own "${vfio_dir%/pci}" && proc_mkdir "$vfio_dir" || return
	proc_lock "$vfio_dir/lock" ||
		fail 75 'another vfio-bind or vfio-unbind is at work; try again'
}

# vfio_add_device BDF: adds the device to vfio_devices, unless it is there.
vfio_add_device()
{
	case " $vfio_devices " in
	*" $1 "*) ;;
	*) vfio_devices="${vfio_devices:+$vfio_devices }$1" ;;
	esac
}

# vfio_name_devices ARG...: sets vfio_devices to the addresses of the devices that the
# operands name; without operands, of the configured GPU. 64 or 69, and why, if an
# operand names no device.
vfio_name_devices()
{
	local arg bdf rc

	vfio_devices=
	[ $# -gt 0 ] || {
		conf_get bdf GPU_BDF
		set -- "$bdf"
	}
	for arg; do
		rc=0
		pci_find "$arg" || rc=$?
		case $rc in
		0) ;;
		64)
			fail 64 "'$arg' is neither a PCI address nor VENDOR:DEVICE" ||
				return ;;
		*)
			fail 69 "$arg: no such device; see isospin vfio-status" ||
				return ;;
		esac
		for bdf in $pci_found; do
			vfio_add_device "$bdf"
		done
	done
}

# vfio_name_nvidia: sets vfio_devices to every function made by NVIDIA except bridges.
# 69, and why, if there is none.
vfio_name_nvidia()
{
	local bdf vendor

	vfio_devices=
	for bdf in $(pci_gpus); do
		sysfs_get "$SYSFS_ROOT/bus/pci/devices/$bdf/vendor" vendor || :
		[ "$vendor" != 0x10de ] || vfio_add_device "$bdf"
	done
	[ -n "$vfio_devices" ] || fail 69 'this host has no NVIDIA device'
}

# vfio_add_groups: adds to vfio_devices the other endpoints of their IOMMU groups.
vfio_add_groups()
{
	local bdf member class group

	for bdf in $vfio_devices; do
		sysfs_link "$SYSFS_ROOT/bus/pci/devices/$bdf/iommu_group" group ||
			continue
		for member in $(pci_group_members "$group"); do
			pci_class_of "$member" class || continue
			case $class in
			06*) ;;
			*) vfio_add_device "$member" ;;
			esac
		done
	done
}

# vfio_writable BDF: true if this process may write the device's files. Opens one
# without writing, since test -w of busybox ignores a read-only mount.
vfio_writable()
{
	{ true >>"$SYSFS_ROOT/bus/pci/devices/$1/driver_override"; } 2>/dev/null
}

# vfio_permitted BDF...: 77, and why, if one of them cannot be written.
vfio_permitted()
{
	local bdf

	for bdf; do
		! vfio_writable "$bdf" || continue
		[ "$(id -u)" -eq 0 ] ||
			fail 77 "$bdf: only root may change it; use sudo" || return
		fail 77 "$bdf: cannot be changed: $SYSFS_ROOT is read-only" ||
			return
	done
}

# vfio_recall BDF: sets vfio_was to the record of how the device was, or to nothing.
# 1 if there is none, 65, and why, if the file is damaged. Its fields are driver,
# override, power_control, d3cold_allowed, and saved, which is `new` if a bind that
# has not ended wrote the file that binds the device at every boot.
vfio_recall()
{
	local line value

	vfio_was=
	[ -f "$vfio_dir/$1" ] || return 1
	while IFS= read -r line; do
		value=${line#*=}
		case $line in
		*=*[!A-Za-z0-9_.-]*)
			fail 65 "$vfio_dir/$1: damaged ('$value'); remove it" || return ;;
		driver=* | override=* | power_control=auto | power_control=on | \
		power_control= | d3cold_allowed=[01] | d3cold_allowed= | \
		saved=new | saved=)
			vfio_was=$vfio_was$line$base_nl ;;
		*)
			fail 65 "$vfio_dir/$1: damaged ('${line%%=*}'); remove it" || return ;;
		esac
	done <"$vfio_dir/$1"
}

# vfio_note BDF DRIVER OVERRIDE CONTROL D3COLD SAVED: writes the record of how the
# device was. 74, and why, if that fails.
vfio_note()
{
	(trap '' HUP INT TERM
	dd conv=fsync of="$vfio_dir/$1.new" && mv -f -- "$vfio_dir/$1.new" \
		"$vfio_dir/$1") 2>/dev/null <<-EOT || fail 74 "$vfio_dir/$1: cannot be written"
	driver=$2
	override=$3
	power_control=$4
	d3cold_allowed=$5
	saved=$6
	EOT
}

# vfio_note_saved BDF WAS SAVED: writes the record WAS again, with another `saved`.
vfio_note_saved()
{
	local driver override power_control d3cold_allowed

	base_fields "$2" driver override power_control d3cold_allowed
	vfio_note "$1" "$driver" "$override" "$power_control" "$d3cold_allowed" \
		"$3"
}

# vfio_remember RECORD SAVED: records how the device is. A device that a killed vfio-bind
# left half bound has a record already, which stays; but if the device has since got a
# driver other than the recorded one and vfio-pci, that record is out of date, and
# replaced. 65 or 74, and why, if that fails.
vfio_remember()
{
	local bdf driver driver_override power_control d3cold_allowed rc=0
	local was_driver was_saved

	base_fields "$1" bdf driver driver_override power_control d3cold_allowed
	vfio_recall "$bdf" || rc=$?
	[ "$rc" -le 1 ] || return "$rc"
	if [ "$rc" -eq 0 ]; then
		base_fields "$vfio_was" was_driver=driver was_saved=saved
		case $driver in
		'' | vfio-pci | "$was_driver")
			[ "$was_saved" != "$2" ] || return 0
			vfio_note_saved "$bdf" "$vfio_was" "$2"
			return ;;
		esac
	fi
	vfio_note "$bdf" "$driver" "$driver_override" "$power_control" \
		"$d3cold_allowed" "$2"
}

# vfio_run COMMAND [ARG...]: as run, but a Ctrl-C does not end COMMAND: between base_hold
# and base_go one that was ended halfway would be taken for one that failed.
vfio_run()
{
	(trap '' HUP INT TERM
	run "$@")
}

# vfio_forget BDF: removes the record of how the device was.
vfio_forget()
{
	vfio_run rm -f -- "$vfio_dir/$1"
}

# vfio_plan_new: begins a plan.
vfio_plan_new()
{
	vfio_plan=
}

# vfio_plan_write BDF PATH [VALUE]: adds a write to the plan.
vfio_plan_write()
{
	vfio_plan=$vfio_plan"$1 ${3:--} $SYSFS_ROOT/bus/pci/$2$base_nl"
}

# vfio_plan_bind RECORD: plans the writes that give the device to vfio-pci. The override
# comes before the unbind, or a driver that is loaded at this moment could take the
# device. power/control comes last, since vfio-pci sets it to auto when it takes a
# device, and a device that a VM has must not be powered off.
vfio_plan_bind()
{
	local bdf driver driver_override power_control d3cold_allowed

	base_fields "$1" bdf driver driver_override power_control d3cold_allowed
	[ "$d3cold_allowed" != 1 ] ||
		vfio_plan_write "$bdf" "devices/$bdf/d3cold_allowed" 0
	[ "$driver_override" = vfio-pci ] ||
		vfio_plan_write "$bdf" "devices/$bdf/driver_override" vfio-pci
	if [ "$driver" != vfio-pci ]; then
		[ -z "$driver" ] ||
			vfio_plan_write "$bdf" "devices/$bdf/driver/unbind" "$bdf"
		vfio_plan_write "$bdf" drivers/vfio-pci/bind "$bdf"
	elif [ "$power_control" = on ]; then
		return 0
	fi
	[ -z "$power_control" ] ||
		vfio_plan_write "$bdf" "devices/$bdf/power/control" on
}

# vfio_plan_restore BDF DRIVER WAS [RESET]: plans the way from the driver that the device
# has now to DRIVER, which may be `none` or `any`, and to the settings of the record WAS.
# With RESET the device is reset while no driver has it.
vfio_plan_restore()
{
	local bdf="$1" want="$2" now override was_override power_control
	local d3cold_allowed

	base_fields "$3" override power_control d3cold_allowed
	was_override=$override
	# The driver that it had need not be the one that its override names.
	case $want:$override in
	none:* | any:* | *: | *:"$want") ;;
	*) override=$want ;;
	esac
	vfio_plan_write "$bdf" "devices/$bdf/driver_override" "$override"
	pci_driver_of "$bdf" now
	if [ -n "$now" ] && [ "$now" != "$want" ]; then
		vfio_plan_write "$bdf" "devices/$bdf/driver/unbind" "$bdf"
		now=
	fi
	if [ -z "$now" ]; then
		[ -z "${4:-}" ] || vfio_plan_write "$bdf" "devices/$bdf/reset" 1
		vfio_plan_attach "$bdf" "$want"
	fi
	[ "$override" = "$was_override" ] || vfio_plan_write "$bdf" \
		"devices/$bdf/driver_override" "$was_override"
	[ -z "$power_control" ] || vfio_plan_write "$bdf" \
		"devices/$bdf/power/control" "$power_control"
	[ -z "$d3cold_allowed" ] || vfio_plan_write "$bdf" \
		"devices/$bdf/d3cold_allowed" "$d3cold_allowed"
}

# vfio_plan_attach BDF DRIVER: plans to give a device that has no driver to DRIVER; if
# there is none of that name, or it is `any`, to the one that the kernel picks.
vfio_plan_attach()
{
	if [ "$2" = none ]; then
		return 0
	elif [ -d "$SYSFS_ROOT/bus/pci/drivers/$2" ]; then
		vfio_plan_write "$1" "drivers/$2/bind" "$1"
	else
		vfio_plan_write "$1" drivers_probe "$1"
	fi
}

# vfio_plan_rescan BDF: plans to remove the device from the bus and have it found again.
vfio_plan_rescan()
{
	local now

	pci_driver_of "$1" now
	[ -z "$now" ] ||
		vfio_plan_write "$1" "devices/$1/driver/unbind" "$1"
	vfio_plan_write "$1" "devices/$1/remove" 1
	vfio_plan_write "$1" rescan 1
}

# vfio_writer BDF: makes the device's planned writes and prints its progress: `at PATH`
# before each, then `done` or `failed`.
vfio_writer()
{
	local bdf value path

	while read -r bdf value path; do
		[ "$bdf" = "$1" ] || continue
		[ "$value" != - ] || value=
		printf 'at %s\n' "$path"
		sys_write "$path" "$value" || {
			echo failed
			return
		}
	done <<-EOT
	$vfio_plan
	EOT
	echo 'done'
}

# vfio_show: prints the plan as --dry-run does.
vfio_show()
{
	local bdf value path

	while read -r bdf value path; do
		[ -n "$bdf" ] || continue
		[ "$value" != - ] || value=
		sys_write "$path" "$value"
	done <<-EOT
	$vfio_plan
	EOT
}

# vfio_execute BDF: makes the device's planned writes. 1 if a write failed, 75 if one
# hangs. Sets vfio_at to the path of the last write that was begun, vfio_pid to the
# child that hangs.
vfio_execute()
{
	local said

	said=$(base_alone
		{
			vfio_writer "$1" &
			echo "pid $!"
		} | timeout -s KILL "$vfio_timeout" cat || :)
	vfio_pid=${said#*pid }
	vfio_pid=${vfio_pid%%"$base_nl"*}
	vfio_at=${said##*at }
	vfio_at=${vfio_at%%"$base_nl"*}
	log_debug "$1: $(printf '%s' "$said" | tr '\n' ' ')"
	case $said in
	*done*) return 0 ;;
	*failed*) return 1 ;;
	esac
	# A process that can be killed does not hang; it was only slow.
	kill -KILL "$vfio_pid" 2>/dev/null || :
	poll_until 1 vfio_ended "$vfio_pid" || return 75
	return 1
}

# vfio_ended PID: no such process runs.
vfio_ended()
{
	local start

	! proc_start_time start "$1"
}

# vfio_module: loads vfio-pci unless it is there. 69, and why, if that fails.
vfio_module()
{
	[ ! -d "$SYSFS_ROOT/bus/pci/drivers/vfio-pci" ] || return 0
	run modprobe vfio-pci ||
		fail 69 'vfio-pci cannot be loaded; see dmesg and modprobe -v vfio-pci' ||
		return
	[ "$DRY_RUN" -eq 1 ] || [ -d "$SYSFS_ROOT/bus/pci/drivers/vfio-pci" ] ||
		fail 69 'modprobe reports success, but no driver vfio-pci has appeared; see dmesg'
}

# vfio_driver_module DRIVER: loads the module of that name if the driver is gone.
vfio_driver_module()
{
	case $1 in
	none | any) return 0 ;;
	esac
	[ -d "$SYSFS_ROOT/bus/pci/drivers/$1" ] || vfio_run modprobe -q -- "$1" ||
		log_warn "driver '$1' is gone, and there is no module of that name to load"
}

# vfio_bind BDF...: makes the planned writes of these devices, all or none. 74, and why,
# if a write failed and everything is as it was, or as near as a device that hangs
# allows. Each device that cannot be brought back is logged.
vfio_bind()
{
	local bdf driver moving='' reason='' rc=0

	for bdf; do
		pci_driver_of "$bdf" driver
		[ "$driver" = vfio-pci ] || moving="$bdf $moving"
	done
	for bdf; do
		vfio_bind_one "$bdf" || {
			rc=$?
			reason=$why
			break
		}
		[ -z "$base_held" ] || {
			rc=74
			reason='ended by a signal'
			break
		}
	done
	[ "$rc" -ne 0 ] || return 0
	log_warn 'undoing what was done'
	[ "$rc" -eq 75 ] || bdf=
	for driver in $moving; do
		[ "$driver" = "$bdf" ] || vfio_undo "$driver" || log_error "$why"
	done
	fail 74 "$reason"
}

# vfio_bind_one BDF: 74, and why; 75 if the device hangs.
vfio_bind_one()
{
	local driver now

	pci_driver_of "$1" driver
	vfio_execute "$1" || vfio_explain "$?" "$1" "$driver" || return
	pci_driver_of "$1" now
	[ "$now" = vfio-pci ] ||
		fail 74 "$1: the kernel does not bind it to vfio-pci; see dmesg"
}

# vfio_explain STATUS BDF DRIVER: returns the status that vfio_execute failed with,
# 74 for a failed write, and sets why.
vfio_explain()
{
	case $1:$vfio_at in
	75:*/unbind)
		fail 75 "$2: driver '$3' does not let go of it: process \
$vfio_pid hangs in the kernel after $vfio_timeout s and cannot be killed. It is \
left there; vfio-status shows the device as stuck; only a reboot heals it" ;;
	75:*)
		fail 75 "$2: the write to $vfio_at hangs in the kernel after \
$vfio_timeout s (process $vfio_pid) and cannot be killed. It is left there; \
vfio-status shows the device as stuck; only a reboot heals it" ;;
	*)
		fail 74 "$2: the write to $vfio_at failed, or did not end \
within $vfio_timeout s; see dmesg" ;;
	esac
}

# vfio_undo BDF: gives the device the driver and settings of its record, and forgets the
# record. 65 or 74, and why, if that fails.
vfio_undo()
{
	local now driver rc=0

	vfio_recall "$1" || rc=$?
	[ "$rc" -ne 1 ] || return 0
	[ "$rc" -eq 0 ] || return "$rc"
	base_fields "$vfio_was" driver
	vfio_plan_new
	vfio_plan_restore "$1" "${driver:-none}" "$vfio_was"
	vfio_execute "$1" || fail 74 "$1: cannot be brought back; vfio-unbind $1 \
tries again" || return
	pci_driver_of "$1" now
	[ "$now" = "$driver" ] || fail 74 "$1: its driver '$driver' does not take \
it back; vfio-unbind $1 tries again" || return
	vfio_revoke "$1"
	vfio_forget "$1"
}

# vfio_saved VAR BDF: sets VAR to the driver that driverctl's file gives the device at
# boot, or to nothing.
vfio_saved()
{
	sysfs_get "$ETC_ROOT/driverctl.d/pci-$2" "$1" || :
}

# vfio_save BDF...: writes the files by which vfio-pci gets the devices at every boot.
# 74, and why, if that fails.
vfio_save()
{
	vfio_save_files "$@" 2>/dev/null || {
		umask 077
		fail 74 "$ETC_ROOT: cannot be written; it may be read-only, or full"
	}
}

vfio_save_files()
{
	local bdf

	umask 022
	vfio_run mkdir -p -- "$ETC_ROOT/driverctl.d" "${vfio_rule%/*}" || return 1
	if ! cmp -s "$paths_share/udev/${vfio_rule##*/}" "$vfio_rule"; then
		vfio_run install -m 644 -- "$paths_share/udev/${vfio_rule##*/}" \
			"$vfio_rule.new" &&
			vfio_run mv -f -- "$vfio_rule.new" "$vfio_rule" || return 1
	fi
	for bdf; do
		sys_write "$ETC_ROOT/driverctl.d/pci-$bdf" vfio-pci &&
			vfio_run sync "$ETC_ROOT/driverctl.d/pci-$bdf" || return 1
	done
	umask 077
}

# vfio_new BDF: true if a bind that has not ended saved the device; vfio_was is its
# record. 65, and why, if the record is damaged.
vfio_new()
{
	local saved

	vfio_recall "$1" || return
	base_fields "$vfio_was" saved
	[ "$saved" = new ]
}

# vfio_settle BDF...: makes the files that vfio_save has written for these devices last,
# since the bind succeeded. 65 or 74, and why, if a record cannot be changed.
vfio_settle()
{
	local bdf rc

	for bdf; do
		rc=0
		vfio_new "$bdf" || rc=$?
		case $rc in
		0) vfio_note_saved "$bdf" "$vfio_was" '' || return ;;
		1) ;;
		*) return "$rc" ;;
		esac
	done
}

# vfio_revoke BDF...: removes the files that vfio_save has written for these devices in a
# bind that has not ended. A file that cannot be removed is logged.
vfio_revoke()
{
	local bdf rc

	for bdf; do
		rc=0
		vfio_new "$bdf" || rc=$?
		[ "$rc" -ne 1 ] || continue
		[ "$rc" -ne 0 ] || vfio_unsave "$bdf" || rc=$?
		[ "$rc" -ne 0 ] || vfio_settle "$bdf" || rc=$?
		[ "$rc" -eq 0 ] || log_error "$why"
	done
}

# vfio_unsave BDF...: removes the files by which vfio-pci gets the devices at every boot,
# and with the last of them the rule. 74, and why, if that fails.
vfio_unsave()
{
	local bdf file

	for bdf; do
		vfio_remove "$ETC_ROOT/driverctl.d/pci-$bdf" || return
	done
	for file in "$ETC_ROOT"/driverctl.d/pci-*; do
		[ ! -e "$file" ] || return 0
	done
	vfio_remove "$vfio_rule"
}

# vfio_remove FILE: removes FILE, if it is there. 74, and why, if that fails.
vfio_remove()
{
	[ -e "$1" ] || return 0
	vfio_run rm -f -- "$1" 2>/dev/null ||
		fail 74 "$1: cannot be removed; $ETC_ROOT may be read-only"
}
