# shellcheck shell=sh
# image.sh - make the images that the VMs boot from
#
# An initrd consists of several cpio archives, which the kernel unpacks one over the
# other: a base for the role and kernel, NVIDIA's user space where it is wanted, and a
# small one for this boot, with the keys and settings that only this VM may know.
#
# The first two are kept in image_dir and made again when an input has changed:
# FILE.stamp holds the hash of all inputs. The same inputs give the same bytes.
#
# On failure these functions return a status and set why.

use disk assets

image_dir=$paths_state/images
image_busybox=/bin/busybox
# If not empty, image_make makes nothing: it only tells whether the image is current.
image_look=
# How much a worker may write to its root file system.
image_spare_mib=64

# The modules of a guest, below lib/modules/RELEASE/kernel/. A module that the kernel has
# built in has no file there and needs none.
image_modules='drivers/virtio/virtio_ring drivers/virtio/virtio
drivers/virtio/virtio_mmio drivers/virtio/virtio_pci_legacy_dev
drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci
net/vmw_vsock/vsock
net/vmw_vsock/vmw_vsock_virtio_transport_common
net/vmw_vsock/vmw_vsock_virtio_transport'

# Each of these makes an image, unless it is current, and sets image_file.
#
# image_worker RELEASE, image_gpu RELEASE: the base of a worker or GPU VM, for that
# kernel.
# image_rootfs RELEASE: a worker's base as a file system that it may write to.
# image_nvidia VERSION [cuda]: NVIDIA's nvidia-smi with the libraries that it loads;
# with `cuda` libcuda too.

image_worker()
{
	image_make "worker-$1.cpio" image_stage_worker "$1"
}

image_gpu()
{
	image_make "gpu-$1.cpio" image_stage_gpu "$1"
}

image_rootfs()
{
	image_disk "$image_spare_mib" "worker-$1.ext4" image_stage_worker "$1"
}

image_nvidia()
{
	image_make "nvidia-$1${2:+-$2}.cpio" image_stage_nvidia "$@"
}

# image_kernel RELEASE: unpacks that kernel, unless it has been, and sets image_file. A
# guest unpacks a bzImage itself, and for zstd without KVM that takes longer than the
# rest of the kernel's start. Returns 1 if the kernel is not packed with zstd, or there
# is no zstd here.
image_kernel()
{
	local from at size unpacked
	local made="$image_dir/vmlinux-$1"

	from=$(assets_kernel_dir "$1")/vmlinuz
	image_file=$made
	[ ! -f "$made" ] || return 0
	command -v zstd >/dev/null || return 1
	# Boot protocol: setup_sects, then payload_offset and payload_length of
	# the packed kernel, whose last four bytes are the size unpacked.
	at=$(image_number "$from" 497 1) && size=$(image_number "$from" 584 4) ||
		return 1
	at=$(((at + 1) * 512 + size))
	[ "$(image_number "$from" "$at" 4)" = 4247762216 ] || return 1
	size=$(image_number "$from" 588 4) || return 1
	size=$((size - 4))
	unpacked=$(image_number "$from" $((at + size)) 4) || return 1
	mkdir -p -- "$image_dir" ||
		fail 74 "$image_dir: cannot be made; is the disk full?" || return
	tail -c "+$((at + 1))" -- "$from" | head -c "$size" |
		zstd -qdc >"$made.$$" || unpacked=0
	if [ "$(stat -c %s -- "$made.$$")" != "$unpacked" ]; then
		rm -f -- "$made.$$"
		fail 74 "$made: cannot be made; is the disk full?" || return
	fi
	mv -f -- "$made.$$" "$made" || fail 74 "$made: cannot be made" || return
	base_owner_fix "$paths_state"
}

