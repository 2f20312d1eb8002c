#!/bin/sh
# setup - fetch what isospin needs on this machine
#
# usage: isospin setup [-hVvn] [-c FILE] [--no-nonfree] [--lock-wait SECONDS]
#                      [demo|build|lab|check]
#
# Lists the missing items and how much room they take. Then installs the missing tools
# with apt-get, as root, and unpacks kernels, their headers and NVIDIA's programs in
# ASSETS_DIR. These are verified by the keys of Debian's archive and not installed.
# `demo`, the default, gets all that the demo needs. `build` adds the tools and source
# for a kernel, `lab` the lab's kernel and Debian, and `check` both and the tools of the
# tests. Nothing is fetched twice: a second run needs no network.
#
#   --no-nonfree         go without NVIDIA's programs, which are not free
#   --lock-wait SECONDS  how long to wait for another apt (120)
#   -n, --dry-run        print the commands instead
#   -c FILE              read this file instead of etc/isospin.conf
#   -v                   say more
#   -h, -V               this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf apt assets lack

lock_wait=

option()
{
	case $1 in
	--no-nonfree) conf_set_flag NONFREE no ;;
	--lock-wait)
		opt_need "$@"
		case $2 in
		'' | *[!0-9]* | ?????*)
			die 64 "--lock-wait: '$2' is no number of seconds" ;;
		esac
		lock_wait=$2
		opt_n=2 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	purpose=${1:-demo}
	[ $# -eq 0 ] || shift
	opt_none "$@"
	case $purpose in
	demo | build | lab | check) ;;
	*) die 64 "'$purpose': demo, build, lab or check" ;;
	esac
	conf_load "$opt_conf" || die $? "$why"
	assets_init

	lack_find "$purpose" || die $? "$why"
	if [ -z "$lack_tools" ] && ! lack_assets; then
		log_info "everything for $purpose is here"
		leave 0
	fi
	lack_say
	apt_init "$lock_wait" || die $? "$why"
	lack_install || die $? "$why"
	lack_fetch || die $? "$why"
}

main()
{
	base_init "$0"
	opt_flags=dry-run
	opt_parse option work "$@"
}

main "$@"
