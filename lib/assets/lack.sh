# shellcheck shell=sh
# lack.sh - install the packages and fetch the files that isospin lacks on this machine
#
# A purpose is one of setup's: demo, build, lab or check. lack_find sets what is
# missing, as lists of words: lack_tools (packages), lack_kernels (how their releases
# begin), lack_branches (of NVIDIA's programs), lack_lab (kernel, root, QEMU) and
# lack_source (the package with Linux's source).

use conf abi apt tools assets fetch

# lack_find PURPOSE: needs conf_load and assets_init. A status, and why, if nothing
# can be fetched on this machine.
lack_find()
{
	local nonfree vmms

	tools_machine || return
	lack_purpose=$1
	conf_get nonfree NONFREE
	conf_get vmms LAB_VMMS
	lack_tools=$(tools_missing "$1")
	lack_kernels=$(lack_find_kernels "$1")
	lack_lab=
	case $1 in
	lab | check) lack_lab=$(lack_find_lab "$vmms") ;;
	esac
	lack_source=
	[ "$1" != build ] || assets_source >/dev/null ||
		lack_source=linux-source-6.12
	lack_branches=
	[ "$nonfree" = no ] || lack_branches=$(lack_find_branches)
}

lack_find_kernels()
{
	local prefixes=6.12 prefix

	[ "$1" != check ] || prefixes='6.12 6.1'
	for prefix in $prefixes; do
		assets_kernel "$prefix" >/dev/null || printf '%s\n' "$prefix"
	done
}

# lack_find_lab VMMS: VMMS is the value of LAB_VMMS.
lack_find_lab()
{
	assets_lab_kernel >/dev/null || echo kernel
	[ -d "$(assets_lab)" ] || echo root
	[ -z "$1" ] || lack_qemu_is_new || assets_qemu >/dev/null || echo QEMU
}

lack_find_branches()
{
	local branch

	for branch in $(abi_branches); do
		[ -n "$(assets_nvidia_versions "$branch")" ] ||
			assets_nvidia_missing "$branch" >/dev/null ||
			printf '%s\n' "$branch"
	done
}

# lack_qemu_is_new: whether the machine's QEMU runs the lab with LAB_VMMS.
lack_qemu_is_new()
{
	case $(qemu-system-x86_64 --version 2>/dev/null) in
	'QEMU emulator version '[1-9][0-9].*) ;;
	*) return 1 ;;
	esac
}

# lack_assets: whether anything must be fetched that is not installed.
lack_assets()
{
	[ -n "$lack_kernels$lack_branches$lack_lab$lack_source" ]
}

# lack_say: logs each missing tool or file with its purpose.
lack_say()
{
	local name

	for name in $lack_tools; do
		log_info "missing tool: $name $(tools_purpose "$name")"
	done
	[ -z "$lack_source" ] ||
		log_info "missing: $lack_source, the source of the workers' kernel"
	for name in $lack_kernels; do
		log_info "missing kernel: $name with its headers, boots the VMs"
	done
	for name in $lack_lab; do
		log_info "missing in the lab: its $name"
	done
	for name in $lack_branches; do
		log_info "missing NVIDIA programs: branch $name, for the workers"
	done
	[ -z "$lack_branches" ] || log_info "NVIDIA's programs are non-free" \
		"software under NVIDIA's licence; --no-nonfree goes without"
}

# lack_install: installs the missing tools. On failure this and lack_fetch return a
# status and set why.
lack_install()
{
	# shellcheck disable=SC2086 # a list of packages
	[ -z "$lack_tools" ] || tools_install $lack_tools
}

# lack_fetch: fetches everything else that is missing. Only one setup at a time works on
# assets_dir; after waiting for another one, this looks again for missing files.
lack_fetch()
{
	lack_assets || return 0
	run as_user mkdir -p "$assets_dir" ||
		fail 74 "$assets_dir: cannot be made; is the disk full?" || return
	if [ "$DRY_RUN" -eq 0 ]; then
		as_user test -w "$assets_dir" ||
			fail 77 "$assets_dir: this user may not write there" || return
		as_user touch "$assets_dir/lock" ||
			fail 74 "$assets_dir/lock: cannot be made; is the disk full?" ||
			return
		exec 9<"$assets_dir/lock"
		flock -n 9 || {
			log_info "another setup is at work here; waiting for it"
			flock -w 1800 9 ||
				fail 75 "another setup holds $assets_dir/lock" || return
			lack_find "$lack_purpose" || return
		}
	fi
	[ -z "$lack_kernels$lack_branches" ] || lack_fetch_demo || return
	[ -z "$lack_source" ] || lack_fetch_source || return
	[ -z "$lack_lab" ] || lack_fetch_lab
}

