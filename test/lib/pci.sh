# shellcheck shell=bash
# pci.sh - a host with PCI cards, made of files, and commands that run on it; at
# the end what the lab's cards need

# pci_host: an empty one with an IOMMU, and a copy of the checkout whose writes
# to it have an effect.
pci_host()
{
	local file

	export SYSFS_ROOT=$BATS_TEST_TMPDIR/sys PROCFS_ROOT=$BATS_TEST_TMPDIR/proc
	export ETC_ROOT=$BATS_TEST_TMPDIR/etc KERNEL=$BATS_TEST_TMPDIR/kernel
	export ISOSPIN_RUN_DIR=$BATS_TEST_TMPDIR/run ISOSPIN_VFIO_TIMEOUT=30
	unset SUDO_UID SUDO_GID
	pci=$SYSFS_ROOT/bus/pci
	top=$BATS_TEST_TMPDIR/top
	mkdir -p "$PROCFS_ROOT" "$ETC_ROOT" "$KERNEL/gone" "$top/lib" \
		"$top/scripts" "$pci/devices" "$pci/drivers/vfio-pci" \
		"$SYSFS_ROOT/class/iommu/dmar0" "$SYSFS_ROOT/kernel/iommu_groups"
	mkdir -m 700 "$ISOSPIN_RUN_DIR"
	echo quiet >"$PROCFS_ROOT/cmdline"
	ln -s "$TOP/share" "$TOP/etc" "$top"
	ln -s "$TOP"/lib/* "$top/lib"
	ln -s "$TOP"/scripts/*.sh "$top/scripts"
	rm "$top/lib/base.sh"
	for file in "$TOP/lib/base.sh" "$TOP/test/lib/kernel.sh"; do
		echo ". $file"
	done >"$top/lib/base.sh"
	fake modprobe </dev/null
	shell='sh'
}

# pci_card BDF ID CLASS GROUP [DRIVER]
pci_card()
{
	local dev=$pci/devices/$1 group=$SYSFS_ROOT/kernel/iommu_groups/$4

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
	yes '0x0 0x0 0x0' | head -n 7 >"$dev/resource"
	ln -s "$group" "$dev/iommu_group"
	ln -s "$dev" "$group/devices/$1"
	[ -z "${5:-}" ] || {
		mkdir -p "$pci/drivers/$5"
		ln -s "../../drivers/$5" "$dev/driver"
	}
}

# pci_user PID NAME NODE: a process that has a file of /dev open.
pci_user()
{
	mkdir -p "$PROCFS_ROOT/$1/fd"
	echo "$2" >"$PROCFS_ROOT/$1/comm"
	ln -s "/dev/$3" "$PROCFS_ROOT/$1/fd/3"
}

# pci_cmd NAME [ARG...]: one of our commands, under $shell, in a process group
# of its own.
pci_cmd()
{
	local name=$1

	shift
	# shellcheck disable=SC2086 # busybox ash is two words
	setsid -w $shell "$top/scripts/$name.sh" "$@"
}

# pci_state: all that a command may change, a line each.
pci_state()
{
	local dev

	for dev in "$pci"/devices/*; do
		printf '%s: %s %s %s %s\n' "${dev##*/}" \
			"$(basename "$(readlink "$dev/driver")")" \
			"$(cat "$dev/driver_override")" "$(cat "$dev/power/control")" \
			"$(cat "$dev/d3cold_allowed")"
	done
	find "$ETC_ROOT" -type f
}

# writes: those made since the last time, "VALUE PATH" each.
writes()
{
	cat "$KERNEL/log" 2>/dev/null || :
	rm -f "$KERNEL/log"
}

# pci_no_console: in the lab, whichever graphics card shows the console does so no
# longer; which one it is is left to chance.
pci_no_console()
{
	local con

	for con in /sys/class/vtconsole/*; do
		! grep -q 'frame buffer' "$con/name" || echo 0 >"$con/bind"
	done
}
