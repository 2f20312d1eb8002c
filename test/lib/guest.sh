# shellcheck shell=bash
# guest.sh - a guest without isospin's programs: busybox, some modules, one command
#
# For tests of programs that run inside a guest. Needs common.sh.

# guest_stage RELEASE DIR MODULE...: makes DIR a root directory for that kernel. Its
# init loads the modules in order; each MODULE is a path below
# lib/modules/RELEASE/kernel/. The caller may put more files into DIR.
guest_stage()
{
	local release=$1 dir=$2 kernel=$TOP/.vm-assets/kernels/$1 module file

	shift 2
	mkdir -p "$dir"/{bin,dev,proc,sys,tmp,modules}
	cp /bin/busybox "$dir/bin/"
	cat >"$dir/init" <<-'EOT'
	#!/bin/busybox sh
	/bin/busybox --install -s /bin
	export PATH=/bin
	mount -t devtmpfs dev /dev
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	EOT
	for module; do
		file=$kernel/lib/modules/$release/kernel/$module.ko
		module=modules/${module##*/}.ko
		if [ -f "$file.xz" ]; then
			xz -dc "$file.xz" >"$dir/$module"
		else
			cp "$file" "$dir/$module"
		fi
		printf 'insmod /%s || echo "guest: no %s"\n' "$module" \
			"$module" >>"$dir/init"
	done
	chmod +x "$dir/init"
}

# guest_run RELEASE DIR SECONDS COMMAND: boots the root directory DIR with two
# processors and prints the console: the output of COMMAND, `guest: status N`, and
# the kernel's warnings.
guest_run()
{
	local release=$1 dir=$2 seconds=$3 khz
	local kernel=$TOP/.vm-assets/kernels/$release

	cat >>"$dir/init" <<-EOT
	$4
	echo "guest: status \$?"
	dmesg | grep -E 'WARNING:|BUG:|Oops|Call Trace|blocked for more'
	poweroff -f
	EOT
	khz=$("$TOP/build/bin/vmctl" tsc-khz)
	(cd "$dir" && find . | cpio -o -H newc --quiet) >"$dir.cpio"
	timeout "$seconds" qemu-system-x86_64 -accel tcg,thread=multi \
		-M microvm -cpu max,la57=off,cx16=off -smp 2 -m 256 \
		-nodefaults -no-user-config -display none -no-reboot \
		-serial stdio -kernel "$kernel/vmlinuz" -initrd "$dir.cpio" \
		-append "console=ttyS0 quiet panic=-1 tsc=reliable \
clocksource=tsc tsc_early_khz=$khz" </dev/null | tr -d '\r'
}
