# shellcheck shell=sh
# sysfs.sh - read the kernel's files, with a deadline for those that may block
#
# SYSFS_ROOT, PROCFS_ROOT, DEV_ROOT and ETC_ROOT (/sys, /proc, /dev, /etc) may name
# trees that stand in for the real ones; absolute, without a / at the end.
#
# While a driver hangs, a process that needs the lock of its device hangs too, and
# cannot be killed. By the sources of Linux 6.1, to read driver_override takes that
# lock (in 6.12.117 it no longer does), and in some stable releases to read uevent,
# which no code here does. vtcon*/bind takes the console's lock, /proc/driver/nvidia
# the driver's own; to read config wakes the bridge above the device. These files are
# read by sysfs_ask and sysfs_read. reset_method, power_state, numa_node, resource,
# boot_vga, power/* and the links take no lock.

: "${SYSFS_ROOT:=/sys}" "${PROCFS_ROOT:=/proc}" "${ETC_ROOT:=/etc}"
: "${DEV_ROOT:=/dev}"

sysfs_deadline=2
sysfs_asked=
sysfs_answers=

# sysfs_get FILE VAR: sets VAR to the first line of a file that never blocks. 1, and an
# empty VAR, if there is no such file. Forks nothing.
sysfs_get()
{
	{ IFS= read -r "$2" <"$1"; } 2>/dev/null && return 0
	base_set "$2" ''
	[ -e "$1" ]
}

# sysfs_link PATH VAR: sets VAR to the name of the directory that a link leads to. 1, and
# an empty VAR, if there is no such link. Forks nothing.
sysfs_link()
{
	local sysfs_here="$PWD"

	if ! cd -P "$1" 2>/dev/null; then
		base_set "$2" ''
		return 1
	fi
	base_set "$2" "${PWD##*/}"
	cd "$sysfs_here" 2>/dev/null || cd /
}

# sysfs_ask FILE...: reads the files in a child, which is left behind if it has not
# finished after a second. The files that it did not get to are then read side by
# side, each by a child of its own that has sysfs_deadline seconds. Until the next
# sysfs_ask, sysfs_answer gives their content.
sysfs_ask()
{
	local file

	sysfs_asked=$base_nl
	for file; do
		sysfs_asked=$sysfs_asked$file$base_nl
	done
	# base_alone, since some processes stay behind and must hold nothing of
	# ours: a child that hangs, and for a second a part of busybox's timeout,
	# whose shell also prints on stderr which process it has killed.
	sysfs_answers=$base_nl$(base_alone
		{ sysfs_child "$@" & } | timeout -s KILL 1 cat || :)$base_nl
	for file; do
		shift
		sysfs_answered "$file" || set -- "$@" "$file"
	done
	[ $# -gt 0 ] || return 0
	sysfs_answers=$sysfs_answers$(base_alone
		for file; do
			sysfs_child "$file" &
		done | timeout -s KILL "$sysfs_deadline" cat || :)$base_nl
}

# sysfs_child FILE...: prints "+FILE LINE" for each line, then "=FILE". The line of a
# device's config is its BARs, 24 bytes in hexadecimal.
sysfs_child()
{
	local file line

	for file; do
		case $file in
		*/driver_override) sysfs_lock "${file%/*}" ;;
		*/config)
			printf '+%s ' "$file"
			od -An -v -tx1 -w24 -j16 -N24 "$file"
			printf '\n=%s\n' "$file"
			continue ;;
		esac
		while IFS= read -r line; do
			printf '+%s %s\n' "$file" "$line"
		done <"$file" || :
		printf '=%s\n' "$file"
	done
}

# sysfs_lock DEVICE: takes the lock of a device and releases it, so that a hanging driver
# shows in every kernel; only as root. A write to power/control takes the lock before
# it looks at the word (Linux, drivers/base/power/sysfs.c, control_store) and refuses
# this one, so nothing changes, even if the write ends much later. A tree that stands
# in for /sys would keep the word, so nothing is written there.
sysfs_lock()
{
	[ "$SYSFS_ROOT" = /sys ] && [ -w "$1/power/control" ] || return 0
	echo none >"$1/power/control" || :
}

# sysfs_answered FILE: true if the file was read, or is not there.
sysfs_answered()
{
	case $sysfs_answers in
	*"$base_nl=$1$base_nl"*) ;;
	*) [ ! -e "$1" ] ;;
	esac
}

# sysfs_asked_for FILE: true if the last sysfs_ask was for it too.
sysfs_asked_for()
{
	case $sysfs_asked in
	*"$base_nl$1$base_nl"*) ;;
	*) return 1 ;;
	esac
}

# sysfs_answer FILE VAR: sets VAR to the first line of a file that was asked for. 1 if
# there is no such file, 75 if it did not answer.
sysfs_answer()
{
	local sysfs_rest

	base_set "$2" ''
	sysfs_answered "$1" || return 75
	case $sysfs_answers in
	*"$base_nl+$1 "*)
		sysfs_rest=${sysfs_answers#*"$base_nl+$1 "}
		base_set "$2" "${sysfs_rest%%"$base_nl"*}" ;;
	*) [ -e "$1" ] ;;
	esac
}

# sysfs_read FILE [VAR]: asks for one file anew; prints its first line, or sets VAR to
# it. 1 if there is no such file, 75 if it did not answer.
sysfs_read()
{
	local sysfs_value rc=0 sysfs_asked sysfs_answers

	sysfs_ask "$1"
	sysfs_answer "$1" sysfs_value || rc=$?
	if [ $# -gt 1 ]; then
		base_set "$2" "$sysfs_value"
	elif [ "$rc" -eq 0 ]; then
		printf '%s\n' "$sysfs_value"
	fi
	return "$rc"
}
