#!/bin/sh
# snapshot.sh - compare the start of a clone with the boot of a worker
#
# usage: test/bench/snapshot.sh [PAIRS]
#
# It needs a machine that can run workers in Firecracker; the lab with LAB_VMMS and
# ACCEL=kvm is one. It starts a GPU VM and the bridge and makes the snapshot. Then
# it starts a clone and a worker that boots, in turn; each is timed from the start
# of its VMM until its shim is ready. A nested guest hangs now and then, so a start
# that fails is tried once more.
set -eu

TOP=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$TOP/lib/base/base.sh"

isospin()
{
	local cmd="$1"

	shift
	"$TOP/scripts/$cmd.sh" --instance bench-snap "$@"
}

# again COMMAND...: tries it twice.
again()
{
	"$@" || "$@" || leave $?
}

# worker FLAG...: starts a worker; sets ms to the time that it took.
worker()
{
	ms=$(again isospin worker-vm --name w1 --detach --json "$@") || leave $?
	ms=$(printf '%s\n' "$ms" | jq .boot_ms)
	isospin kill-vms w1
}

# One of each kind: the clone first.
pair()
{
	local ours

	worker --from-snapshot
	ours=$ms
	worker
	pairs="$pairs$ours $ms$base_nl"
}

# One of each kind: the clone last.
pair_reversed()
{
	local theirs

	worker
	theirs=$ms
	worker --from-snapshot
	pairs="$pairs$ms $theirs$base_nl"
}

main()
{
	local pairs='' n=0 ms

	base_init bench
	command -v firecracker >/dev/null || {
		jq -cn '{bench: "worker_snapshot",
			skipped: "firecracker is not on PATH"}'
		leave 0
	}
	export ISOSPIN_WORKER_VMM=firecracker
	on_exit isospin kill-vms
	again isospin gpu-vm --driver soft --detach >&2
	isospin vsock-bridge --detach
	worker --from-snapshot
	while [ "$n" -lt "${1:-5}" ]; do
		if [ $((n % 2)) -eq 0 ]; then
			pair
		else
			pair_reversed
		fi
		n=$((n + 1))
	done
	pairs=$(printf %s "$pairs" | jq -Rnc -f "$TOP/test/bench/pairs.jq" \
		--arg bench worker_snapshot --arg ours restored_ms \
		--arg theirs cold_ms --argjson at_most 0.15)
	printf '%s\n' "$pairs"
	case $pairs in
	*'"kept":false'*) leave 1 ;;
	esac
}

main "$@"
