# shellcheck shell=sh
# fetch.sh - unpack packages of Debian's archive where assets.sh finds them
#
# Nothing is installed. Everything is done as the calling user: the files belong to that
# user, and root never unpacks a package for somebody else.
#
# fetch_plan has a line "KIND NAME PACKAGE=VERSION..." for each directory to make.

use disk apt assets

fetch_plan=
fetch_download=0
fetch_disk=0

# fetch_init APT KIND...: starts an empty plan for directories of these KINDs, with our
# own apt in the directory APT. Removes the leftovers of a killed run. Call assets_init
# first. On failure returns an exit status and sets why, as all of these functions do.
fetch_init()
{
	local apt="$1" kind dir

	shift
	fetch_plan='' fetch_download=0 fetch_disk=0
	fetch_keyring || return
	for kind; do
		dir=$(fetch_dir "$kind")
		run as_user mkdir -p "$dir" && run as_user rm -rf "$dir/.new" ||
			fail 74 "$dir: cannot be written; is the disk full?" || return
	done
	apt_own_init "$apt"
}

# fetch_dir KIND: prints where the directories of a kind are.
fetch_dir()
{
	case $1 in
	kernel | source) printf '%s\n' "$assets_dir/${1}s" ;;
	*) printf '%s\n' "$assets_dir/$1" ;;
	esac
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

