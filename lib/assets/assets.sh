# shellcheck shell=sh
# assets.sh - find the kernels, sources and programs that isospin setup has fetched
#
# $ASSETS_DIR/kernels/RELEASE/   one Debian kernel, for the cloud or the lab's:
#     vmlinuz                    the kernel, a bzImage
#     lib/modules/RELEASE/       its modules, with modules.dep
#     headers/                   for make -C headers M=DIR modules
#     modules.img                the lab's: lib/modules as a file system
# $ASSETS_DIR/kernels/*-isospin/ the workers' own kernel, from isospin build
# $ASSETS_DIR/sources/VERSION/   linux-source-*.tar.xz, from that version of the package
# $ASSETS_DIR/lab/ID/            the lab's Debian:
#     root.img                   a file system
#     packages                   the packages in it, PACKAGE=VERSION a line
# $ASSETS_DIR/qemu/VERSION/      a QEMU for the lab, newer than Debian's:
#     qemu-system-x86_64         the program; its libraries are the machine's
#     firmware/                  for its -L
# $ASSETS_DIR/nvidia/VERSION/    NVIDIA's user space of one version:
#     nvidia-smi                 the program
#     lib/                       libnvidia-ml.so.1, libcuda.so.1
#     root/                      the packages as they were unpacked
# $ASSETS_DIR/nvidia/missing     "BRANCH REASON" for each branch that no mirror offers
#
# A directory has its name only once it is complete. These functions print their
# answer; those that print one thing return 1 if there is none. Call assets_init first.

use conf

# assets_init: sets assets_dir. Call conf_load before.
assets_init()
{
	conf_get assets_dir ASSETS_DIR
	if [ -n "$assets_dir" ]; then
		conf_get_path assets_dir ASSETS_DIR
	else
		assets_dir=$paths_assets
	fi
}

# assets_kernels: the releases of Debian's kernels for the VMs, newest first. Those of
# the lab are not among them.
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

# assets_lab_kernel: the release of the newest kernel for the lab. It is Debian's kernel
# for any machine: the one for the cloud lacks the drivers of the lab's cards.
assets_lab_kernel()
{
	local dir

	for dir in "$assets_dir"/kernels/*[0-9]-amd64; do
		[ ! -d "$dir" ] || printf '%s\n' "${dir##*/}"
	done | sort -rV | grep -m 1 .
}

# assets_lab: the lab's directory, whether it is there or not. Its name depends on what
# the lab is made of.
assets_lab()
{
	local id

	id=$(sed '/^#/d' "$paths_share/lab/packages") || return 1
	id=$(printf '%s\n' "$id" | sha256sum)
	printf '%s\n' "$assets_dir/lab/${id%"${id#????????????}"}"
}

# assets_qemu: the directory of the newest QEMU for the lab.
assets_qemu()
{
	local dir

	for dir in "$assets_dir"/qemu/[0-9]*; do
		[ ! -d "$dir" ] || printf '%s\n' "$dir"
	done | sort -rV | grep -m 1 .
}

# assets_kernel [PREFIX]: the newest release that begins with PREFIX. 6.1 does not
# stand for 6.12. By default PREFIX is the value of KERNEL; auto takes the newest.
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

# assets_own_kernel: the release of the kernel that isospin build has made.
assets_own_kernel()
{
	local dir

	for dir in "$assets_dir"/kernels/[0-9]*-isospin; do
		[ ! -d "$dir" ] || printf '%s\n' "${dir##*/}"
	done | sort -rV | grep -m 1 .
}

# assets_worker_kernel: the release of a worker's kernel, which is the one that KERNEL
# names. If KERNEL is auto, our own comes before Debian's.
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

# assets_source: the newest archive with the source of Linux.
assets_source()
{
	local file

	for file in "$assets_dir"/sources/*/linux-source-*.tar.xz; do
		[ ! -f "$file" ] || printf '%s\n' "$file"
	done | sort -rV | grep -m 1 .
}

# assets_nvidia_versions [BRANCH]: the versions of NVIDIA's programs that are there,
# newest first.
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

# assets_nvidia_missing BRANCH: why setup could not fetch that branch; 1 if it has not
# tried.
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
