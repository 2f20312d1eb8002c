# shellcheck shell=bash
# pci.sh - a host with PCI cards, made of files, and commands that run on it; the
# last function is for the lab's real cards

# pci_host: makes a host with an IOMMU and without cards, and a copy of the checkout
# whose commands write to that host's files.
pci_host()
{
	local kept=$BATS_FILE_TMPDIR/pci-host

	[ -d "$kept" ] || pci_host_make "$kept"
	cp -a "$kept/." "$BATS_TEST_TMPDIR"
	export SYSFS_ROOT=$BATS_TEST_TMPDIR/sys PROCFS_ROOT=$BATS_TEST_TMPDIR/proc
	export ETC_ROOT=$BATS_TEST_TMPDIR/etc DEV_ROOT=$BATS_TEST_TMPDIR/dev
	export KERNEL=$BATS_TEST_TMPDIR/kernel
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run ISOSPIN_VFIO_TIMEOUT=30
	unset SUDO_UID SUDO_GID
	pci=$SYSFS_ROOT/bus/pci
	top=$BATS_TEST_TMPDIR/top
	fake modprobe </dev/null
	shell='sh'
}

# pci_host_make DIR
pci_host_make()
{
	local sys=$1/sys lib=$1/top/lib

	mkdir -p "$1/proc" "$1/etc" "$1/kernel/gone" "$lib" "$1/top/scripts" \
		"$sys/bus/pci/devices" "$sys/bus/pci/drivers/vfio-pci" \
		"$sys/class/iommu/dmar0" "$sys/kernel/iommu_groups"
	mkdir -m 700 "$1/run"
	echo quiet >"$1/proc/cmdline"
	ln -s "$TOP/share" "$TOP/etc" "$1/top"
	ln -s "$TOP"/lib/* "$lib"
	ln -s "$TOP"/scripts/*.sh "$1/top/scripts"
	rm "$lib/base"
	mkdir "$lib/base"
	ln -s "$TOP"/lib/base/* "$lib/base"
	rm "$lib/base/base.sh"
	printf '. %s\n' "$TOP/lib/base/base.sh" "$TOP/test/lib/kernel.sh" \
		>"$lib/base/base.sh"
}

# pci_card BDF ID CLASS GROUP [DRIVER]
pci_card()
(
	dev=$pci/devices/$1 group=$SYSFS_ROOT/kernel/iommu_groups/$4
	trap - DEBUG # bats' own, a fifth of a millisecond for each command
	mkdir -p "$dev/power" "$group/devices"
	echo "0x${2%:*}" >"$dev/vendor"
	echo "0x${2#*:}" >"$dev/device"
	echo "0x$3" >"$dev/class"
	echo '(null)' >"$dev/driver_override"
	echo auto >"$dev/power/control"
	echo 1 >"$dev/d3cold_allowed"
	echo "${5:-none}" >"$dev/native"
	echo bus >"$dev/reset_method"
	: >"$dev/reset"
	printf '%s\n' '0x0 0x0 0x0'{,,,,,,} >"$dev/resource"
	ln -s "$group" "$dev/iommu_group"
	ln -s "$dev" "$group/devices/$1"
	[ -z "${5:-}" ] || {
		mkdir -p "$pci/drivers/$5"
		ln -s "../../drivers/$5" "$dev/driver"
	}
)

# pci_user PID NAME NODE: adds a process that has /dev/NODE open.
pci_user()
{
	mkdir -p "$PROCFS_ROOT/$1/fd"
	echo "$2" >"$PROCFS_ROOT/$1/comm"
	ln -s "/dev/$3" "$PROCFS_ROOT/$1/fd/3"
}

# pci_cmd NAME [ARG...]: runs one of isospin's commands under $shell, in a process
# group of its own.
pci_cmd()
{
	local name=$1

	shift
	# shellcheck disable=SC2086 # busybox ash is two words
	setsid -w $shell "$top/scripts/$name.sh" "$@"
}

# pci_state: prints everything that a command may change, a line each.
pci_state()
(
	trap - DEBUG # as above
	for dev in "$pci"/devices/*; do
		override='' control='' d3cold=''
		driver=$(readlink "$dev/driver") || driver=
		read -r override <"$dev/driver_override"
		read -r control <"$dev/power/control"
		read -r d3cold <"$dev/d3cold_allowed"
		printf '%s: %s %s %s %s\n' "${dev##*/}" "${driver##*/}" \
			"$override" "$control" "$d3cold"
	done
	find "$ETC_ROOT" -type f
)

# writes: prints the writes since the last call, a line "VALUE PATH" for each.
writes()
{
	cat "$KERNEL/log" 2>/dev/null || :
	rm -f "$KERNEL/log"
}

# pci_no_console: takes the console off the lab's graphics cards. Which card shows it
# differs from boot to boot.
pci_no_console()
{
	local con

	for con in /sys/class/vtconsole/*; do
		! grep -q 'frame buffer' "$con/name" || echo 0 >"$con/bind"
	done
}