# fetch_sources CODENAME OTHER NONFREE: makes a source of each suite of this Debian and
# of the other one, and fetches their indexes. Only this Debian's security updates are
# required: a mirror may have neither non-free nor the other Debian. fetch_left_out
# says which of the other sources could not be had.
fetch_sources()
{
	local suite name left='' reason='' rc=0 dir="$apt_dir/sources.d"

	fetch_left_out=
	fetch_mirrors "$1" || return
	run as_user rm -f "$dir"/*
	for suite in "$1" "$2"; do
		apt_own_source "$suite-security-main" "$apt_security" \
			"$suite-security" main || return
		[ "$3" = yes ] || continue
		apt_own_source "$suite-security-non-free" "$apt_security" \
			"$suite-security" non-free &&
			apt_own_source "$suite-non-free" "$apt_main" "$suite" \
			non-free &&
			apt_own_source "$suite-updates-non-free" "$apt_main" \
			"$suite-updates" non-free || return
	done
	fetch_update 'fetching indexes' || rc=$?
	case $rc in
	0 | 75) return "$rc" ;;
	esac

	for name in "$dir"/*.sources; do
		as_user mv "$name" "${name%.sources}.off"
	done
	set -- "$dir/$1-security-main.off" "$dir"/*.off
	for name; do
		[ -f "$name" ] || continue
		as_user mv "$name" "${name%.off}.sources"
		fetch_update "fetching the index of $(basename "$name" .off)" &&
			continue
		rc=$?
		[ "$name" != "$1" ] || return "$rc"
		as_user rm -f "${name%.off}.sources"
		left="$left${left:+, }$(basename "$name" .off)"
		reason=$why
	done
	[ -n "$left" ] || return 0
	fetch_left_out="left out: $left: $reason"
	log_warn "$fetch_left_out"
}

# fetch_mirrors CODENAME: apt_mirrors; 78, and why, if there is no mirror of Debian.
fetch_mirrors()
{
	apt_mirrors "$1" || fail 78 "no source of Debian $1 main in $apt_etc"
}

# fetch_update TEXT: fetches the indexes of the sources, as a step called TEXT.
fetch_update()
{
	apt_run "$1" as_user apt-get -c "$apt_dir/apt.conf" -q update
}

# fetch_add KIND NAME PACKAGE=VERSION...: adds a directory to the plan, and its bytes to
# the sums.
fetch_add()
{
	local kind="$1" name="$2" sizes

	shift 2
	fetch_plan="$fetch_plan$kind $name $*$base_nl"
	sizes=$(apt_sizes "$@")
	fetch_download=$((fetch_download + ${sizes% *}))
	fetch_disk=$((fetch_disk + ${sizes#* }))
}

# fetch_plan_kernel PREFIX DEBIAN FLAVOUR: plans the newest kernel, with its
# headers, whose release begins with PREFIX and which was made for that Debian (12, 13)
# and FLAVOUR (amd64, cloud-amd64). 1 if the sources offer none.
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

# fetch_plan_nvidia BRANCH: plans its newest version; 1 if the sources offer none.
fetch_plan_nvidia()
{
	local version

	version=$(apt_versions nvidia-smi | grep "^$1[.]" | sort -rV | head -n 1)
	[ -n "$version" ] || return 1
	fetch_add nvidia "${version%%-*}" "nvidia-smi=$version" \
		"libnvidia-ml1=$version" "libcuda1=$version"
}

# fetch_plan_source PACKAGE: plans its newest version; 1 if the sources offer none.
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

	names=$(sed '/^#/d; /^layout /d' "$paths_share/lab/packages")
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

# fetch_room: says how much the plan takes; 74, and why, if there is no room.
fetch_room()
{
	local free need

	free=$(df -Pk "$assets_dir" | awk 'NR == 2 { print $4 }')
	need=$(((fetch_download + fetch_disk) / 1024))
	log_info "downloading $((fetch_download >> 20)) MiB;" \
		"needs $((need >> 10)) MiB in $assets_dir, $((free >> 10)) MiB are free"
	[ "$free" -gt "$need" ] ||
		fail 74 "the disk is full: $((need >> 10)) MiB wanted in $assets_dir," \
			"$((free >> 10)) MiB free"
}

# fetch_all: carries out the plan.
fetch_all()
{
	local kind name pkgs

	while read -r kind name pkgs; do
		[ -n "$kind" ] || continue
		# shellcheck disable=SC2086 # a list of packages
		fetch_unpack "$kind" "$name" $pkgs || return
	done <<-EOT
	$fetch_plan
	EOT
}

# fetch_unpack KIND NAME PACKAGE=VERSION...: downloads the packages and makes the
# directory under another name, which it changes at the end.
fetch_unpack()
{
	local kind="$1" name="$2" dir new debs="$apt_dir/cache/$2" deb

	shift 2
	dir=$(fetch_dir "$kind")
	new=$dir/.new
	run as_user mkdir -p "$debs" "$new/root" ||
		fail 74 "$new: cannot be made; is the disk full?" || return
	# apt checks each file against the signed index, one already there too.
	# shellcheck disable=SC2016 # the inner shell's words
	apt_run "downloading $kind $name" as_user \
		sh -c 'cd "$1" && shift && exec "$@"' sh "$debs" \
		apt-get -c "$apt_dir/apt.conf" -q download "$@" ||
		fail $? "$kind $name: $why" || return
	step_begin "unpacking $kind $name"
	for deb in "$debs"/*.deb; do
		fetch_unpack_deb "$deb" "$new/root" || {
			apt_explain $? || fail $? "${deb##*/}: $why" || return
		}
	done
	step_end
	"fetch_finish_$kind" "$new" "$name" "$@" || return
	run as_user mv -T "$new" "$dir/$name" ||
		fail 74 "$dir/$name: cannot be made" || return
	run as_user rm -rf "$debs"
	log_info "$kind $name is in $dir/$name"
}

# fetch_unpack_deb FILE DIR: unpacks a package, with the output in apt_log.
fetch_unpack_deb()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		run as_user dpkg-deb -x "$1" "$2"
	else
		as_user dpkg-deb -x "$1" "$2" >"$apt_log" 2>&1
	fi
}

# fetch_finish_kernel NEW RELEASE: lays out a kernel's packages as assets.sh says.
fetch_finish_kernel()
{
	local new="$1" release="$2" src cc

	src=$new/usr/src/linux-headers-$release
	fetch_adapt_kernel "$new" "$release" "$src" ||
		fail 65 "kernel $release: its packages are not laid out as expected" ||
		return
	case $release in
	*[0-9]-amd64)
		fetch_unpack_modules "$new" "$release" ||
			fail 65 "kernel $release: it lacks a module of the lab" ||
			return
		fetch_image "$new/lib/modules" "$new/modules.img" || return ;;
	esac
	[ "$DRY_RUN" -eq 0 ] || return 0
	grep -q '^include .*MAKEFILE_LIST' "$src/Makefile" ||
		fail 65 "kernel $release: its headers are not laid out as expected" ||
		return
	cc=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' "$src/.kernelvariables")
	command -v "x86_64-linux-gnu-$cc" >/dev/null ||
		as_user sed -i "/^CC = /s/$cc\$/gcc/" "$src/.kernelvariables"
}

