# shellcheck shell=sh
# poll.sh - waiting for what sends no event

# poll_until SECONDS COMMAND [ARG...]: 0 as soon as COMMAND succeeds, 1 if it
# does not within SECONDS. It is tried at least once.
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
