# shellcheck shell=sh
# judge.sh - find the problems that keep a device from being handed to a VM
#
# The rules are written only here; vfio-status, vfio-bind, gpu-vm and doctor ask
# for them. isospin-vfio-status(1) lists the codes. A rule is passed the device's
# record and adds its finding by judge_say.

use sysfs pci users

judge_record=
judge_problems=
judge_group=
judge_modprobe=

# judge_load BDF [OTHER...]: makes the device's record in judge_record: that of
# pci_load with its regions, and
#
#	state=WORD		first: ready, used (by a VM), bindable, blocked, stuck, absent
#	member=BDF CLASS DRIVER	for each device of its IOMMU group
#	user=PID KIND NAME	for each of users_load
#	users_complete=0|1	none if users_scan was not called
#	problem=CODE TAB SEVERITY TAB MESSAGE TAB REMEDY
#
# OTHER are devices that are to be bound together with it. Call pci_iommu_load
# first, and users_scan if users count.
judge_load()
{
	local dev rc=0 driver vendor stuck iommu_group users='' state=blocked

	judge_problems='' judge_group='' judge_errors=0 judge_busy=0
	pci_load "$1" bars || rc=$?
	dev=$pci_record
	if [ "$rc" -ne 0 ]; then
		judge_say absent error "$1: there is no such device" \
			'isospin vfio-status shows what there is'
		judge_record=state=absent$base_nl$dev$judge_problems
		return 0
	fi
	base_fields "$dev" driver vendor stuck iommu_group
	judge_device "$dev"
	if [ "$stuck:$vendor" = 1:10de ]; then
		# While its removal hangs, the device has no driver in sysfs.
		users_load "$1" nvidia
	else
		users_load "$1"
	fi
	users=$users_list
	judge_users "$1" in_use "$1" "$users"
	[ -z "$iommu_group" ] || judge_members "$iommu_group" "$driver" "$@"
	case $stuck:$judge_errors:$judge_busy:$driver in
	1:*) state=stuck ;;
	0:0:0:vfio-pci) state=ready ;;
	0:0:1:vfio-pci) state=used ;;
	0:0:0:*) state=bindable ;;
	esac
	[ -z "$users_complete" ] ||
		users=${users}users_complete=$users_complete$base_nl
	judge_record=state=$state$base_nl$dev$judge_group$users$judge_problems
}

# judge_say CODE SEVERITY MESSAGE REMEDY: adds a finding to judge_problems. The
# severity error means that the device cannot be bound, or not be used once it is
# bound; warning, that it can.
judge_say()
{
	judge_problems=$judge_problems"problem=$1	$2	$3	$4"$base_nl
	case $2:$1 in
	error:in_use) judge_busy=1 ;;
	error:*) judge_errors=1 ;;
	esac
}

# judge_device RECORD: the rules for the device by itself.
judge_device()
{
	local bdf class driver driver_override iommu_group stuck boot_display
	local reset_methods

	base_fields "$1" bdf class driver driver_override iommu_group stuck \
		boot_display reset_methods
	[ "$stuck" -eq 0 ] || judge_stuck "$bdf" "$driver"
	case $class in
	06*)
		judge_say bridge error "$bdf is a bridge (class ${class%??})" \
			'name the device behind it'
		return 0 ;;
	esac
	if [ "$pci_iommu" -eq 0 ]; then
		judge_say iommu_off error "the IOMMU is off: $pci_iommu_why" \
			"$pci_iommu_remedy"
	elif [ -z "$iommu_group" ]; then
		judge_say no_group error "$bdf is in no IOMMU group" \
			'no IOMMU serves this slot: try another one'
	fi
	[ "$driver" = vfio-pci ] || judge_host "$bdf" "$boot_display"
	case $driver_override in
	'' | vfio-pci) ;;
	*) judge_say override warning "driver_override of $bdf is $driver_override" \
		'somebody reserved it for that driver: see driverctl list-overrides' ;;
	esac
	judge_hardware "$bdf" "$reset_methods" "$1"
}

# judge_stuck BDF DRIVER: the device does not answer. Names the process that hangs in
# the unbind of its driver, or of any driver if it has none any more.
judge_stuck()
{
	local hung

	users_unbinding hung
	case $2 in
	'' | "${hung#* }") ;;
	*) hung= ;;
	esac
	judge_say stuck error "$1 does not answer: its driver hangs${hung:+ (${hung#* }, pid ${hung%% *})}" \
		'end what uses it; if nothing does, only a reboot helps'
}

# judge_host BDF BOOT-DISPLAY: the rules for a device that vfio-pci does not have yet.
judge_host()
{
	judge_vfio
	[ "$2" -ne 1 ] ||
		judge_say boot_display error "$1 is the boot display: its console would go dark" \
			'set another card as primary in the firmware setup, or use a serial console or ssh and --force'
}

# judge_vfio: whether vfio-pci is there, or can be loaded. For a module that modprobe.d
# forbids, modprobe -n prints the command that would run in its place.
judge_vfio()
{
	[ ! -d "$SYSFS_ROOT/bus/pci/drivers/vfio-pci" ] || return 0
	if [ -z "$judge_modprobe" ]; then
		judge_modprobe=$(PATH=$PATH:/usr/sbin:/sbin \
			modprobe -n -v vfio-pci 2>/dev/null && echo 'can be loaded') ||
			judge_modprobe=absent
	fi
	case $judge_modprobe in
	*'install '*/false* | *'install '*/true*) judge_say no_vfio_pci error \
		'vfio-pci must not be loaded: "install vfio-pci /bin/false" or the like is in modprobe.d' \
		'grep -r vfio /etc/modprobe.d, and take that line out' ;;
	*'can be loaded') ;;
	*) judge_say no_vfio_pci error 'the kernel has no driver vfio-pci' \
		'boot a kernel with CONFIG_VFIO_PCI; some cloud kernels lack it' ;;
	esac
}

