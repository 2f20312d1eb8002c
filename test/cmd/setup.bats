#!/usr/bin/env bats
# isospin setup, with a fake apt whose output the test chooses.

load ../lib/common.sh

setup()
{
	cd "$BATS_TEST_TMPDIR"
	unset SUDO_UID SUDO_GID
	export ISOSPIN_ASSETS_DIR=$BATS_TEST_TMPDIR/assets
	export APT_ETC=$BATS_TEST_TMPDIR/etc KEYRINGS=$BATS_TEST_TMPDIR/keys
	export OS_RELEASE=$BATS_TEST_TMPDIR/os-release
	mkdir -p etc/sources.list.d keys archive
	: >keys/debian-archive-keyring.gpg
	printf 'ID=debian\nVERSION_ID="12"\n' >os-release
	mirror "http://mirror.invalid/debian"
	fake uname <<<'echo x86_64'
	fake id <<<'echo 0'
	fake depmod <<<':'
	fake modprobe <<<':'
	fake df <<<'printf "head\nfs 9 9 99000000 9%% /\n"'
	# Every package is installed unless the file `lacks` lists it.
	fake dpkg-query <<-'EOT'
	shift 2
	for p; do
		grep -qsx "$p" "$BATS_TEST_TMPDIR/lacks" || echo "$p installed"
	done
	EOT
	fake_archive
}

mirror()
{
	cat >etc/sources.list.d/debian.sources <<-EOT
	Types: deb
	URIs: $1
	Suites: bookworm bookworm-updates
	Components: main
	EOT
}

# fake_archive: fakes an archive with two kernels and two branches, whose packages
# hold the files that setup looks for. The file `offers` names the packages, and
# `calls` lists the calls of apt.
fake_archive()
{
	local r
	for r in 6.12.9+deb12 6.1.0-5; do
		printf '%s\n' "linux-image-$r-cloud-amd64-unsigned 1" \
			"linux-headers-$r-cloud-amd64 1" \
			"linux-image-$r-amd64-unsigned 1" \
			"linux-headers-$r-amd64 1" \
			"linux-headers-$r-common 1" "linux-kbuild-$r 1"
	done >offers
	for r in 535.10.01-1 535.9.02-1 550.7.01-2; do
		printf '%s\n' "nvidia-smi $r" "libnvidia-ml1 $r" "libcuda1 $r"
	done >>offers
	fake apt-cache <<-'EOT'
	cd "$BATS_TEST_TMPDIR"
	shift 3
	case $1 in
	pkgnames) awk -v p="$2" 'index($1, p) == 1 { print $1 }' offers ;;
	madison) awk -v p="$2" '$1 == p { print p, "|", $2, "| x" }' offers ;;
	show)
		shift 2
		for p; do
			case $p in
			linux-headers-*-amd64=*)
				r=${p#linux-headers-}; r=${r%-amd64=*}; r=${r%-cloud}
				echo "Depends: linux-base, linux-headers-$r-common (= 1)," \
					"linux-kbuild-$r, gcc-12" ;;
			esac
			printf 'Size: 1048576\nInstalled-Size: 4096\n'
		done ;;
	esac
	EOT
	fake apt-get <<-'EOT'
	echo "$*" >>"$BATS_TEST_TMPDIR/calls"
	while [ $# -gt 0 ]; do
		case $1 in
		-s)
			printf 'Inst %s (1 Debian [amd64])\n' base-passwd bash
			exit ;;
		update)
			[ ! -f "$BATS_TEST_TMPDIR/update" ] || {
				cat "$BATS_TEST_TMPDIR/update" >&2
				exit 100
			} ;;
		download)
			shift
			for p; do : >"${p%%=*}_${p#*=}_amd64.deb"; done ;;
		esac
		shift
	done
	EOT
	fake dpkg-deb <<-'EOT'
	cd "$3" || exit
	f=${2##*/}
	case $f in
	linux-image-*)
		r=${f#linux-image-}; r=${r%-unsigned_*}
		mkdir -p boot "lib/modules/$r"
		: >"boot/vmlinuz-$r" ;;
	base-passwd*)
		mkdir -p etc usr/share/base-passwd
		: >usr/share/base-passwd/passwd.master
		: >usr/share/base-passwd/group.master ;;
	bash*) mkdir -p bin usr/bin && : >bin/bash ;;
	linux-headers-*-amd64_*)
		r=${f#linux-headers-}; r=${r%%_*}; c=${r%-amd64}
		mkdir -p "usr/src/linux-headers-$r/include/config" usr/share
		cd "usr/src/linux-headers-$r"
		echo "include /usr/src/linux-headers-${c%-cloud}-common/Makefile" >Makefile
		echo 'CC = $(CROSS_COMPILE)gcc-12' >.kernelvariables
		: >include/config/auto.conf >vmlinux ;;
	linux-source-*)
		mkdir -p usr/src usr/share/doc
		: >usr/src/linux-source-6.12.tar.xz ;;
	nvidia-smi*)
		mkdir -p usr/lib/nvidia/current
		: >usr/lib/nvidia/current/nvidia-smi
		chmod +x usr/lib/nvidia/current/nvidia-smi ;;
	esac
	EOT
}

