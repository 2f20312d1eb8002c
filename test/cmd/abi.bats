#!/usr/bin/env bats
# abi.bats - the tables of share/abi and the programs that make and read them.

load ../lib/common.sh

gen=$BATS_TEST_DIRNAME/../../scripts/gen

# versions [BRANCH]: those that have a table, newest first, as scripts see them.
versions()
{
	paths_share=$TOP/share sh -c '. "$0" && abi_versions "$@"' \
		"$TOP/lib/assets/abi.sh" "$@"
}

@test "the ABI tables are what the vendor's headers give" {
	# A directory with one checkout of open-gpu-kernel-modules per version.
	[ -n "${VENDOR_SOURCES:-}" ] || skip 'no vendor headers'
	for table in "$TOP"/share/abi/[0-9]*.tbl; do
		v=$(basename "$table" .tbl)
		[ -d "$VENDOR_SOURCES/$v" ] || continue
		base=$(sed -n 's/^base //p' "$table")
		run -0 --separate-stderr sh "$gen/abi-tbl.sh" \
			"$VENDOR_SOURCES/$v" "$v" ${base:+"$base"}
		equal "$(cat "$table")" "$output"
		equal '' "$stderr"
	done
	v=$(versions | head -n 1)
	[ -d "$VENDOR_SOURCES/$v" ] || return 0
	run -0 sh "$gen/abi-tbl.sh" "$VENDOR_SOURCES/$v" --status
	equal "$(cat "$TOP/share/abi/status.tbl")" "$output"
}

@test "every table of share/abi has rows of each kind, in order" {
	for table in "$TOP"/share/abi/[0-9]*.tbl; do
		run -0 --separate-stderr awk -f "$gen/abi-rows.awk" "$table"
		equal '' "$stderr"
		equal $'class\nconst\ncontrol\nescape\nuvm' \
			"$(cut -d ' ' -f 2 <<<"$output" | uniq)"
	done
}

@test "a table with a base is shorter than a whole one, and says what its version changed" {
	cd "$TOP/share/abi"
	equal 580.95.05 "$(sed -n 's/^base //p' 580.142.tbl)"
	[ "$(wc -c <580.142.tbl)" -lt 1000 ]
	rows() { awk -f "$gen/abi-rows.awk" "$1.tbl" | cut -d ' ' -f 2-; }
	equal '20800b08 20801110 20801361 20801362' \
		"$(comm -13 <(rows 580.95.05 | cut -d ' ' -f 2 | sort -u) \
			<(rows 580.142 | cut -d ' ' -f 2 | sort -u) |
			sed 's/^0x//' | paste -sd ' ')"
	# No call that workers may make differs.
	equal "$(rows 580.95.05 | awk '$6 != "-"')" \
		"$(rows 580.142 | awk '$6 != "-"')"
}

@test "the newest table of a branch is the one of the highest version" {
	equal '580.142 580.95.05' "$(versions 580 | paste -sd ' ')"
	equal 580.142 "$(versions | head -n 1)"
}