# judge_hardware BDF RESET-METHODS RECORD: the rules for problems that would show only
# later, in the VM.
judge_hardware()
{
	local rest="$3" line

	if judge_boot_framebuffer "$1"; then
		judge_say boot_framebuffer warning "the firmware's framebuffer lies in a BAR of $1" \
			"if the VM cannot map the BAR: add video=efifb:off or initcall_blacklist=sysfb_init to the kernel's command line"
	fi
	if [ -z "$2" ] && [ ! -e "$SYSFS_ROOT/bus/pci/devices/$1/reset" ]; then
		judge_say no_reset warning "$1 has no way to be reset" \
			'a VM finds it as the last one left it; reboot the host if it does not start'
	fi
	while [ -n "$rest" ]; do
		line=${rest%%"$base_nl"*}
		rest=${rest#*"$base_nl"}
		case $line in
		bar=6\ *) ;; # the ROM is mapped on demand
		bar=*unassigned)
			line=${line#bar=}
			judge_say bar_unassigned error "BAR ${line%% *} of $1 has no address" \
				'switch Above 4G Decoding on in the firmware setup' ;;
		esac
	done
}

# judge_boot_framebuffer BDF: true if the kernel keeps a part of a BAR of it for the
# firmware's framebuffer; boot_vga does not tell.
judge_boot_framebuffer()
{
	local node found=1

	for node in "$SYSFS_ROOT"/bus/platform/devices/*-framebuffer.*; do
		[ ! -e "$node" ] || found=0
	done
	[ "$found" -eq 0 ] || return 1
	awk -v bdf="$1" '
	{
		indent = match($0, /[^ ]/)
		if ($NF == bdf)
			inside = indent
		else if (indent <= inside)
			inside = 0
		else if (inside && $NF ~ /^(BOOTFB|efifb|simplefb|vesafb)$/)
			found = 1
	}
	END { exit !found }' "$PROCFS_ROOT/iomem" 2>/dev/null
}

# judge_members GROUP DRIVER BDF [OTHER...]: the devices of the IOMMU group of BDF, which
# DRIVER has; OTHER as in judge_load. Sets judge_group to their lines of the record.
judge_members()
{
	local link member class driver

	for link in "$SYSFS_ROOT/kernel/iommu_groups/$1/devices"/*; do
		member=${link##*/}
		pci_class_of "$member" class || continue
		pci_driver_of "$member" driver
		judge_group=${judge_group}member="$member $class $driver"$base_nl
		case $class:$member in
		06* | *:"$3") ;;
		*) judge_member "$member" "$driver" "$@" ;;
		esac
	done
}

# judge_member MEMBER ITS-DRIVER GROUP DRIVER BDF [OTHER...]: the rules for another
# endpoint of the group.
judge_member()
{
	local member="$1" driver="$2" bound="$4" bdf="$5" other own=0

	shift 4
	if sysfs_asked_for "$SYSFS_ROOT/bus/pci/devices/$member/driver_override" &&
		! sysfs_answer "$SYSFS_ROOT/bus/pci/devices/$member/driver_override" other
	then
		judge_say group_member_stuck error "$member of its group does not answer: its driver hangs" \
			'reboot; nothing else frees it'
		return 0
	fi
	case $driver in
	vfio-pci)
		users_load "$member"
		judge_users "$member" group_member_in_use "$bdf" "$users_list"
		return 0 ;;
	'' | pci-stub)
		return 0 ;;
	esac
	for other; do
		[ "$other" != "$member" ] || own=1
	done
	[ "${member%.*}" != "${bdf%.*}" ] || own=1
	if [ "$own" -eq 0 ]; then
		judge_say group_member_foreign error "$member of its group belongs to $driver and is another card" \
			"name it too if the VM may have it; else put one of the two in another slot"
		return 0
	fi
	if [ "$bound" = vfio-pci ]; then
		judge_say group_member_bound error "$member of its group still belongs to $driver: no VM can open the group" \
			"isospin vfio-bind $bdf"
	fi
	users_load "$member"
	judge_users "$member" group_member_in_use "$bdf" "$users_list"
}

# judge_users BDF CODE OF USERS: adds a finding for each user of BDF. USERS are lines of
# users_list; OF is the device whose group BDF is in, or BDF itself.
judge_users()
{
	local rest="$4" line pid kind name what="$1"

	[ "$1" = "$3" ] || what="$1 of the group of $3"
	while [ -n "$rest" ]; do
		line=${rest%%"$base_nl"*}
		rest=${rest#*"$base_nl"}
		line=${line#user=}
		pid=${line%% *}
		name=${line#* }
		kind=${name%% *}
		name=${name#* }
		case $kind in
		console)
			judge_say console error "$what shows the kernel's text console ($name)" \
				"echo 0 >/sys/class/vtconsole/$name/bind" ;;
		vfio)
			# To have a group open is to use all of its functions:
			# one finding is enough.
			case $judge_problems in
			*" is in a VM: pid $pid ("*) continue ;;
			esac
			judge_say in_use error "$what is in a VM: pid $pid ($name)" \
				"end that VM, or kill $pid" ;;
		*)
			judge_say "$2" error "$what is in use: pid $pid ($name), $kind" \
				"end $name, or kill $pid" ;;
		esac
	done
}