# shellcheck disable=SC2086 # busybox ash is two words
run_setup() { $shell "$TOP/scripts/setup.sh" "$@"; }

# refuses STATUS LINE [ARG...]: setup ends with STATUS and prints one error, LINE.
refuses()
{
	local status="$1" line="$2"

	shift 2
	run -"$status" --separate-stderr run_setup "$@"
	equal '' "$output"
	has "$stderr" "$line"
	equal 1 "$(grep -c ': error: ' <<<"$stderr")"
}

@test "setup makes every directory, and a second run asks apt for nothing" {
	shell=dash
	twice()
	{
		rm -rf assets calls
		run -0 --separate-stderr run_setup check
		[ -e assets/kernels/6.12.9+deb12-cloud-amd64/vmlinuz ]
		[ -e assets/kernels/6.1.0-5-cloud-amd64/headers/Makefile ]
		[ -x assets/nvidia/535.10.01/nvidia-smi ]
		[ -x assets/nvidia/550.7.01/nvidia-smi ]
		[ ! -e assets/nvidia/535.9.02 ]
		[ -s assets/kernels/6.12.9+deb12-amd64/modules.img ]
		equal "base-passwd=1 bash=1" \
			"$(tr '\n' ' ' <assets/lab/????????????/packages | sed 's/ $//')"
		has "$stderr" 'missing kernel: 6.12'
		has "$stderr" 'non-free software'
		has "$stderr" 'MiB are free'
		rm calls
		run -0 --separate-stderr run_setup check
		has "$stderr" 'everything for check is here'
		[ ! -e calls ]
	}
	twice
}

@test "the headers' Makefile works wherever it lies" {
	shell=dash
	run -0 run_setup
	run -0 cat assets/kernels/6.12*/headers/Makefile
	# shellcheck disable=SC2016 # make's
	equal 'include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-6.12.9+deb12-common/Makefile' "$output"
	equal '' "$(find assets/kernels -name vmlinux)"
}

@test "what a killed setup left is not believed" {
	shell=dash
	mkdir -p assets/kernels/.new/root assets/nvidia/.new/root
	: >assets/kernels/.new/root/junk
	run -0 run_setup
	[ -e assets/kernels/6.12.9+deb12-cloud-amd64/vmlinuz ]
	[ ! -e assets/kernels/6.12.9+deb12-cloud-amd64/junk ]
	[ ! -e assets/kernels/.new ]
}

@test "setup killed while it unpacks leaves no directory under its name" {
	shell=dash
	fake dpkg-deb <<<'kill -KILL $PPID; exit 1'
	run run_setup
	[ "$status" -ne 0 ]
	equal '' "$(find assets/kernels assets/nvidia -mindepth 1 -maxdepth 1 \
		-name '[0-9]*')"
}

