# shellcheck shell=sh
# paths.sh - where the parts of isospin are
#
# This file is a checkout's. An installed tree has one of its own, written by
# scripts/gen/install.sh. In both TOP has lib/ and scripts/ below it.

# shellcheck disable=SC2034 # other libraries and the commands read them

# The directory that holds everything else, and the command that people type.
paths_top=$TOP
paths_command=$TOP/bin/isospin
# The sources; empty in an installed tree, which can compile only kernel modules.
paths_source=$TOP
# Tables, and data for the VMs.
paths_share=$TOP/share
# Programs for the host, and programs for guests, which are static.
paths_bin=$TOP/build/bin
paths_guest=$TOP/build/static/bin
# The source of the workers' kernel module.
paths_shim=$TOP/kmod
# The configuration, and where its relative paths begin.
paths_conf=$TOP/etc/isospin.conf
paths_home=$TOP
# Downloads, and files made at run time: images, kernel modules.
paths_assets=$TOP/.vm-assets
paths_state=$TOP/build
