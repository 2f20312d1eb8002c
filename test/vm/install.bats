#!/usr/bin/env bats
# isospin installed into an empty root, as a distribution takes it, and run there.

load ../lib/common.sh

setup_file()
{
	export DEST=$BATS_FILE_TMPDIR/dest ISOSPIN_RUN_DIR=$BATS_FILE_TMPDIR/r
	make -s -C "$TOP" install DESTDIR="$DEST" PREFIX=/usr
	echo "ASSETS_DIR=$TOP/.vm-assets" >>"$DEST/etc/isospin.conf"
}

teardown_file()
{
	"$DEST/usr/bin/isospin" kill-vms
}

# tree: prints path, size and time of each file below the prefix.
tree()
{
	(cd "$DEST/usr" && find . -printf '%p %s %T@\n' | sort)
}

@test "an install has no sources, no build folder and no tests" {
	run -0 find "$DEST" -mindepth 1 -maxdepth 1 -printf '%f\n'
	equal 'etc usr' "$(sort <<<"$output" | paste -sd ' ')"
	equal '' "$(find "$DEST" -name src -o -name build -o -name test -o \
		-name '*.bats' -o -name Makefile)"
	# Kernel modules are compiled where their kernels are; nothing else is.
	equal '' "$(find "$DEST" -name '*.[ch]' ! -path '*/share/isospin/kmod/*' \
		! -path '*/share/isospin/lab/modules/*')"
	run -1 grep -rlF "$TOP" "$DEST/usr" --include='*.sh' --include='*.service'
}

@test "the demo runs from there, and writes nothing below the prefix" {
	before=$(tree)
	cd /
	run -0 --separate-stderr "$DEST/usr/bin/isospin" demo --no-nonfree --json
	equal 2 "$(jq '.workers | length' <<<"$output")"
	equal "$before" "$(tree)"
	[ -n "$(ls "$DEST"/var/lib/isospin/kmod/*/nvidia-shim.ko)" ]
	[ -d "$DEST/var/lib/isospin/images" ]
	[ ! -e "$DEST/usr/var" ]
}

@test "what came with the install is current, and only the rest is built" {
	run -0 --separate-stderr "$DEST/usr/bin/isospin" build gpu-vm-initramfs \
		nvidia-shim
	has "$stderr" 'gpu-broker-static: nothing has changed'
	has "$stderr" 'nvidia-shim: nothing has changed'
	run -64 --separate-stderr "$DEST/usr/bin/isospin" check
}
