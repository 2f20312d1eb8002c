# shellcheck shell=sh
# kernel.sh - compile the workers' own kernel
#
# It is made of the linux-source package, or of a source tree, with
# share/kernel/fc-gpu.config, and goes to $ASSETS_DIR/kernels/RELEASE-isospin. Neither
# the path where it is compiled (kernel_work) nor the time, the user or the machine
# shows in the result.
#
# On failure these functions return a status and set why.

use assets compile

kernel_config=$paths_share/kernel/fc-gpu.config
kernel_work=$paths_state/kernel
kernel_need_mib=4096
# Values that make would otherwise take from this machine, the clock and a git tree.
kernel_vars='LOCALVERSION= KBUILD_BUILD_TIMESTAMP=1970-01-01
KBUILD_BUILD_VERSION=1 KBUILD_BUILD_USER=isospin KBUILD_BUILD_HOST=isospin'

# kernel_inputs TREE: prints hashes of all the kernel's inputs. TREE is empty for the
# package.
kernel_inputs()
{
	local file

	sha256sum <"$kernel_config" && gcc --version && ld --version || return
	printf '%s\n' "$kernel_vars"
	if [ -z "$1" ]; then
		file=$(assets_source) || return
		sha256sum <"$file"
		return
	fi
	(cd -- "$1" && find . -name .git -prune -o -type f -print0 | sort -z |
		xargs -0 sha256sum)
}

# kernel_build TREE: makes the kernel, and sets kernel_file to its path.
kernel_build()
{
	local src="$1" file

	kernel_space || return
	rm -rf -- "$kernel_work"
	mkdir -p -- "$kernel_work/obj" ||
		fail 74 "$kernel_work: cannot be made" || return
	on_exit rm -rf -- "$kernel_work"
	if [ -z "$src" ]; then
		file=$(assets_source) ||
			fail 66 'no linux-source package; run: isospin setup build' ||
			return
		src=$kernel_work/src
		step_begin "unpacking ${file##*/}"
		if ! mkdir -- "$src" ||
			! tar -C "$src" --strip-components 1 -xf "$file"; then
			step_stop
			fail 74 "$src: cannot be unpacked; is the disk full?" || return
		fi
		step_end
	fi
	compile_step 'configuring the kernel' kernel_make "$src" \
		KCONFIG_ALLCONFIG="$kernel_config" allnoconfig &&
		kernel_check "$kernel_work/obj/.config" &&
		compile_step 'compiling the kernel' kernel_make "$src" \
			-j "$(nproc)" bzImage modules &&
		compile_step 'collecting what modules need' kernel_make "$src" \
			run-command KBUILD_RUN_COMMAND="$src/scripts/package/\
install-extmod-build $kernel_work/new/headers" &&
		kernel_install || return
	rm -rf -- "$kernel_work"
}

# kernel_make SOURCE [ARG...]: runs make with its output in kernel_work.
kernel_make()
{
	local src="$1"

	shift
	# shellcheck disable=SC2086 # a list of assignments
	make -C "$src" "O=$kernel_work/obj" $kernel_vars "$@"
}

# kernel_space: logs how much room compiling takes; 74, and why, if there is less.
kernel_space()
{
	local free

	mkdir -p -- "$paths_state" ||
		fail 74 "$paths_state: cannot be made" || return
	free=$(df -Pm "$paths_state" | awk 'NR == 2 { print $4 }')
	log_info "compiling takes $kernel_need_mib MiB in $paths_state for a while;" \
		"$free MiB are free"
	[ "$free" -gt "$kernel_need_mib" ] ||
		fail 74 "the disk is full: $kernel_need_mib MiB wanted, $free MiB free"
}

# kernel_check CONFIG: compares the configuration that make has written with ours. make
# silently drops an option that this source does not know, or whose conditions are not
# met. 65, and why, if it has dropped one.
kernel_check()
{
	local lost

	lost=$(grep '^CONFIG_' "$kernel_config" | grep -vxFf "$1") || return 0
	lost=$(printf '%s\n' "$lost" | tr '\n' ' ')
	fail 65 "this kernel does not take from $kernel_config: $lost"
}

# kernel_install: moves the kernel to its place, in that of an older one of the same
# release, whose modules and unpacked image it removes.
kernel_install()
{
	local new="$kernel_work/new" release dir

	read -r release <"$kernel_work/obj/include/config/kernel.release"
	case $release in
	[0-9]*-isospin) ;;
	*)
		fail 65 "the kernel calls itself '$release', not *-isospin" ||
			return ;;
	esac
	dir=$(assets_kernel_dir "$release")
	if ! mkdir -p -- "$new/lib/modules/$release" "${dir%/*}" ||
		! cp -- "$kernel_work/obj/arch/x86/boot/bzImage" "$new/vmlinuz" ||
		! cp -- "$kernel_work/obj/.config" "$new/config"; then
		fail 74 "$new: cannot be made; is the disk full?" || return
	fi
	rm -rf -- "$paths_state/kmod/$release" "$dir" \
		"$paths_state/images/vmlinux-$release"
	mv -T -- "$new" "$dir" || fail 74 "$dir: cannot be made" || return
	kernel_file=$dir/vmlinuz
}
