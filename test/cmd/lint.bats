#!/usr/bin/env bats
# isospin lint on this checkout.

load ../lib/common.sh

@test "lint finds nothing" {
	run -0 "$TOP/scripts/lint.sh"
	equal '' "$output"
}
