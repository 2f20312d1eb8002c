# shellcheck shell=sh
# users.sh - find the processes that use a PCI device
#
# Users are found by their open files. A mapping whose file is closed is not seen:
# to read /proc/PID/maps or cmdline takes a lock that a stuck process may hold for
# ever; to read fd and comm takes none.

use sysfs pci

users_seen=
users_complete=
users_list=
users_names=

# users_scan: looks once at the open files of every process; without it no device
# has users. Sets users_complete, empty before: 0 if this user may not see the files
# of some processes, else 1.
users_scan()
{
	users_complete=1
	[ "$(id -u)" -eq 0 ] || users_complete=0
	# A name of a file may hold a newline and forge a line: users_load
	# looks at each link again.
	# shellcheck disable=SC2016,SC2012 # the fields of awk; busybox find
	# cannot print links
	users_seen=$base_nl$({ cd "$PROCFS_ROOT" &&
		ls -ln /dev/null [0-9]*/fd; } 2>/dev/null | awk '
		/^[0-9]+\/fd:$/ { pid = $0 + 0; next }
		{
			at = index($0, " -> ")
			if (!at)
				next
			node = substr($0, at + 4)
			sub(/ \(deleted\)$/, "", node)
			if (node ~ /\/dev\/(nvidia|dri\/|fb|snd\/|vfio\/)/)
				sub(/.*\/dev\//, "", node)
			else if (node ~ /\/drivers\/[^\/]+\/unbind$/)
				sub(/.*\/drivers\//, "unbind/", node)
			else
				next
			n = split(substr($0, 1, at - 1), word, " ")
			print node, pid, word[n]
		}')$base_nl
}

# users_nodes BDF [DRIVER]: sets users_names, the names below /dev that lead to the
# device; some are patterns. DRIVER stands in for the one that sysfs names.
users_nodes()
{
	local dev="$SYSFS_ROOT/bus/pci/devices/$1" node group driver

	users_names=
	for node in "$dev"/drm/card* "$dev"/drm/renderD* "$dev"/graphics/fb* \
		"$dev"/sound/card*; do
		[ -d "$node" ] || continue
		case $node in
		*/drm/*) users_names="$users_names dri/${node##*/}" ;;
		*/fb*) users_names="$users_names ${node##*/}" ;;
		*/sound/*)
			node=${node##*/card}
			users_names="$users_names snd/*C$node snd/*C${node}D*" ;;
		esac
	done
	driver=${2:-}
	[ -n "$driver" ] || pci_driver_of "$1" driver
	case $driver in
	vfio-pci)
		! sysfs_link "$dev/iommu_group" group ||
			users_names="$users_names vfio/$group"
		for node in "$dev"/vfio-dev/vfio*; do
			[ ! -d "$node" ] ||
				users_names="$users_names vfio/devices/${node##*/}"
		done ;;
	nvidia)
		users_nvidia_minor \
			"$PROCFS_ROOT/driver/nvidia/gpus/$1/information" node
		users_names="$users_names nvidia$node" ;;
	esac
}

# users_nvidia_minor FILE VAR: sets VAR to the N of /dev/nvidiaN, or to a pattern for all
# of them if the driver does not tell.
users_nvidia_minor()
{
	local sysfs_asked sysfs_answers

	sysfs_ask "$1"
	case $sysfs_answers in
	*"Device Minor:"*)
		set -- "$2" "${sysfs_answers#*"Device Minor:"}"
		set -- "$1" "${2%%"$base_nl"*}"
		base_set "$1" "${2##*[!0-9]}" ;;
	*) base_set "$2" '[0-9]*' ;;
	esac
}

# users_load BDF [DRIVER]: sets users_list, a line "user=PID KIND NAME" for each
# process that users_scan found and each kind of use: nvidia, drm, fb, sound, vfio,
# and for the kernel itself, as pid 0, console. DRIVER as in users_nodes.
users_load()
{
	local line rest node pid fd kind name

	users_list=
	[ -n "$users_complete" ] || return 0
	users_nodes "$@"
	users_console
	rest=${users_seen#"$base_nl"}
	while [ -n "$rest" ]; do
		line=${rest%%"$base_nl"*}
		rest=${rest#*"$base_nl"}
		node=${line%% *}
		users_is_node "$node" || continue
		fd=${line##* }
		pid=${line#* }
		pid=${pid%% *}
		case $node in
		nvidia*) kind=nvidia ;;
		dri/*) kind=drm ;;
		fb*) kind=fb ;;
		snd/*) kind=sound ;;
		*) kind=vfio ;;
		esac
		case $base_nl$users_list in
		*"${base_nl}user=$pid $kind "*) continue ;;
		esac
		users_holds "$pid" "$fd" "$node" || continue
		sysfs_get "$PROCFS_ROOT/$pid/comm" name || continue
		case $name in
		*[!\ -~]*) name=$(printf '%s' "$name" | tr -c ' -~' '?') ;;
		esac
		users_list=$users_list"user=$pid $kind $name"$base_nl
	done
}

# users_is_node NAME: true if it is one of users_names.
users_is_node()
{
	local pattern rest="$users_names "

	while [ "$rest" != ' ' ] && [ -n "$rest" ]; do
		rest=${rest# }
		pattern=${rest%% *}
		rest=${rest#"$pattern"}
		# shellcheck disable=SC2254 # it is a pattern
		case $1 in
		$pattern) return 0 ;;
		esac
	done
	return 1
}

# users_holds PID FD NODE: true if that open file is NODE, and not a file whose name
# forged a line of ls.
users_holds()
{
	local link

	link=$(readlink "$PROCFS_ROOT/$1/fd/$2") || return 1
	case ${link% (deleted)} in
	*"$base_nl"*) return 1 ;;
	*/dev/"$3") ;;
	*) return 1 ;;
	esac
}

# users_console: adds the kernel's text console to users_list if one of users_names
# draws it. The first framebuffer does, unless an ioctl moved the console, which
# sysfs does not show.
users_console()
{
	local con name bound fb

	for fb in "$SYSFS_ROOT"/class/graphics/fb[0-9]*; do
		break
	done
	case " $users_names " in
	*" ${fb##*/} "*) ;;
	*) return 0 ;;
	esac
	for con in "$SYSFS_ROOT"/class/vtconsole/vtcon*; do
		sysfs_get "$con/name" name || continue
		case $name in
		*'frame buffer'*) ;;
		*) continue ;;
		esac
		sysfs_read "$con/bind" bound || continue
		[ "$bound" != 1 ] || users_list="user=0 console ${con##*/}$base_nl"
	done
}

# users_unbinding VAR: "PID DRIVER" of a process that has the unbind file of a driver
# open, empty if there is none. If the process stays, the driver hangs there.
users_unbinding()
{
	local users_line

	case $users_seen in
	*"${base_nl}unbind/"*)
		users_line=${users_seen#*"${base_nl}unbind/"}
		users_line=${users_line%%"$base_nl"*}
		set -- "$1" "$users_line"
		users_line=${2#* }
		base_set "$1" "${users_line%% *} ${2%%/*}" ;;
	*) base_set "$1" '' ;;
	esac
}
