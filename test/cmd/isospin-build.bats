#!/usr/bin/env bats
# isospin build in a checkout of its own, with a fake make that notes its arguments.

load ../lib/common.sh

setup()
{
	top=$BATS_TEST_TMPDIR/top
	unset SUDO_UID SUDO_GID
	mkdir "$top"
	cd "$top" || return
	cp -R "$TOP/scripts" "$TOP/lib" "$TOP/kmod" "$TOP/Makefile" .
	mkdir -p share/abi src/abi etc .vm-assets/kernels/6.12.9+deb12-cloud-amd64
	cp "$TOP/share/version" "$TOP/share/conf.tbl" share/
	cp "$TOP/share/abi/branches" share/abi/
	cp -R "$TOP/share/kernel" share/
	cp "$TOP/src/abi/iso_wire.h" src/abi/
	: >.vm-assets/kernels/6.12.9+deb12-cloud-amd64/vmlinuz
	for tool in gcc musl-gcc flex bison bc zstd cpio xz strip ld; do
		fake "$tool" <<<'echo one'
	done
	fake_make
	shell=dash
}

# fake_make: fakes a make that makes the files it is asked for, and a kernel as Kbuild
# would. If the file `broken` exists, the fake fails.
fake_make()
{
	fake make <<-'EOT'
	echo "$*" >>"$BATS_TEST_TMPDIR/calls"
	[ ! -e "$BATS_TEST_TMPDIR/broken" ] || { echo 'no rule'; exit 2; }
	while [ $# -gt 0 ]; do
		case $1 in
		-C) cd "$2"; shift ;;
		-j) shift ;;
		O=*) o=${1#O=} ;;
		KCONFIG_ALLCONFIG=*) config=${1#*=} ;;
		KBUILD_RUN_COMMAND=*) mkdir -p "${1##* }" ;;
		allnoconfig)
			grep -v -e NOSUCH "$config" >"$o/.config" ;;
		bzImage)
			mkdir -p "$o/arch/x86/boot" "$o/include/config"
			cat Kbuild >"$o/arch/x86/boot/bzImage"
			echo 6.12.10-isospin >"$o/include/config/kernel.release" ;;
		build/*)
			mkdir -p "${1%/*}"
			echo made >"$1" ;;
		esac
		shift
	done
	EOT
}

# shellcheck disable=SC2086 # busybox ash is two words
build() { $shell "$top/scripts/build.sh" "$@"; }

calls() { wc -l <"$BATS_TEST_TMPDIR/calls"; }

a_tree()
{
	mkdir -p "$BATS_TEST_TMPDIR/linux/arch/x86"
	echo "${1:-a}" >"$BATS_TEST_TMPDIR/linux/Kbuild"
	tree=$BATS_TEST_TMPDIR/linux
}

@test "nothing is made again while its content is the same, whatever its time" {
	again()
	{
		rm -rf build "$BATS_TEST_TMPDIR/calls"
		run -0 build gpu-broker
		[ -f build/bin/gpu-broker ]
		touch src/abi/iso_wire.h
		run -0 --separate-stderr build gpu-broker
		has "$stderr" 'gpu-broker: nothing has changed'
		equal 1 "$(calls)"
	}
	with_shells again
}

@test "what has changed is made again: a source, the compiler, the result" {
	run -0 build gpu-broker-static
	echo '/* */' >>src/abi/iso_wire.h
	run -0 build gpu-broker-static
	equal 2 "$(calls)"
	fake cc <<<'echo two'
	run -0 build gpu-broker-static
	equal 3 "$(calls)"
	echo other >build/static/bin/gpu-broker
	run -0 build gpu-broker-static
	equal 4 "$(calls)"
	equal made "$(cat build/static/bin/gpu-broker)"
}

@test "a failed step is named with its last lines, and is tried again" {
	: >"$BATS_TEST_TMPDIR/broken"
	run -69 --separate-stderr build nvidia-shim
	has "$stderr" '| no rule'
	has "$stderr" 'nvidia-shim.ko failed'
	rm "$BATS_TEST_TMPDIR/broken"
	run -0 build nvidia-shim
	[ -f build/kmod/6.12.9+deb12-cloud-amd64/nvidia-shim.ko ]
}

