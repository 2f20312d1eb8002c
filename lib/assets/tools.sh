# shellcheck shell=sh
# tools.sh - find and install the packages of Debian that isospin needs here

use apt

# Each tool and its purpose. It is PACKAGE12/PACKAGE13 where its name differs between
# Debian 12 and 13.
tools_demo='
qemu-system-x86 runs the virtual machines
qemu-system-data has their firmware
make builds
gcc builds
libc6-dev builds
musl-tools builds the programs that run inside the VMs
libelf1/libelf1t64 is needed to build the kernel module
libssl3/libssl3t64 is needed to build the kernel module
kmod reads kernel modules
cpio packs the initial RAM disks of the VMs
xz-utils unpacks kernel modules
zstd unpacks kernels
busybox-static is the user space of the VMs
jq writes and reads JSON
socat connects sockets
pciutils names PCI devices
tmux shows the stack in windows
'
tools_build='
flex compiles a kernel
bison compiles a kernel
bc compiles a kernel
libelf-dev compiles a kernel
'
tools_lab='
e2fsprogs makes the disks of the lab
'
tools_check='
bats runs the tests
shellcheck checks the shell
scdoc builds the manual
procps lists processes
strace watches the sandbox
'

# tools_machine: sets tools_debian (12 or 13), tools_codename, and tools_other, the
# other Debian, which has the other kernel and the other branch of NVIDIA's. 69, and
# why, if isospin cannot be set up here.
tools_machine()
{
	local key value id='' version='' where

	[ "$(uname -m)" = x86_64 ] ||
		fail 69 "isospin runs on x86-64 only; this is $(uname -m)" || return
	where=${paths_source:-$paths_state}
	case $where in
	*[[:space:]:]*)
		fail 69 "$where: a kernel module cannot be built below a directory with \
a space or a colon in its name; move the checkout" || return ;;
	esac
	while IFS='=' read -r key value; do
		value=${value#\"}
		value=${value%\"}
		case $key in
		ID) id=$value ;;
		VERSION_ID) version=$value ;;
		esac
	done <"${OS_RELEASE:-/etc/os-release}"
	tools_debian=$version
	case $id:$version in
	debian:12) tools_codename=bookworm tools_other=trixie ;;
	debian:13) tools_codename=trixie tools_other=bookworm ;;
	*) fail 69 "setup knows Debian 12 and 13; this is ${id:-unknown} $version" ;;
	esac
}

# tools_missing PURPOSE: prints the packages for a purpose (demo, build, lab, check) that
# are not installed, a line each. Call tools_machine first.
tools_missing()
{
	local list="$tools_demo" pkg purpose

	case $1 in
	build) list=$list$tools_build ;;
	lab) list=$list$tools_lab ;;
	check) list=$list$tools_lab$tools_check ;;
	esac
	set --
	while read -r pkg purpose; do
		[ -n "$pkg" ] || continue
		# An installed isospin compiles nothing for guests.
		[ "$pkg" != musl-tools ] || [ -n "$paths_source" ] || continue
		case $tools_debian in
		12) set -- "$@" "${pkg%/*}" ;;
		13) set -- "$@" "${pkg#*/}" ;;
		esac
	done <<-EOT
	$list
	EOT
	apt_missing "$@"
}

# tools_purpose PACKAGE: prints what the package is for.
tools_purpose()
{
	local pkg purpose

	while read -r pkg purpose; do
		case $pkg in
		"$1" | "$1"/* | */"$1") printf '%s\n' "$purpose" ;;
		esac
	done <<-EOT
	$tools_demo
	$tools_lab
	$tools_check
	$tools_build
	EOT
}

# tools_install PACKAGE...: installs them with the machine's apt. On failure returns a
# status and sets why.
tools_install()
{
	local unfetched='' rc=0

	if [ "$DRY_RUN" -eq 0 ] && [ "$(id -u)" -ne 0 ]; then
		fail 77 "installing needs root: run this with sudo, or first:" \
			"sudo apt-get install --no-install-recommends $*" || return
	fi
	apt_init && apt_run 'fetching the package lists' apt-get -q update || return
	# A list that could not be fetched is a success to apt; the tools may
	# come from the others.
	if [ "$DRY_RUN" -eq 0 ] &&
		apt_said '^W: (Failed to fetch|Some index files)'; then
		apt_explain 0 || unfetched=$why
	fi
	if [ "$DRY_RUN" -eq 0 ]; then
		LC_ALL=C apt-get -q install --assume-no \
			--no-install-recommends "$@" >"$apt_log" 2>&1 || :
		tools_say 'Need to get|After this operation|Download size|Space needed'
	fi
	apt_run 'installing tools' env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y install --no-install-recommends "$@" || rc=$?
	[ "$rc" -ne 69 ] || why=${unfetched:-$why}
	return "$rc"
}

# tools_say PATTERN: logs the lines of apt's output that match.
tools_say()
{
	local line

	while IFS= read -r line; do
		! printf '%s\n' "$line" | grep -qE "$1" || log_info "tools: $line"
	done <"$apt_log"
}