# image_number FILE OFFSET BYTES: prints the number that is there.
image_number()
{
	local n

	n=$(od -An "-tu$3" "-j$2" "-N$3" -- "$1") || return
	n=${n##* }
	[ -z "$n" ] || printf '%s\n' "$n"
}

# image_boot FILE DIR NAME...: makes the archive of one boot. It puts files of DIR into
# the guest's /isospin/, which only root can read there.
image_boot()
{
	local file="$1" from="$2" stage

	shift 2
	if ! stage=$(mktemp -d "$from/boot.XXXXXX") ||
		! mkdir "$stage/isospin" ||
		! (cd -- "$from" && cp -- "$@" "$stage/isospin/") ||
		! chmod -R go= "$stage/isospin" ||
		! image_cpio "$stage" "$file"; then
		fail 74 "$file: cannot be made; is the disk full?" || return
	fi
	rm -rf -- "$stage"
}

# image_concat FILE PIECE...: makes an initrd of archives.
image_concat()
{
	local file="$1"

	shift
	if ! cat -- "$@" >"$file.new" || ! mv -f -- "$file.new" "$file"; then
		fail 74 "$file: cannot be made; is the disk full?"
	fi
}

# image_current IMAGE ARG...: prints the path of the image that the function IMAGE (such
# as image_worker) makes of ARG, if it is there. 0 if it need not be made again.
image_current()
{
	local rc=0

	image_file=
	image_look=1
	"$@" 2>/dev/null || rc=$?
	image_look=
	[ ! -f "$image_file" ] || printf '%s\n' "$image_file"
	return "$rc"
}

# image_disk SPARE NAME STAGE ARG...: as image_make, for a file system with SPARE MiB of
# free space.
image_disk()
{
	local image_spare="$1"

	shift
	image_make "$@"
}

# image_make NAME STAGE ARG...: makes the image NAME of the files that the function
# STAGE puts into image_root, unless there is one made of the same files. STAGE calls
# image_put for each file; in a first pass, without image_root, that only lists inputs.
image_make()
{
	local name="$1" stage="$2" stamp old=''

	shift 2
	image_file=$image_dir/$name
	image_inputs=
	image_texts=
	image_root=
	"$stage" "$@" || return
	stamp=$(image_stamp) || fail 74 "$name: an input cannot be read" || return
	{ read -r old <"$image_file.stamp"; } 2>/dev/null || :
	[ "$old" != "$stamp" ] || [ ! -f "$image_file" ] || return 0
	[ -z "$image_look" ] || fail 1 "$image_file is out of date" || return
	log_debug "making $image_file"
	mkdir -p -- "$image_dir" 2>/dev/null || :
	image_root=$(mktemp -d "$image_dir/.$name.XXXXXX" 2>/dev/null) ||
		fail 74 "$image_dir: cannot be written" || return
	on_exit rm -rf -- "$image_root"
	if ! "$stage" "$@" || ! image_pack "$image_root" "$image_file" ||
		! mv -f -- "$image_file.$$" "$image_file" ||
		! printf '%s\n' "$stamp" >"$image_file.stamp"; then
		rm -f -- "$image_file.$$"
		fail 74 "$image_file: cannot be made; is the disk full?" || return
	fi
	rm -rf -- "$image_root"
	base_owner_fix "$paths_state"
}

# image_pack DIR FILE: packs DIR into FILE.$$, in the format that FILE's name says.
image_pack()
{
	case $2 in
	*.cpio) image_cpio "$1" "$2.$$" ;;
	*.ext4)
		mkdir -- "$1/dev" "$1/proc" "$1/sys" "$1/run" "$1/tmp" &&
			image_times "$1" && disk_make "$1" "$2.$$" disk_as \
			"$image_spare" ;;
	esac
}

# image_stamp: prints a hash of this file, of the list of inputs, and of each input.
image_stamp()
{
	local sums

	sums=$(image_sums) || return
	printf '%s\n' "$sums" "$image_inputs" "$image_texts" | sha256sum
}

image_sums()
{
	local from rest

	cat "$TOP/lib/assets/image.sh" "$TOP/lib/host/disk.sh" | sha256sum
	while IFS='|' read -r from rest; do
		[ -z "$from" ] || sha256sum <"$from" || return
	done <<-EOT
	$image_inputs
	EOT
}

# image_put FROM TO MODE: puts a file into the image. Our own programs lose their
# debugging information. A module is unpacked and loses its signature: a guest without
# KVM would take longer to check it than for all else from init on, and the package was
# checked before it was unpacked.
image_put()
{
	local to="$image_root/$2"

	if [ -z "$image_root" ]; then
		[ -r "$1" ] || image_lacks "$1" || return
		image_inputs="$image_inputs$1|$2|$3$base_nl"
		return 0
	fi
	mkdir -p -- "${to%/*}" || return
	case $1 in
	*.ko.xz) xz -dc -- "$1" >"$to" && strip -g -R .BTF -- "$to" ;;
	*.ko) strip -g -R .BTF -o "$to" -- "$1" ;;
	"$paths_guest/"*) strip -g -o "$to" -- "$1" ;;
	*) cp -- "$1" "$to" ;;
	esac && chmod "$3" "$to"
}

# image_lacks FILE: 66, and why: which command makes FILE.
image_lacks()
{
	local how='isospin setup demo'

	case $1 in
	"$paths_state/kmod/"*) how='isospin build nvidia-shim' ;;
	"$paths_guest/"*) how="make" ;;
	esac
	fail 66 "$1: not there; run $how, or isospin demo first"
}

