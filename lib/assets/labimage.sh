# shellcheck shell=sh
# labimage.sh - the initial RAM disk of the lab

use assets image

# The modules that the lab loads.
labimage_modules='virtio_pci virtio_blk ext4 overlay vmw_vsock_virtio_transport'

# labimage RELEASE: makes the RAM disk, except the part of one boot, and sets image_file.
labimage()
{
	image_make "lab-$1.cpio" labimage_stage "$1"
}

labimage_stage()
{
	local dir file list='' paths

	dir=$(assets_kernel_dir "$1")
	paths=$(labimage_modules_of "$dir" "$1") || return
	image_put "$paths_guest/isospin-agent" isospin/agent 755 &&
		image_put "$image_busybox" bin/busybox 755 &&
		image_put "$paths_share/lab/init" init 755 || return
	for file in $paths; do
		dir=${file##*/}
		dir=${dir%.xz}
		image_put "$file" "modules/$dir" 644 || return
		list="$list$dir$base_nl"
	done
	printf '%s' "$list" | image_text modules/list 644 &&
		image_text isospin/modules 644 </dev/null || return
	[ -n "$image_root" ] || return 0
	mkdir -p "$image_root/dev" "$image_root/proc" &&
		for file in sh $("$image_busybox" --list); do
			[ "$file" = busybox ] || [ -e "$image_root/bin/$file" ] ||
				ln -s busybox "$image_root/bin/$file" || return
		done
}

# labimage_modules_of DIR RELEASE: the files of labimage_modules and of the modules that
# those need, in the order in which they are loaded.
labimage_modules_of()
{
	local module

	for module in $labimage_modules; do
		/sbin/modprobe -d "$1" -S "$2" --show-depends "$module" ||
			log_error "kernel $2 has no module $module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}
