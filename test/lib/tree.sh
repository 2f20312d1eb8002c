# shellcheck shell=bash
# tree.sh - trees that stand in for /sys and /proc, from dumps of real ones

# tree_make NAME: makes test/fixtures/sysfs/NAME.dump a tree again (test/lab/dump.sh
# explains the lines), and points the commands to it. $tree is its root.
tree_make()
{
	local kept=$BATS_FILE_TMPDIR/tree-$1

	# It is unpacked once a file. bats looks at each command by a trap, and
	# here are thousands.
	[ -d "$kept" ] || (
		trap - DEBUG
		tree=$kept
		tree_unpack "$1"
	)
	tree=$BATS_TEST_TMPDIR/tree
	export SYSFS_ROOT=$tree/sys PROCFS_ROOT=$tree/proc ETC_ROOT=$tree/etc
	cp -a "$kept" "$tree"
}

# tree_unpack NAME
tree_unpack()
{
	local type mode path text
	local -a dirs=() links=()

	while IFS=$'\t' read -r type _ path _; do
		[ "$type" = d ] && dirs+=("$tree/$path") ||
			dirs+=("$tree/${path%/*}")
	done <"$TOP/test/fixtures/sysfs/$1.dump"
	mkdir -p "$tree/etc" "$tree/proc" "${dirs[@]}"
	# Sharing IFS with read would take an empty content for none.
	while IFS=$'\t' read -r type mode path text; do
		case $type in
		f) printf '%b' "$text" >"$tree/$path" ;;
		l) links+=("$path" "$text") ;;
		esac
	done <"$TOP/test/fixtures/sysfs/$1.dump"
	tree_links "${links[@]}"
}

# tree_links PATH TARGET...
tree_links()
{
	while [ $# -gt 0 ]; do
		ln -sfn "$2" "$tree/$1"
		shift 2
	done
}

# tree_dev BDF: where the device's directory is.
tree_dev()
{
	printf '%s/sys/bus/pci/devices/%s' "$tree" "$1"
}

# tree_driver BDF [DRIVER]: binds it to DRIVER; without one, to none.
tree_driver()
{
	local old real

	real=$(readlink -f "$(tree_dev "$1")")
	if [ -L "$real/driver" ]; then
		old=$(readlink -f "$real/driver")
		rm -f "$real/driver" "$old/$1"
	fi
	[ $# -gt 1 ] || return 0
	mkdir -p "$tree/sys/bus/pci/drivers/$2"
	ln -s "$tree/sys/bus/pci/drivers/$2" "$real/driver"
	ln -s "$real" "$tree/sys/bus/pci/drivers/$2/$1"
}

# tree_stick BDF: reading its driver_override does not come back before
# tree_unstick.
tree_stick()
{
	rm -f "$(tree_dev "$1")/driver_override"
	mkfifo "$(tree_dev "$1")/driver_override"
}

# tree_unstick: lets go what was left behind at such files.
tree_unstick()
{
	local file

	for file in "$tree"/sys/bus/pci/devices/*/driver_override; do
		[ ! -p "$file" ] || : <>"$file"
	done
}

# tree_user PID NAME FILE...: a process that has the files open.
tree_user()
{
	local pid="$1" fd=3 file

	mkdir -p "$tree/proc/$pid/fd"
	printf '%s\n' "$2" >"$tree/proc/$pid/comm"
	shift 2
	for file; do
		ln -s "$file" "$tree/proc/$pid/fd/$fd"
		fd=$((fd + 1))
	done
}
