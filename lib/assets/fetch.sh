# shellcheck shell=sh
# fetch.sh - download kernels and NVIDIA's programs from Debian's archive and
# unpack them where assets.sh finds them; nothing is installed
#
# All of it is done as the calling user, so that it belongs to them and a
# package is never unpacked by root for somebody else. fetch_plan holds a line
# "KIND NAME PACKAGE=VERSION..." for each directory to be made.

use disk apt

fetch_plan=
fetch_download=0
fetch_disk=0

# fetch_init: needs assets_init. Removes what a killed run left.
fetch_init()
{
	fetch_keyring || die $? "$why"
	run as_user mkdir -p "$assets_dir/kernels" "$assets_dir/nvidia" \
		"$assets_dir/sources" ||
		die 74 "$assets_dir: cannot be written; is the disk full?"
	run as_user rm -rf "$assets_dir/kernels/.new" "$assets_dir/nvidia/.new" \
		"$assets_dir/sources/.new"
	apt_own_init "$assets_dir/apt"
}

# fetch_keyring: sets apt_keyring. 66, and why, if there is none.
fetch_keyring()
{
	local keyring

	apt_keyring=
	for keyring in "$fetch_keyrings/debian-archive-keyring.gpg" \
		"$fetch_keyrings/debian-archive-keyring.pgp"; do
		[ -n "$apt_keyring" ] || [ ! -r "$keyring" ] || apt_keyring=$keyring
	done
	[ -n "$apt_keyring" ] ||
		fail 66 "no $fetch_keyrings/debian-archive-keyring.gpg: install debian-archive-keyring"
}

fetch_keyrings=${KEYRINGS:-/usr/share/keyrings}

# fetch_sources CODENAME OTHER NONFREE: lists the suites of this Debian and of
# the other one, a component each, and fetches their indexes. This one's
# security updates must be had, what else cannot be is left out;
# fetch_left_out says so. A mirror may well have neither non-free nor the other
# Debian.
fetch_sources()
{
	local suite name left='' reason='' dir="$apt_dir/sources.d"

	fetch_left_out=
	apt_mirrors "$1" || die 78 "no source of Debian $1 main in $apt_etc"
	run as_user rm -f "$dir"/*
	for suite in "$1" "$2"; do
		apt_own_source "$suite-security-main" "$apt_security" \
			"$suite-security" main
		[ "$3" = yes ] || continue
		apt_own_source "$suite-security-non-free" "$apt_security" \
			"$suite-security" non-free
		apt_own_source "$suite-non-free" "$apt_main" "$suite" non-free
		apt_own_source "$suite-updates-non-free" "$apt_main" \
			"$suite-updates" non-free
	done
	fetch_update 'fetching indexes' && return
	[ "$apt_status" -ne 75 ] || die 75 "$apt_reason"

	for name in "$dir"/*.sources; do
		as_user mv "$name" "${name%.sources}.off"
	done
	set -- "$dir/$1-security-main.off" "$dir"/*.off
	for name; do
		[ -f "$name" ] || continue
		as_user mv "$name" "${name%.off}.sources"
		fetch_update "fetching the index of $(basename "$name" .off)" &&
			continue
		[ "$name" != "$1" ] || die "$apt_status" "$apt_reason"
		as_user rm -f "${name%.off}.sources"
		left="$left${left:+, }$(basename "$name" .off)"
		reason=$apt_reason
	done
	[ -n "$left" ] || return 0
	fetch_left_out="left out: $left: $reason"
	log_warn "$fetch_left_out"
}

fetch_update()
{
	apt_run "$1" as_user apt-get -c "$apt_dir/apt.conf" -q update
}

# fetch_add KIND NAME PACKAGE=VERSION...: puts a directory on the plan and
# counts its bytes.
fetch_add()
{
	local kind="$1" name="$2" sizes

	shift 2
	fetch_plan="$fetch_plan$kind $name $*$base_nl"
	sizes=$(apt_sizes "$@")
	fetch_download=$((fetch_download + ${sizes% *}))
	fetch_disk=$((fetch_disk + ${sizes#* }))
}

# fetch_plan_kernel PREFIX DEBIAN FLAVOUR: plans the newest kernel and its
# headers that begin with PREFIX and were made for that Debian (12, 13) and
# FLAVOUR (amd64, cloud-amd64); 1 if the sources offer none.
fetch_plan_kernel()
{
	local image release version deps

	image=$(apt_own apt-cache pkgnames "linux-image-$1." |
		grep -E '^linux-image-[0-9.]+(-[0-9]+|[+]deb'"$2[.0-9]*)-$3"'-unsigned$' |
		sort -V | tail -n 1)
	[ -n "$image" ] || return 1
	release=${image#linux-image-}
	release=${release%-unsigned}
	[ ! -d "$assets_dir/kernels/$release" ] || return 0
	version=$(apt_versions "$image" | head -n 1)
	[ -n "$version" ] || return 1
	deps=$(apt_field "linux-headers-$release=$version" Depends |
		tr ',' '\n' | sed -n 's/^ *\(linux-\(kbuild\|headers\)-[^ ]*\).*/\1/p')
	set -- "$image=$version" "linux-headers-$release=$version"
	for image in $deps; do
		set -- "$@" "$image=$(apt_versions "$image" | head -n 1)"
	done
	fetch_add kernel "$release" "$@"
}

