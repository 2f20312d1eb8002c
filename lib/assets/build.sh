# shellcheck shell=sh
# build.sh - build programs, kernels and images by name, again when an input changed
#
# stamps/TARGET in paths_state holds the hash of TARGET's inputs, the hash of its output,
# and the path of the output. Images have stamps of their own, see image.sh.
#
# Call build_init first. On failure these functions return a status and set why.

use conf proc assets image kernel rootfs compile

build_stamps=$paths_state/stamps

# The targets, in the order in which `all` makes them.
build_table='
gpu-broker        the broker, for a GPU VM with a C library
gpu-broker-static the broker by itself, for any GPU VM
fc-gpu-kernel     the kernel of the workers
nvidia-shim       the kernel module of the workers
fc-initramfs      the initial RAM disk that a worker boots from
fc-rootfs         the file system that a worker boots from
gpu-vm-kernel     the kernel of the GPU VM, unpacked
gpu-vm-initramfs  the initial RAM disk of the GPU VM, with gpu-broker-static
gpu-rootfs        the driver of NVIDIA, for a GPU VM with real hardware
lab               the kernel module of the lab, for a device that hangs
'

# build_targets: prints the names of all targets.
build_targets()
{
	local target what

	while read -r target what; do
		[ -z "$target" ] || printf '%s\n' "$target"
	done <<-EOT
	$build_table
	EOT
}

# build_all_targets: prints the targets that `all` makes. The lab's are not among them,
# nor those that need software that is not free.
build_all_targets()
{
	build_targets | grep -vx -e gpu-rootfs -e lab
}

# build_known TARGET
build_known()
{
	case $build_table in
	*"$base_nl$1 "*) ;;
	*) return 1 ;;
	esac
}

# build_init [TREE [VERSION [FILE]]]: has fc-gpu-kernel made of the source in TREE, not of
# Debian's package, and gpu-rootfs with NVIDIA's driver VERSION, out of the .run file
# FILE. An empty word stands for the default.
build_init()
{
	build_tree=${1:-}
	build_driver=${2:-}
	build_run=${3:-}
	build_kernels
}

# build_kernels: sets build_worker, build_gpu and build_lab, the kernels of the VMs and
# of the lab, empty if there is none.
build_kernels()
{
	build_worker=$(assets_worker_kernel) || build_worker=
	build_gpu=$(assets_kernel) || build_gpu=
	build_lab=$(assets_lab_kernel) || build_lab=
	rootfs_init "$build_gpu" "$build_driver" "$build_run"
}

# build_inputs TARGET: prints all that the target's content depends on, as hashes of
# files, versions and flags.
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
	lab)
		[ -n "$build_lab" ] || return
		build_hash "${paths_share#"$paths_top/"}/lab/modules" &&
			sha256sum <"$(assets_kernel_dir "$build_lab")/vmlinuz" ;;
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

# build_current TARGET: whether the target is there and made of the inputs of today. Sets
# build_out to its path, empty if it is not there.
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
	build_out=$(image_current "$@") || rc=$?
	return "$rc"
}

# build_all TARGET...: makes them; one build of this isospin runs at a time.
build_all()
{
	local target

	[ "$DRY_RUN" -eq 1 ] || build_lock || return
	for target; do
		build_target "$target" || return
	done
}

build_lock()
{
	mkdir -p -- "$paths_state" ||
		fail 74 "$paths_state: cannot be made" || return
	! proc_lock "$paths_state/lock" || return 0
	log_info 'waiting for another build'
	proc_lock "$paths_state/lock" 7200 ||
		fail 75 "another build holds $paths_state/lock"
}

# build_target TARGET: makes it unless it is there. Sets build_out.
build_target()
{
	build_kernels && build_parts "$1" || return
	if build_current "$1"; then
		log_info "$1: nothing has changed"
		return 0
	fi
	if [ "$DRY_RUN" -eq 1 ]; then
		printf '# makes %s\n' "$1"
		return 0
	fi
	build_make "$1" || return
	log_info "$1: $build_out"
}

