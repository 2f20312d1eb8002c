#!/bin/sh
# dump - print the parts of /sys and /proc that the vfio commands read
#
# usage: test/lab/dump.sh [ROOT]
#
# Prints a line for each file, link and directory, with fields separated by tabs:
#
#	f MODE PATH CONTENT     a newline in CONTENT is \n, a backslash \\
#	l MODE PATH TARGET
#	d MODE PATH
#
# PATH begins with sys or proc. test/lib/tree.sh turns the lines back into a tree.
# ROOT (/) is the directory that has sys and proc. Needs GNU find. A file whose
# content the commands do not read is shown empty.
set -eu

LC_ALL=C
export LC_ALL

# real PATH: sets `end` to the directory that the link PATH points to.
real()
{
	cd -P "$1"
	end=${PWD#"$root"}
	end=${end#/}
	cd "$root"
}

# print PATH...
print()
{
	printf '%s\n' "$@"
}

pci()
{
	local dev name end

	for dev in sys/bus/pci/devices/*; do
		real "$dev"
		print "$dev" "$end"
		for name in class vendor device subsystem_vendor \
			subsystem_device revision boot_vga driver_override \
			numa_node power_state d3cold_allowed resource \
			reset_method reset rescan remove enable power/control \
			power/runtime_status driver iommu_group; do
			print "$end/$name"
		done
		print "$end"/drm/* "$end"/graphics/fb* "$end"/sound/card* \
			"$end"/vfio-dev/*
	done
	print sys/bus/pci/drivers_probe sys/bus/pci/rescan
	for dev in sys/bus/pci/drivers/*; do
		print "$dev" "$dev/bind" "$dev/unbind" "$dev/new_id" \
			"$dev/remove_id" "$dev"/*:*:*.*
	done
}

others()
{
	local name end

	for name in sys/kernel/iommu_groups/*; do
		[ ! -d "$name" ] || print "$name/type" "$name"/devices/*
	done
	for name in sys/class/iommu/* sys/class/vtconsole/* \
		sys/class/graphics/fb[0-9]* \
		sys/bus/platform/devices/*-framebuffer.*; do
		[ -d "$name" ] || continue
		real "$name"
		print "$name" "$end" "$end/name" "$end/bind"
	done
	print sys/module/vfio sys/module/vfio_pci \
		sys/module/vfio_iommu_type1 sys/module/nvidia* \
		sys/firmware/acpi/tables/DMAR sys/firmware/acpi/tables/IVRS \
		proc/cmdline proc/iomem proc/driver/nvidia/gpus/*/information
	# Processes that have a file open which users.sh looks for.
	find proc/[0-9]*/fd -lname '/dev/nvidia*' -o -lname '/dev/dri/*' -o \
		-lname '/dev/fb*' -o -lname '/dev/snd/*' -o \
		-lname '/dev/vfio/*' -o -lname '*/drivers/*/unbind' 2>/dev/null |
		while read -r name; do
			print "${name%/fd/*}/comm" "$name"
		done
}

# contents: adds the contents of files to their lines.
contents()
{
	awk -F '\t' '
	seen[$3]++ { next }
	$1 == "l" { print; next }
	$1 == "d" { print "d\t" $2 "\t" $3; next }
	{
		text = ""
		write_only = $2 !~ /^[4-7]/ || $3 ~ /\/(reset|tables\/.*)$/
		while (!write_only && (getline line < $3) > 0) {
			gsub(/\\/, "&&", line)
			text = text line "\\n"
		}
		close($3)
		print "f\t" $2 "\t" $3 "\t" text
	}'
}

main()
{
	root=$(cd "${1:-/}" && pwd -P)
	cd "$root"
	# Missing files are left out: find complains about them and goes on.
	{ pci; others; } |
		xargs sh -c 'find "$@" -maxdepth 0 \
			-printf "%y\t%m\t%p\t%l\n"' sh 2>/dev/null |
		contents
}

main "$@"
