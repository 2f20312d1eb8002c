# shellcheck shell=sh
# abi.sh - what share/abi says about the versions of NVIDIA's driver
#
# The functions print their answer.

abi_dir=$paths_share/abi

# abi_versions [BRANCH]: the versions that have a table, newest first.
abi_versions()
{
	local file

	for file in "$abi_dir/${1:+$1.}"[0-9]*.tbl; do
		[ -f "$file" ] || continue
		file=${file##*/}
		printf '%s\n' "${file%.tbl}"
	done | sort -rV
}

# abi_has VERSION: whether that version has a table of its own.
abi_has()
{
	[ -f "$abi_dir/$1.tbl" ]
}

# abi_branches: the branches whose programs work with the soft driver, one a line.
abi_branches()
{
	sed '/^#/d' "$abi_dir/branches"
}

# abi_default_branch: the newest of these branches.
abi_default_branch()
{
	abi_branches | tail -n 1
}
