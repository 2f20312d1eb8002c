#!/usr/bin/env bats
# test/run.sh: which tests it counts as passed, failed and skipped.

load ../lib/common.sh

setup()
{
	unset SUDO_UID SUDO_GID
	cd "$BATS_TEST_TMPDIR"
	mkdir -p test/cmd build/test/unit
	cp -r "$TOP/lib" .
	cp "$TOP/test/run.sh" test/
	: >test/skips.txt
}

# unit NAME: makes a unit test, a script whose text is on stdin.
unit()
{
	{ echo '#!/bin/sh'; cat; } >"build/test/unit/$1"
	chmod +x "build/test/unit/$1"
}

@test "the last line counts over all files, and the status is 0" {
	unit a <<<'printf "1..2\nok 1 - x\nok 2 - y\n"'
	unit b <<<'printf "ok 1 - x\n1..1\n"'
	run -0 --separate-stderr sh test/run.sh fast
	equal '3 passed, 0 failed, 0 skipped' "${lines[-1]}"
}

@test "a failed test is shown with what it said, and the status is 1" {
	unit a <<<'printf "1..2\nok 1 - x\nnot ok 2 - y\n# why\n"; exit 1'
	run -1 --separate-stderr sh test/run.sh fast
	has "$output" 'not ok 2 - y'
	has "$output" '# why'
	equal '1 passed, 1 failed, 0 skipped' "${lines[-1]}"
}

@test "a program that dies, or does not keep its plan, has failed" {
	# shellcheck disable=SC2016 # the program's
	unit dies <<<'printf "1..1\nok 1 - x\n"; kill -SEGV $$'
	unit short <<<'printf "1..2\nok 1 - x\n"'
	unit silent <<<':'
	run -1 --separate-stderr sh test/run.sh fast
	equal '2 passed, 3 failed, 0 skipped' "${lines[-1]}"
}

@test "a skip fails unless the list has it" {
	unit a <<<'printf "1..2\nok 1 - x # SKIP no\nok 2 - y # skip no\n"'
	echo 'build/test/unit/a: x' >test/skips.txt
	run -1 --separate-stderr sh test/run.sh fast
	has "$output" 'not in test/skips.txt: build/test/unit/a: y'
	equal '0 passed, 1 failed, 1 skipped' "${lines[-1]}"
}

@test "what a test ran with is shown" {
	unit a <<<'printf "1..1\n# with Monitor v1\n# more\nok 1 - x\n"'
	run -0 --separate-stderr sh test/run.sh fast
	has "$output" '# with Monitor v1'
	run ! grep more <<<"$output"
}

@test "no test at all is no success" {
	run -1 --separate-stderr sh test/run.sh fast
	equal '0 passed, 0 failed, 0 skipped' "${lines[-1]}"
}

@test "without bats it says where that comes from, once" {
	mkdir bin
	for tool in dirname sed; do
		ln -s "$(command -v $tool)" bin/
	done
	shell=$(command -v sh)
	run -69 --separate-stderr env PATH="$PWD/bin" "$shell" test/run.sh fast
	equal 'run: error: bats is not installed; isospin setup check brings it' "$stderr"
}
