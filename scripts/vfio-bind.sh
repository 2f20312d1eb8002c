#!/bin/sh
# vfio-bind - take a GPU from its driver, for a VM
#
# usage: isospin vfio-bind [-hnVv] [-c FILE] [--force] [--function-only]
#                          [--persist] [--all-nvidia | DEVICE...]
#
# Binds PCI devices to vfio-pci, with every endpoint of their IOMMU groups. A
# DEVICE is an address (0000:01:00.0 or 01:00.0) or VENDOR:DEVICE; without one
# it is GPU_BDF. Everything is checked before the first write. If a write fails, all
# are undone. How the devices were is recorded for vfio-unbind.
#
#   --all-nvidia    every function made by NVIDIA
#   --function-only the devices named, not the rest of their groups
#   --force         bind a device even if it is in use or is the boot display, and
#                   say what is overridden
#   --persist       bind them after each reboot too, by a udev rule and driverctl's
#                   files in /etc/driverctl.d
#   -n, --dry-run   print the writes
#   -c FILE         read this configuration
#   -v              say more
#   -h, -V          this text; the version
#
# Exit status: 0 all are bound; 69 there is no such device, or this host cannot bind
# it; 74 a write failed and everything was undone; 75 a device is in use, or another
# vfio-bind is at work; 77 not permitted.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf pci users judge vfio

# check RECORD: refuses the command for each problem of the device, unless it has no
# meaning here or is overridden. Sets refused to the status of the first refusal.
check()
{
	local bdf driver tab code severity message remedy

	base_fields "$1" bdf driver
	tab=$(printf '\t')
	while IFS="$tab" read -r code severity message remedy; do
		case $code:$severity in
		problem=*:error)
			consider "$bdf" "$driver" "${code#*=}" "$message" "$remedy" ;;
		problem=override:warning) log_warn "$message" ;;
		esac
	done <<-EOT
	$1
	EOT
}

# consider BDF DRIVER CODE MESSAGE REMEDY: refuses the command, or does not.
consider()
{
	weigh "$1" "$2" "$3"
	case $weight in
	ignore) return 0 ;;
	force)
		log_warn "--force overrides $3: $4"
		return 0 ;;
	esac
	log_error "$4${5:+; $5}"
	[ "$refused" -eq 0 ] || return 0
	case $3 in
	bridge) refused=64 ;;
	in_use | console | group_member_in_use) refused=75 ;;
	*) refused=69 ;;
	esac
}

# weigh BDF DRIVER CODE: sets weight to ignore, force or refuse.
weigh()
{
	weight=refuse
	case $3 in
	absent | stuck | bridge | group_member_stuck) return 0 ;;
	esac
	# If vfio-pci has the device already, only what the bind would take along
	# matters.
	case $2:$3 in
	vfio-pci:group_member_foreign | vfio-pci:group_member_in_use) ;;
	vfio-pci:*)
		weight=ignore
		return 0 ;;
	esac
	case $function_only:$3 in
	1:group_*) weight=ignore ;;
	esac
	# If a member of the group has it, it is reported with the device that was
	# named.
	case $named:$3 in
	*" $1 "*) ;;
	*:group_* | *:in_use | *:console) weight=ignore ;;
	esac
	[ "$weight" = refuse ] || return 0
	case $force:$3 in
	1:in_use | 1:console | 1:boot_display | 1:group_member_in_use | \
	1:group_member_foreign | 1:bar_unassigned | 1:saved)
		weight=force ;;
	esac
}

# check_all: ends the command if any device is refused.
check_all()
{
	local bdf record driver cards=''

	refused=0
	for bdf in $named; do
		cards="$cards $(pci_slot_functions "$bdf")"
	done
	pci_iommu_load
	users_scan
	pci_ask "$vfio_devices"
	for bdf in $vfio_devices; do
		# shellcheck disable=SC2086 # a list of addresses
		judge_load "$bdf" $cards
		record=$judge_record
		check "$record"
		[ "$persist" -eq 0 ] || check_saved "$record"
	done
	[ "$refused" -eq 0 ] || {
		log_error 'nothing was changed'
		leave "$refused"
	}
}

