# shellcheck shell=sh
# bind.sh - decide whether PCI devices may be bound to vfio-pci, and bind them

use pci users judge vfio

bind_targets=
bind_made=

# bind_begin NAMED FORCE FUNCTION-ONLY PERSIST: call this first. NAMED are those of
# vfio_devices that the user named; the others are members of their groups. The rest, 0
# or 1, are flags of vfio-bind.
bind_begin()
{
	bind_named=" $1 "
	bind_force=$2
	bind_function_only=$3
	bind_persist=$4
}

# bind_check_one RECORD: refuses the bind for each problem of the device, unless it has
# no meaning here or is overridden.
bind_check_one()
{
	local bdf driver tab code severity message remedy

	base_fields "$1" bdf driver
	tab=$(printf '\t')
	while IFS="$tab" read -r code severity message remedy; do
		case $code:$severity in
		problem=*:error)
			bind_consider "$bdf" "$driver" "${code#*=}" "$message" "$remedy" ;;
		problem=override:warning) log_warn "$message" ;;
		esac
	done <<-EOT
	$1
	EOT
}

# bind_consider BDF DRIVER CODE MESSAGE REMEDY: decides whether one problem refuses the
# bind, and logs the problem unless it has no meaning here. Sets bind_refused to the
# status of the first refusal.
bind_consider()
{
	bind_weigh "$1" "$2" "$3"
	case $bind_weight in
	ignore) return 0 ;;
	force)
		log_warn "--force overrides $3: $4"
		return 0 ;;
	esac
	log_error "$4${5:+; $5}"
	[ "$bind_refused" -eq 0 ] || return 0
	case $3 in
	bridge) bind_refused=64 ;;
	in_use | console | group_member_in_use) bind_refused=75 ;;
	*) bind_refused=69 ;;
	esac
}

# bind_weigh BDF DRIVER CODE: sets bind_weight to ignore, force or refuse.
bind_weigh()
{
	bind_weight=refuse
	case $3 in
	absent | stuck | bridge | group_member_stuck) return 0 ;;
	esac
	# If vfio-pci has the device already, only the members of its group that the
	# bind would take along matter.
	case $2:$3 in
	vfio-pci:group_member_foreign | vfio-pci:group_member_in_use) ;;
	vfio-pci:*)
		bind_weight=ignore
		return 0 ;;
	esac
	case $bind_function_only:$3 in
	1:group_*) bind_weight=ignore ;;
	esac
	# Such a problem of a member of the group is reported with the device that
	# the user named.
	case $bind_named:$3 in
	*" $1 "*) ;;
	*:group_* | *:in_use | *:console) bind_weight=ignore ;;
	esac
	[ "$bind_weight" = refuse ] || return 0
	case $bind_force:$3 in
	1:in_use | 1:console | 1:boot_display | 1:group_member_in_use | \
	1:group_member_foreign | 1:bar_unassigned | 1:saved)
		bind_weight=force ;;
	esac
}

# bind_check: judges vfio_devices. 64, 69 or 75, and why, if one is refused; each reason
# is logged.
bind_check()
{
	local bdf record driver cards=''

	bind_refused=0
	for bdf in $bind_named; do
		cards="$cards $(pci_slot_functions "$bdf")"
	done
	pci_iommu_load
	users_scan
	pci_ask "$vfio_devices"
	for bdf in $vfio_devices; do
		# shellcheck disable=SC2086 # a list of addresses
		judge_load "$bdf" $cards
		record=$judge_record
		bind_check_one "$record"
		[ "$bind_persist" -eq 0 ] || bind_check_saved "$record"
	done
	[ "$bind_refused" -eq 0 ] || fail "$bind_refused" 'nothing was changed'
}

# bind_check_saved RECORD: driverctl's file for the device must not name another driver.
bind_check_saved()
{
	local bdf driver saved

	base_fields "$1" bdf driver
	vfio_saved saved "$bdf"
	case $saved in
	'' | vfio-pci) ;;
	*) bind_consider "$bdf" "$driver" saved \
		"driverctl gives $bdf to $saved at boot" \
		"driverctl unset-override $bdf" ;;
	esac
}

# bind_plan: plans every device. Sets bind_targets to those for which there is something
# to do. 69, and why, if one has disappeared.
bind_plan()
{
	local bdf before

	bind_targets=
	for bdf in $vfio_devices; do
		pci_load "$bdf" ||
			fail 69 "$bdf: the device has just disappeared" || return
		before=$vfio_plan
		vfio_plan_bind "$pci_record"
		[ "$vfio_plan" != "$before" ] || continue
		bind_targets="$bind_targets $bdf"
	done
}

# bind_remember: records the state of each device, and whether --persist adds its file.
# The records made here are forgotten if the command ends before anything else is
# written. 65, 69 or 74, and why, if that fails.
bind_remember()
{
	local bdf saved

	bind_made=
	on_exit bind_forget_made
	for bdf in $vfio_devices; do
		saved=
		if [ "$bind_persist" -eq 1 ]; then
			vfio_saved saved "$bdf"
			[ "$saved" = vfio-pci ] && saved='' || saved=new
		fi
		pci_load "$bdf" ||
			fail 69 "$bdf: the device has just disappeared" || return
		case "$bind_targets $saved " in
		*" $bdf "* | *' new ')
			[ -f "$vfio_dir/$bdf" ] || bind_made="$bind_made $bdf"
			vfio_remember "$pci_record" "$saved" || return ;;
		esac
	done
}

# bind_forget_made: removes the records that bind_remember has made.
bind_forget_made()
{
	local bdf

	for bdf in $bind_made; do
		vfio_forget "$bdf"
	done
}

# bind_all: records, then binds; from here on a signal waits until all is done or undone.
# 65, 69 or 74, and why, if that fails; then everything is as it was, except for what the
# log names.
bind_all()
{
	local reason rc=0

	base_hold
	bind_remember || return
	# shellcheck disable=SC2086 # lists of addresses
	[ "$bind_persist" -eq 0 ] || vfio_save $vfio_devices || rc=$?
	if [ "$rc" -eq 0 ]; then
		bind_made=
		# shellcheck disable=SC2086 # a list of addresses
		vfio_bind $bind_targets || rc=$?
	fi
	# shellcheck disable=SC2086 # a list of addresses
	if [ "$rc" -eq 0 ]; then
		vfio_settle $vfio_devices || return
	else
		reason=$why
		vfio_revoke $vfio_devices
	fi
	base_go
	[ "$rc" -eq 0 ] || fail 74 "$reason" || return
	bind_report
}

# bind_report: logs the driver that each device had before.
bind_report()
{
	local bdf driver

	for bdf in $bind_targets; do
		vfio_recall "$bdf" || :
		base_fields "$vfio_was" driver
		log_info "$bdf: bound to vfio-pci (was: ${driver:-no driver})"
	done
	[ -n "$bind_targets" ] ||
		log_info "bound to vfio-pci already: $vfio_devices"
}