# image_text TO MODE: puts a file into the image that has the content of stdin.
image_text()
{
	local to="$image_root/$1"

	if [ -z "$image_root" ]; then
		image_texts="$image_texts$1|$2|$(cat)$base_nl"
		return 0
	fi
	mkdir -p -- "${to%/*}" && cat >"$to" && chmod "$2" "$to"
}

# image_cpio DIR FILE: makes an archive of all files below DIR, with a fixed owner, times
# and order. cpio is called by its path: busybox ash would run its own, which lacks
# these options.
image_cpio()
{
	(
		image_times "$1" && cd -- "$1" &&
			find . -mindepth 1 | sort | /usr/bin/cpio -o -H newc --quiet \
				--reproducible --owner +0:+0
	) >"$2"
}

# image_times DIR: sets the times of all files, and the modes of the directories.
image_times()
{
	find "$1" -type d -exec chmod u=rwx,go=rx {} + &&
		find "$1" -exec touch -h -d @0 {} +
}

# image_stage_base RELEASE [MODULE...]: puts in the files that every guest has, and these
# modules. Sets image_list to the names of all modules.
image_stage_base()
{
	local modules="lib/modules/$1/kernel" dir module list='' file applet

	dir=$(assets_kernel_dir "$1")
	shift
	image_put "$paths_guest/isospin-agent" init 755 &&
		image_put "$image_busybox" bin/busybox 755 || return
	for module in $image_modules "$@"; do
		for file in "$dir/$modules/$module".ko*; do
			[ -f "$file" ] || continue
			image_put "$file" "isospin/${module##*/}.ko" 644 || return
			list="$list${module##*/}.ko$base_nl"
		done
	done
	image_list=$list
	image_text etc/passwd 644 <<-'EOT' &&
	root:x:0:0:root:/root:/bin/sh
	nobody:x:65534:65534:nobody:/nonexistent:/bin/false
	EOT
		image_text etc/group 644 <<-'EOT' &&
	root:x:0:
	nogroup:x:65534:
	EOT
		image_text etc/hosts 644 <<-'EOT' &&
	127.0.0.1 localhost
	EOT
		image_text root/.profile 644 <<-'EOT' || return
	PS1='\h:\w\$ '
	EOT
	[ -n "$image_root" ] || return 0
	mkdir -p -- "$image_root/usr/bin" || return
	for applet in $("$image_busybox" --list); do
		[ "$applet" = busybox ] ||
			ln -s busybox "$image_root/bin/$applet" || return
	done
}

image_stage_worker()
{
	local smi="$paths_guest/isospin-smi"
	local shim="$paths_state/kmod/$1/nvidia-shim.ko"

	image_stage_base "$1" && image_put "$shim" isospin/nvidia-shim.ko 644 &&
		image_text isospin/modules 644 <<-EOT || return
	${image_list}nvidia-shim.ko shim
	EOT
	[ ! -f "$smi" ] || image_put "$smi" usr/bin/isospin-smi 755
}

image_stage_gpu()
{
	image_stage_base "$1" drivers/block/virtio_blk &&
		image_put "$paths_guest/gpu-broker" \
			isospin/gpu-broker 755 &&
		image_text isospin/modules 644 <<-EOT
	$image_list
	EOT
}

# image_stage_nvidia VERSION [cuda]: puts in the programs, and this machine's C library
# at the paths where the loader looks without a cache.
image_stage_nvidia()
{
	local dir libs lib want=libnvidia-ml

	dir=$(assets_nvidia_dir "$1")
	[ "${2:-}" != cuda ] || want='libnvidia-ml libcuda'
	image_put "$dir/nvidia-smi" usr/bin/nvidia-smi 755 || return
	for lib in $want; do
		image_put "$dir/lib/$lib.so.1" "usr/lib/$lib.so.1" 644 || return
	done
	libs=$(image_needs "$dir/nvidia-smi" "$dir/lib/libnvidia-ml.so.1") ||
		fail 69 "the loader cannot load $dir/nvidia-smi: $libs" || return
	for lib in $libs; do
		case ${lib##*/} in
		ld-linux*) image_put "$lib" "lib64/${lib##*/}" 755 ;;
		*) image_put "$lib" "usr/lib/${lib##*/}" 644 ;;
		esac || return
	done
}

# image_needs FILE FILE: prints the files that the loader would load for these two. If
# it cannot load them, returns 1 and prints its error message.
image_needs()
{
	local out

	out=$(LD_LIBRARY_PATH='' /lib64/ld-linux-x86-64.so.2 --list "$1" &&
		/lib64/ld-linux-x86-64.so.2 --list "$2") || {
		printf '%s\n' "$out"
		return 1
	}
	printf '%s\n' "$out" | awk '
		$2 == "=>" && $3 ~ /^\// { print $3 }
		$1 ~ /^\/.*ld-linux/ { print $1 }' | sort -u
}
