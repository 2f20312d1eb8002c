# shellcheck shell=sh
# vfio.sh - hand PCI devices to vfio-pci, and give them back
#
# What a device was is recorded in $RUN_DIR/pci/BDF before the first write, and
# forgotten after the last one that restores it: whoever is killed in between
# leaves a device that vfio-unbind brings back. The writes are planned as lines
# "BDF VALUE PATH"; the same list is shown by --dry-run and executed otherwise.
#
# The writes of a device are made in a child, since a driver may hang in the
# kernel where no signal gets at it. The child has VFIO_TIMEOUT seconds; then it
# is left where it is.
#
# Needs proc.sh, poll.sh, sysfs.sh and pci.sh.

use conf poll proc sysfs pci

vfio_rule=$ETC_ROOT/udev/rules.d/04-isospin-vfio.rules

# vfio_init: sets vfio_dir and vfio_timeout. Needs conf_load. A device is the
# machine's, not a user's.
vfio_init()
{
	conf_get vfio_dir RUN_DIR
	vfio_dir=${vfio_dir:-/run/isospin}/pci
	conf_get vfio_timeout VFIO_TIMEOUT
	vfio_plan=
}

# vfio_lock: one command of this machine at a time changes bindings, or 75.
vfio_lock()
{
	[ "$DRY_RUN" -eq 0 ] || return 0
	proc_own "${vfio_dir%/pci}"
	proc_mkdir "$vfio_dir"
	proc_lock "$vfio_dir/lock" ||
		die 75 'another vfio-bind or vfio-unbind is at work; try again'
}

# vfio_add_device BDF: to vfio_devices, once.
vfio_add_device()
{
	case " $vfio_devices " in
	*" $1 "*) ;;
	*) vfio_devices="${vfio_devices:+$vfio_devices }$1" ;;
	esac
}

# vfio_name_devices ARG...: sets vfio_devices to what the operands name, which
# is the configured GPU if there are none, or ends the command.
vfio_name_devices()
{
	local arg found bdf rc

	vfio_devices=
	[ $# -gt 0 ] || {
		conf_get bdf GPU_BDF
		set -- "$bdf"
	}
	for arg; do
		rc=0
		found=$(pci_resolve "$arg") || rc=$?
		case $rc in
		0) ;;
		64) die 64 "'$arg' is neither a PCI address nor VENDOR:DEVICE" ;;
		*) die 69 "$arg: no such device; see isospin vfio-status" ;;
		esac
		for bdf in $found; do
			vfio_add_device "$bdf"
		done
	done
}

# vfio_name_nvidia: sets vfio_devices to every NVIDIA function but bridges.
vfio_name_nvidia()
{
	local bdf vendor

	vfio_devices=
	for bdf in $(pci_gpus); do
		sysfs_get "$SYSFS_ROOT/bus/pci/devices/$bdf/vendor" vendor || :
		[ "$vendor" != 0x10de ] || vfio_add_device "$bdf"
	done
	[ -n "$vfio_devices" ] || die 69 'this host has no NVIDIA device'
}

# vfio_add_groups: adds the other endpoints of their IOMMU groups.
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

# vfio_writable BDF: true if this process may write the device's files. Opens
# one without writing; test -w of busybox knows nothing of a read-only mount.
vfio_writable()
{
	{ true >>"$SYSFS_ROOT/bus/pci/devices/$1/driver_override"; } 2>/dev/null
}

# vfio_permitted BDF...: ends the command if one of them cannot be written.
vfio_permitted()
{
	local bdf

	for bdf; do
		! vfio_writable "$bdf" || continue
		[ "$(id -u)" -eq 0 ] ||
			die 77 "$bdf: only root may change it; use sudo"
		die 77 "$bdf: cannot be changed: $SYSFS_ROOT is read-only"
	done
}

