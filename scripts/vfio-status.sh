#!/bin/sh
# vfio-status - show GPUs and what keeps them from a VM
#
# usage: isospin vfio-status [-hVv] [-c FILE] [--json] [--no-users] [DEVICE...]
#
# DEVICE is a PCI address (0000:01:00.0 or 01:00.0) or VENDOR:DEVICE (10de:2330).
# Without one, shows every display device and every function made by NVIDIA, and
# the exit status is about the GPU of the configuration (GPU_BDF). Shows the
# IOMMU, driver, group, BARs, reset, power and users of each, and whether it is
# ready for a VM or could be bound to vfio-pci; if not, why, and what to do. A
# device that does not answer within three seconds is shown as stuck.
#
#   --json        one JSON object a line
#   --no-users    do not look for processes that use the devices
#   -c FILE       read this configuration; with DEVICE none is read otherwise
#   -v            say more
#   -h, -V        this text; the version
#
# Exit status: 0 ready, all of them; 1 not; 69 there is no such device.
set -eu

# To be as quick as lspci, this starts no process here, and below reads the configuration
# only where it counts.
here=$PWD
case $0 in
*/*) CDPATH='' cd -P -- "${0%/*}/.." ;;
*) cd -P .. ;;
esac
TOP=$PWD
cd -- "$here" || exit 74
. "$TOP/lib/base/base.sh"
use opt conf sysfs pci users judge

# resolve ARG...: sets `devices`, one a line and none twice, to the devices named.
resolve()
{
	local arg bdf rc

	for arg; do
		rc=0
		pci_find "$arg" || rc=$?
		case $rc in
		64) die 64 "'$arg' is no PCI address and no VENDOR:DEVICE; see -h" ;;
		69) die 69 "$arg: there is no such device" ;;
		esac
		for bdf in $pci_found; do
			add "$bdf"
		done
	done
}

# add BDF: adds the device to `devices`, unless it is there.
add()
{
	case $base_nl$devices in
	*"$base_nl$1$base_nl"*) ;;
	*) devices=$devices$1$base_nl ;;
	esac
}

# ask: reads at once the files that may block, for all devices and the others of their
# groups.
ask()
{
	local bdf group link named="$devices"

	for bdf in $named; do
		sysfs_link "$SYSFS_ROOT/bus/pci/devices/$bdf/iommu_group" group ||
			continue
		for link in "$SYSFS_ROOT/kernel/iommu_groups/$group/devices"/*; do
			add "${link##*/}"
		done
	done
	pci_ask "$named" "${devices#"$named"}"
	devices=$named
}

# record BDF: judges a device and sets `rec` to its record, with the fields about the
# host. Text and JSON are both made from it.
record()
{
	judge_load "$1"
	rec=$judge_record
	case $rec in
	state=absent*) ;;
	*) rec=${rec}iommu=$pci_iommu${base_nl}iommu_why=$pci_iommu_why$base_nl ;;
	esac
}

# show_json: prints an object for each of the records in `recs`; a line "=" ends each.
show_json()
{
	printf '%s' "$recs" | jq -cRn '
	def text: if . == "" then null else . end;
	def number: if . == "" then null else tonumber end;
	def part: split(" ");
	def records: reduce inputs as $line ([[]]; ($line | index("=")) as $at |
		if $at == 0 then . + [[]] else .[-1] += [{key: $line[:$at],
			value: $line[$at + 1:]}] end) | .[:-1][];
	records |
	def one($k): first(.[] | select(.key == $k) | .value) // "";
	def all($k): map(select(.key == $k) | .value);
	{
		bdf: one("bdf"), state: one("state"),
		ready: (one("state") == "ready"),
		vendor: one("vendor") | text, device: one("device") | text,
		subsystem: one("subsystem") | text, class: one("class") | text,
		driver: one("driver") | text,
		driver_override: one("driver_override") | text,
		iommu: (one("iommu") == "1"), iommu_why: one("iommu_why") | text,
		iommu_group: one("iommu_group") | number,
		members: all("member") | map(part | {bdf: .[0],
			class: .[1], driver: .[2] | text}),
		bars: all("bar") | map(part | {index: .[0] | tonumber,
			start: .[1], size: .[2] | tonumber,
			flags: .[3] | split(",")}),
		reset_methods: one("reset_methods") | part | map(select(. != "")),
		power_state: one("power_state") | text,
		runtime_status: one("runtime_status") | text,
		power_control: one("power_control") | text,
		d3cold_allowed: (one("d3cold_allowed") | text |
			if . then . == "1" else . end),
		numa_node: one("numa_node") | number,
		boot_display: (one("boot_display") == "1"),
		users: (if all("users_complete") == [] then null else
			all("user") | map(part | {pid: .[0] | tonumber,
				kind: .[1], name: .[2:] | join(" ")}) end),
		users_complete: (one("users_complete") == "1"),
		problems: all("problem") | map(split("\t") | {code: .[0],
			severity: .[1], message: .[2], remedy: .[3]})
	}'
}

# human BYTES VAR: with the largest unit that leaves it whole.
human()
{
	local n="$1" unit=''

	while [ "$n" -ge 1024 ] && [ $((n % 1024)) -eq 0 ]; do
		n=$((n / 1024))
		case $unit in
		'') unit=K ;;
		K) unit=M ;;
		M) unit=G ;;
		G) unit=T ;;
		*) unit=P ;;
		esac
	done
	base_set "$2" "$n$unit"
}

# line NAME TEXT: prints a line of a device.
line()
{
	printf '    %-8s %s\n' "$1" "$2"
}