# lack_fetch_demo: fetches the kernels and NVIDIA's programs.
lack_fetch_demo()
{
	local name reason reasons='' nonfree

	conf_get nonfree NONFREE
	fetch_init "$assets_dir/apt" kernel nvidia &&
		fetch_sources "$tools_codename" "$tools_other" "$nonfree" || return
	if [ "$DRY_RUN" -eq 1 ]; then
		printf '# names and versions follow from these indexes;'
		printf ' with those at hand:\n'
		[ -f "$apt_dir/apt.conf" ] || return 0
	fi
	for name in $lack_kernels; do
		lack_plan_kernel "$name" || return
	done
	for name in $lack_branches; do
		fetch_plan_nvidia "$name" && continue
		reason="the package mirror offers no nvidia-smi $name in non-free"
		log_warn "$reason; isospin-smi stands in for it"
		reason="$reason${fetch_left_out:+ ($fetch_left_out)}"
		reasons="$reasons$name $reason$base_nl"
	done
	fetch_room && fetch_all || return
	[ -z "$reasons" ] ||
		apt_write "$assets_dir/nvidia/missing" "${reasons%"$base_nl"}"
}

# lack_plan_kernel PREFIX: plans a kernel from the security updates, or else from the main
# suite, whose index is larger.
lack_plan_kernel()
{
	local suite=bookworm

	fetch_plan_kernel "$1" "$tools_debian" cloud-amd64 && return
	[ "$1" = 6.1 ] || suite=$tools_codename
	apt_own_source "$suite-main" "$apt_main" "$suite" main &&
		fetch_update "fetching the index of $suite main" || return
	fetch_plan_kernel "$1" "$tools_debian" cloud-amd64 ||
		fail 69 "the package mirror offers no cloud kernel $1"
}

# lack_fetch_source: fetches linux-source, which in Debian 12 is among the security
# updates.
lack_fetch_source()
{
	local suite="$tools_codename"

	fetch_init "$assets_dir/apt" source && fetch_mirrors "$suite" || return
	run as_user rm -f "$apt_dir/sources.d"/*
	apt_own_source "$suite-security-main" "$apt_security" "$suite-security" \
		main || return
	[ "$tools_debian" = 12 ] ||
		apt_own_source "$suite-main" "$apt_main" "$suite" main || return
	fetch_update "fetching the indexes of $suite" || return
	[ "$DRY_RUN" -eq 0 ] || [ -f "$apt_dir/apt.conf" ] || return 0
	fetch_plan_source "$lack_source" ||
		fail 69 "the package mirror offers no $lack_source" || return
	fetch_room && fetch_all
}

# lack_fetch_lab: fetches the lab's kernel, Debian and QEMU, with an apt that has only
# this Debian's suites.
lack_fetch_lab()
{
	local name suite="$tools_codename"

	fetch_init "$assets_dir/lab/apt" lab qemu kernel && fetch_mirrors "$suite" &&
		apt_own_source main "$apt_main" "$suite" main &&
		apt_own_source security "$apt_security" "$suite-security" main ||
		return
	case $lack_lab in
	*QEMU*)
		apt_own_source backports "$apt_main" "$suite-backports" main ||
			return ;;
	*) run as_user rm -f "$apt_dir/sources.d/backports.sources" ;;
	esac
	fetch_update "fetching the indexes of $suite main" || return
	[ "$DRY_RUN" -eq 0 ] || [ -f "$apt_dir/apt.conf" ] || return 0
	for name in $lack_lab; do
		case $name in
		kernel) fetch_plan_kernel 6.12 "$tools_debian" amd64 ||
			fail 69 'the package mirror offers no kernel 6.12' ;;
		root) fetch_plan_lab "$(assets_lab)" ||
			fail 69 'the package mirror lacks a package of the lab' ;;
		QEMU) fetch_plan_qemu ||
			fail 69 "the package mirror offers no QEMU of 10 or later \
in $suite-backports" ;;
		esac || return
	done
	fetch_room && fetch_all
}
