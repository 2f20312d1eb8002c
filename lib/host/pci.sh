# shellcheck shell=sh
# pci.sh - PCI devices as sysfs shows them
#
# A device is named by its address dddd:bb:dd.f, in lower case. pci_load makes the
# device's record, a text of KEY=value lines, which other functions are passed;
# base_fields reads fields of it. Nothing here changes a device or waits for one longer
# than sysfs_deadline.

use sysfs

pci_hex='[0-9a-f]'
pci_record=
pci_bar_list=

# pci_normal ARG VAR: sets VAR to a full or short (bb:dd.f) address, in upper or lower
# case, as sysfs spells it. 64 if ARG is no address.
pci_normal()
{
	local pci_text="$1" x="$pci_hex"

	case $pci_text in
	*[A-F]*) pci_text=$(printf '%s' "$pci_text" | tr 'A-F' 'a-f') ;;
	esac
	# shellcheck disable=SC2254 # x is a pattern
	case $pci_text in
	$x$x$x$x:$x$x:[01]$x.[0-7]) ;;
	$x$x:[01]$x.[0-7]) pci_text=0000:$pci_text ;;
	*) return 64 ;;
	esac
	base_set "$2" "$pci_text"
}

# pci_exists BDF: whether there is such a device.
pci_exists()
{
	[ -d "$SYSFS_ROOT/bus/pci/devices/$1" ]
}

# pci_find ARG: sets pci_found to the addresses, as words, of the devices that ARG names
# by address or as VENDOR:DEVICE. 64 if ARG is neither, 69 if there is no such device.
pci_find()
{
	local bdf id vendor device x="$pci_hex"

	pci_found=
	if pci_normal "$1" pci_found; then
		pci_exists "$pci_found" || return 69
		return 0
	fi
	id=$(printf '%s' "$1" | tr 'A-F' 'a-f')
	# shellcheck disable=SC2254 # x is a pattern
	case $id in
	$x$x$x$x:$x$x$x$x) ;;
	*) return 64 ;;
	esac
	for bdf in "$SYSFS_ROOT"/bus/pci/devices/*; do
		sysfs_get "$bdf/vendor" vendor || continue
		[ "$vendor" = "0x${id%:*}" ] || continue
		sysfs_get "$bdf/device" device || continue
		[ "$device" != "0x${id#*:}" ] ||
			pci_found="${pci_found:+$pci_found }${bdf##*/}"
	done
	[ -n "$pci_found" ] || return 69
}

# pci_gpus: prints the addresses of all display devices and of all functions made by
# NVIDIA except bridges.
pci_gpus()
{
	local dev class vendor

	for dev in "$SYSFS_ROOT"/bus/pci/devices/*; do
		sysfs_get "$dev/class" class || continue
		case $class in
		0x03*) ;;
		0x06*) continue ;;
		*)
			sysfs_get "$dev/vendor" vendor || continue
			[ "$vendor" = 0x10de ] || continue ;;
		esac
		printf '%s\n' "${dev##*/}"
	done
}

# pci_ask BDFS [BDFS]: reads at once the files that pci_load would read one by one: for
# the devices of the first list, words, with their regions, for those of the second
# without. The answers hold until the next sysfs_ask.
pci_ask()
{
	local bdf named="$1" others="${2:-}"

	set --
	for bdf in $named $others; do
		set -- "$@" "$SYSFS_ROOT/bus/pci/devices/$bdf/driver_override"
	done
	for bdf in $named; do
		! pci_bars_doubtful "$bdf" ||
			set -- "$@" "$SYSFS_ROOT/bus/pci/devices/$bdf/config"
	done
	sysfs_ask "$@"
}