# check_saved RECORD: driverctl's file for the device must not name another driver.
check_saved()
{
	local bdf driver saved

	base_fields "$1" bdf driver
	vfio_saved saved "$bdf"
	case $saved in
	'' | vfio-pci) ;;
	*) consider "$bdf" "$driver" saved \
		"driverctl gives $bdf to $saved at boot" \
		"driverctl unset-override $bdf" ;;
	esac
}

# plan_all: plans every device; targets are those for which there is something
# to do.
plan_all()
{
	local bdf before

	targets=
	for bdf in $vfio_devices; do
		pci_load "$bdf" || die 69 "$bdf: the device has just disappeared"
		before=$vfio_plan
		vfio_plan_bind "$pci_record"
		[ "$vfio_plan" != "$before" ] || continue
		targets="$targets $bdf"
	done
}

# remember_all: records how the devices are, and what --persist adds. The records made
# here are forgotten if the command ends before anything else is written.
remember_all()
{
	local bdf saved

	made=
	on_exit forget_made
	for bdf in $vfio_devices; do
		saved=
		if [ "$persist" -eq 1 ]; then
			vfio_saved saved "$bdf"
			[ "$saved" = vfio-pci ] && saved='' || saved=new
		fi
		pci_load "$bdf" || die 69 "$bdf: the device has just disappeared"
		case "$targets $saved " in
		*" $bdf "* | *' new ')
			[ -f "$vfio_dir/$bdf" ] || made="$made $bdf"
			vfio_remember "$pci_record" "$saved" ||
				die $? "$why" ;;
		esac
	done
}

# forget_made: removes the records that remember_all has made.
forget_made()
{
	local bdf

	for bdf in $made; do
		vfio_forget "$bdf"
	done
}

# bind_all: from here on a signal waits until all is done or undone.
bind_all()
{
	local bdf driver rc=0

	base_hold
	remember_all
	# shellcheck disable=SC2086 # lists of addresses
	{
		[ "$persist" -eq 0 ] || vfio_save $vfio_devices || {
			log_error "$why"
			rc=74
		}
		[ "$rc" -ne 0 ] || {
			made=
			vfio_bind $targets || rc=$?
		}
		if [ "$rc" -eq 0 ]; then
			vfio_settle $vfio_devices || die $? "$why"
		else
			vfio_revoke $vfio_devices
		fi
	}
	base_go
	[ "$rc" -eq 0 ] || leave 74
	for bdf in $targets; do
		vfio_recall "$bdf" || :
		base_fields "$vfio_was" driver
		log_info "$bdf: bound to vfio-pci (was: ${driver:-no driver})"
	done
	[ -n "$targets" ] || log_info "bound to vfio-pci already: $vfio_devices"
}

# clock VAR: sets VAR to the hundredths of a second since boot.
clock()
{
	local up rest

	read -r up rest </proc/uptime
	base_set "$1" "${up%.*}${up#*.}"
}

option()
{
	case $1 in
	--all-nvidia) all=1 ;;
	--force) force=1 ;;
	--function-only) function_only=1 ;;
	--persist) persist=1 ;;
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
	named=" $vfio_devices "
	[ "$function_only" -eq 1 ] || vfio_add_groups
	# shellcheck disable=SC2086 # a list of addresses
	[ "$DRY_RUN" -eq 1 ] || vfio_permitted $vfio_devices || die $? "$why"
	vfio_lock || die $? "$why"
	clock begun
	check_all
	vfio_module || die $? "$why"
	plan_all
	if [ "$DRY_RUN" -eq 1 ]; then
		# shellcheck disable=SC2086 # a list of addresses
		[ "$persist" -eq 0 ] || vfio_save $vfio_devices || die $? "$why"
		vfio_show
		leave 0
	fi
	clock checked
	bind_all
	clock ended
	log_debug "hundredths of a second: checks $((checked - begun)), \
writes $((ended - checked))"
}

main()
{
	all=0 force=0 function_only=0 persist=0
	base_init "$0"
	opt_flags='dry-run'
	opt_parse option work "$@"
}

main "$@"