# fetch_plan_nvidia BRANCH: plans its newest version; 1 if nobody offers one.
fetch_plan_nvidia()
{
	local version

	version=$(apt_versions nvidia-smi | grep "^$1[.]" | sort -rV | head -n 1)
	[ -n "$version" ] || return 1
	fetch_add nvidia "${version%%-*}" "nvidia-smi=$version" \
		"libnvidia-ml1=$version" "libcuda1=$version"
}

# fetch_plan_source PACKAGE: plans its newest version; 1 if nobody offers one.
fetch_plan_source()
{
	local version

	version=$(apt_versions "$1" | head -n 1)
	[ -n "$version" ] || return 1
	fetch_add source "$version" "$1=$version"
}

# fetch_plan_lab DIR: plans the lab's Debian; 1 if the sources lack a package.
fetch_plan_lab()
{
	local names pkgs

	names=$(sed '/^#/d' "$paths_share/lab/packages")
	# shellcheck disable=SC2086 # a list of packages
	pkgs=$(apt_closure $names) && [ -n "$pkgs" ] || return 1
	# shellcheck disable=SC2086 # a list of packages
	fetch_add lab "${1##*/}" $pkgs
}

# fetch_plan_qemu: plans the newest QEMU, if it is one of 10 or later; else 1.
fetch_plan_qemu()
{
	local version name

	version=$(apt_versions qemu-system-x86 | head -n 1)
	case $version in
	1:[1-9][0-9].*) ;;
	*) return 1 ;;
	esac
	set -- "seabios=$(apt_versions seabios | head -n 1)"
	for name in x86 common data; do
		set -- "$@" "qemu-system-$name=$version"
	done
	version=${version#*:}
	fetch_add qemu "${version%%[!0-9.]*}" "$@"
}

# fetch_all: carries out the plan.
fetch_all()
{
	local kind name pkgs

	while read -r kind name pkgs; do
		[ -n "$kind" ] || continue
		# shellcheck disable=SC2086 # a list of packages
		fetch_unpack "$kind" "$name" $pkgs
	done <<-EOT
	$fetch_plan
	EOT
}

# fetch_unpack KIND NAME PACKAGE=VERSION...: downloads, unpacks beside, renames.
fetch_unpack()
{
	local kind="$1" name="$2" dir new debs="$apt_dir/cache/$2" deb

	shift 2
	case $kind in
	kernel) dir=$assets_dir/kernels ;;
	nvidia) dir=$assets_dir/nvidia ;;
	source) dir=$assets_dir/sources ;;
	lab) dir=$assets_dir/lab ;;
	gpu) dir=$assets_dir/gpu ;;
	qemu) dir=$assets_dir/qemu ;;
	esac
	new=$dir/.new
	run as_user mkdir -p "$debs" "$new/root"
	# apt checks each file against the signed index, one already there too.
	# shellcheck disable=SC2016 # the inner shell's words
	apt_run "downloading $kind $name" as_user \
		sh -c 'cd "$1" && shift && exec "$@"' sh "$debs" \
		apt-get -c "$apt_dir/apt.conf" -q download "$@" ||
		die "$apt_status" "$kind $name: $apt_reason"
	step_begin "unpacking $kind $name"
	for deb in "$debs"/*.deb; do
		fetch_unpack_deb "$deb" "$new/root" || {
			apt_explain $?
			die "$apt_status" "${deb##*/}: $apt_reason"
		}
	done
	step_end
	"fetch_finish_$kind" "$new" "$name" "$@"
	run as_user mv -T "$new" "$dir/$name"
	run as_user rm -rf "$debs"
	log_info "$kind $name is in $dir/$name"
}

fetch_unpack_deb()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		run as_user dpkg-deb -x "$1" "$2"
	else
		as_user dpkg-deb -x "$1" "$2" >"$apt_log" 2>&1
	fi
}