# vfio_recall BDF: sets vfio_was_* to what is recorded; 1 if nothing is.
# vfio_was_saved is `new` if a bind that has not ended wrote the file that
# binds the device at every boot.
vfio_recall()
{
	local key value

	vfio_was_driver='' vfio_was_override='' vfio_was_control=''
	vfio_was_d3cold='' vfio_was_saved=''
	[ -f "$vfio_dir/$1" ] || return 1
	while IFS='=' read -r key value; do
		case $key=$value in
		*=*[!A-Za-z0-9_.-]*) die 65 "$vfio_dir/$1: '$value'" ;;
		driver=*) vfio_was_driver=$value ;;
		override=*) vfio_was_override=$value ;;
		power_control=auto | power_control=on)
			vfio_was_control=$value ;;
		d3cold_allowed=[01]) vfio_was_d3cold=$value ;;
		saved=new) vfio_was_saved=$value ;;
		power_control= | d3cold_allowed= | saved=) ;;
		*) die 65 "$vfio_dir/$1: '$key'" ;;
		esac
	done <"$vfio_dir/$1"
}

# vfio_note BDF: records vfio_was_*.
vfio_note()
{
	(trap '' HUP INT TERM
	dd conv=fsync of="$vfio_dir/$1.new" && mv -f -- "$vfio_dir/$1.new" \
		"$vfio_dir/$1") 2>/dev/null <<-EOT || die 74 "$vfio_dir/$1: cannot be written"
	driver=$vfio_was_driver
	override=$vfio_was_override
	power_control=$vfio_was_control
	d3cold_allowed=$vfio_was_d3cold
	saved=$vfio_was_saved
	EOT
}

# vfio_remember BDF SAVED: records the loaded device as it is. A record of one
# that was bound by half stays; it is out of date if somebody has since bound a
# driver that neither it nor we know.
vfio_remember()
{
	if vfio_recall "$1"; then
		case $pci_driver in
		'' | vfio-pci | "$vfio_was_driver")
			[ "$vfio_was_saved" != "$2" ] || return 0
			vfio_was_saved=$2
			vfio_note "$1"
			return ;;
		esac
	fi
	vfio_was_driver=$pci_driver
	vfio_was_override=$pci_override
	vfio_was_control=$pci_control
	vfio_was_d3cold=$pci_d3cold
	vfio_was_saved=$2
	vfio_note "$1"
}

# vfio_run COMMAND [ARG...]: run, and a Ctrl-C does not end it: between base_hold
# and base_go one that is done by half would be taken for one that failed.
vfio_run()
{
	(trap '' HUP INT TERM
	run "$@")
}

# vfio_forget BDF
vfio_forget()
{
	vfio_run rm -f -- "$vfio_dir/$1"
}

vfio_plan_write()
{
	vfio_plan=$vfio_plan"$1 ${3:--} $SYSFS_ROOT/bus/pci/$2$base_nl"
}

# vfio_plan_bind BDF: plans what is missing for the loaded device to be
# vfio-pci's. The override comes before the unbind, or a driver that is loaded
# at this moment could take the device. What a guest has must not be powered
# off; vfio-pci sets power/control to auto when it takes a device.
vfio_plan_bind()
{
	[ "$pci_d3cold" != 1 ] ||
		vfio_plan_write "$1" "devices/$1/d3cold_allowed" 0
	[ "$pci_override" = vfio-pci ] ||
		vfio_plan_write "$1" "devices/$1/driver_override" vfio-pci
	if [ "$pci_driver" != vfio-pci ]; then
		[ -z "$pci_driver" ] ||
			vfio_plan_write "$1" "devices/$1/driver/unbind" "$1"
		vfio_plan_write "$1" drivers/vfio-pci/bind "$1"
	elif [ "$pci_control" = on ]; then
		return 0
	fi
	[ -z "$pci_control" ] ||
		vfio_plan_write "$1" "devices/$1/power/control" on
}

