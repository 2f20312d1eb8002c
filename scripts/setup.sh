#!/bin/sh
# setup - fetch what isospin needs on this machine
#
# usage: isospin setup [-hVvn] [-c FILE] [--no-nonfree] [--lock-wait SECONDS]
#                      [demo|build|lab|check]
#
# Installs the missing tools with apt-get (as root) and unpacks kernels, their
# headers and NVIDIA's programs under .vm-assets/, each verified by Debian's
# archive keys, none of them installed. `build` adds what compiles a kernel, `lab`
# the kernel and the Debian of the lab, `check` that and what the tests need. Says
# first what is missing and how much it takes. What is there stays: a second run
# needs no network.
#
#   --no-nonfree         go without NVIDIA's programs, which are not free
#   --lock-wait SECONDS  wait so long for another apt (120)
#   -n, --dry-run        print the commands instead
#   -c FILE              read this file instead of etc/isospin.conf
#   -v                   say more
#   -h, -V               this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf abi apt fetch assets tools

option()
{
	case $1 in
	--no-nonfree) conf_set_flag NONFREE no ;;
	--lock-wait)
		opt_need "$@"
		case $2 in
		'' | *[!0-9]* | ?????*) die 64 "--lock-wait: '$2' is no number of seconds" ;;
		esac
		apt_lock_wait=$2
		opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	set_name=${1:-demo}
	[ $# -eq 0 ] || shift
	opt_none "$@"
	case $set_name in
	demo | build | lab | check) ;;
	*) die 64 "'$set_name': demo, build, lab or check" ;;
	esac
	conf_load "$opt_conf" || die $? "$why"
	conf_get nonfree NONFREE
	conf_get vmms LAB_VMMS
	assets_init

	tools_machine || die $? "$why"
	find_missing
	if [ -z "$tools$kernels$branches$lab$source" ]; then
		log_info "everything for $set_name is here"
		leave 0
	fi
	say_missing
	apt_log=$(mktemp)
	on_exit rm -f "$apt_log"
	[ -z "$tools" ] || install_tools
	[ -z "$kernels$branches$lab$source" ] || fetch_assets
}

main()
{
	base_init "$0"
	set_name=
	opt_flags=dry-run
	opt_parse option work "$@"
}

# Sets tools (packages), kernels (prefixes), branches and lab (kernel, root): what
# is missing. source is linux-source, if that is.
find_missing()
{
	local prefix branch

	tools=$(tools_missing "$set_name")

	kernels=
	prefix=6.12
	[ "$set_name" != check ] || prefix='6.12 6.1'
	for prefix in $prefix; do
		assets_kernel "$prefix" >/dev/null || kernels="$kernels $prefix"
	done

	lab=
	if [ "$set_name" = lab ] || [ "$set_name" = check ]; then
		assets_lab_kernel >/dev/null || lab="$lab kernel"
		[ -d "$(assets_lab)" ] || lab="$lab root"
		[ -z "$vmms" ] || qemu_is_new || assets_qemu >/dev/null ||
			lab="$lab QEMU"
	fi

	source=
	if [ "$set_name" = build ] && ! assets_source >/dev/null; then
		source=linux-source-6.12
	fi

	branches=
	[ "$nonfree" = yes ] || return 0
	for branch in $(abi_branches); do
		[ -z "$(assets_nvidia_versions "$branch")" ] || continue
		assets_nvidia_missing "$branch" >/dev/null ||
			branches="$branches $branch"
	done
}

# qemu_is_new: the machine's own will do for the lab with LAB_VMMS.
qemu_is_new()
{
	case $(qemu-system-x86_64 --version 2>/dev/null) in
	'QEMU emulator version '[1-9][0-9].*) ;;
	*) return 1 ;;
	esac
}

# say_missing: logs what is missing, and what each is for.
say_missing()
{
	local name

	for name in $tools; do
		log_info "missing tool: $name $(tools_purpose "$name")"
	done
	[ -z "$source" ] || log_info "missing: $source, what a kernel is made of"
	for name in $kernels; do
		log_info "missing kernel: $name with its headers, boots the VMs"
	done
	for name in $lab; do
		log_info "missing in the lab: its $name"
	done
	for name in $branches; do
		log_info "missing NVIDIA programs: branch $name, for the workers"
	done
	[ -z "$branches" ] || log_info "NVIDIA's programs are non-free" \
		"software under NVIDIA's licence; --no-nonfree goes without"
}

install_tools()
{
	local unfetched=''

	# shellcheck disable=SC2086 # a list of packages
	set -- $tools
	if [ "$DRY_RUN" -eq 0 ] && [ "$(id -u)" -ne 0 ]; then
		die 77 "installing needs root: run this with sudo, or first:" \
			"sudo apt-get install --no-install-recommends $*"
	fi
	apt_run 'fetching the package lists' apt-get -q update ||
		die "$apt_status" "$apt_reason"
	# A list that could not be fetched is a success to apt; the tools may
	# come from the others.
	if apt_said '^W: (Failed to fetch|Some index files)'; then
		apt_explain 0
		unfetched=$apt_reason
	fi
	if [ "$DRY_RUN" -eq 0 ]; then
		LC_ALL=C apt-get -q install --assume-no \
			--no-install-recommends "$@" >"$apt_log" 2>&1 || :
		say_lines 'Need to get|After this operation|Download size|Space needed'
	fi
	apt_run 'installing tools' env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y install --no-install-recommends "$@" && return
	[ "$apt_status" -ne 69 ] || apt_reason=${unfetched:-$apt_reason}
	die "$apt_status" "$apt_reason"
}

# say_lines PATTERN: what apt says about sizes.
say_lines()
{
	local line

	while IFS= read -r line; do
		! printf '%s\n' "$line" | grep -qE "$1" || log_info "tools: $line"
	done <"$apt_log"
}

