#!/usr/bin/env bats
# nvidia-shim.ko on each unpacked Debian kernel, which is booted once with a small
# broker in the guest itself; test/guest/shim-test.c has the cases.

load ../lib/common.sh
load ../lib/guest.sh

vsock=net/vmw_vsock

setup_file()
{
	local release dir

	for dir in "$TOP"/.vm-assets/kernels/[0-9]*-cloud-amd64; do
		release=${dir##*/}
		dir=$BATS_FILE_TMPDIR/$release
		guest_stage "$release" "$dir" $vsock/vsock \
			$vsock/vmw_vsock_virtio_transport_common \
			$vsock/vsock_loopback
		cp "$TOP"/build/static/test/{shim-test,shim-soak,wire-broker} \
			"$dir/bin/"
		strip -g -o "$dir/modules/nvidia-shim.ko" \
			"$TOP/build/kmod/$release/nvidia-shim.ko"
		guest_run "$release" "$dir" 300 \
			"set -- /modules/nvidia-shim.ko /bin/wire-broker
			shim-test \"\$@\" && shim-soak \"\$@\"" \
			>"$dir.out" || :
	done
}

# group NAME: on each kernel, shim-test made the claims of that group, and all hold.
group()
{
	local out claims n=0

	for out in "$BATS_FILE_TMPDIR"/*.out; do
		claims=$(awk -v "name=$1" '
			/^# group: / { on = $3 == name }
			on && /^(not )?ok |^#   /' "$out")
		printf '%s:\n%s\n' "${out##*/}" "$claims"
		grep -q '^ok ' <<<"$claims" || return 1
		run ! grep '^not ok ' <<<"$claims"
		n=$((n + 1))
	done
	[ "$n" -gt 0 ]
}

@test "every claim is made and the kernel warns of nothing, on each kernel" {
	local out

	for out in "$BATS_FILE_TMPDIR"/*.out; do
		cat "$out"
		grep -q '^guest: status 0$' "$out"
		grep -q '^1\.\.[0-9]' "$out"
		run ! grep -E 'WARNING:|BUG:|Oops|Call Trace|blocked for' "$out"
	done
}

@test "the shim builds for each kernel with W=1 and no word" {
	local dir release

	for dir in "$TOP"/.vm-assets/kernels/[0-9]*-cloud-amd64; do
		release=${dir##*/}
		mkdir "$BATS_TEST_TMPDIR/$release"
		cp "$TOP"/kmod/* "$TOP/src/abi/iso_wire.h" \
			"$BATS_TEST_TMPDIR/$release/"
		# W=1 also checks kernel-doc comments, which needs more of perl than
		# a small system has.
		run make -s -C "$dir/headers" M="$BATS_TEST_TMPDIR/$release" \
			W=1 cmd_checkdoc=: modules
		equal 0 "$status"
		equal '' "$output"
	done
}

@test "a call's argument, buffers and errno travel both ways" {
	group calls
}

@test "a pointer inside a buffer is followed, a call inside XFER is made" {
	group nested
}

@test "a bad pointer is EFAULT, an unknown or mis-sized call EINVAL" {
	group bad
}

@test "an fd in a call must be the caller's own shim file" {
	group fds
}

@test "the broker's GPUs and texts appear as nodes and proc files" {
	group devices
}

@test "one blocked call holds up none of 31 other threads" {
	group threads
}

@test "a killed caller leaves at once and the broker is told" {
	group killed
}

@test "no more calls are out than the broker allows" {
	group inflight
}

@test "an open file works in a child and when passed on" {
	group passed
}

@test "poll wakes on the driver's events" {
	group poll
}

@test "a killed broker is ENODEV within a second, a new one works within five" {
	group restart
}

@test "on hold it makes no connection; let go, it makes one at once" {
	group hold
}

@test "an answer that breaks the protocol ends the link, which heals" {
	group hostile
}

@test "files closing while the link goes harm nothing" {
	group race
}

@test "thousands of hostile calls, files and links leave no memory behind" {
	group soak
}

@test "the module unloads while idle and not while busy" {
	group unload
}
