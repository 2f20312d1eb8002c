#!/bin/sh
# run.sh - run the tests and count them
#
# usage: test/run.sh fast|vm|lab|all|long
#
#   fast   unit tests and test/cmd: no root, VM or network
#   vm     test/integration and test/vm, which boot guests, one file at a time
#   lab    test/lab, in one lab, or in two labs with one processor each, which
#          share the files
#   all    these three
#   long   the fuzz targets, ten minutes each, and test/long
#
# JOBS fast files run side by side, by default three more than there are processors,
# because some of them only wait. Under sudo they run as the calling user. A skip
# that test/skips.txt does not list is a failure. With a line `# with ...` a test
# says which programs of this machine it ran with. The last line is `N passed, N
# failed, N skipped`; the exit status is 1 if any failed.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"

out=$TOP/build/test/out

# run_one FILE: runs FILE, keeps its TAP output, and prints its counts.
run_one()
{
	local file="$1" tap rc=0 since now

	tap=$out/$(printf '%s' "$file" | tr / .).tap
	base_uptime since
	case $file in
	test/lab/*)
		timeout -k 10 1800 bin/isospin lab --exec "check$LAB" -- \
			bats --tap "$file" ;;
	test/long/*) timeout -k 10 14400 bats --tap "$file" ;;
	*.bats) timeout -k 10 1800 bats --tap "$file" ;;
	*) timeout -k 10 120 "$file" ;;
	esac </dev/null >"$tap" 2>&1 || rc=$?
	base_uptime now
	judge "$file" "$rc" "$tap" >"$tap.count"
	read -r passed failed skipped <"$tap.count"
	printf '%s: %d passed, %d failed, %d skipped (%d s)\n' "$file" \
		"$passed" "$failed" "$skipped" "$((now - since))"
	grep '^# with ' "$tap" || :
	# A single write, so that the output of files side by side does not mix.
	if [ "$failed" -gt 0 ]; then
		printf '%s\n' "$(grep -v '^ok ' "$tap")"
	fi
}

# judge FILE STATUS TAP: prints "PASSED FAILED SKIPPED". A program that died, or that
# did not keep its plan, counts as one more failure.
judge()
{
	awk -v "file=$1" -v "rc=$2" -v "skips=$TOP/test/skips.txt" '
	BEGIN {
		plan = -1
		while ((getline line < skips) > 0)
			allowed[line] = 1
	}
	/^1\.\.[0-9]+/ { plan = substr($1, 4) + 0 }
	/^not ok / { failed++ }
	/^ok / {
		name = $0
		sub(/^ok [0-9]* *(- )?/, "", name)
		if (!match(name, / # [Ss][Kk][Ii][Pp]/)) {
			passed++
			next
		}
		name = file ": " substr(name, 1, RSTART - 1)
		if (name in allowed)
			skipped++
		else {
			unlisted[++failed] = name
		}
	}
	END {
		if (!failed && (rc != 0 || plan != passed + skipped))
			failed = 1
		print passed + 0, failed + 0, skipped + 0
		for (i in unlisted)
			print "not ok - skipped, but not in test/skips.txt: " \
				unlisted[i] >>ARGV[1]
	}' "$3"
}

# run_fast: starts the longest files first, so that none of them is left alone at
# the end. A file's size serves as a guess of its time. The files named below take
# longer than that: lint.bats reads all the others, and some wait until a deadline
# of the product has passed.
run_fast()
{
	quick_tmp
	find build/test/unit test/cmd \( -path 'build/test/unit/*' \
		-type f -perm -u+x ! -name test_bridge_run -printf '0 %p\n' \) -o \
		\( -name lint.bats -o -name gpu-broker.bats -o -name kill-vms.bats \
		-o -name vsock-bridge.bats -o -name test_bridge_run \) \
		-printf '999999 %p\n' -o \
		-name '*.bats' -printf '%s %p\n' 2>/dev/null |
		sort -k 1,1nr -k 2 | cut -d ' ' -f 2- >"$out/fast.list"
	as_user env "TMPDIR=$fast_tmp" xargs -d '\n' -r -n 1 \
		-P "${JOBS:-$(($(nproc) + 3))}" sh test/run.sh one \
		<"$out/fast.list"
}

# quick_tmp: sets fast_tmp, the directory for temporary files. It is in memory if
# there is room and programs may be executed there. The fast tests make and remove
# many small files, which on some disks takes as long as everything else.
quick_tmp()
{
	local dir free

	fast_tmp=${TMPDIR:-/tmp}
	dir=$(as_user mktemp -d /dev/shm/isospin.XXXXXX 2>/dev/null) || return 0
	on_exit rm -rf -- "$dir"
	free=$(df -Pm -- "$dir" | awk 'NR == 2 { print $4 }')
	as_user cp /bin/true "$dir/true"
	if "$dir/true" 2>/dev/null && [ "$free" -ge 512 ]; then
		fast_tmp=$dir
	fi
}

run_vm()
{
	local file

	for file in test/integration/*.bats test/vm/*.bats; do
		[ ! -f "$file" ] || run_one "$file"
	done
}

# run_lab: runs test/lab with a state directory of its own, as each file of test/vm
# has. A failed boot of a lab is tried once more, because QEMU without KVM now and
# then breaks one. With LAB_VMMS there is only one lab, which takes two processors.
run_lab()
{
	local lab=0 labs=2

	[ "$(nproc)" -ge 2 ] && [ -z "${ISOSPIN_LAB_VMMS:-}" ] || labs=1
	ISOSPIN_RUN_DIR=$(mktemp -d /tmp/isospin.XXXXXX)
	export ISOSPIN_RUN_DIR
	on_exit rm -rf -- "$ISOSPIN_RUN_DIR"
	on_exit bin/isospin kill-vms
	while [ "$lab" -lt "$labs" ]; do
		lab_boot "$lab" || lab_boot "$lab" || :
		lab=$((lab + 1))
	done
	find test/lab -name '*.bats' -printf '%s %p\n' | sort -rn |
		cut -d ' ' -f 2 | xargs -n 1 -P "$labs" --process-slot-var=LAB \
		sh test/run.sh one
	base_release
	unset ISOSPIN_RUN_DIR
}

lab_boot()
{
	bin/isospin lab --name "check$1" --detach --owner "$$" </dev/null
}

run_long()
{
	local file rc

	for file in build/fuzz/*; do
		[ -x "$file" ] || continue
		rc=0
		timeout -k 10 900 "$file" -max_total_time=600 -verbosity=0 \
			>"$out/${file##*/}.log" 2>&1 || rc=$?
		if [ "$rc" -eq 0 ]; then
			echo '1 0 0'
		else
			echo '0 1 0'
			tail -n 20 "$out/${file##*/}.log" >&2
		fi >"$out/${file##*/}.tap.count"
		printf '%s: status %d\n' "$file" "$rc"
	done
	for file in test/long/*.bats; do
		[ ! -f "$file" ] || run_one "$file"
	done
}

main()
{
	base_init "$0"
	cd "$TOP"
	if [ "${1:-}" = one ]; then
		run_one "$2"
		leave 0
	fi
	command -v bats >/dev/null ||
		die 69 'bats is not installed; isospin setup check brings it'
	as_user rm -rf "$out"
	as_user mkdir -p "$out"
	case ${1:-} in
	fast) run_fast ;;
	vm) run_vm ;;
	all)
		run_fast
		run_vm
		run_lab ;;
	lab) run_lab ;;
	long) run_long ;;
	*) die 64 'usage: test/run.sh fast|vm|lab|all|long' ;;
	esac
	base_owner_fix "$out"
	cat "$out"/*.count 2>/dev/null | awk '
		{ p += $1; f += $2; s += $3 }
		END {
			printf "%d passed, %d failed, %d skipped\n", p, f, s
			exit f > 0 || p == 0
		}' || leave 1
}

main "$@"
