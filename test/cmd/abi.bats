#!/usr/bin/env bats
# share/abi: the committed tables and their generators.

load ../lib/common.sh

gen=$BATS_TEST_DIRNAME/../../scripts/gen

@test "the ABI tables are what the vendor's headers give" {
	# A directory with one checkout of open-gpu-kernel-modules per version.
	[ -n "${VENDOR_SOURCES:-}" ] || skip 'no vendor headers'
	for table in "$TOP"/share/abi/[0-9]*.tbl; do
		v=$(basename "$table" .tbl)
		[ -d "$VENDOR_SOURCES/$v" ] || continue
		run -0 --separate-stderr sh "$gen/abi-tbl.sh" \
			"$VENDOR_SOURCES/$v" "$v"
		equal "$(cat "$table")" "$output"
	done
}

@test "a table row that the generator does not understand stops the build" {
	bad()
	{
		printf '%s\n' "$1" >"$BATS_TEST_TMPDIR/1.2.3.tbl"
		run -1 --separate-stderr sh "$gen/abi-c.sh" c \
			"$BATS_TEST_TMPDIR/1.2.3.tbl"
		has "$stderr" 'abi-c.awk: '
	}
	bad 'escape 0x29 NV_X 16 inout utility colour=red'
	bad 'escape 0x29 NV_X 16 inout'
	bad 'escape 0x29 NV_X 16 inout utility ptr=0:in:guess:4'
}

@test "no number of a call stands in the C code" {
	# The names are NVIDIA's; only tests and the wire have numbers.
	run ! grep -rnE '0x(2080|0080|0000|0073)[0-9a-f]{4}\b' "$TOP/src" \
		--include='*.c' --include='*.h'
	equal '' "$output"
}
