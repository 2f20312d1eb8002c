#!/bin/sh
# check - fetch what the tests need, build, and run the tests
#
# usage: isospin check [-hVv] [-c FILE] [--no-nonfree]
#
# Runs `isospin setup check`, builds as the calling user, then runs the unit tests,
# the tests of the commands and those that boot guests. The last line is `N passed,
# N failed, N skipped`; the exit status is 1 if any failed. JOBS in the environment
# sets how many run side by side.
#
#   --no-nonfree   go without NVIDIA's programs, which are not free
#   -c FILE        read this file instead of etc/isospin.conf
#   -v             say more
#   -h, -V         this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf

option()
{
	case $1 in
	--no-nonfree) nonfree=$1 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	opt_none "$@"
	conf_load "$opt_conf" || die $? "$why"

	# shellcheck disable=SC2086 # no word if empty
	opt_pass '' "$TOP/scripts/setup.sh" @ $nonfree check ||
		leave $?
	log=$(mktemp)
	on_exit rm -f "$log"
	step_begin 'building'
	as_user make -s -C "$TOP" -j "${JOBS:-2}" check-build >"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die 70 'the build failed; the lines above say where'
	}
	step_end
	"$TOP/test/run.sh" all || leave $?
}

main()
{
	base_init "$0"
	nonfree=
	opt_parse option work "$@"
}

main "$@"
