#!/bin/sh
# vfio-unbind - give a GPU back to its driver
#
# usage: isospin vfio-unbind [-hnVv] [-c FILE] [--function-only] [--persist]
#                            [--reset] [--rescan] [--all-nvidia | DEVICE...]
#
# Takes PCI devices, with every endpoint of their IOMMU groups, from vfio-pci
# and gives them back the driver, override and power settings that they had before
# vfio-bind. If none are recorded, the kernel picks the driver. Also repairs devices
# that a killed vfio-bind left half bound. A DEVICE is an address
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
use opt conf unbind vfio

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
	unbind_begin "$reset" "$rescan"
	unbind_choose || die $? "$why"
	unbind_free || die $? "$why"
	if [ "$DRY_RUN" -eq 1 ]; then
		unbind_show || die $? "$why"
	else
		unbind_all || die $? "$why"
	fi
	if [ "$persist" -eq 1 ]; then
		# shellcheck disable=SC2086 # a list of addresses
		vfio_unsave $vfio_devices || die $? "$why"
	else
		unbind_saved
	fi
}

main()
{
	all=0 function_only=0 persist=0 reset='' rescan=0
	base_init "$0"
	opt_flags='dry-run'
	opt_parse option work "$@"
}

main "$@"
