#!/bin/sh
# build - make programs, kernels and images of the VMs
#
# usage: isospin build [-hnVv] [-c FILE] [--tree DIR] [--driver VERSION]
#                      [--run FILE] [--print] TARGET...
#        isospin build [-hVv] [-c FILE] [--json] --list
#
# TARGET is one of those that --list names, or all: all but gpu-rootfs and lab. A target
# is made again only if its inputs have changed. The images are for the kernel that the
# VMs would boot: fc-gpu-kernel once it has been built, unless KERNEL names another.
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
use opt conf assets build

tools='make gcc cpio xz zstd strip'
kernel_tools='flex bison bc'

option()
{
	case $1 in
	--tree) opt_need "$@"; tree=$2 opt_n=2 ;;
	--driver) opt_need "$@"; driver=$2 opt_n=2 ;;
	--run) opt_need "$@"; run_file=$2 opt_n=2 ;;
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
	[ -z "$tree" ] || check_tree
	[ -z "$run_file" ] || [ -f "$run_file" ] ||
		die 66 "--run: $run_file is not there"
}

check_tree()
{
	if [ ! -f "$tree/Kbuild" ] || [ ! -d "$tree/arch/x86" ]; then
		die 66 "--tree: $tree is no source of Linux"
	fi
	tree=$(CDPATH='' cd -- "$tree" && pwd -P)
	[ ! -e "$tree/.config" ] ||
		die 65 "--tree: $tree has been built in; make mrproper there"
}

# show: each target, built or not.
show()
{
	local target what state

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

# where TARGET...: prints the path of each target that is there, and ends the command.
where()
{
	local target rc=0

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

# need_tools TARGET...: runs setup if a tool or source for these targets is missing.
need_tools()
{
	local tool missing='' names="$tools" what=demo

	[ -z "$paths_source" ] || names="$names musl-gcc"
	case " $* " in
	*' fc-gpu-kernel '*)
		what=build
		names="$names $kernel_tools"
		[ -n "$tree" ] || assets_source >/dev/null || missing=source
	esac
	for tool in $names; do
		command -v "$tool" >/dev/null || missing="$missing $tool"
	done
	[ -n "$missing" ] || return 0
	log_debug "missing: $missing"
	opt_pass dry-run "$TOP/scripts/setup.sh" @ "$what" ||
		die "$?" 'setting up failed, see above'
}

work()
{
	wanted "$@"
	conf_load "$opt_conf" || die $? "$why"
	assets_init
	build_init "$tree" "$driver" "$run_file" || die $? "$why"
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
	if base_sudo_user; then
		as_caller "$@"
	fi
	build_all "$@" || die $? "$why"
}

# as_caller TARGET...: runs this command again, as the user who called sudo.
as_caller()
{
	local rc=0

	[ -z "$tree" ] || set -- --tree "$tree" "$@"
	[ -z "$driver" ] || set -- --driver "$driver" "$@"
	[ -z "$run_file" ] || set -- --run "$run_file" "$@"
	opt_pass dry-run as_user "$0" @ "$@" || rc=$?
	leave "$rc"
}

main()
{
	list=0 print=0 tree='' driver='' run_file=''
	base_init "$0"
	opt_flags='dry-run json'
	opt_parse option work "$@"
}

main "$@"
