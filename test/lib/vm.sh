# shellcheck shell=sh
# vm.sh - load the libraries that boot a VM, for the benchmarks. Needs TOP.

. "$TOP/lib/base/base.sh"
use opt conf poll record proc accel assets image vmm launch vm boot
