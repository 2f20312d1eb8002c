# shellcheck shell=bash
# tree.sh - directory trees that stand in for /sys and /proc, from dumps of real ones

# tree_make NAME: turns test/fixtures/sysfs/NAME.dump back into a tree and points the
# commands to it. test/lab/dump.sh explains the lines of a dump. $tree is the root.
tree_make()
{
	local kept=$BATS_FILE_TMPDIR/tree-$1

	# The tree is unpacked once per bats file, without bats' DEBUG trap, which
	# would cost time at each of thousands of commands.
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
	# The content is the last field, because read merges adjacent tabs and an
	# empty content would be lost elsewhere.
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

# tree_dev BDF: prints the path of the device's directory.
tree_dev()
{
	printf '%s/sys/bus/pci/devices/%s' "$tree" "$1"
}

# tree_driver BDF [DRIVER]: binds the device to DRIVER, or to no driver.
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

# tree_stick BDF: makes every read of the device's driver_override hang until
# tree_unstick.
tree_stick()
{
	rm -f "$(tree_dev "$1")/driver_override"
	mkfifo "$(tree_dev "$1")/driver_override"
}

# tree_unstick: lets the processes go that hang at such files.
tree_unstick()
{
	local file

	for file in "$tree"/sys/bus/pci/devices/*/driver_override; do
		[ ! -p "$file" ] || : <>"$file"
	done
}

# tree_user PID NAME FILE...: adds a process that has the files open.
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
