# shellcheck shell=sh
# judge.sh - what stands in the way of handing a device to a VM
#
# The only place where such rules are written; vfio-status, vfio-bind and doctor
# ask here. Needs sysfs.sh, pci.sh and users.sh. isospin-vfio-status(1) lists
# the codes.

use sysfs pci users

judge_list=
judge_state=
judge_modprobe=

# judge_say CODE SEVERITY MESSAGE REMEDY: SEVERITY error means that it cannot be
# bound, or not be used once bound; warning, that it can.
judge_say()
{
	judge_list=$judge_list"$1	$2	$3	$4"$base_nl
	case $2:$1 in
	error:in_use) judge_busy=1 ;;
	error:*) judge_errors=1 ;;
	esac
}

# vfio_judge BDF [OTHER...]: prints what stands in its way, a line "CODE TAB
# SEVERITY TAB MESSAGE TAB REMEDY" each; nothing if nothing does. OTHER are
# devices that are to be bound together with it.
vfio_judge()
{
	pci_iommu_load
	users_scan
	judge_load "$@"
	printf '%s' "$judge_list"
}

# judge_load BDF [OTHER...]: the same into judge_list, and one word for all of it
# into judge_state: ready, used (by a VM), bindable, blocked, stuck, absent. The
# device is loaded afterwards (pci_*), users_list is its. Call pci_iommu_load
# and users_scan first.
judge_load()
{
	local own

	judge_list='' judge_errors=0 judge_busy=0 users_list=''
	judge_state=blocked
	if ! pci_load "$1"; then
		judge_state=absent
		judge_say absent error "$1: there is no such device" \
			'isospin vfio-status shows what there is'
		return 0
	fi
	pci_bars_load
	judge_device
	users_load "$1"
	own=$users_list
	judge_users "$1" in_use "$1"
	judge_members "$@"
	users_list=$own
	case $pci_stuck:$judge_errors:$judge_busy:$pci_driver in
	1:*) judge_state=stuck ;;
	0:0:0:vfio-pci) judge_state=ready ;;
	0:0:1:vfio-pci) judge_state=used ;;
	0:0:0:*) judge_state=bindable ;;
	esac
}

# judge_device: the rules for the loaded device by itself.
judge_device()
{
	local hung

	if [ "$pci_stuck" -eq 1 ]; then
		# Who hangs has let go of its driver, or not yet.
		users_unbinding hung
		case $pci_driver in
		'' | "${hung#* }") ;;
		*) hung= ;;
		esac
		judge_say stuck error "$pci_bdf does not answer: its driver hangs${hung:+ (${hung#* }, pid ${hung%% *})}" \
			'end what uses it; if nothing does, only a reboot helps'
	fi
	if [ "$pci_is_bridge" -eq 1 ]; then
		judge_say bridge error "$pci_bdf is a bridge (class ${pci_class%??})" \
			'name the device behind it'
		return 0
	fi
	if [ "$pci_iommu" -eq 0 ]; then
		judge_say iommu_off error "the IOMMU is off: $pci_iommu_why" \
			"$pci_iommu_remedy"
	elif [ -z "$pci_group" ]; then
		judge_say no_group error "$pci_bdf is in no IOMMU group" \
			'no IOMMU serves this slot: try another one'
	fi
	if [ "$pci_driver" != vfio-pci ]; then
		judge_host
	elif [ -n "$pci_override" ] && [ "$pci_override" != vfio-pci ]; then
		judge_override
	fi
	judge_hardware
}

# judge_host: the loaded device is not vfio-pci's yet. Could it be?
judge_host()
{
	judge_vfio
	if [ "$pci_boot_vga" -eq 1 ]; then
		judge_say boot_display error "$pci_bdf is the boot display: its console would go dark" \
			'set another card as primary in the firmware setup, or use a serial console or ssh and --force'
	fi
	case $pci_override in
	'' | vfio-pci) ;;
	*) judge_override ;;
	esac
}

# judge_vfio: the driver is there, or can be loaded. Of a module that modprobe.d
# forbids modprobe -n says what it would run in its place.
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

