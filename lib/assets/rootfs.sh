# shellcheck shell=sh
# rootfs.sh - make the disk with NVIDIA's own driver, for a GPU VM with a real GPU
#
# $ASSETS_DIR/gpu/VERSION/  the parts, from Debian's packages or from a .run file of
#                           NVIDIA's:
#     src/                  source of the open kernel modules
#     firmware/             gsp_*.bin
#
# The modules are compiled for the GPU VM's kernel, and the GPU VM's agent mounts the
# disk as /image. Call rootfs_init first. On failure these functions return a status
# and set why.

use conf abi apt fetch assets image compile

rootfs_kmods='nvidia nvidia-uvm'

# rootfs_init RELEASE [VERSION [FILE]]: chooses the kernel (empty if there is none), the
# driver (that of DRIVER_VERSION), and NVIDIA's .run file, if it comes from one. Sets
# rootfs_version.
rootfs_init()
{
	rootfs_release=$1
	rootfs_version=${2:-}
	rootfs_run=${3:-}
	[ -n "$rootfs_version" ] || conf_get rootfs_version DRIVER_VERSION
	case $rootfs_version in
	*[!0-9.]* | .* | *.)
		fail 64 "'$rootfs_version' is no version of a driver" || return ;;
	esac
	rootfs_dir=$assets_dir/gpu/$rootfs_version
	rootfs_out=$paths_state/nvidia/$rootfs_release/$rootfs_version
}

# rootfs_get: fetches or unpacks the driver into rootfs_dir, unless it is there.
rootfs_get()
{
	local new="$assets_dir/gpu/.new"

	abi_has "$rootfs_version" ||
		fail 66 "no call table of driver $rootfs_version; there are: $(
			abi_versions | tr '\n' ' ')" || return
	if [ -d "$rootfs_dir" ] || [ "$DRY_RUN" -eq 1 ]; then
		return 0
	fi
	{ as_user mkdir -p "$assets_dir/gpu" && as_user rm -rf "$new"; } ||
		fail 74 "$assets_dir/gpu: cannot be written; is the disk full?" ||
		return
	apt_init || return
	if [ -n "$rootfs_run" ]; then
		rootfs_unpack "$new"
	else
		rootfs_fetch
	fi
}

# rootfs_unpack DIR: takes the driver out of the .run file, by way of DIR.
rootfs_unpack()
{
	local said

	step_begin "unpacking ${rootfs_run##*/}"
	as_user sh "$rootfs_run" --extract-only --target "$1" \
		</dev/null >"$apt_log" 2>&1 || {
		step_stop
		fail 65 "$rootfs_run cannot be unpacked: $(tail -n 1 "$apt_log")" ||
			return
	}
	step_end
	said=$(sed -n 's/.*NV_VERSION_STRING=\\"\([0-9.]*\)\\".*/\1/p' \
		"$1/kernel-open/Kbuild" 2>/dev/null) || said=
	[ "$said" = "$rootfs_version" ] ||
		fail 65 "$rootfs_run has driver '$said', not $rootfs_version" ||
		return
	# shellcheck disable=SC2016 # the inner shell's words
	as_user sh -c 'set -e
		mkdir "$1/keep"
		mv "$1/kernel-open" "$1/keep/src"
		mv "$1/firmware" "$1/keep/"
		mv -T "$1/keep" "$2"
		rm -rf "$1"' sh "$1" "$rootfs_dir" ||
		fail 65 "$rootfs_run is not laid out as expected"
}