# vfio_plan_restore BDF DRIVER [RESET]: plans the way from whatever is there to
# DRIVER, which may be `none` or `any`, and to what else vfio_was_* says. With
# RESET the device is reset while nobody has it.
vfio_plan_restore()
{
	local bdf="$1" want="$2" now override="$vfio_was_override"

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
		[ -z "${3:-}" ] || vfio_plan_write "$bdf" "devices/$bdf/reset" 1
		vfio_plan_attach "$bdf" "$want"
	fi
	[ "$override" = "$vfio_was_override" ] || vfio_plan_write "$bdf" \
		"devices/$bdf/driver_override" "$vfio_was_override"
	[ -z "$vfio_was_control" ] || vfio_plan_write "$bdf" \
		"devices/$bdf/power/control" "$vfio_was_control"
	[ -z "$vfio_was_d3cold" ] || vfio_plan_write "$bdf" \
		"devices/$bdf/d3cold_allowed" "$vfio_was_d3cold"
}

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

# vfio_plan_rescan BDF: plans to have the device found anew.
vfio_plan_rescan()
{
	local now

	pci_driver_of "$1" now
	[ -z "$now" ] ||
		vfio_plan_write "$1" "devices/$1/driver/unbind" "$1"
	vfio_plan_write "$1" "devices/$1/remove" 1
	vfio_plan_write "$1" rescan 1
}

# vfio_writer BDF: makes the device's planned writes, and says how far it is:
# the path of each before it is made, then `done` or `failed`.
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

# vfio_show: what --dry-run shows of the plan.
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

# vfio_execute BDF: makes the device's planned writes. 0 done; 1 a write failed,
# 75 one hangs. vfio_at is the path of the last write that was begun, vfio_pid
# the child that hangs.
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
	# What can be ended is only slow.
	kill -KILL "$vfio_pid" 2>/dev/null || :
	poll_until 1 vfio_ended "$vfio_pid" || return 75
	return 1
}

vfio_ended()
{
	local start

	! proc_start_time start "$1"
}

# vfio_module: vfio-pci is there, loaded if need be.
vfio_module()
{
	[ ! -d "$SYSFS_ROOT/bus/pci/drivers/vfio-pci" ] || return 0
	run modprobe vfio-pci ||
		die 69 'vfio-pci cannot be loaded; see dmesg and modprobe -v vfio-pci'
	[ "$DRY_RUN" -eq 1 ] || [ -d "$SYSFS_ROOT/bus/pci/drivers/vfio-pci" ] ||
		die 69 "the kernel has no vfio-pci, though modprobe was content"
}

# vfio_driver_module DRIVER: loads it if it has gone, if there is such a module.
vfio_driver_module()
{
	case $1 in
	none | any) return 0 ;;
	esac
	[ -d "$SYSFS_ROOT/bus/pci/drivers/$1" ] || vfio_run modprobe -q -- "$1" ||
		log_warn "driver '$1' is not there any more"
}

# vfio_bind BDF...: makes what is planned for them, all or nothing. 0, or 74
# after everything is as it was, or as near as a device that hangs allows.
vfio_bind()
{
	local bdf driver moving='' rc=0

	for bdf; do
		pci_driver_of "$bdf" driver
		[ "$driver" = vfio-pci ] || moving="$bdf $moving"
	done
	for bdf; do
		vfio_bind_one "$bdf" || rc=$?
		[ "$rc" -eq 0 ] || break
		[ -z "$base_held" ] || rc=74
	done
	[ "$rc" -ne 0 ] || return 0
	log_warn 'undoing what was done'
	[ "$rc" -eq 75 ] || bdf=
	for driver in $moving; do
		[ "$driver" = "$bdf" ] || vfio_undo "$driver"
	done
	return 74
}

# vfio_bind_one BDF: 0; 74; 75 if it hangs.
vfio_bind_one()
{
	local driver now rc=0

	pci_driver_of "$1" driver
	vfio_execute "$1" || rc=$?
	if [ "$rc" -ne 0 ]; then
		vfio_explain "$rc" "$1" "$driver"
		return "$rc"
	fi
	pci_driver_of "$1" now
	[ "$now" != vfio-pci ] || return 0
	log_error "$1: the kernel does not bind it to vfio-pci; see dmesg"
	return 74
}

