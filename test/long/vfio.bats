#!/usr/bin/env bats
# The long cases of test/lab: a hundred binds, and a kill at every write.

load ../lib/common.sh

lab()
{
	timeout 3000 "$TOP/bin/isospin" lab -- env LONG=1 bats --tap "$@" 3>&-
}

@test "a hundred times bound and given back, a card is as it was" {
	lab -f 'come back' test/lab/vfio-bind.bats
}

@test "killed at any write with all its children, vfio-bind leaves what can be restored" {
	lab test/lab/vfio-kill.bats
}