# rootfs_fetch: takes the driver from the packages of Debian 12 or 13; each has one branch.
rootfs_fetch()
{
	local key value codename='' suite nonfree

	conf_get nonfree NONFREE
	[ "$nonfree" = yes ] ||
		fail 78 "NONFREE=no, but NVIDIA's firmware is not free, and no GPU \
runs without" || return
	log_info "NVIDIA's firmware is non-free software under NVIDIA's licence;" \
		"NONFREE=no refuses it"
	while IFS='=' read -r key value; do
		[ "$key" != VERSION_CODENAME ] || codename=$value
	done <"${OS_RELEASE:-/etc/os-release}"
	fetch_init "$assets_dir/gpu/apt" gpu && fetch_mirrors "$codename" || return
	for suite in bookworm trixie; do
		as_user rm -f "$apt_dir/sources.d"/*
		apt_own_source "$suite" "$apt_main" "$suite" contrib \
			non-free-firmware || return
		if ! fetch_update "fetching the index of $suite contrib"; then
			log_warn "left out: $suite: $why"
			continue
		fi
		if rootfs_plan; then
			fetch_all
			return
		fi
	done
	fail 69 "no Debian has NVIDIA's driver $rootfs_version; with NVIDIA's own \
file: isospin build --driver $rootfs_version --run FILE gpu-rootfs"
}

# rootfs_plan: plans the packages of the driver; 1 if the sources have none.
rootfs_plan()
{
	local source firmware

	source=$(apt_versions nvidia-open-kernel-source |
		grep -m 1 "^$rootfs_version-") || return 1
	firmware=$(apt_versions firmware-nvidia-gsp |
		grep -m 1 "^$rootfs_version-") || return 1
	fetch_add gpu "$rootfs_version" "nvidia-open-kernel-source=$source" \
		"firmware-nvidia-gsp=$firmware"
}

# fetch_finish_gpu NEW VERSION: see fetch_unpack.
fetch_finish_gpu()
{
	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'set -e
		cd "$1"
		mkdir src
		tar -C src --strip-components 2 \
			-xf root/usr/src/nvidia-open-kernel.tar.xz
		for dir in root/usr/lib root/lib; do
			[ ! -d "$dir/firmware/nvidia/$2" ] ||
				mv "$dir/firmware/nvidia/$2" firmware
		done
		[ -f src/Kbuild ] && [ -d firmware ]
		rm -rf root' sh "$1" "$2" ||
		fail 65 "NVIDIA $2: its packages are not laid out as expected"
}

# rootfs_inputs: prints hashes of all the modules' inputs.
rootfs_inputs()
{
	[ -n "$rootfs_release" ] && [ -d "$rootfs_dir/src" ] || return
	sha256sum <"$(assets_kernel_dir "$rootfs_release")/vmlinuz" &&
		sha256sum <"$TOP/lib/assets/rootfs.sh" && gcc --version &&
		(cd -- "$rootfs_dir/src" && find . -type f -print0 | sort -z |
			xargs -0 sha256sum)
}

# rootfs_modules: compiles the modules, in a copy of their source, and sets
# rootfs_module to one of them.
rootfs_modules()
{
	local kernel common module

	kernel=$(assets_kernel_dir "$rootfs_release")
	common=$(find "$kernel/usr/src" -name 'linux-headers-*-common' \
		2>/dev/null) || common=
	[ -n "$common" ] ||
		fail 66 "kernel $rootfs_release has no headers" || return
	rm -rf -- "$rootfs_out"
	if ! mkdir -p -- "$rootfs_out" ||
		! cp -R -- "$rootfs_dir/src" "$rootfs_out/src"; then
		fail 74 "$rootfs_out: cannot be made; is the disk full?" || return
	fi
	on_exit rm -rf -- "$rootfs_out/src"
	rootfs_adapt "$common" "$rootfs_out/src" || return
	compile_step "compiling NVIDIA's modules" make -C "$rootfs_out/src" \
		-j "$(nproc)" modules "SYSSRC=$common" "SYSOUT=$kernel/headers" \
		"KERNEL_UNAME=$rootfs_release" "NV_KERNEL_MODULES=$rootfs_kmods" \
		IGNORE_CC_MISMATCH=1 || return
	for module in $rootfs_kmods; do
		strip -g -o "$rootfs_out/$module.ko" \
			"$rootfs_out/src/$module.ko" ||
			fail 74 "$rootfs_out/$module.ko: cannot be made" || return
	done
	rm -rf -- "$rootfs_out/src"
	rootfs_module=$rootfs_out/nvidia.ko
}

# rootfs_adapt HEADERS SRC: later updates of Linux 6.12 give pci_resize_resource() one
# more argument, the BARs to leave as they are. Driver 550 and older do not pass it.
rootfs_adapt()
{
	local file="$2/nvidia/nv-pci.c"

	if grep -q exclude_bars "$1/include/linux/pci.h" &&
		! grep -q 'pci_resize_resource(.*,.*,.*,' "$file"; then
		sed -i 's/\(pci_resize_resource([^()]*\))/\1, 0)/' "$file" ||
			fail 74 "$file: cannot be changed"
	fi
}

# rootfs_image RELEASE: makes the disk, unless it is current, and sets image_file.
rootfs_image()
{
	image_disk 0 "gpu-rootfs-$rootfs_version-$1.ext4" rootfs_stage
}

rootfs_stage()
{
	local name file nonfree

	for name in $rootfs_kmods; do
		image_put "$rootfs_out/$name.ko" "isospin/$name.ko" 644 || return
	done
	for file in "$rootfs_dir"/firmware/*.bin; do
		image_put "$file" \
			"lib/firmware/nvidia/$rootfs_version/${file##*/}" 644 ||
			return
	done
	conf_get nonfree NONFREE
	if [ "$nonfree" = yes ] &&
		[ -d "$(assets_nvidia_dir "$rootfs_version")" ]; then
		image_stage_nvidia "$rootfs_version"
	fi
}
