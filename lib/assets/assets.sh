# shellcheck shell=sh
# assets.sh - where kernels and NVIDIA's programs are; isospin setup puts them
#
# $ASSETS_DIR/kernels/RELEASE/   one Debian kernel, for the cloud or the lab's:
#     vmlinuz                    the kernel, a bzImage
#     lib/modules/RELEASE/       its modules, with modules.dep
#     headers/                   make -C headers M=DIR modules
#     modules.img                the lab's: lib/modules as a file system
# $ASSETS_DIR/kernels/*-isospin/ the workers' own kernel, from isospin build
# $ASSETS_DIR/sources/VERSION/   linux-source-*.tar.xz of that package
# $ASSETS_DIR/lab/ID/            the lab's Debian:
#     root.img                   a file system
#     packages                   what it was made of, PACKAGE=VERSION a line
# $ASSETS_DIR/qemu/VERSION/      a QEMU for the lab, newer than Debian's:
#     qemu-system-x86_64         the program; what it links is the machine's
#     firmware/                  for its -L
# $ASSETS_DIR/nvidia/VERSION/    NVIDIA's user space of one version:
#     nvidia-smi                 the program
#     lib/                       libnvidia-ml.so.1, libcuda.so.1
#     root/                      the packages as they were unpacked
# $ASSETS_DIR/nvidia/missing     "BRANCH REASON" for what could not be had
#
# A directory appears under its name only when it is complete. The functions
# print their answer. Call assets_init first.

use conf

# assets_init: sets assets_dir. Needs conf_load.
assets_init()
{
	conf_get assets_dir ASSETS_DIR
	if [ -n "$assets_dir" ]; then
		conf_get_path assets_dir ASSETS_DIR
	else
		assets_dir=$paths_assets
	fi
}

# assets_kernels: every release of Debian's, newest first; not those of the lab.
assets_kernels()
{
	local dir

	for dir in "$assets_dir"/kernels/[0-9]*; do
		case $dir in
		*[0-9]-amd64 | *-isospin) ;;
		*) [ ! -d "$dir" ] || printf '%s\n' "${dir##*/}" ;;
		esac
	done | sort -rV
}

# assets_lab_kernel: the newest kernel of the lab: for any machine, so with the
# drivers of its cards, which the ones for the cloud lack. 1 if there is none.
assets_lab_kernel()
{
	local dir

	for dir in "$assets_dir"/kernels/*[0-9]-amd64; do
		[ ! -d "$dir" ] || printf '%s\n' "${dir##*/}"
	done | sort -rV | grep -m 1 .
}

# assets_lab: the lab's directory, there or not. Its name follows from what it is
# made of.
assets_lab()
{
	local id

	id=$(sha256sum <"$paths_share/lab/packages") || return 1
	printf '%s\n' "$assets_dir/lab/${id%"${id#????????????}"}"
}

# assets_qemu: the directory of the newest QEMU; 1 if there is none.
assets_qemu()
{
	local dir

	for dir in "$assets_dir"/qemu/[0-9]*; do
		[ ! -d "$dir" ] || printf '%s\n' "$dir"
	done | sort -rV | grep -m 1 .
}

# assets_kernel [PREFIX]: the newest release that begins with PREFIX, as in 6.1
# (never 6.12), by default KERNEL's, else the newest; 1 if there is none.
assets_kernel()
{
	local prefix="${1:-}" list release

	[ -n "$prefix" ] || conf_get prefix KERNEL
	list=$(assets_kernels)
	while read -r release; do
		case $prefix:$release in
		*:) return 1 ;;
		auto:* | "$prefix:$prefix" | "$prefix:$prefix"[!0-9]*)
			printf '%s\n' "$release"
			return 0 ;;
		esac
	done <<-EOT
	$list
	EOT
	return 1
}

# assets_own_kernel: the kernel that isospin build has made; 1 if there is none.
assets_own_kernel()
{
	local dir

	for dir in "$assets_dir"/kernels/[0-9]*-isospin; do
		[ ! -d "$dir" ] || printf '%s\n' "${dir##*/}"
	done | sort -rV | grep -m 1 .
}

# assets_worker_kernel: the kernel of a worker: KERNEL's, and if that leaves the
# choice, our own before Debian's. 1 if there is none.
assets_worker_kernel()
{
	local prefix

	conf_get prefix KERNEL
	{ [ "$prefix" = auto ] && assets_own_kernel; } || assets_kernel
}

# assets_kernel_dir RELEASE
assets_kernel_dir()
{
	printf '%s\n' "$assets_dir/kernels/$1"
}

# assets_source: the newest archive of Linux's source; 1 if there is none.
assets_source()
{
	local file

	for file in "$assets_dir"/sources/*/linux-source-*.tar.xz; do
		[ ! -f "$file" ] || printf '%s\n' "$file"
	done | sort -rV | grep -m 1 .
}

# assets_nvidia_versions [BRANCH]: versions that are there, newest first.
assets_nvidia_versions()
{
	local dir

	for dir in "$assets_dir/nvidia/${1:-}"[0-9.]*; do
		[ ! -d "$dir" ] || printf '%s\n' "${dir##*/}"
	done | sort -rV
}

# assets_nvidia_dir VERSION
assets_nvidia_dir()
{
	printf '%s\n' "$assets_dir/nvidia/$1"
}

# assets_nvidia_missing BRANCH: why that branch is not there; 1 if nobody tried.
assets_nvidia_missing()
{
	local branch reason

	[ -f "$assets_dir/nvidia/missing" ] || return 1
	while read -r branch reason; do
		if [ "$branch" = "$1" ]; then
			printf '%s\n' "$reason"
			return 0
		fi
	done <"$assets_dir/nvidia/missing"
	return 1
}