fetch_assets()
{
	run as_user mkdir -p "$assets_dir" ||
		die 74 "$assets_dir: cannot be made; is the disk full?"
	if [ "$DRY_RUN" -eq 0 ]; then
		as_user test -w "$assets_dir" ||
			die 77 "$assets_dir: this user may not write there"
		as_user touch "$assets_dir/lock" ||
			die 74 "$assets_dir/lock: cannot be made; is the disk full?"
		exec 9<"$assets_dir/lock"
		flock -n 9 || {
			log_info "another setup is at work here; waiting for it"
			flock -w 1800 9 || die 75 "another setup holds $assets_dir/lock"
			find_missing
		}
	fi
	fetch_init
	[ -z "$kernels$branches" ] || fetch_demo
	[ -z "$source" ] || fetch_source
	[ -z "$lab" ] || fetch_lab
}

# fetch_demo: the kernels and NVIDIA's programs.
fetch_demo()
{
	local name reasons=''

	fetch_sources "$tools_codename" "$tools_other" "$nonfree"
	if [ "$DRY_RUN" -eq 1 ]; then
		printf '# names and versions follow from these indexes;'
		printf ' with those at hand:\n'
		[ -f "$assets_dir/apt/apt.conf" ] || leave 0
	fi
	for name in $kernels; do
		plan_kernel "$name"
	done
	for name in $branches; do
		fetch_plan_nvidia "$name" && continue
		reason="the package mirror offers no nvidia-smi $name in non-free"
		log_warn "$reason; isospin-smi stands in for it"
		reason="$reason${fetch_left_out:+ ($fetch_left_out)}"
		reasons="$reasons$name $reason$base_nl"
	done
	check_space
	fetch_all
	[ -z "$reasons" ] ||
		apt_write "$assets_dir/nvidia/missing" "${reasons%"$base_nl"}"
}

# fetch_source: linux-source, which Debian 12 has among its security updates.
fetch_source()
{
	fetch_plan='' fetch_download=0 fetch_disk=0
	fetch_init
	apt_mirrors "$tools_codename" ||
		die 78 "no source of Debian $tools_codename main in $apt_etc"
	run as_user rm -f "$apt_dir/sources.d"/*
	apt_own_source "$tools_codename-security-main" "$apt_security" \
		"$tools_codename-security" main
	[ "$tools_debian" = 12 ] || apt_own_source "$tools_codename-main" "$apt_main" \
		"$tools_codename" main
	fetch_update "fetching the indexes of $tools_codename" ||
		die "$apt_status" "$apt_reason"
	[ "$DRY_RUN" -eq 0 ] || [ -f "$assets_dir/apt/apt.conf" ] || return 0
	fetch_plan_source "$source" ||
		die 69 "the package mirror offers no $source"
	check_space
	fetch_all
}

# fetch_lab: the lab's kernel and Debian, by an apt that knows this Debian alone.
fetch_lab()
{
	local name

	fetch_plan='' fetch_download=0 fetch_disk=0
	run as_user mkdir -p "$assets_dir/lab" "$assets_dir/qemu" ||
		die 74 "$assets_dir: cannot be written; is the disk full?"
	run as_user rm -rf "$assets_dir/lab/.new" "$assets_dir/qemu/.new"
	apt_own_init "$assets_dir/lab/apt"
	apt_mirrors "$tools_codename" ||
		die 78 "no source of Debian $tools_codename main in $apt_etc"
	apt_own_source main "$apt_main" "$tools_codename" main
	apt_own_source security "$apt_security" "$tools_codename-security" main
	case $lab in
	*QEMU*) apt_own_source backports "$apt_main" "$tools_codename-backports" main ;;
	*) run as_user rm -f "$apt_dir/sources.d/backports.sources" ;;
	esac
	fetch_update "fetching the indexes of $tools_codename main" ||
		die "$apt_status" "$apt_reason"
	if [ "$DRY_RUN" -eq 1 ] && [ ! -f "$apt_dir/apt.conf" ]; then
		return 0
	fi
	for name in $lab; do
		case $name in
		kernel) fetch_plan_kernel 6.12 "$tools_debian" amd64 ||
			die 69 'the package mirror offers no kernel 6.12' ;;
		root) fetch_plan_lab "$(assets_lab)" ||
			die 69 'the package mirror lacks a package of the lab' ;;
		QEMU) fetch_plan_qemu ||
			die 69 "the package mirror offers no QEMU of 10 or later \
in $tools_codename-backports" ;;
		esac
	done
	check_space
	fetch_all
}

# plan_kernel PREFIX: from the security updates, else from the main suite, whose
# index is larger.
plan_kernel()
{
	local suite=bookworm

	fetch_plan_kernel "$1" "$tools_debian" cloud-amd64 && return
	[ "$1" = 6.1 ] || suite=$tools_codename
	apt_own_source "$suite-main" "$apt_main" "$suite" main
	fetch_update "fetching the index of $suite main" ||
		die "$apt_status" "$apt_reason"
	fetch_plan_kernel "$1" "$tools_debian" cloud-amd64 ||
		die 69 "the package mirror offers no cloud kernel $1"
}

check_space()
{
	local free need

	free=$(df -Pk "$assets_dir" | awk 'NR == 2 { print $4 }')
	need=$(((fetch_download + fetch_disk) / 1024))
	log_info "downloading $((fetch_download >> 20)) MiB;" \
		"needs $((need >> 10)) MiB in $assets_dir, $((free >> 10)) MiB are free"
	[ "$free" -gt "$need" ] ||
		die 74 "the disk is full: $((need >> 10)) MiB wanted in $assets_dir," \
			"$((free >> 10)) MiB free"
}

main "$@"
