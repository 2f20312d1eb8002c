#!/usr/bin/env bats
# isospin lint over this tree.

load ../lib/common.sh

@test "lint finds nothing" {
	run -0 "$TOP/scripts/lint.sh"
	equal '' "$output"
}
