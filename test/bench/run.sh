#!/bin/sh
# run.sh - run the benchmarks and show their results
#
# usage: test/bench/run.sh [NAME...]
#
# Runs build/bench/bench_NAME and test/bench/NAME.sh, all of them without NAME, one
# after the other. A benchmark prints a line of JSON for each comparison: its name
# (`bench`), both measurements, their `ratio` with its quartiles, the limit
# (`at_most` or `at_least`), and whether the ratio `kept` it. Where there is no
# limit it prints `ms` with its quartiles; where it cannot run, why it was
# `skipped`. The lines go to build/bench/results.jsonl, and a table of them to
# stdout. Exit status 1 if a ratio is past its limit or a benchmark fails.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base/base.sh"

results=build/bench/results.jsonl

# bench_files [NAME...]: prints the paths of the programs to run.
bench_files()
{
	local name file some

	if [ $# -eq 0 ]; then
		find build/bench test/bench -maxdepth 1 -type f \
			\( -name 'bench_*' ! -name '*.[cdoh]' -perm -u+x \) -o \
			\( -path 'test/bench/*.sh' ! -name run.sh \) | sort
		return
	fi
	for name; do
		some=0
		for file in build/bench/bench_"$name" test/bench/"$name".sh; do
			[ -f "$file" ] || continue
			some=1
			printf '%s\n' "$file"
		done
		[ "$some" -eq 1 ] || die 64 "no benchmark '$name'"
	done
}

# run_one FILE: adds the lines of one benchmark to the results.
run_one()
{
	local file="$1" rc=0

	log_info "$file ..."
	case $file in
	*.sh) timeout -k 10 1800 sh "$file" ;;
	*) timeout -k 10 600 "$file" ;;
	esac </dev/null >>"$results" || rc=$?
	# The line of a benchmark that ends with 1 says which limit was passed.
	[ "$rc" -le 1 ] || log_error "$file: status $rc"
	return "$rc"
}

# Prints the results as a table.
table()
{
	jq -r '[.bench, .n, .ratio // .ms, .ratio_q1 // .ms_q1,
		.ratio_q3 // .ms_q3, (if .at_most then "<= \(.at_most)"
		elif .at_least then ">= \(.at_least)" else "-" end),
		(if .skipped then "skipped: \(.skipped)"
		elif .ms then "ms" elif .kept == false then "NOT KEPT"
		else "kept" end)] | @tsv' \
		"$results" | awk -F '\t' '
	BEGIN {
		form = "%-32s %4s %7s %15s %8s  %s\n"
		printf form, "benchmark", "n", "ratio", "quartiles", "limit", ""
	}
	{ printf form, $1, $2, $3, $4 " - " $5, $6, $7 }'
}

main()
{
	local file files failed=0

	base_init bench
	cd "$TOP"
	mkdir -p build/bench
	: >"$results"
	files=$(bench_files "$@") || leave $?
	for file in $files; do
		run_one "$file" || failed=1
	done
	[ ! -s "$results" ] || table
	[ "$failed" -eq 0 ] || leave 1
}

main "$@"