# Makes a source tree like NVIDIA's with one call of each kind, and a copy of the
# generator with a spec for these calls.
vendor_tree()
{
	local sdk

	cd "$BATS_TEST_TMPDIR"
	sdk=src/common/sdk/nvidia/inc
	mkdir -p $sdk/class $sdk/ctrl $sdk/alloc src/common/inc/swref/published \
		src/nvidia/generated src/nvidia/src/kernel/rmapi isospin/scripts \
		isospin/share/abi
	cp -r "$gen" isospin/scripts/
	for f in nvos nv-ioctl nv_escape nv-ioctl-numbers nv-ioctl-numa \
		nv-unix-nvos-params-wrappers uvm_ioctl uvm_linux_ioctl; do
		: >$sdk/$f.h
	done
	: >src/common/inc/swref/published/nv_ref.h
	echo '#define NV_ESC_X 7' >$sdk/nv_escape.h
	echo 'struct x { int first; long second; };' >$sdk/nvos.h
	echo '#define NV1_CTRL_CMD_X (0x10101U)' >$sdk/ctrl/x.h
	echo '#define NV_CLASS_X 0x5' >$sdk/class/x.h
	printf '%s\n' '/*flags=*/ 0x10u,' '/*methodId=*/ 0x10101u,' \
		'/*paramSize=*/ sizeof(struct x),' \
		'/*pClassInfo=*/ &(__nvoc_class_def_Thing.classInfo),' \
		>src/nvidia/generated/x_nvoc.c
	sed -i 's/struct x/struct_x/' src/nvidia/generated/x_nvoc.c
	echo 'typedef struct x struct_x;' >>$sdk/nvos.h
	printf '%s\n' '/* External Class */ NV_CLASS_X,' \
		'/* Internal Class  */ Thing,' '/* Multi-Instance  */ NV_FALSE,' \
		'/* Parents   */ RS_ANY_PARENT,' \
		'/* Alloc Param Info */ RS_NONE,' \
		'/* Flags   */ ALLOC_NON_PRIVILEGED,' \
		>src/nvidia/src/kernel/rmapi/resource_list.h
	: >isospin/scripts/gen/measured.tbl
	tbl=isospin/scripts/gen/abi-tbl.sh
}

# spec LINE...: writes the abi.spec of that copy.
spec()
{
	printf '%s\n' "$@" >isospin/scripts/gen/abi.spec
}

@test "a name that a version lacks, or has, other than abi.spec says stops the generator" {
	vendor_tree
	spec 'escape NV_ESC_X struct_x ctl compute' $'\tfirst' \
		'control NV1_CTRL_CMD_X compute' $'\tsecond' \
		'class NV_CLASS_X compute' \
		'escape NV_ESC_Y struct_y ctl compute not 1,2' $'\tfirst' \
		'control NV1_CTRL_CMD_Y compute not 1' \
		'class NV_CLASS_Y compute not 1' 'const NV_Z not 1'
	run -0 --separate-stderr sh $tbl . 1.2.3
	equal "# ABI of NVIDIA's driver 1.2.3, made by scripts/gen/abi-tbl.sh: README.md
class 0x00000005 NV_CLASS_X 0 inout compute ic=Thing parent=*
control 0x00010101 NV1_CTRL_CMD_X 16 inout compute on=Thing .second=8,8
escape 0x00000007 NV_ESC_X 16 inout compute dev=ctl .first=0,4" "$output"
	equal '' "$stderr"
	wrong()
	{
		spec "$@"
		run -1 --separate-stderr sh $tbl . 1.2.3
		equal '' "$output"
		has "$stderr" "abi.spec must $says \"not 1\""
	}
	says=say
	wrong 'escape NV_ESC_Y struct_x ctl compute'
	wrong 'escape NV_ESC_X struct_x ctl compute' $'\tthird not 3'
	wrong 'control NV1_CTRL_CMD_Y compute'
	wrong 'class NV_CLASS_Y compute'
	wrong 'const NV_Z'
	says='not say'
	wrong 'escape NV_ESC_X struct_x ctl compute not 1'
	wrong 'escape NV_ESC_X struct_x ctl compute' $'\tfirst not 1,2'
	wrong 'control NV1_CTRL_CMD_X compute not 1'
	wrong 'class NV_CLASS_X compute not 1'
	wrong 'const NV_ESC_X not 1'
}

@test "a table is written as what differs from its base where that is shorter" {
	vendor_tree
	spec 'escape NV_ESC_X struct_x ctl compute' $'\tfirst'
	abi=isospin/share/abi
	sh $tbl . 1.2.3 >$abi/1.2.3.tbl
	sed -i 's/ 7$/ 8/' src/common/sdk/nvidia/inc/nv_escape.h
	run -0 --separate-stderr sh $tbl . 1.2.4 1.2.3
	equal "# ABI of NVIDIA's driver 1.2.4, made by scripts/gen/abi-tbl.sh: README.md
base 1.2.3
escape 0x00000008 NV_ESC_X 16 inout compute dev=ctl .first=0,4" "$output"
	printf '%s\n' "$output" >$abi/1.2.4.tbl
	whole=$(sh $tbl . 1.2.4)
	equal "$(tail -n +2 <<<"$whole")" \
		"$(awk -f "$gen/abi-rows.awk" $abi/1.2.4.tbl | sed 's/^1.2.4 //')"
	# The tables have nothing in common, so a whole table is shorter.
	printf 'escape %s\n' '1 NV_A' '2 NV_B' '3 NV_C' '4 NV_D' '5 NV_E' \
		'6 NV_F' '7 NV_G' '8 NV_H' '9 NV_I' '10 NV_J' >$abi/0.9.tbl
	equal "$whole" "$(sh $tbl . 1.2.4 0.9)"
}

