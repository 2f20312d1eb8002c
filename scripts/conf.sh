#!/bin/sh
# conf - print the configuration in effect
#
# usage: isospin conf [-hVv] [-c FILE] [NAME]
#
# Prints KEY=value for every key of isospin.conf(5): the value of the environment
# (ISOSPIN_KEY), else of the file, else the default. With NAME, prints the values
# that hold for the VM of that name.
#
#   -c FILE   read this file instead of etc/isospin.conf
#   -v        say more
#   -h, -V    this text; the version
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$TOP/lib/base/base.sh"
use opt conf

work()
{
	name=${1:-}
	[ $# -eq 0 ] || shift
	opt_none "$@"
	conf_load "$opt_conf" || die $? "$why"
	conf_print "$name"
}

main()
{
	base_init "$0"
	opt_parse opt_unknown work "$@"
}

main "$@"