@test "setup waits for a busy apt lock, then says so with 75" {
	echo tmux >lacks
	echo 'E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt)' >update
	shell=dash
	busy()
	{
		refuses 75 "another program holds apt's lock" --lock-wait 5
		equal 1 "$(grep -c waiting <<<"$stderr")"
	}
	busy
}

@test "setup without a network says so in one line with 69" {
	echo "W: Failed to fetch http://mirror.invalid/debian/dists/x/InRelease  Temporary failure resolving 'mirror.invalid'" >update
	offline() { refuses 69 'no network: the package mirror cannot be reached'; }
	with_shells offline
}

@test "a machine whose package lists cannot be fetched is told of the network" {
	echo tmux >lacks
	fake apt-get <<-'EOT'
	case $* in
	*update) echo "W: Failed to fetch http://mirror.invalid/x  Temporary failure resolving 'mirror.invalid'" ;;
	*install*)
		echo 'E: Unable to locate package tmux'
		exit 100 ;;
	esac
	EOT
	offline() { refuses 69 'no network: the package mirror cannot be reached'; }
	with_fakes offline
}

@test "setup refuses a wrong signature with 65" {
	echo 'W: GPG error: http://mirror.invalid bookworm InRelease: The following signatures were invalid: BADSIG 648ACFD622F3D138 Debian' >update
	wrong() { refuses 65 'a signature is wrong or its key is not in'; }
	with_shells wrong
	[ -z "$(find assets -name '*.deb')" ]
}

@test "setup refuses an archive that nobody signed, by apt's own word" {
	[ -x /usr/bin/apt-get ] || skip 'no apt'
	for suite in bookworm bookworm-updates; do
		mkdir -p "archive/debian/dists/$suite"
		printf 'Origin: Debian\nSuite: %s\nCodename: %s\n' \
			"$suite" "$suite" >"archive/debian/dists/$suite/Release"
	done
	cp -r archive/debian archive/debian-security
	mv archive/debian-security/dists/bookworm \
		archive/debian-security/dists/bookworm-security
	mirror "file:$BATS_TEST_TMPDIR/archive/debian"
	cp /usr/share/keyrings/debian-archive-keyring.gpg keys/
	rm fake/apt-get fake/id
	shell=dash
	refuses 65 'a signature is wrong or its key is not in'
	equal '' "$(find assets/kernels -mindepth 1)"
}

@test "setup on a full disk says how much is wanted, before it downloads" {
	fake df <<<'printf "head\nfs 9 9 1024 9%% /\n"'
	shell=dash
	full()
	{
		rm -f calls
		refuses 74 'the disk is full: '
		has "$stderr" '1 MiB free'
		run -1 grep download calls
	}
	full
}

@test "a disk that fills up while unpacking is one line with 74" {
	shell=dash
	fake dpkg-deb <<<'echo "tar: x: No space left on device" >&2; exit 2'
	refuses 74 'the disk is full'
}

@test "setup on another architecture is one line with 69" {
	fake uname <<<'echo aarch64'
	shell=dash
	other() { refuses 69 'isospin runs on x86-64 only; this is aarch64'; }
	other
}

@test "a checkout below a directory with a space is one line with 69" {
	mkdir 'a b'
	cp -r "$TOP/bin" "$TOP/lib" "$TOP/scripts" "$TOP/share" "$TOP/etc" 'a b/'
	run -69 --separate-stderr "$PWD/a b/bin/isospin" setup demo
	has "$stderr" "$PWD/a b: a kernel module cannot be built"
	equal 1 "${#stderr_lines[@]}"
}

@test "setup on another distribution is one line with 69" {
	printf 'ID=ubuntu\nVERSION_ID="24.04"\n' >os-release
	shell=dash
	refuses 69 'setup knows Debian 12 and 13; this is ubuntu 24.04'
}

