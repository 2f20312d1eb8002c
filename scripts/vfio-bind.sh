#!/bin/sh
# vfio-bind - take a GPU from its driver, for a VM
#
# usage: isospin vfio-bind [-hnVv] [-c FILE] [--force] [--function-only]
#                          [--persist] [--all-nvidia | DEVICE...]
#
# Binds PCI devices to vfio-pci, with every endpoint of their IOMMU groups. A
# DEVICE is an address (0000:01:00.0 or 01:00.0) or VENDOR:DEVICE; without one
# it is GPU_BDF. Everything is checked before the first write, and undone if one
# fails; what was there is recorded for vfio-unbind.
#
#   --all-nvidia    every function made by NVIDIA
#   --function-only the devices named, not the rest of their groups
#   --force         do it though a device is in use or is the boot display; says
#                   what it overrides
#   --persist       keep it so after a reboot, by a udev rule and driverctl's
#                   files in /etc/driverctl.d
#   -n, --dry-run   print the writes
#   -c FILE         read this configuration
#   -v              say more
#   -h, -V          this text; the version
#
# Exit status: 0 bound, or it was; 69 there is no such device, or the host cannot
# do it; 74 a write failed and everything was undone; 75 a device is in use, or
# another vfio-bind is at work; 77 not permitted.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf pci users judge vfio

# check BDF: what stands in the way of it (judge_list) refuses the command, but
# for what has no meaning here or is overridden. Sets refused to the status that
# the first refusal gives.
check()
{
	local tab code severity message remedy

	tab=$(printf '\t')
	while IFS="$tab" read -r code severity message remedy; do
		case $severity:$code in
		error:*) ;;
		warning:override)
			log_warn "$message"
			continue ;;
		*) continue ;;
		esac
		weigh "$1" "$code"
		case $weight in
		ignore) continue ;;
		force)
			log_warn "--force overrides $code: $message"
			continue ;;
		esac
		log_error "$message${remedy:+; $remedy}"
		[ "$refused" -eq 0 ] || continue
		case $code in
		bridge) refused=64 ;;
		in_use | console | group_member_in_use) refused=75 ;;
		*) refused=69 ;;
		esac
	done <<-EOT
	$judge_list
	EOT
}

# weigh BDF CODE: sets weight to ignore, force or refuse.
weigh()
{
	weight=refuse
	case $2 in
	absent | stuck | bridge | group_member_stuck) return 0 ;;
	esac
	# What is vfio-pci's already is none of a bind's business, but for what
	# it would take along.
	case $pci_driver:$2 in
	vfio-pci:group_member_foreign | vfio-pci:group_member_in_use) ;;
	vfio-pci:*)
		weight=ignore
		return 0 ;;
	esac
	case $function_only:$2 in
	1:group_*) weight=ignore ;;
	esac
	# Of a member of its group it was said with the device that was named.
	case $named:$2 in
	*" $1 "*) ;;
	*:group_* | *:in_use | *:console) weight=ignore ;;
	esac
	[ "$weight" = refuse ] || return 0
	case $force:$2 in
	1:in_use | 1:console | 1:boot_display | 1:group_member_in_use | \
	1:group_member_foreign | 1:bar_unassigned | 1:saved)
		weight=force ;;
	esac
}

check_all()
{
	local bdf driver cards=''

	refused=0
	for bdf in $named; do
		cards="$cards $(pci_slot_functions "$bdf")"
	done
	pci_iommu_load
	users_scan
	pci_ask "$vfio_devices"
	for bdf in $vfio_devices; do
		# shellcheck disable=SC2086 # the same
		judge_load "$bdf" $cards
		driver=
		[ "$persist" -eq 0 ] || vfio_saved driver "$bdf"
		case $driver in
		'' | vfio-pci) ;;
		*) judge_say saved error "driverctl gives $bdf to $driver at boot" \
			"driverctl unset-override $bdf" ;;
		esac
		check "$bdf"
	done
	[ "$refused" -eq 0 ] || {
		log_error 'nothing was changed'
		leave "$refused"
	}
}

# plan_all: plans every device; targets are those for which there is something
# to do.
plan_all()
{
	local bdf before

	targets=
	for bdf in $vfio_devices; do
		pci_load "$bdf" || die 69 "$bdf: it has just gone"
		before=$vfio_plan
		vfio_plan_bind "$bdf"
		[ "$vfio_plan" != "$before" ] || continue
		targets="$targets $bdf"
	done
}

# remember_all: records what is there, and what --persist adds to it. What this
# makes is forgotten if the command ends before anything else is written.
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
		pci_load "$bdf" || die 69 "$bdf: it has just gone"
		case "$targets $saved " in
		*" $bdf "* | *' new ')
			[ -f "$vfio_dir/$bdf" ] || made="$made $bdf"
			vfio_remember "$bdf" "$saved" ;;
		esac
	done
}

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
	local bdf

	base_hold
	remember_all
	# shellcheck disable=SC2086 # lists of addresses
	if { [ "$persist" -eq 0 ] || vfio_save $vfio_devices; } &&
		made='' && vfio_bind $targets
	then
		vfio_settle $vfio_devices
		base_go
	else
		vfio_revoke $vfio_devices
		base_go
		leave 74
	fi
	for bdf in $targets; do
		vfio_recall "$bdf" || :
		log_info "$bdf: bound to vfio-pci (was: ${vfio_was_driver:-no driver})"
	done
	[ -n "$targets" ] || log_info "bound to vfio-pci already: $vfio_devices"
}

# clock VAR: hundredths of a second since boot.
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
	conf_load "$opt_conf"
	vfio_init
	if [ "$all" -eq 1 ]; then
		opt_none "$@"
		vfio_name_nvidia
	else
		vfio_name_devices "$@"
	fi
	named=" $vfio_devices "
	[ "$function_only" -eq 1 ] || vfio_add_groups
	# shellcheck disable=SC2086 # a list of addresses
	[ "$DRY_RUN" -eq 1 ] || vfio_permitted $vfio_devices
	vfio_lock
	clock begun
	check_all
	vfio_module
	plan_all
	if [ "$DRY_RUN" -eq 1 ]; then
		# shellcheck disable=SC2086 # a list of addresses
		[ "$persist" -eq 0 ] || vfio_save $vfio_devices
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
