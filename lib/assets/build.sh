# shellcheck shell=sh
# build.sh - programs, kernels and images by name, made again when their content
# calls for it
#
# stamps/TARGET in paths_state holds the hash of what TARGET was made of, the hash of
# what came out, and where that is. Images have stamps of their own, see image.sh.
#
# Needs base, conf, proc, assets_init, disk, image, kernel, rootfs.

use assets image kernel rootfs

build_stamps=$paths_state/stamps
build_log=$paths_state/build.log
build_tree=

# What there is, in the order in which `all` makes it.
build_table='
gpu-broker        the broker, for a GPU VM with a C library
gpu-broker-static the broker by itself, for any GPU VM
fc-gpu-kernel     the kernel of the workers
nvidia-shim       the kernel module of the workers
fc-initramfs      what a worker boots from: an initial RAM disk
fc-rootfs         what a worker boots from: a file system
gpu-vm-kernel     the kernel of the GPU VM, unpacked
gpu-vm-initramfs  what the GPU VM boots from, with gpu-broker-static
gpu-rootfs        the driver of NVIDIA, for a GPU VM with real hardware
'

# build_targets: prints their names.
build_targets()
{
	local target what

	while read -r target what; do
		[ -z "$target" ] || printf '%s\n' "$target"
	done <<-EOT
	$build_table
	EOT
}

# build_all_targets: prints what `all` makes: not what takes software that is not
# free.
build_all_targets()
{
	build_targets | grep -vx gpu-rootfs
}

# build_known TARGET
build_known()
{
	case $build_table in
	*"$base_nl$1 "*) ;;
	*) return 1 ;;
	esac
}

# build_step TEXT COMMAND [ARG...]: COMMAND as a step, its output in build_log; ends
# the command with its last lines if it fails.
build_step()
{
	local text="$1"

	shift
	log_debug "+ $(base_quote "$@")"
	step_begin "$text"
	if ! "$@" </dev/null >"$build_log" 2>&1; then
		step_stop
		log_error "last lines of $build_log:"
		tail -n 15 -- "$build_log" | tr -cd '\11\12\40-\176' |
			sed 's/^/  | /' >&2
		die 69 "$text failed"
	fi
	step_end
}

# build_kernels: sets build_worker and build_gpu, the kernels of the VMs, empty
# if there is none.
build_kernels()
{
	build_worker=$(assets_worker_kernel) || build_worker=
	build_gpu=$(assets_kernel) || build_gpu=
	rootfs_init
}

# build_inputs TARGET: prints what it is made of, by its content.
build_inputs()
{
	local release

	case $1 in
	gpu-broker | gpu-broker-static | guests)
		build_hash Makefile share/version share/conf.tbl share/abi \
			scripts/gen src && "${CC:-cc}" --version &&
			printf '%s\n' "${CFLAGS:-}" "${LDFLAGS:-}" ;;
	nvidia-shim)
		[ -n "$build_worker" ] || return
		if [ -n "$paths_source" ]; then
			build_hash Makefile kmod src/abi/iso_wire.h
		else
			build_hash "$paths_shim"
		fi && sha256sum <"$(assets_kernel_dir "$build_worker")/vmlinuz" ;;
	fc-gpu-kernel) kernel_inputs "$build_tree" ;;
	gpu-modules-*) rootfs_inputs ;;
	esac
}

# build_hash FILE|DIR...: of the checkout, or of a directory of another place.
build_hash()
{
	(cd -- "$paths_top/" && find "$@" -type f -print0 | sort -z |
		xargs -0 sha256sum)
}

# build_current TARGET: whether it is there and as its inputs would have it. Sets
# build_out to where it is, empty if it is not there.
build_current()
{
	local stamp made now

	build_out=
	if build_installed "$1"; then
		return 0
	fi
	case $1 in
	fc-initramfs) build_looks image_worker "$build_worker"; return ;;
	fc-rootfs) build_looks image_rootfs "$build_worker"; return ;;
	gpu-vm-initramfs) build_looks image_gpu "$build_gpu"; return ;;
	gpu-rootfs) build_looks rootfs_image "$build_gpu"; return ;;
	gpu-vm-kernel)
		[ -n "$build_gpu" ] &&
			[ -f "$image_dir/vmlinux-$build_gpu" ] || return 1
		build_out=$image_dir/vmlinux-$build_gpu
		return 0 ;;
	esac
	{ IFS= read -r build_out && read -r stamp && read -r made; } \
		2>/dev/null <"$build_stamps/$1" || return 1
	if [ ! -f "$build_out" ]; then
		build_out=
		return 1
	fi
	now=$(sha256sum <"$build_out") && [ "$now" = "$made" ] &&
		now=$(build_inputs "$1") && now=$(printf %s "$now" | sha256sum) &&
		[ "$now" = "$stamp" ]
}

# build_installed TARGET: whether it came with an installed tree; sets build_out to
# where it is.
build_installed()
{
	[ -z "$paths_source" ] || return 1
	case $1 in
	gpu-broker) build_out=$paths_bin/gpu-broker ;;
	gpu-broker-static) build_out=$paths_guest/gpu-broker ;;
	guests) build_out=$paths_guest/isospin-agent ;;
	*) return 1 ;;
	esac
}

