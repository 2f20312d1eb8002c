#!/bin/sh
# dump - print those parts of /sys and /proc that the vfio commands read
#
# usage: test/lab/dump.sh [ROOT]
#
# Prints a line for each file, link and directory, its fields parted by tabs:
#
#	f MODE PATH CONTENT     a newline in CONTENT is \n, a backslash \\
#	l - PATH TARGET
#	d - PATH
#
# PATH begins with sys or proc. test/lib/tree.sh makes a tree of it again. Runs
# under busybox; ROOT (empty) is where sys and proc are.
set -eu

LC_ALL=C
export LC_ALL
tab=$(printf '\t')

# dir PATH
dir()
{
	[ ! -d "$root/$1" ] || printf 'd\t-\t%s\n' "$1"
}

# file PATH...: its content if it may be read, else nothing.
file()
{
	local path content

	for path; do
		[ -f "$root/$path" ] || continue
		content=
		[ ! -r "$root/$path" ] || content=$(
			{ sed 's/\\/\\\\/g; s/$/\\n/' "$root/$path" |
				tr -d '\n'; } 2>/dev/null) || :
		printf 'f\t%s\t%s\t%s\n' "$(stat -c %a "$root/$path")" \
			"$path" "$content"
	done
}

# blank PATH...: a file that is only there, or only written.
blank()
{
	local path

	for path; do
		[ ! -f "$root/$path" ] || printf 'f\t%s\t%s\t\n' \
			"$(stat -c %a "$root/$path")" "$path"
	done
}

# link PATH: the link, and where it leads to.
link()
{
	local end

	[ -L "$root/$1" ] || return 0
	printf 'l\t-\t%s\t%s\n' "$1" "$(readlink "$root/$1")"
	end=$(readlink -f "$root/$1")
	dir "${end#"$root"/}"
}

# below DIR PATTERN...: the paths there, without the root.
below()
{
	local dir="$1" pattern path

	shift
	for pattern; do
		for path in "$root/$dir"/$pattern; do
			[ ! -e "$path" ] && [ ! -L "$path" ] ||
				printf '%s\n' "${path#"$root"/}"
		done
	done
}

pci_device()
{
	local dev="$1" name

	for name in class vendor device subsystem_vendor subsystem_device \
		revision boot_vga driver_override numa_node power_state \
		d3cold_allowed resource reset_method enable \
		power/control power/runtime_status; do
		file "$dev/$name"
	done
	blank "$dev/reset" "$dev/rescan" "$dev/remove"
	link "$dev/driver"
	link "$dev/iommu_group"
	for name in $(below "$dev" 'drm/*' 'graphics/fb*' 'sound/card*' \
		'vfio-dev/*'); do
		dir "$name"
	done
}

pci()
{
	local dev name

	for dev in $(below sys/bus/pci/devices '*'); do
		link "$dev"
		name=$(readlink -f "$root/$dev")
		pci_device "${name#"$root"/}"
	done
	for name in $(below sys/bus/pci/drivers '*'); do
		dir "$name"
		blank "$name/bind" "$name/unbind" "$name/new_id" \
			"$name/remove_id"
		for dev in $(below "$name" '*:*:*.*'); do
			link "$dev"
		done
	done
	blank sys/bus/pci/drivers_probe sys/bus/pci/rescan
}

# users: the processes that have one of the files open that users.sh knows.
users()
{
	local fd target

	for fd in $(below proc '[0-9]*/fd/*'); do
		target=$(readlink "$root/$fd" 2>/dev/null) || continue
		case $target in
		/dev/nvidia* | /dev/dri/* | /dev/fb* | /dev/snd/* | \
			/dev/vfio/* | */drivers/*/unbind)
			printf 'l\t-\t%s\t%s\n' "$fd" "$target"
			file "${fd%/fd/*}/comm" ;;
		esac
	done
}

main()
{
	local name

	root=${1:-}
	pci
	for name in $(below sys/kernel/iommu_groups '*'); do
		file "$name/type"
		dir "$name/devices"
	done
	for name in $(below sys/kernel/iommu_groups '*/devices/*') \
		$(below sys/class/iommu '*'); do
		link "$name"
	done
	for name in $(below sys/class/vtconsole '*'); do
		file "$(readlink -f "$root/$name" | sed "s|^$root/||")/name" \
			"$(readlink -f "$root/$name" | sed "s|^$root/||")/bind"
		link "$name"
	done
	for name in $(below sys/bus/platform/devices '*-framebuffer.*'); do
		link "$name"
	done
	for name in $(below sys/module vfio vfio_pci vfio_iommu_type1 \
		'nvidia*'); do
		dir "$name"
	done
	blank sys/firmware/acpi/tables/DMAR sys/firmware/acpi/tables/IVRS
	file proc/cmdline proc/iomem
	for name in $(below proc 'driver/nvidia/gpus/*'); do
		file "$name/information"
	done
	users
}

main "$@" | awk -F "$tab" '!seen[$0]++'
