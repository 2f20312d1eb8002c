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
#                   name each problem that is overridden
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
use opt conf bind vfio

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
	named=$vfio_devices
	[ "$function_only" -eq 1 ] || vfio_add_groups
	# shellcheck disable=SC2086 # a list of addresses
	[ "$DRY_RUN" -eq 1 ] || vfio_permitted $vfio_devices || die $? "$why"
	vfio_lock || die $? "$why"
	clock begun
	bind_begin "$named" "$force" "$function_only" "$persist"
	bind_check || die $? "$why"
	vfio_module || die $? "$why"
	bind_plan || die $? "$why"
	if [ "$DRY_RUN" -eq 1 ]; then
		# shellcheck disable=SC2086 # a list of addresses
		[ "$persist" -eq 0 ] || vfio_save $vfio_devices || die $? "$why"
		vfio_show
		leave 0
	fi
	clock checked
	bind_all || die $? "$why"
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