# item_member BDF CLASS DRIVER: adds to `members`.
item_member()
{
	members="$members${members:+, }$1${3:+ ($3)}"
}

# item_bar INDEX START SIZE FLAGS: adds to `bars`.
item_bar()
{
	local size name="$1"

	size="?"
	[ "$3" -eq 0 ] || human "$3" size
	[ "$1" -ne 6 ] || name=ROM
	bars="$bars${bars:+; }$name: $size $4"
}

# item_user PID KIND NAME: adds to `users`.
item_user()
{
	local pid="$1" kind="$2"

	shift 2
	users="$users${users:+, }$pid $* ($kind)"
}

# show_problem "CODE TAB SEVERITY TAB MESSAGE TAB REMEDY"
show_problem()
{
	local severity="${1#*"$tab"}" message="${1%"$tab"*}"

	line "${severity%%"$tab"*}" "${1%%"$tab"*}: ${message##*"$tab"}"
	line '' "-> ${1##*"$tab"}"
}

# show_text RECORD: prints it for people.
show_text()
{
	local bdf state vendor device class driver override group resets power runtime
	local control d3cold numa boot complete='' members='' bars='' users=''
	local problems=''

	read_record "$1"
	if [ "$state" != absent ]; then
		printf '%s %s:%s class %s: %s\n' "$bdf" "$vendor" "$device" \
			"$class" "$state"
		line driver "${driver:-none}"
		[ -z "$override" ] || line override "$override"
		line group "${group:-none}${members:+: $members}"
		line BARs "${bars:-none}"
		line reset "${resets:-none}"
		show_power "${power:-unknown}" "$runtime" "$control" "$d3cold"
		line NUMA "${numa:-none}"
		[ "$boot" -eq 0 ] || line display 'boot display'
		[ "$complete" != 0 ] ||
			users="${users:-none} (root sees those of other users)"
		[ -z "$complete" ] || line users "${users:-none}"
	fi
	while [ -n "$problems" ]; do
		show_problem "${problems%%"$base_nl"*}"
		problems=${problems#*"$base_nl"}
	done
}

# read_record RECORD: sets the variables of show_text, in one pass: to ask for the
# fields by base_fields would take twice as long.
read_record()
{
	local rest="$1" field value

	set -f
	while [ -n "$rest" ]; do
		field=${rest%%"$base_nl"*}
		rest=${rest#*"$base_nl"}
		value=${field#*=}
		# shellcheck disable=SC2086 # the words of a value
		case $field in
		bdf=*) bdf=$value ;;
		state=*) state=$value ;;
		vendor=*) vendor=$value ;;
		device=*) device=$value ;;
		class=*) class=$value ;;
		driver=*) driver=$value ;;
		driver_override=*) override=$value ;;
		iommu_group=*) group=$value ;;
		member=*) item_member $value ;;
		bar=*) item_bar $value ;;
		reset_methods=*) resets=$value ;;
		power_state=*) power=$value ;;
		runtime_status=*) runtime=$value ;;
		power_control=*) control=$value ;;
		d3cold_allowed=*) d3cold=$value ;;
		numa_node=*) numa=$value ;;
		boot_display=*) boot=$value ;;
		user=*) item_user $value ;;
		users_complete=*) complete=$value ;;
		problem=*) problems=$problems$value$base_nl ;;
		esac
	done
	set +f
}

# show_power STATE RUNTIME CONTROL D3COLD
show_power()
{
	local text="$1${2:+, runtime $2}${3:+, control $3}"

	[ "$4" != 1 ] || text="$text, D3cold allowed"
	line power "$text"
}

# show: prints each of `devices`. Sets `verdict`: 0 if each that counts is ready.
show()
{
	local bdf on=off

	[ "$pci_iommu" -eq 0 ] || on=on
	[ "$opt_json" -eq 1 ] || printf 'IOMMU %s: %s\n' "$on" "$pci_iommu_why"
	verdict=0
	for bdf in $devices; do
		record "$bdf"
		if [ "$opt_json" -eq 1 ]; then
			recs=$recs$rec=$base_nl
		else
			echo
			show_text "$rec"
		fi
		[ -z "$counts" ] || [ "$counts" = "$bdf" ] || continue
		case $rec in
		state=ready*) ;;
		state=absent*) verdict=69 ;;
		*) [ "$verdict" -ne 0 ] || verdict=1 ;;
		esac
	done
	[ -z "$recs" ] || show_json
}

# all_gpus: sets `devices` if none was named; only the configured one counts.
all_gpus()
{
	local bdf

	conf_get counts GPU_BDF
	for bdf in $(pci_gpus); do
		add "$bdf"
	done
	! pci_exists "$counts" || add "$counts"
}

option()
{
	case $1 in
	--no-users) scan=0 ;;
	*) opt_unknown "$1" ;;
	esac
}

work()
{
	if [ $# -eq 0 ] || [ -n "$opt_conf" ]; then
		conf_load "$opt_conf" || die $? "$why"
	fi
	if [ $# -gt 0 ]; then
		resolve "$@"
	else
		all_gpus
	fi
	pci_iommu_load
	[ "$scan" -eq 0 ] || users_scan
	ask
	show
	if [ -n "$counts" ] && ! pci_exists "$counts"; then
		die 69 "$counts, the GPU of the configuration (GPU_BDF), is not there"
	fi
	leave "$verdict"
}

main()
{
	tab='	' devices='' counts='' recs='' scan=1
	base_init "$0"
	opt_flags='json'
	opt_parse option work "$@"
}

main "$@"