@test "a table that names a base has the base's rows but those that it changes" {
	cd "$BATS_TEST_TMPDIR"
	printf '%s\n' 'escape 0x01 NV_A 8' 'escape 0x02 NV_B 8' \
		'escape 0x02 NV_B 16' 'escape 0x03 NV_C 8' >1.tbl
	printf '%s\n' '# a comment' 'base 1' '- escape NV_C' \
		'escape 0x02 NV_B 24' >2.tbl
	printf '%s\n' 'base 2' 'escape 0x00 NV_D 8' >3.tbl
	run -0 --separate-stderr awk -f "$gen/abi-rows.awk" 3.tbl 1.tbl
	equal '3 escape 0x00 NV_D 8
3 escape 0x01 NV_A 8
3 escape 0x02 NV_B 24
1 escape 0x01 NV_A 8
1 escape 0x02 NV_B 8
1 escape 0x02 NV_B 16
1 escape 0x03 NV_C 8' "$output"
	bad()
	{
		printf '%s\n' "$@" >4.tbl
		run -65 --separate-stderr awk -f "$gen/abi-rows.awk" 4.tbl
		has "$stderr" 'abi-rows.awk: '
	}
	bad 'base 5'
	bad 'base 4'
	bad 'base 1' '- escape NV_D'
	bad 'base 1' 'base 2'
	bad '- escape NV_A'
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

@test "a value that differs between tables stops the build" {
	cd "$BATS_TEST_TMPDIR"
	echo 'const 0x00000001 NV_X' >1.tbl
	echo 'const 0x00000002 NV_X' >2.tbl
	run -1 --separate-stderr sh "$gen/abi-c.sh" h 1.tbl 2.tbl
	has "$stderr" 'NV_X is 0x00000001 in 1 and 0x00000002 in 2'
}

@test "a call whose number differs has a name of its own, and no number" {
	cd "$BATS_TEST_TMPDIR"
	row='8 inout compute dev=ctl'
	printf '%s\n' "escape 0x01 NV_X $row" "escape 0x02 NV_Y $row" >1.tbl
	printf '%s\n' "escape 0x02 NV_X $row" "escape 0x02 NV_Y $row" >2.tbl
	run -0 --separate-stderr sh "$gen/abi-c.sh" h 1.tbl 2.tbl
	has "$output" 'ABI_R_NV_X'
	run -0 --separate-stderr sh "$gen/abi-c.sh" n 1.tbl 2.tbl
	has "$output" 'NV_Y = 0x02'
	[[ $output != *NV_X* ]]
}

@test "no number of a call stands in the C code" {
	# The code has only NVIDIA's names; numbers are in tests and on the wire.
	run ! grep -rn 'abi_numbers[.]h' "$TOP/src" "$TOP/kmod"
	equal '' "$output"
	run ! grep -rnE '0x(2080|0080|0000|0073)[0-9a-f]{4}\b' "$TOP/src" \
		--include='*.c' --include='*.h'
	equal '' "$output"
}

@test "a branch whose programs setup fetches has a table with the measured calls" {
	run -0 --separate-stderr grep '^[0-9]' "$TOP/share/abi/branches"
	branches=$output
	for branch in $branches; do
		run -0 grep -l '^control .* GSS_' "$TOP/share/abi/$branch".*.tbl
	done
	run -0 --separate-stderr sed -n '/^[0-9]/s/ .*//p' "$gen/measured.tbl"
	equal "$branches" "$(tr , '\n' <<<"$output" | sort -u)"
}