# pci_load BDF [bars]: makes the device's record in pci_record, which the caller
# passes on and which nothing here reads. 69 if there is no such device; then bdf
# is the only field. The fields are vendor, device, class (hexadecimal, without 0x),
# subsystem (VENDOR:DEVICE), driver, driver_override, iommu_group (empty if there is
# none), stuck, boot_display (0 or 1), reset_methods (words), power_state (D0...),
# runtime_status, power_control, d3cold_allowed, numa_node (empty if unknown), and
# with the word bars those of pci_bars.
pci_load()
{
	local dev="$SYSFS_ROOT/bus/pci/devices/$1" vendor device class subvendor
	local subdevice driver override group boot power runtime control d3cold
	local numa resets stuck=0 rc=0

	pci_record=bdf=$1$base_nl
	sysfs_get "$dev/vendor" vendor && sysfs_get "$dev/device" device &&
		sysfs_get "$dev/class" class || return 69
	sysfs_get "$dev/subsystem_vendor" subvendor || :
	sysfs_get "$dev/subsystem_device" subdevice || :
	sysfs_link "$dev/driver" driver || :
	sysfs_link "$dev/iommu_group" group || :
	sysfs_get "$dev/boot_vga" boot || boot=0
	sysfs_get "$dev/power_state" power || :
	sysfs_get "$dev/power/runtime_status" runtime || :
	sysfs_get "$dev/power/control" control || :
	sysfs_get "$dev/d3cold_allowed" d3cold || :
	sysfs_get "$dev/numa_node" numa || :
	[ "$numa" != -1 ] || numa=
	sysfs_get "$dev/reset_method" resets || :
	if sysfs_asked_for "$dev/driver_override"; then
		sysfs_answer "$dev/driver_override" override || rc=$?
	else
		sysfs_read "$dev/driver_override" override || rc=$?
	fi
	[ "$override" != '(null)' ] || override=
	[ "$rc" -ne 75 ] || stuck=1
	pci_bar_list=
	[ -z "${2:-}" ] || pci_bars "$1"
	pci_record="bdf=$1
vendor=${vendor#0x}
device=${device#0x}
class=${class#0x}
driver=$driver
driver_override=$override
iommu_group=$group
stuck=$stuck
boot_display=$boot
reset_methods=$resets
${pci_bar_list}power_state=$power
runtime_status=$runtime
power_control=$control
d3cold_allowed=$d3cold
numa_node=$numa
subsystem=${subvendor#0x}:${subdevice#0x}
"
}

# pci_driver_of BDF VAR: sets VAR to the device's driver, empty if it has none.
pci_driver_of()
{
	sysfs_link "$SYSFS_ROOT/bus/pci/devices/$1/driver" "$2" || :
}

# pci_class_of BDF VAR: sets VAR to the device's class, six digits; 69 if there is no such
# device.
pci_class_of()
{
	local pci_word

	sysfs_get "$SYSFS_ROOT/bus/pci/devices/$1/class" pci_word || return 69
	base_set "$2" "${pci_word#0x}"
}

# pci_group_members GROUP: prints the devices of an IOMMU group.
pci_group_members()
{
	local link

	for link in "$SYSFS_ROOT/kernel/iommu_groups/$1/devices"/*; do
		[ ! -L "$link" ] || printf '%s\n' "${link##*/}"
	done
}

# pci_slot_functions BDF: prints the functions of the device's slot, including BDF.
pci_slot_functions()
{
	local dev

	for dev in "$SYSFS_ROOT/bus/pci/devices/${1%.*}".[0-7]; do
		[ ! -d "$dev" ] || printf '%s\n' "${dev##*/}"
	done
}

# pci_bars BDF: sets pci_bar_list, a line "bar=INDEX START SIZE FLAGS" for each region
# of the device: 0 to 5 are BARs, 6 is the ROM. SIZE in bytes, 0 if unknown; FLAGS a
# comma list: io, mem32 or mem64, pref, unassigned.
#
# If Linux found no room for a BAR, it forgets all about it (drivers/pci/setup-bus.c,
# reset_resource). Then only the BAR's register tells its kind: see pci_bars_doubtful.
pci_bars()
{
	local i=0 start end flags words upper=-1
	local dev="$SYSFS_ROOT/bus/pci/devices/$1" config=''

	! sysfs_asked_for "$dev/config" ||
		sysfs_answer "$dev/config" config || :
	# shellcheck disable=SC2086 # bytes, a word each
	set -- $config
	pci_bar_list=
	while [ "$i" -le 6 ] && read -r start end flags; do
		words=
		if [ "$((flags))" -ne 0 ]; then
			# IORESOURCE_IO, _MEM_64, _PREFETCH and _UNSET of
			# Linux's include/linux/ioport.h
			words=mem32
			[ $((flags & 0x100000)) -eq 0 ] || words=mem64
			[ $((flags & 0x100)) -eq 0 ] || words=io
			[ $((flags & 0x2000)) -eq 0 ] || words=$words,pref
			[ $((flags & 0x20000000)) -eq 0 ] ||
				words=$words,unassigned
			pci_bar_list=$pci_bar_list"bar=$i $start $((end - start + 1)) $words"$base_nl
		elif [ "$i" -ne "$upper" ]; then
			pci_bar_kind words "${1:-}"
			[ -z "$words" ] ||
				pci_bar_list=$pci_bar_list"bar=$i 0x0 0 $words,unassigned"$base_nl
		fi
		case $words in
		mem64*) upper=$((i + 1)) ;;
		esac
		[ $# -lt 4 ] || shift 4
		i=$((i + 1))
	done 2>/dev/null <"$dev/resource"
}

# pci_bars_doubtful BDF: true if Linux may have forgotten a BAR of the device. It must be
# of a class that an accelerator may have (display, co-processor, processing accelerator,
# none) and lack two BARs in a row, room for a 64-bit one, among the first four: the BAR
# of a GPU's memory is one of the first. The registers of other devices are not read,
# since that costs a process.
pci_bars_doubtful()
{
	local class i=0 start end flags empty=0

	pci_class_of "$1" class || return
	case $class in
	03* | 0b40* | 12* | 00* | ff*) ;;
	*) return 1 ;;
	esac
	while [ "$i" -le 3 ] && [ "$empty" -lt 2 ] && read -r start end flags; do
		i=$((i + 1))
		empty=$((empty + 1))
		[ "$((flags))" -ne 0 ] || continue
		empty=0
		[ $((flags & 0x100000)) -ne 0 ] || continue
		read -r start end flags
		i=$((i + 1))
	done 2>/dev/null <"$SYSFS_ROOT/bus/pci/devices/$1/resource"
	[ "$empty" -eq 2 ]
}

# pci_bar_kind VAR BYTE: sets VAR to mem64 or mem32, and pref, by the lowest byte of a
# BAR's register (PCI Local Bus 3.0, 6.2.5.1). VAR is empty if those bits are all 0 (there
# is no BAR, or it has 32 bits and is not prefetchable), and for I/O ports, which drivers
# can do without.
pci_bar_kind()
{
	case $2 in
	?4) base_set "$1" mem64 ;;
	?c) base_set "$1" mem64,pref ;;
	?8) base_set "$1" mem32,pref ;;
	*) base_set "$1" '' ;;
	esac
}