judge_override()
{
	judge_say override warning "driver_override of $pci_bdf is $pci_override" \
		'somebody reserved it for that driver: see driverctl list-overrides'
}

# judge_hardware: what would go wrong later, in the VM.
judge_hardware()
{
	local rest line

	if judge_boot_framebuffer; then
		judge_say boot_framebuffer warning "the firmware's framebuffer lies in a BAR of $pci_bdf" \
			"if the VM cannot map the BAR: add video=efifb:off or initcall_blacklist=sysfb_init to the kernel's command line"
	fi
	if [ -z "$pci_resets" ] &&
		[ ! -e "$SYSFS_ROOT/bus/pci/devices/$pci_bdf/reset" ]; then
		judge_say no_reset warning "$pci_bdf has no way to be reset" \
			'a VM finds it as the last one left it; reboot the host if it does not start'
	fi
	rest=$pci_bar_list
	while [ -n "$rest" ]; do
		line=${rest%%"$base_nl"*}
		rest=${rest#*"$base_nl"}
		case $line in
		6\ *) ;; # the ROM is mapped on demand
		*unassigned)
			judge_say bar_unassigned error "BAR ${line%% *} of $pci_bdf has no address" \
				'switch Above 4G Decoding on in the firmware setup' ;;
		esac
	done
}

# judge_boot_framebuffer: true if the kernel keeps a part of a BAR for the
# firmware's framebuffer, whoever the boot display is.
judge_boot_framebuffer()
{
	local node found=1

	for node in "$SYSFS_ROOT"/bus/platform/devices/*-framebuffer.*; do
		[ ! -e "$node" ] || found=0
	done
	[ "$found" -eq 0 ] || return 1
	awk -v bdf="$pci_bdf" '
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

# judge_members BDF [OTHER...]: the other devices of its IOMMU group.
judge_members()
{
	local link member class driver

	[ -n "$pci_group" ] || return 0
	for link in "$SYSFS_ROOT/kernel/iommu_groups/$pci_group/devices"/*; do
		member=${link##*/}
		[ "$member" != "$pci_bdf" ] || continue
		pci_class_of "$member" class || continue
		case $class in
		06*) continue ;;
		esac
		pci_driver_of "$member" driver
		judge_member "$member" "$driver" "$@"
	done
}

# judge_member MEMBER DRIVER BDF [OTHER...]
judge_member()
{
	local member="$1" driver="$2" other own=0

	shift 2
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
		judge_users "$member" group_member_in_use "$pci_bdf"
		return 0 ;;
	'' | pci-stub)
		return 0 ;;
	esac
	for other; do
		[ "$other" != "$member" ] || own=1
	done
	[ "${member%.*}" != "${pci_bdf%.*}" ] || own=1
	if [ "$own" -eq 0 ]; then
		judge_say group_member_foreign error "$member of its group belongs to $driver and is another card" \
			"name it too if the VM may have it; else put one of the two in another slot"
		return 0
	fi
	if [ "$pci_driver" = vfio-pci ]; then
		judge_say group_member_bound error "$member of its group still belongs to $driver: no VM can open the group" \
			"isospin vfio-bind $pci_bdf"
	fi
	users_load "$member"
	judge_users "$member" group_member_in_use "$pci_bdf"
}

# judge_users BDF CODE OF: what users_list says of BDF, which OF needs.
judge_users()
{
	local rest="$users_list" line pid kind name what="$1"

	[ "$1" = "$3" ] || what="$1 of the group of $3"
	while [ -n "$rest" ]; do
		line=${rest%%"$base_nl"*}
		rest=${rest#*"$base_nl"}
		pid=${line%% *}
		name=${line#* }
		kind=${name%% *}
		name=${name#* }
		case $kind in
		console)
			judge_say console error "$what shows the kernel's text console ($name)" \
				"echo 0 >/sys/class/vtconsole/$name/bind" ;;
		vfio)
			# One open group is all of its functions.
			case $judge_list in
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