# build_looks IMAGE RELEASE: the same for an image. Its inputs may be missing.
build_looks()
{
	local rc=0

	[ -n "$2" ] || return 1
	build_out=$(
		image_look=1
		rc=0
		"$@" 2>/dev/null || rc=$?
		[ ! -f "$image_file" ] || printf '%s\n' "$image_file"
		leave "$rc"
	) || rc=$?
	return "$rc"
}

# build_target TARGET: makes it unless it is there. Sets build_out.
build_target()
{
	build_kernels
	build_parts "$1"
	if build_current "$1"; then
		log_info "$1: nothing has changed"
		return 0
	fi
	if [ "$DRY_RUN" -eq 1 ]; then
		printf '# makes %s\n' "$1"
		return 0
	fi
	case $1 in
	fc-gpu-kernel) build_stamped "$1" kernel_build "$build_tree" ;;
	nvidia-shim)
		build_need "$build_worker"
		build_shim "kmod/$build_worker" ;;
	gpu-broker) build_make "$1" build/bin/gpu-broker ;;
	gpu-broker-static) build_make "$1" build/static/bin/gpu-broker ;;
	guests) build_make "$1" build/static/bin/isospin-agent \
		build/static/bin/isospin-smi ;;
	fc-initramfs) build_image "$1" image_worker "$build_worker" ;;
	fc-rootfs) build_image "$1" image_rootfs "$build_worker" ;;
	gpu-vm-initramfs) build_image "$1" image_gpu "$build_gpu" ;;
	gpu-modules-*) build_stamped "$1" rootfs_modules ;;
	gpu-rootfs) build_image "$1" rootfs_image "$build_gpu" ;;
	gpu-vm-kernel)
		build_need "$build_gpu"
		build_image "$1" image_kernel "$build_gpu" ;;
	esac
	log_info "$1: $build_out"
}

# build_parts TARGET: makes what an image is made of.
build_parts()
{
	case $1 in
	fc-initramfs | fc-rootfs)
		build_target guests
		build_target nvidia-shim ;;
	gpu-vm-initramfs)
		build_target guests
		build_target gpu-broker-static ;;
	gpu-rootfs)
		build_need "$build_gpu"
		rootfs_get
		build_target "gpu-modules-$rootfs_version" ;;
	esac
}

build_need()
{
	[ -n "$1" ] || die 66 'no kernel; run: isospin setup demo'
}

# build_make TARGET FILE...: by make, for which the time of a file counts, not its
# content: what is there is not current, so it goes.
build_make()
{
	local target="$1"

	shift
	(cd -- "$paths_source" && rm -f -- "$@") || die 74 "$target: cannot be removed"
	build_stamped "$target" build_run_make "$@"
}

# build_shim DIR: makes the workers' kernel module in DIR of paths_state.
build_shim()
{
	if [ -n "$paths_source" ]; then
		build_make nvidia-shim "build/$1/nvidia-shim.ko"
	else
		build_stamped nvidia-shim build_module nvidia-shim "$paths_shim" \
			"$paths_state/$1" "$build_worker"
	fi
}

# build_module NAME SOURCE DIR RELEASE: compiles the kernel module NAME of the files
# in SOURCE, as a copy in DIR.
build_module()
{
	rm -rf -- "$3"
	if ! mkdir -p -- "$3" || ! cp -- "$2"/* "$3/"; then
		die 74 "$3: cannot be made; is the disk full?"
	fi
	build_step "making $1 for kernel $4" make -s \
		-C "$(assets_kernel_dir "$4")/headers" "M=$3" modules
	build_out=$3/$1.ko
}

build_run_make()
{
	build_step "making $*" make -C "$paths_source" -s -j "$(nproc)" "$@"
	build_out=$paths_source/$1
}

# build_image TARGET IMAGE RELEASE
build_image()
{
	local target="$1"

	shift
	build_need "$2"
	step_begin "making $target"
	"$@" || die 69 "$target cannot be made"
	step_end
	build_out=$image_file
}

# build_stamped TARGET COMMAND [ARG...]: COMMAND makes build_out. The inputs are read
# before it: if they change meanwhile, the next build sees it.
build_stamped()
{
	local target="$1" inputs made

	shift
	inputs=$(build_inputs "$target") ||
		die 66 "$target: what it is made of is not there"
	inputs=$(printf %s "$inputs" | sha256sum)
	if ! mkdir -p -- "$build_stamps" ||
		! rm -f -- "$build_stamps/$target"; then
		die 74 "$build_stamps: cannot be written"
	fi
	"$@"
	made=$(sha256sum <"$build_out") || die 74 "$build_out: cannot be read"
	if ! printf '%s\n' "$build_out" "$inputs" "$made" \
		>"$build_stamps/.$target" ||
		! mv -f -- "$build_stamps/.$target" "$build_stamps/$target"; then
		die 74 "$build_stamps/$target: cannot be written; is the disk full?"
	fi
}