# fetch_finish_kernel NEW RELEASE: the packages expect to be in /usr/src; here
# they are made to work anywhere.
fetch_finish_kernel()
{
	local new="$1" release="$2" src cc

	src=$new/usr/src/linux-headers-$release
	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'cd "$1" && mv root/* . && rmdir root &&
		{ [ -e lib ] || ln -s usr/lib lib; }' sh "$new"
	run as_user ln -s "boot/vmlinuz-$release" "$new/vmlinuz"
	run as_user ln -s "usr/src/linux-headers-$release" "$new/headers"
	run as_user rm -rf "$new/usr/share" "$new/lib/modules/$release/build" \
		"$new/lib/modules/$release/source"
	run as_user depmod -b "$new" "$release"
	# shellcheck disable=SC2016 # make's
	run as_user sed -i \
		's|^include /usr/src/|include $(dir $(lastword $(MAKEFILE_LIST)))../|' \
		"$src/Makefile"
	# Type information for modules takes pahole; with a vmlinux but no
	# pahole the build deletes the finished module.
	run as_user sed -i '/^CONFIG_DEBUG_INFO_BTF_MODULES=/d' \
		"$src/include/config/auto.conf"
	run as_user rm -f "$src/vmlinux"
	case $release in
	*[0-9]-amd64)
		fetch_unpack_modules "$new" "$release"
		fetch_image "$new/lib/modules" "$new/modules.img" ;;
	esac
	[ "$DRY_RUN" -eq 0 ] || return 0
	grep -q '^include .*MAKEFILE_LIST' "$src/Makefile" ||
		die 65 "kernel $release: its headers are not laid out as expected"
	cc=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' "$src/.kernelvariables")
	command -v "x86_64-linux-gnu-$cc" >/dev/null ||
		as_user sed -i "/^CC = /s/$cc\$/gcc/" "$src/.kernelvariables"
}

# fetch_unpack_modules DIR RELEASE: the modules that the lab loads are unpacked
# and lose their signatures, for the reason that image_put gives.
fetch_unpack_modules()
{
	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'set -e
		while read -r module; do
			modprobe -d "$1" -S "$2" --show-depends "$module" </dev/null
		done | sed -n "s/^insmod \([^ ]*[.]xz\).*/\1/p" | sort -u |
		while read -r file; do
			xz -d "$file"
			strip -g -R .BTF "${file%.xz}"
		done
		depmod -b "$1" "$2"' sh "$1" "$2" <"$paths_share/lab/drivers"
}

fetch_finish_nvidia()
{
	run as_user ln -s root/usr/lib/nvidia/current/nvidia-smi "$1/nvidia-smi"
	run as_user ln -s root/usr/lib/x86_64-linux-gnu/nvidia/current "$1/lib"
	[ "$DRY_RUN" -eq 1 ] || [ -x "$1/nvidia-smi" ] ||
		die 65 "NVIDIA $2: its packages are not laid out as expected"
}

# fetch_finish_lab NEW ID PACKAGE=VERSION...: what the packages' own scripts would
# do, as far as the lab needs it.
fetch_finish_lab()
{
	local new="$1"

	shift 2
	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'set -e
		umask 022
		cd "$1/root"
		for d in bin sbin lib lib64; do
			[ -d "$d" ] && [ ! -L "$d" ] || continue
			mkdir -p "usr/$d"
			cp -a "$d/." "usr/$d/"
			rm -rf "$d"
			ln -s "usr/$d" "$d"
		done
		cp usr/share/base-passwd/passwd.master etc/passwd
		cp usr/share/base-passwd/group.master etc/group
		# What udev and its rules ask for, from the file of its package.
		for g in kvm render input sgx; do
			grep -q "^$g:" etc/group || echo "$g:x:9$(wc -l <etc/group):"
		done >>etc/group
		[ -e usr/bin/awk ] || ln -s mawk usr/bin/awk
		echo "127.0.0.1 localhost" >etc/hosts
		: >etc/fstab
		rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info
		mkdir -p isospin' sh "$new"
	fetch_image "$new/root" "$new/root.img"
	run as_user rm -rf "$new/root"
	apt_write "$new/packages" "$(printf '%s\n' "$@")"
}

# fetch_image DIR FILE: DIR as a file system, all of it root's.
fetch_image()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		printf '# makes %s of what is in %s\n' "$2" "$1"
		return 0
	fi
	disk_make "$1" "$2" as_user >"$apt_log" 2>&1 || {
		apt_explain $?
		die "$apt_status" "$2: $apt_reason"
	}
}

# fetch_finish_qemu NEW VERSION: the program, and all of its firmware in one place.
fetch_finish_qemu()
{
	local said

	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'set -e
		umask 022
		cd "$1"
		mkdir firmware
		find root/usr/share/qemu root/usr/share/seabios -type f \
			-exec cp -t firmware {} +
		mv root/usr/bin/qemu-system-x86_64 .
		rm -rf root' sh "$1" ||
		die 65 "QEMU $2: its packages are not laid out as expected"
	[ "$DRY_RUN" -eq 0 ] || return 0
	said=$("$1/qemu-system-x86_64" --version 2>&1) ||
		die 69 "QEMU $2 does not start here: ${said%%"$base_nl"*}"
}

# fetch_finish_source NEW VERSION: what else is in the package nobody needs.
fetch_finish_source()
{
	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'cd "$1" && mv root/usr/src/linux-source-*.tar.xz . &&
		rm -rf root' sh "$1" ||
		die 65 "linux-source $2: the package is not laid out as expected"
}
