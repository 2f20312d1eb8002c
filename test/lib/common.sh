# shellcheck shell=bash
# common.sh - functions that all bats files use; each file loads it

bats_require_minimum_version 1.5.0

TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
export LC_ALL=C

# Every shell that commands must run under.
shells=('dash' 'busybox ash')

# with_shells FUNCTION: runs FUNCTION once for each shell, with $shell set. busybox
# ash prefers busybox's own programs to those on PATH, even to fakes.
with_shells()
{
	for shell in "${shells[@]}"; do
		echo "# under $shell"
		"$1"
	done
}

# with_fakes FUNCTION: the same for a FUNCTION that fakes a program which busybox has
# too. busybox ash would run its own program; as root its `id` answers as the fake
# does, so only then FUNCTION runs under busybox ash as well.
with_fakes()
{
	local shells=("${shells[@]}")

	[ "$EUID" -eq 0 ] || shells=(dash)
	with_shells "$1"
}

# sh_lib TEXT: runs TEXT under $shell, with the libraries loaded and the
# configuration not yet; use it with `run`.
sh_lib()
{
	# shellcheck disable=SC2086,SC2016 # busybox ash is two words; the
	# text is for that shell
	TOP=$TOP $shell -c 'set -eu
		. "$TOP/lib/base/base.sh"
		use opt conf poll proc apt assets fetch
		base_init t
		'"$1"
}

# fake NAME: makes a program NAME that comes first on PATH; its text is on stdin.
fake()
{
	local text

	IFS= read -rd '' text || :
	[ -d "$BATS_TEST_TMPDIR/fake" ] || mkdir "$BATS_TEST_TMPDIR/fake"
	printf '#!/bin/sh\n%s' "$text" >"$BATS_TEST_TMPDIR/fake/$1"
	chmod +x "$BATS_TEST_TMPDIR/fake/$1"
	case $PATH in
	"$BATS_TEST_TMPDIR/fake:"*) ;;
	*) PATH=$BATS_TEST_TMPDIR/fake:$PATH ;;
	esac
}

# equal EXPECTED GOT
equal()
{
	[ "$1" = "$2" ] || {
		printf 'expected: %s\n     got: %s\n' "$1" "$2"
		return 1
	}
}

# has TEXT PART
has()
{
	[[ $1 == *"$2"* ]] || {
		printf 'no: %s\nin: %s\n' "$2" "$1"
		return 1
	}
}