# vfio_explain RC BDF DRIVER: why vfio_execute failed.
vfio_explain()
{
	case $1:$vfio_at in
	75:*/unbind)
		log_error "$2: driver '$3' does not let go of it: process \
$vfio_pid hangs in the kernel after $vfio_timeout s and cannot be killed. It is \
left there; vfio-status shows the device as stuck; only a reboot heals it" ;;
	75:*)
		log_error "$2: the write to $vfio_at hangs in the kernel after \
$vfio_timeout s (process $vfio_pid) and cannot be killed. It is left there; \
vfio-status shows the device as stuck; only a reboot heals it" ;;
	*)
		log_error "$2: the write to $vfio_at failed, or did not end \
within $vfio_timeout s; see dmesg" ;;
	esac
}

# vfio_undo BDF: back to what is recorded.
vfio_undo()
{
	local now

	vfio_recall "$1" || return 0
	vfio_plan=
	vfio_plan_restore "$1" "${vfio_was_driver:-none}"
	vfio_execute "$1" || {
		log_error "$1: cannot be brought back; vfio-unbind $1 tries again"
		return 0
	}
	pci_driver_of "$1" now
	if [ "$now" != "$vfio_was_driver" ]; then
		log_error "$1: its driver '$vfio_was_driver' does not take it back; \
vfio-unbind $1 tries again"
		return 0
	fi
	vfio_revoke "$1"
	vfio_forget "$1"
}

# vfio_saved VAR BDF: the driver that driverctl's file gives the device at boot.
vfio_saved()
{
	sysfs_get "$ETC_ROOT/driverctl.d/pci-$2" "$1" || :
}

# vfio_save BDF...: they are vfio-pci's after every boot. 1 if that cannot be
# written.
vfio_save()
{
	vfio_save_files "$@" 2>/dev/null || {
		umask 077
		log_error "$ETC_ROOT: cannot be written; it may be read-only, or full"
		return 1
	}
}

vfio_save_files()
{
	local bdf

	umask 022
	vfio_run mkdir -p -- "$ETC_ROOT/driverctl.d" "${vfio_rule%/*}" || return 1
	if ! cmp -s "$TOP/share/udev/${vfio_rule##*/}" "$vfio_rule"; then
		vfio_run install -m 644 -- "$TOP/share/udev/${vfio_rule##*/}" \
			"$vfio_rule.new" &&
			vfio_run mv -f -- "$vfio_rule.new" "$vfio_rule" || return 1
	fi
	for bdf; do
		sys_write "$ETC_ROOT/driverctl.d/pci-$bdf" vfio-pci &&
			vfio_run sync "$ETC_ROOT/driverctl.d/pci-$bdf" || return 1
	done
	umask 077
}

# vfio_settle BDF...: what was saved for them is meant to stay.
vfio_settle()
{
	local bdf

	for bdf; do
		if ! vfio_recall "$bdf" || [ "$vfio_was_saved" != new ]; then
			continue
		fi
		vfio_was_saved=
		vfio_note "$bdf"
	done
}

# vfio_revoke BDF...: what a bind that has not ended saved for them goes.
vfio_revoke()
{
	local bdf

	for bdf; do
		if ! vfio_recall "$bdf" || [ "$vfio_was_saved" != new ]; then
			continue
		fi
		vfio_unsave "$bdf" || continue
		vfio_settle "$bdf"
	done
}

# vfio_unsave BDF...: they are not. The rule goes with the last of them. 1 if that
# cannot be done.
vfio_unsave()
{
	local bdf file

	for bdf; do
		vfio_remove "$ETC_ROOT/driverctl.d/pci-$bdf" || return 1
	done
	for file in "$ETC_ROOT"/driverctl.d/pci-*; do
		[ ! -e "$file" ] || return 0
	done
	vfio_remove "$vfio_rule"
}

# vfio_remove FILE: 1, and says so, if it cannot be removed.
vfio_remove()
{
	[ -e "$1" ] || return 0
	vfio_run rm -f -- "$1" 2>/dev/null || {
		log_error "$1: cannot be removed; $ETC_ROOT may be read-only"
		return 1
	}
}
