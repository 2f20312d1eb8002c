#!/bin/sh
# kernel.sh - compare the boot of the workers' own kernel with Debian's
#
# usage: test/bench/kernel.sh [PAIRS]
#
# Boots the same VM with the one and the other in turn, up to the first line that
# its /init prints. Each has the initrd of a worker with that kernel, but for
# /init, which does nothing else.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/test/lib/vm.sh"
. "$TOP/test/lib/bare.sh"

main()
{
	local pairs='' n=0 own debian ours theirs

	base_init bench
	opt_conf='' opt_instance=bench-kernel opt_json=0
	vm_init || die $? "$why"
	debian=$(assets_kernel) || die 66 'no kernel; run: isospin setup demo'
	if ! own=$(assets_own_kernel); then
		printf '{"bench":"kernel","skipped":"fc-gpu-kernel is not built"}\n'
		leave 0
	fi
	while [ "$n" -lt "${1:-15}" ]; do
		bare_boot "$own" ''
		ours=$bare_ms
		bare_boot "$debian" ''
		theirs=$bare_ms
		pairs="$pairs$ours $theirs$base_nl"
		n=$((n + 1))
	done
	pairs=$(printf %s "$pairs" | jq -Rnc -f "$TOP/test/bench/pairs.jq" \
		--arg bench kernel --arg ours own_ms --arg theirs debian_ms \
		--argjson at_most 0.4)
	printf '%s\n' "$pairs"
	case $pairs in
	*'"kept":false'*) leave 1 ;;
	esac
}

main "$@"