# pci_iommu_load: sets pci_iommu (0 or 1) to whether the host's IOMMU is on,
# pci_iommu_why to a phrase about it, and pci_iommu_remedy if it is off.
pci_iommu_load()
{
	local unit units='' tables="$SYSFS_ROOT/firmware/acpi/tables" word

	pci_iommu=0 pci_iommu_remedy=
	for unit in "$SYSFS_ROOT"/class/iommu/*; do
		[ ! -e "$unit" ] || units="$units ${unit##*/}"
	done
	for unit in "$SYSFS_ROOT"/kernel/iommu_groups/*; do
		[ ! -d "$unit" ] || pci_iommu=1
		break
	done
	if [ "$pci_iommu" -eq 1 ]; then
		case $units in
		*' dmar'*) pci_iommu_why="Intel VT-d,$units" ;;
		*' ivhd'*) pci_iommu_why="AMD-Vi,$units" ;;
		*) pci_iommu_why="groups exist, units:${units:- none}" ;;
		esac
		return 0
	fi
	sysfs_get "$PROCFS_ROOT/cmdline" unit || :
	for word in intel_iommu=off amd_iommu=off iommu=off; do
		case " $unit " in
		*" $word "*)
			pci_iommu_why="$word is on the kernel's command line"
			pci_iommu_remedy="take $word from the kernel's command line and reboot"
			return 0 ;;
		esac
	done
	pci_iommu_unused "$tables" "$unit"
}

# pci_iommu_unused TABLES CMDLINE: the same for an IOMMU that is off though no word of the
# command line switches it off.
pci_iommu_unused()
{
	if [ -e "$1/DMAR" ]; then
		case " $2 " in
		*' intel_iommu=on'*)
			pci_iommu_why='intel_iommu=on, yet the kernel made no groups'
			pci_iommu_remedy='look for DMAR in dmesg; update the firmware' ;;
		*)
			pci_iommu_why='the firmware has VT-d, the kernel does not use it'
			pci_iommu_remedy="add intel_iommu=on to the kernel's command line and reboot" ;;
		esac
	elif [ -e "$1/IVRS" ]; then
		pci_iommu_why='the firmware has AMD-Vi, the kernel made no groups'
		pci_iommu_remedy='look for AMD-Vi in dmesg; update the firmware'
	else
		pci_iommu_why='the firmware reports none (no DMAR or IVRS table)'
		pci_iommu_remedy='switch VT-d or AMD-Vi (IOMMU) on in the firmware setup; give a VM a virtual IOMMU'
	fi
}
