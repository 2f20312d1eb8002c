# shellcheck shell=sh
# vm.sh - the libraries that boot a VM, for the benchmarks. Needs TOP.

. "$TOP/lib/base.sh"
. "$TOP/lib/opt.sh"
. "$TOP/lib/conf.sh"
. "$TOP/lib/poll.sh"
. "$TOP/lib/proc.sh"
. "$TOP/lib/assets.sh"
. "$TOP/lib/image.sh"
. "$TOP/lib/vmm.sh"
. "$TOP/lib/qemu.sh"
. "$TOP/lib/fc.sh"
. "$TOP/lib/ch.sh"
. "$TOP/lib/vm.sh"
. "$TOP/lib/boot.sh"
