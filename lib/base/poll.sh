# shellcheck shell=sh
# poll.sh - wait for things that send no event

# poll_until SECONDS COMMAND [ARG...]: runs COMMAND, at least once, until it succeeds. 1 if
# it does not within SECONDS.
poll_until()
{
	local limit="$1" now

	shift
	base_uptime now
	limit=$((now + limit))
	while ! "$@"; do
		base_uptime now
		[ "$now" -le "$limit" ] || return 1
		sleep 0.1
	done
}