@test "without non-free in the mirror setup goes on and keeps the reason" {
	grep -v -e nvidia -e cuda offers >few
	mv few offers
	shell=dash
	goes_on()
	{
		rm -rf assets
		run -0 --separate-stderr run_setup
		has "$stderr" 'offers no nvidia-smi 550 in non-free; isospin-smi stands in'
		run -0 sh_lib 'conf_load; assets_init; assets_nvidia_missing 550'
		has "$output" 'the package mirror offers no nvidia-smi 550'
		rm calls
		run -0 run_setup
		[ ! -e calls ]
	}
	goes_on
}

@test "a mirror that has nothing at the place of non-free gives the kernel" {
	fake apt-get <<-'EOT'
	case "$*" in
	*update)
		ls "$BATS_TEST_TMPDIR"/assets/apt/sources.d | grep -q 'non-free.sources' || exit 0
		echo 'E: Failed to fetch http://mirror.invalid/x/non-free/Packages  404  Not Found' >&2
		exit 100 ;;
	*download*)
		shift 4
		for p; do : >"${p%%=*}_1_amd64.deb"; done ;;
	esac
	EOT
	grep -v -e nvidia -e cuda offers >few
	mv few offers
	goes_on()
	{
		rm -rf assets
		run -0 --separate-stderr run_setup
		equal 1 "$(grep -c 'left out: bookworm-non-free,.* does not have' <<<"$stderr")"
		has "$stderr" 'no nvidia-smi 535 in non-free; isospin-smi stands in'
		[ -e assets/kernels/6.12.9+deb12-cloud-amd64/vmlinuz ]
		run -1 grep -r non-free assets/apt/sources.d
	}
	shell=dash
	goes_on
}

@test "--no-nonfree neither lists nor fetches non-free packages" {
	shell=dash
	run -0 run_setup --no-nonfree
	run -1 grep -r non-free assets/apt/sources.d
	[ ! -e assets/nvidia/550.7.01 ]
	run -0 run_setup
	[ -e assets/nvidia/550.7.01 ]
}

@test "an unusable suite of the other Debian is left out, with its reason" {
	shell=dash
	fake apt-get <<-'EOT'
	case "$*" in
	*update)
		ls "$BATS_TEST_TMPDIR"/assets/apt/sources.d | grep -q '^trixie.*sources' || exit 0
		echo 'E: sub-process gpgv: NO_PUBKEY 762F67A0B2C39DE4' >&2
		exit 100 ;;
	*download*)
		shift 4
		for p; do : >"${p%%=*}_1_amd64.deb"; done ;;
	esac
	EOT
	grep -v 550 offers >few
	mv few offers
	run -0 --separate-stderr run_setup
	has "$stderr" 'trixie-updates-non-free: a signature is wrong or its key'
	run ! grep -q 'left out:.*bookworm' <<<"$stderr"
	run -0 sh_lib 'conf_load; assets_init; assets_nvidia_missing 550'
	has "$output" 'left out'
	[ -e assets/nvidia/535.10.01 ]
}

@test "dry run prints the commands and changes nothing" {
	echo tmux >lacks
	dry()
	{
		run -0 --separate-stderr run_setup -n
		has "$output" '+ env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends tmux'
		has "$output" "apt.conf -q update"
		has "$output" 'URIs: http://mirror.invalid/debian-security'
		[ ! -e calls ] && [ ! -e assets ]
	}
	with_shells dry
}

@test "build adds the source of a kernel and what compiles it, once" {
	shell=dash
	echo bison >lacks
	echo 'linux-source-6.12 6.12.9-1' >>offers
	run -0 --separate-stderr run_setup build
	has "$stderr" 'missing tool: bison compiles a kernel'
	has "$stderr" 'missing: linux-source-6.12'
	[ -e assets/sources/6.12.9-1/linux-source-6.12.tar.xz ]
	[ ! -e assets/sources/6.12.9-1/root ]
	run -0 sh_lib 'conf_load; assets_init; assets_source'
	equal "$PWD/assets/sources/6.12.9-1/linux-source-6.12.tar.xz" "$output"
	rm calls lacks
	run -0 run_setup build
	[ ! -e calls ]
}