@test "a second build waits for the first" {
	mkdir build
	exec 8>build/lock
	flock 8
	build gpu-broker 2>"$BATS_TEST_TMPDIR/said" 8>&- 3>&- &
	pid=$!
	TOP=$TOP sh -c '. "$0/lib/base/base.sh"; use poll; poll_until 10 "$@"' \
		"$TOP" grep -q 'waiting for another build' "$BATS_TEST_TMPDIR/said"
	[ ! -e build/bin/gpu-broker ]
	exec 8>&-
	wait "$pid"
	[ -f build/bin/gpu-broker ]
}

@test "--print says where a target is and makes nothing" {
	prints()
	{
		rm -rf build
		run -1 --separate-stderr build --print gpu-broker
		equal '' "$output"
		has "$stderr" 'gpu-broker has not been built'
		[ ! -e build ]
		run -0 build gpu-broker
		run -0 --separate-stderr build --print gpu-broker
		equal "$top/build/bin/gpu-broker" "$output"
	}
	with_shells prints
}

@test "--list --json has an object for each target, with its state" {
	run -0 build gpu-broker gpu-broker-static
	echo x >build/bin/gpu-broker
	run -0 --separate-stderr build --list --json
	equal 10 "$(jq -s length <<<"$output")"
	equal 'stale current absent' "$(jq -rs 'map(.state) | .[:3] | join(" ")' <<<"$output")"
	equal null "$(jq -s '.[2].path' <<<"$output")"
	run -0 build --list
	has "$output" "gpu-broker-static current  $top/build/static/bin/gpu-broker"
}

@test "a dry run makes nothing" {
	run -0 --separate-stderr build -n gpu-broker fc-initramfs
	equal '# makes gpu-broker # makes guests # makes nvidia-shim # makes fc-initramfs' "${lines[*]}"
	[ ! -e "$BATS_TEST_TMPDIR/calls" ]
}