# build_make TARGET: makes it.
build_make()
{
	case $1 in
	fc-gpu-kernel) build_stamped "$1" build_kernel ;;
	nvidia-shim)
		build_need "$build_worker" || return
		if [ -n "$paths_source" ]; then
			build_files "$1" "build/kmod/$build_worker/nvidia-shim.ko"
		else
			build_stamped "$1" build_shim
		fi ;;
	gpu-broker) build_files "$1" build/bin/gpu-broker ;;
	gpu-broker-static) build_files "$1" build/static/bin/gpu-broker ;;
	guests) build_files "$1" build/static/bin/isospin-agent \
		build/static/bin/isospin-smi ;;
	lab)
		build_need "$build_lab" || return
		if [ -n "$paths_source" ]; then
			build_files "$1" "build/lab/$build_lab/hang.ko"
		else
			build_stamped "$1" build_hang
		fi ;;
	fc-initramfs) build_image "$1" image_worker "$build_worker" ;;
	fc-rootfs) build_image "$1" image_rootfs "$build_worker" ;;
	gpu-vm-initramfs) build_image "$1" image_gpu "$build_gpu" ;;
	gpu-modules-*) build_stamped "$1" build_modules ;;
	gpu-rootfs) build_image "$1" rootfs_image "$build_gpu" ;;
	gpu-vm-kernel) build_image "$1" image_kernel "$build_gpu" ;;
	esac
}

# build_parts TARGET: makes the targets that an image is made of.
build_parts()
{
	case $1 in
	fc-initramfs | fc-rootfs)
		build_target guests && build_target nvidia-shim ;;
	gpu-vm-initramfs)
		build_target guests && build_target gpu-broker-static ;;
	gpu-rootfs)
		build_need "$build_gpu" && rootfs_get &&
			build_target "gpu-modules-$rootfs_version" ;;
	esac
}

# build_need RELEASE: whether there is a kernel.
build_need()
{
	[ -n "$1" ] || fail 66 'no kernel; run: isospin setup demo'
}

# build_kernel, build_modules, build_shim, build_hang: make the target of
# build_stamped.
build_kernel()
{
	kernel_build "$build_tree" && build_out=$kernel_file
}

build_modules()
{
	rootfs_modules && build_out=$rootfs_module
}

build_shim()
{
	build_out=$paths_state/kmod/$build_worker
	compile_module nvidia-shim "$paths_shim" "$build_out" "$build_worker" &&
		build_out=$build_out/nvidia-shim.ko
}

build_hang()
{
	build_out=$paths_state/lab/$build_lab
	compile_module hang "$paths_share/lab/modules" "$build_out" "$build_lab" &&
		build_out=$build_out/hang.ko
}

# build_files TARGET FILE...: has make build the files, in a checkout. make would keep a
# file whose time is new enough whatever its content, so files that are not current are
# removed first.
build_files()
{
	local target="$1"

	shift
	(cd -- "$paths_source" && rm -f -- "$@") ||
		fail 74 "$target: cannot be removed" || return
	build_stamped "$target" build_run_make "$@"
}

build_run_make()
{
	compile_step "making $*" make -C "$paths_source" -s -j "$(nproc)" "$@" &&
		build_out=$paths_source/$1
}

# build_image TARGET IMAGE RELEASE
build_image()
{
	local target="$1" rc=0

	shift
	build_need "$2" || return
	step_begin "making $target"
	why=
	"$@" || rc=$?
	[ "$rc" -eq 0 ] || {
		step_stop
		[ -n "$why" ] || fail 69 "$target cannot be made" || return
		return "$rc"
	}
	step_end
	build_out=$image_file
}

# build_stamped TARGET COMMAND [ARG...]: COMMAND makes build_out. The inputs are read
# before it runs: if they change meanwhile, the next build notices.
build_stamped()
{
	local target="$1" inputs made

	shift
	inputs=$(build_inputs "$target") ||
		fail 66 "$target: a file that it is made of cannot be read" || return
	inputs=$(printf %s "$inputs" | sha256sum)
	mkdir -p -- "$build_stamps" && rm -f -- "$build_stamps/$target" ||
		fail 74 "$build_stamps: cannot be written" || return
	"$@" || return
	made=$(sha256sum <"$build_out") ||
		fail 74 "$build_out: cannot be read" || return
	if ! printf '%s\n' "$build_out" "$inputs" "$made" \
		>"$build_stamps/.$target" ||
		! mv -f -- "$build_stamps/.$target" "$build_stamps/$target"; then
		fail 74 "$build_stamps/$target: cannot be written; is the disk full?"
	fi
}