@test "missing tools want root, and the line says what to type" {
	echo tmux >lacks
	fake id <<<'echo 1000'
	shell=dash
	refuses 77 'sudo apt-get install --no-install-recommends tmux'
}

@test "setup says each missing tool and what it is for" {
	printf 'tmux\nlibelf1\n' >lacks
	shell=dash
	run -0 --separate-stderr run_setup
	has "$stderr" 'missing tool: tmux shows the stack in windows'
	has "$stderr" 'missing tool: libelf1 is needed to build the kernel module'
	run -0 grep -c 'install --no-install-recommends libelf1 tmux' calls
}

@test "no source of Debian is one line with 78" {
	printf 'deb https://example.invalid/debian bookworm stable\n' \
		>etc/sources.list
	rm etc/sources.list.d/debian.sources
	shell=dash
	refuses 78 'no source of Debian bookworm main'
}

@test "both kinds of source lists are read; disabled and foreign ones are not taken" {
	rm etc/sources.list.d/debian.sources
	cat >etc/sources.list <<-'EOT'
	# deb http://no.invalid/debian bookworm main
	deb-src http://no.invalid/debian bookworm main
	deb [arch=amd64 signed-by=/x] http://a.invalid/debian bookworm main contrib # it
	deb https://apt.vendor.invalid bookworm main
	EOT
	cat >etc/sources.list.d/more.sources <<-'EOT'
	Types: deb deb-src
	# a comment inside
	URIs: http://off.invalid/debian-security
	Suites: bookworm-security
	Components: main
	Enabled: no

	Types: deb
	URIs: http://s.invalid/debian-security/
	Suites: x
	 bookworm-security
	Components: main
	EOT
	mirrors()
	{
		run -0 --separate-stderr sh_lib 'apt_mirrors bookworm
			echo "$apt_main $apt_security"'
		equal 'http://a.invalid/debian http://s.invalid/debian-security' "$output"
	}
	with_shells mirrors
}

@test "the lab's file system has what the packages hold, merged and root's" {
	shell=dash
	run -0 run_setup lab
	run -0 /sbin/debugfs -R 'stat /usr/bin/bash' assets/lab/????????????/root.img
	has "$output" 'User:     0   Group:     0'
	run -0 /sbin/debugfs -R 'stat /bin' assets/lab/????????????/root.img
	has "$output" 'Fast link dest: "usr/bin"'
	[ ! -e assets/kernels/6.1.0-5-cloud-amd64 ]
}

@test "a kernel is chosen by how its release begins" {
	mkdir -p assets/kernels/6.1.0-9-cloud-amd64 assets/kernels/.new \
		assets/kernels/6.12.9+deb12-cloud-amd64 \
		assets/kernels/6.12.10+deb12-cloud-amd64 \
		assets/kernels/6.12.11+deb12-amd64
	choose()
	{
		run -0 --separate-stderr sh_lib 'conf_load; assets_init
			assets_kernel; assets_kernel 6.1; assets_kernel 6.12
			assets_kernel 6.12.9; assets_kernel 6.2 || echo none
			assets_lab_kernel'
		equal '6.12.10+deb12-cloud-amd64 6.1.0-9-cloud-amd64 6.12.10+deb12-cloud-amd64 6.12.9+deb12-cloud-amd64 none 6.12.11+deb12-amd64' "${lines[*]}"
	}
	with_shells choose
}

@test "bad operands and values are usage errors" {
	shell=dash
	refuses 64 "'everything': demo, build, lab or check" everything
	refuses 64 "unexpected operand 'x'" demo x
	refuses 64 "is no number of seconds" --lock-wait soon
	refuses 64 "wants a value" --lock-wait
}