@test "a kernel from a tree is the workers', and shim and images follow it" {
	a_tree
	follows()
	{
		rm -rf build .vm-assets/kernels/*-isospin
		run -0 build --tree "$tree" fc-gpu-kernel
		dir=.vm-assets/kernels/6.12.10-isospin
		equal a "$(cat $dir/vmlinuz)"
		[ -d $dir/headers ]
		[ ! -e build/kernel ]
		run -0 build nvidia-shim
		[ -f build/kmod/6.12.10-isospin/nvidia-shim.ko ]
		export ISOSPIN_KERNEL=6.12
		run -0 build nvidia-shim
		[ -f build/kmod/6.12.9+deb12-cloud-amd64/nvidia-shim.ko ]
		unset ISOSPIN_KERNEL
	}
	with_shells follows
}

@test "a kernel is made again when a file of its tree has changed, not when touched" {
	a_tree
	run -0 build --tree "$tree" fc-gpu-kernel
	run -0 build nvidia-shim
	touch "$tree/Kbuild"
	run -0 --separate-stderr build --tree "$tree" fc-gpu-kernel
	has "$stderr" 'fc-gpu-kernel: nothing has changed'
	a_tree b
	run -0 build --tree "$tree" fc-gpu-kernel
	equal b "$(cat .vm-assets/kernels/6.12.10-isospin/vmlinuz)"
	# The module for the kernel before is gone.
	[ ! -e build/kmod/6.12.10-isospin ]
}

@test "an option that the kernel does not take ends the build and is named" {
	a_tree
	echo CONFIG_NOSUCH=y >>share/kernel/fc-gpu.config
	run -65 --separate-stderr build --tree "$tree" fc-gpu-kernel
	has "$stderr" 'does not take'
	has "$stderr" CONFIG_NOSUCH=y
	[ ! -e .vm-assets/kernels/6.12.10-isospin ]
	[ ! -e build/kernel ]
}

@test "compiling a kernel wants room, and says how much" {
	a_tree
	fake df <<<'printf "head\nfs 9 9 100 9%% /\n"'
	run -74 --separate-stderr build --tree "$tree" fc-gpu-kernel
	has "$stderr" 'the disk is full: 4096 MiB wanted, 100 MiB free'
}

@test "a file system of the same files is the same bytes, and all root's" {
	. "$TOP/lib/host/disk.sh"
	mkdir -p "$BATS_TEST_TMPDIR/a/bin"
	echo x >"$BATS_TEST_TMPDIR/a/bin/x"
	ln -s x "$BATS_TEST_TMPDIR/a/bin/y"
	cp -R "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
	touch -d @1000 "$BATS_TEST_TMPDIR/b/bin/x"
	touch -h -d @1000 "$BATS_TEST_TMPDIR/b/bin/y"
	disk_make "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/a.ext4" disk_as 8
	disk_make "$BATS_TEST_TMPDIR/b" "$BATS_TEST_TMPDIR/b.ext4" disk_as 8
	cmp "$BATS_TEST_TMPDIR/a.ext4" "$BATS_TEST_TMPDIR/b.ext4"
	/sbin/e2fsck -fn "$BATS_TEST_TMPDIR/a.ext4"
	stat=$(/sbin/debugfs -R 'stat /bin/x' "$BATS_TEST_TMPDIR/a.ext4" 2>/dev/null)
	has "$stat" 'User:     0   Group:     0'
}

@test "what is no target or no tree is refused" {
	refused()
	{
		run -64 --separate-stderr build
		has "$stderr" 'which TARGET'
		run -64 --separate-stderr build gpu-broker nothing
		has "$stderr" "'nothing' is no target"
		run -64 --separate-stderr build --json gpu-broker
		has "$stderr" '--json wants --list'
		run -64 --separate-stderr build --list gpu-broker
		has "$stderr" "unexpected operand 'gpu-broker'"
		run -66 --separate-stderr build --tree "$top" fc-gpu-kernel
		has "$stderr" 'is no source of Linux'
		a_tree
		: >"$tree/.config"
		run -65 --separate-stderr build --tree "$tree" fc-gpu-kernel
		has "$stderr" 'make mrproper there'
		rm "$tree/.config"
	}
	with_shells refused
}

# run_file VERSION: makes a file that acts like NVIDIA's .run file when it is given the
# options that isospin gives.
run_file()
{
	cat >"$BATS_TEST_TMPDIR/nvidia.run" <<-EOT
	[ "\$1 \$2" = '--extract-only --target' ] || exit 1
	mkdir -p "\$3/kernel-open/nvidia" "\$3/firmware"
	echo 'EXTRA_CFLAGS += -DNV_VERSION_STRING=\\"$1\\"' >"\$3/kernel-open/Kbuild"
	echo firmware >"\$3/firmware/gsp_ga10x.bin"
	echo smi >"\$3/nvidia-smi"
	EOT
}

@test "gpu-rootfs is of a driver that has a call table, and no part of all" {
	: >share/abi/580.95.05.tbl
	run -66 --separate-stderr build --driver 550.1.2 gpu-rootfs
	has "$stderr" 'no call table of driver 550.1.2; there are: 580.95.05'
	run -64 --separate-stderr build --driver ../etc gpu-rootfs
	run -66 --separate-stderr build --run "$PWD/none" gpu-rootfs
	has "$stderr" 'none is not there'
	run -0 build -n all
	[[ $output != *gpu-rootfs* ]]
}

@test "gpu-rootfs takes NVIDIA's .run file, if it is the driver asked for" {
	local got=.vm-assets/gpu/580.95.05

	: >share/abi/580.95.05.tbl
	echo 'exit 3' >"$BATS_TEST_TMPDIR/nvidia.run"
	run -65 --separate-stderr build --run "$BATS_TEST_TMPDIR/nvidia.run" gpu-rootfs
	has "$stderr" 'cannot be unpacked'
	run_file 570.1
	run -65 --separate-stderr build --run "$BATS_TEST_TMPDIR/nvidia.run" gpu-rootfs
	has "$stderr" "has driver '570.1', not 580.95.05"
	[ ! -e "$got" ]
	run_file 580.95.05
	mkdir -p .vm-assets/kernels/6.12.9+deb12-cloud-amd64/usr/src/linux-headers-6.12.9-common
	touch "$BATS_TEST_TMPDIR/broken"
	run -69 --separate-stderr build --run "$BATS_TEST_TMPDIR/nvidia.run" gpu-rootfs
	equal $'Kbuild\nnvidia' "$(ls "$got/src")"
	equal gsp_ga10x.bin "$(ls "$got/firmware")"
	[ ! -e "$got/nvidia-smi" ]
}

@test "with NONFREE=no gpu-rootfs is refused before anything is fetched" {
	: >share/abi/580.95.05.tbl
	ISOSPIN_NONFREE=no run -78 --separate-stderr build gpu-rootfs
	has "$stderr" "NVIDIA's firmware is not free"
}
