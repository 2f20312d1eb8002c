# shellcheck shell=sh
# kernel.sh - imitate on a tree of files how Linux reacts to writes to its PCI files
#
# Tests run commands with a copy of lib/ in which this file follows base.sh. KERNEL
# is a directory. Every write is noted in its file `log`. A line "VALUE PATH" in one
# of these files names a write that does not succeed: in `refuse` it fails, in
# `sleep` it does not return, in `stop` and `ctrl-c` the command's process group gets
# SIGKILL or SIGINT at that moment.

sys_write()
{
	local file="${1#"$SYSFS_ROOT/bus/pci/"}" value="$2"

	if [ "$DRY_RUN" -eq 1 ]; then
		printf "+ printf '%%s\\\\n' %s > %s\n" \
			"$(base_quote "$value")" "$(base_quote "$1")"
		return 0
	fi
	printf '%s %s\n' "$value" "$file" >>"$KERNEL/log"
	! kernel_says stop || kill -KILL 0
	! kernel_says ctrl-c || kill -INT 0
	! kernel_says refuse || return 1
	! kernel_says sleep || exec sleep 1000
	case $file in
	/*) printf '%s\n' "$value" >"$file" ;;
	*) (cd "$SYSFS_ROOT/bus/pci" && kernel_write) ;;
	esac
}

kernel_says()
{
	grep -qxF -- "$value $file" "$KERNEL/$1" 2>/dev/null
}

kernel_write()
{
	local dev="devices/$value" override

	case $file in
	devices/*/driver/unbind)
		case $(readlink "${file%/unbind}") in
		*/vfio-pci) echo on >"${file%/driver/unbind}/power/control" ;;
		esac
		rm "${file%/unbind}" ;;
	drivers/*/bind)
		file=${file%/bind}
		read -r override <"$dev/driver_override"
		[ "$override" = "${file#*/}" ] || [ "$override" = '(null)' ] ||
			return 1
		[ ! -e "$dev/driver" ] || return 1
		kernel_bind "${file#*/}" ;;
	drivers_probe)
		[ ! -e "$dev/driver" ] || return 0
		read -r override <"$dev/driver_override"
		[ "$override" != '(null)' ] || read -r override <"$dev/native"
		kernel_bind "$override" ;;
	devices/*/driver_override) echo "${value:-(null)}" >"$file" ;;
	devices/*/remove) mv "${file%/remove}" "$KERNEL/gone" ;;
	rescan)
		for dev in "$KERNEL"/gone/*; do
			echo '(null)' >"$dev/driver_override"
			value=${dev##*/}
			mv "$dev" "devices/$value"
			dev=devices/$value
			rm -f "$dev/driver"
			read -r override <"$dev/native"
			kernel_bind "$override"
		done ;;
	*) printf '%s\n' "$value" >"$file" ;;
	esac
}

# vfio-pci allows its devices to suspend, until it gives them back.
kernel_bind()
{
	[ -d "drivers/$1" ] || return 0
	! grep -qx "$value $1" "$KERNEL/unwilling" 2>/dev/null || return 0
	ln -s "../../drivers/$1" "$dev/driver"
	[ "$1" != vfio-pci ] || echo auto >"$dev/power/control"
}
