#!/bin/sh
# build - make programs, kernels and images of the VMs
#
# usage: isospin build [-hnVv] [-c FILE] [--tree DIR] [--driver VERSION]
#                      [--run FILE] [--print] TARGET...
#        isospin build [-hVv] [-c FILE] [--json] --list
#
# TARGET is one of those that --list names, or all: those but gpu-rootfs. What has been made of the same
# content is not made again. The images are for the kernel that the VMs
# would boot: fc-gpu-kernel once it has been built, unless KERNEL says another.
#
#   --tree DIR     compile fc-gpu-kernel from this source of Linux 6.12, not
#                  from Debian's package
#   --driver VERSION
#                  NVIDIA's driver in gpu-rootfs, instead of DRIVER_VERSION
#   --run FILE     take it from NVIDIA's .run file, not from Debian's packages
#   --print        make nothing: print where TARGET is; status 1 if it is not
#   --list         every target, whether it is current, and where it is
#   --json         with --list: one object a line
#   -n, --dry-run  name what would be made
#   -c FILE        read this configuration
#   -v             say more
#   -h, -V         this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf proc assets build

tools='make gcc musl-gcc cpio xz zstd strip'
kernel_tools='flex bison bc'

option()
{
	case $1 in
	--tree) opt_need "$@"; build_tree=$2 opt_n=2 ;;
	--driver) opt_need "$@"; rootfs_version=$2 opt_n=2 ;;
	--run) opt_need "$@"; rootfs_run=$2 opt_n=2 ;;
	--print) print=1 ;;
	--list) list=1 ;;
	*) opt_unknown "$1" ;;
	esac
}

wanted()
{
	[ "$list$opt_json" != 01 ] || die 64 '--json wants --list; see -h'
	if [ "$list" -eq 1 ]; then
		opt_none "$@"
	elif [ $# -eq 0 ]; then
		die 64 'which TARGET? See isospin build --list'
	fi
	for word; do
		[ "$word" = all ] || build_known "$word" ||
			die 64 "'$word' is no target; see isospin build --list"
	done
	[ -z "$build_tree" ] || check_tree
	[ -z "$rootfs_run" ] || [ -f "$rootfs_run" ] ||
		die 66 "--run: $rootfs_run is not there"
}

check_tree()
{
	if [ ! -f "$build_tree/Kbuild" ] || [ ! -d "$build_tree/arch/x86" ]; then
		die 66 "--tree: $build_tree is no source of Linux"
	fi
	build_tree=$(CDPATH='' cd -- "$build_tree" && pwd -P)
	[ ! -e "$build_tree/.config" ] ||
		die 65 "--tree: $build_tree has been built in; make mrproper there"
}

# show: each target, built or not.
show()
{
	local target what state

	build_kernels
	while read -r target what; do
		[ -n "$target" ] || continue
		state=stale
		if build_current "$target"; then
			state=current
		elif [ -z "$build_out" ]; then
			state=absent
		fi
		if [ "$opt_json" -eq 1 ]; then
			jq -cn --arg target "$target" --arg state "$state" \
				--arg path "$build_out" --arg about "$what" \
				'{target: $target, state: $state,
				path: (if $path == "" then null else $path end),
				about: $about}'
		else
			printf '%-17s %-8s %s\n' "$target" "$state" \
				"${build_out:-($what)}"
		fi
	done <<-EOT
	$build_table
	EOT
}

# where TARGET...: prints paths.
where()
{
	local target rc=0

	build_kernels
	for target; do
		build_current "$target" || :
		if [ -z "$build_out" ]; then
			log_error "$target has not been built"
			rc=1
		else
			printf '%s\n' "$build_out"
		fi
	done
	leave "$rc"
}

# need_tools TARGET...: setup installs and fetches what is missing.
need_tools()
{
	local tool missing='' names="$tools" what=demo

	case " $* " in
	*' fc-gpu-kernel '*)
		what=build
		names="$names $kernel_tools"
		[ -n "$build_tree" ] || assets_source >/dev/null || missing=source
	esac
	for tool in $names; do
		command -v "$tool" >/dev/null || missing="$missing $tool"
	done
	[ -n "$missing" ] || return 0
	log_debug "missing: $missing"
	set -- "$what"
	[ -z "$opt_conf" ] || set -- -c "$opt_conf" "$@"
	[ "$DRY_RUN" -eq 0 ] || set -- -n "$@"
	"$TOP/scripts/setup.sh" "$@" || die "$?" "setting up failed, see above"
}

work()
{
	wanted "$@"
	conf_load "$opt_conf" || die $? "$why"
	assets_init
	if [ "$list" -eq 1 ]; then
		show
		leave 0
	fi
	# shellcheck disable=SC2046 # a list of names
	case " $* " in
	*' all '*) set -- $(build_all_targets) ;;
	esac
	[ "$print" -eq 0 ] || where "$@"
	need_tools "$@"
	build_all "$@"
}

main()
{
	list=0 print=0
	base_init "$0"
	opt_flags='dry-run json'
	opt_parse option work "$@"
}

# build_all TARGET...: as the calling user, one build of this checkout at a time.
build_all()
{
	local target

	if base_sudo_user; then
		[ -z "$build_tree" ] || set -- --tree "$build_tree" "$@"
		[ -z "$rootfs_version" ] ||
			set -- --driver "$rootfs_version" "$@"
		[ -z "$rootfs_run" ] || set -- --run "$rootfs_run" "$@"
		[ -z "$opt_conf" ] || set -- -c "$opt_conf" "$@"
		[ "$opt_verbose" -eq 0 ] || set -- -v "$@"
		[ "$DRY_RUN" -eq 0 ] || set -- -n "$@"
		rc=0
		as_user "$0" "$@" || rc=$?
		leave "$rc"
	fi
	mkdir -p -- "$paths_state" || die 74 "$paths_state: cannot be made"
	proc_lock "$paths_state/lock" || {
		log_info 'waiting for another build'
		proc_lock "$paths_state/lock" 7200 ||
			die 75 "another build holds $paths_state/lock"
	}
	for target; do
		build_target "$target"
	done
}

main "$@"