# fetch_adapt_kernel NEW RELEASE HEADERS: makes the headers work anywhere; the packages
# expect them in /usr/src.
fetch_adapt_kernel()
{
	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'cd "$1" && mv root/* . && rmdir root &&
		{ [ -e lib ] || ln -s usr/lib lib; }' sh "$1" &&
		run as_user ln -s "boot/vmlinuz-$2" "$1/vmlinuz" &&
		run as_user ln -s "usr/src/linux-headers-$2" "$1/headers" &&
		run as_user rm -rf "$1/usr/share" "$1/lib/modules/$2/build" \
			"$1/lib/modules/$2/source" &&
		run as_user depmod -b "$1" "$2" || return
	# shellcheck disable=SC2016 # make's
	run as_user sed -i \
		's|^include /usr/src/|include $(dir $(lastword $(MAKEFILE_LIST)))../|' \
		"$3/Makefile" || return
	# Type information for modules takes pahole; with a vmlinux but no
	# pahole the build deletes the finished module.
	run as_user sed -i '/^CONFIG_DEBUG_INFO_BTF_MODULES=/d' \
		"$3/include/config/auto.conf" && run as_user rm -f "$3/vmlinux"
}

# fetch_unpack_modules DIR RELEASE: unpacks the modules that the lab loads, without
# their signatures, for the reason that image_put gives.
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

# fetch_finish_nvidia NEW VERSION
fetch_finish_nvidia()
{
	run as_user ln -s root/usr/lib/nvidia/current/nvidia-smi "$1/nvidia-smi" &&
		run as_user ln -s root/usr/lib/x86_64-linux-gnu/nvidia/current \
			"$1/lib" ||
		fail 74 "$1: cannot be written; is the disk full?" || return
	[ "$DRY_RUN" -eq 1 ] || [ -x "$1/nvidia-smi" ] ||
		fail 65 "NVIDIA $2: its packages are not laid out as expected"
}

# fetch_finish_lab NEW ID PACKAGE=VERSION...: does the work of the packages' own scripts,
# as far as the lab needs it, and makes a file system of the result.
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
		# The groups that udev and its rules ask for.
		for g in kvm render input sgx; do
			grep -q "^$g:" etc/group || echo "$g:x:9$(wc -l <etc/group):"
		done >>etc/group
		[ -e usr/bin/awk ] || ln -s mawk usr/bin/awk
		echo "127.0.0.1 localhost" >etc/hosts
		: >etc/fstab
		rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info
		mkdir -p isospin' sh "$new" ||
		fail 65 "the packages of the lab are not laid out as expected" ||
		return
	fetch_image "$new/root" "$new/root.img" || return
	run as_user rm -rf "$new/root"
	apt_write "$new/packages" "$(printf '%s\n' "$@")"
}

# fetch_image DIR FILE: makes a file system of DIR, in which everything is root's.
fetch_image()
{
	if [ "$DRY_RUN" -eq 1 ]; then
		printf '# makes %s of what is in %s\n' "$2" "$1"
		return 0
	fi
	disk_make "$1" "$2" as_user >"$apt_log" 2>&1 || {
		apt_explain $? || fail $? "$2: $why"
	}
}

# fetch_finish_qemu NEW VERSION: keeps the program, and all firmware in one directory.
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
		fail 65 "QEMU $2: its packages are not laid out as expected" ||
		return
	[ "$DRY_RUN" -eq 0 ] || return 0
	said=$("$1/qemu-system-x86_64" --version 2>&1) ||
		fail 69 "QEMU $2 does not start here: ${said%%"$base_nl"*}"
}

# fetch_finish_source NEW VERSION: keeps only the archive.
fetch_finish_source()
{
	# shellcheck disable=SC2016 # the inner shell's words
	run as_user sh -c 'cd "$1" && mv root/usr/src/linux-source-*.tar.xz . &&
		rm -rf root' sh "$1" ||
		fail 65 "linux-source $2: the package is not laid out as expected"
}
