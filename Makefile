# SPDX-License-Identifier: MIT
#
# make             everything that runs on the host and in the guests
# make help        the list of targets
#
# Outputs go to build/ (SAN=1: to build/san/, with the sanitizers).

CC ?= cc
MUSL_CC ?= musl-gcc
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
# Where isospin.conf goes. Empty: /etc for PREFIX=/usr, else $(PREFIX)/etc.
SYSCONFDIR ?=
DESTDIR ?=
JOBS ?= 2

SHELL := /bin/sh
.DELETE_ON_ERROR:
.SUFFIXES:

# Neither make nor the kernel's build takes a path with a space.
ifneq ($(words $(CURDIR)),1)
$(error there is a space in $(CURDIR); move the checkout)
endif

ifdef SAN
B := build/san
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all \
	     -fno-omit-frame-pointer
else
B := build
SAN_FLAGS :=
endif
GEN := build/gen
S := build/static

WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wundef \
	-Wimplicit-fallthrough
HARDEN := -fno-common -fno-strict-aliasing -fstack-protector-strong \
	  -fstack-clash-protection -fcf-protection
# The same bytes from any directory.
PREFIX_MAP := -ffile-prefix-map=$(CURDIR)=.
FORTIFY := $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
VERSION := $(shell cat share/version)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DISOSPIN_VERSION='"$(VERSION)"' \
	     $(CFLAGS) $(WARN) $(HARDEN) $(PREFIX_MAP) -Isrc -I$(GEN) \
	     -MMD -MP
DYN_CFLAGS = $(ALL_CFLAGS) $(FORTIFY) -fPIE $(SAN_FLAGS)
DYN_LDFLAGS = -pie -Wl,-z,relro,-z,now,-z,noexecstack $(SAN_FLAGS) $(LDFLAGS)
# Debian's musl wrapper hides the kernel's headers; they come last.
MUSL_CFLAGS = $(ALL_CFLAGS) -idirafter /usr/include \
	      -idirafter /usr/include/x86_64-linux-gnu
MUSL_LDFLAGS = -static -Wl,-z,relro,-z,now,-z,noexecstack

# src/abi and src/base take the stricter conversions too.
STRICT := src/abi/% src/base/%

# ---- programs -------------------------------------------------------------

LIB_SRC := $(sort $(wildcard src/abi/*.c src/base/*.c src/loop/*.c \
	   src/sandbox/*.c src/rm/*.c)) $(GEN)/conf_tbl.c $(GEN)/abi_tables.c
gpu-broker_SRC := $(sort $(wildcard src/broker/*.c src/broker/*/*.c src/drv/*.c \
		  src/drv/*/*.c))
vsock-bridge_SRC := $(sort $(wildcard src/bridge/*.c))
vsock-device_SRC := $(sort $(wildcard src/vsock-device/*.c))
isospin-agent_SRC := $(sort $(wildcard src/agent/*.c))
vmctl_SRC := $(sort $(wildcard src/vmctl/*.c))
isospin-vfio_SRC := $(sort $(wildcard src/vfio/*.c))
isospin-smi_SRC := $(sort $(wildcard src/smi/*.c))
conf-dump_SRC := $(sort $(wildcard src/tools/conf-dump.c))

HOST_ALL := gpu-broker vsock-bridge vsock-device vmctl isospin-vfio conf-dump
HOST := $(foreach p,$(HOST_ALL),$(if $($(p)_SRC),$(p)))
STATIC_ALL := gpu-broker isospin-agent isospin-smi
STATIC := $(foreach p,$(STATIC_ALL),$(if $($(p)_SRC),$(p)))

UNIT := $(patsubst test/unit/%.c,%,$(wildcard test/unit/test_*.c))
FUZZ := $(patsubst test/fuzz/%.c,%,$(wildcard test/fuzz/fuzz_*.c))
BENCH := $(patsubst test/bench/%.c,%,$(wildcard test/bench/bench_*.c))
# The other files that wire-client is linked of are no programs.
GUEST_TESTS := $(filter-out wire-shim wire-hostile,$(patsubst \
	test/guest/%.c,%,$(wildcard test/guest/*.c)))

.PHONY: all static kmod lab check check-fast check-long bench lint fuzz install \
	uninstall clean help unit

all: $(HOST:%=$(B)/bin/%) static
static: $(STATIC:%=$(S)/bin/%)
unit: $(UNIT:%=$(B)/test/unit/%) $(HOST:%=$(B)/bin/%) \
	build/test/soft-preload.so

help:
	@printf '%s\n' \
	'all         programs for host and guests' \
	'static      those that run in guests (musl)' \
	'kmod        nvidia-shim.ko for each kernel under .vm-assets/' \
	'lab         what isospin lab needs' \
	'check-fast  tests that need no root, VM or network' \
	'check       check-fast and the tests that boot guests' \
	'check-long  what takes hours' \
	'bench       measurements' \
	'fuzz        fuzz targets (clang)' \
	'lint        shellcheck, layers, one home for each fact' \
	'install     to $$(DESTDIR)$$(PREFIX); uninstall' \
	'clean       removes build/'

# ---- generated ------------------------------------------------------------

GEN_H := $(GEN)/conf_tbl.h $(GEN)/abi_gen.h $(GEN)/abi_numbers.h
ABI_TBL := $(wildcard share/abi/*.tbl)
ABI_C := $(addprefix scripts/gen/,abi-c.sh abi-c.awk abi-rows.awk)

$(GEN)/conf_tbl.%: share/conf.tbl share/abi/branches scripts/gen/conf.sh
	@mkdir -p $(@D)
	sh scripts/gen/conf.sh $* >$@.tmp
	mv $@.tmp $@

$(GEN)/abi_gen.h: part := h
$(GEN)/abi_numbers.h: part := n
$(GEN)/abi_tables.c: part := c
$(GEN)/abi_gen.h $(GEN)/abi_numbers.h $(GEN)/abi_tables.c: $(ABI_TBL) $(ABI_C)
	@mkdir -p $(@D)
	sh scripts/gen/abi-c.sh $(part) $(ABI_TBL) >$@.tmp
	mv $@.tmp $@

# The system calls that a program may make are named in `#syscalls` comments
# beside their callers.
$(GEN)/seccomp_%.h: scripts/gen/seccomp.sh $(LIB_SRC)
	@mkdir -p $(@D)
	sh scripts/gen/seccomp.sh $* $(filter %.c,$^) >$@.tmp
	mv $@.tmp $@

define seccomp_dep
$(GEN)/seccomp_$(1).h: $($(1)_SRC)
GEN_H += $(GEN)/seccomp_$(1).h
endef
$(foreach p,$(filter gpu-broker vsock-bridge vsock-device,$(HOST)),\
	$(eval $(call seccomp_dep,$(p))))
# Further system calls of a child of gpu-broker, for the real driver.
gpu-broker-real_SRC := $(gpu-broker_SRC)
$(eval $(call seccomp_dep,gpu-broker-real))
# vsock-device is two processes with a filter each.
vsock-monitor_SRC := $(vsock-device_SRC)
$(eval $(call seccomp_dep,vsock-monitor))

# ---- compiling ------------------------------------------------------------

$(B)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) $(DYN_CFLAGS) $(if $(filter $(STRICT),$<),-Wconversion) -c $< -o $@

$(S)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(MUSL_CC) $(MUSL_CFLAGS) -c $< -o $@

# The archive has wire-shim.c too, for programs outside the tree that are
# compiled with its header. No installed program calls it, so none has it
# linked in.
$(B)/libisospin.a: $(LIB_SRC:%.c=$(B)/obj/%.o) \
		$(B)/obj/test/guest/wire-shim.o
	rm -f $@
	ar rcs $@ $^

$(S)/libisospin.a: $(LIB_SRC:%.c=$(S)/obj/%.o)
	rm -f $@
	ar rcs $@ $^

define host_program
$(B)/bin/$(1): $($(1)_SRC:%.c=$(B)/obj/%.o) $(B)/libisospin.a
	@mkdir -p $$(@D)
	$$(CC) $$(DYN_LDFLAGS) $$^ -o $$@ -pthread
endef
$(foreach p,$(HOST),$(eval $(call host_program,$(p))))

define static_program
$(S)/bin/$(1): $($(1)_SRC:%.c=$(S)/obj/%.o) $(S)/libisospin.a
	@mkdir -p $$(@D)
	$$(MUSL_CC) $$(MUSL_LDFLAGS) $$^ -o $$@ -pthread
endef
$(foreach p,$(STATIC),$(eval $(call static_program,$(p))))

# A unit test links the library and what it names in a line
# `/* links: src/bridge test/unit/vu_guest.c */`: a file, or all files of
# a folder but for their main.c.
unit_links = $(foreach d,$(shell sed -n \
	's|^/\* links: \(.*\) \*/$$|\1|p' $(1)),$(filter-out \
	%/main.c,$(if $(filter %.c,$(d)),$(d),$(sort $(wildcard $(d)/*.c)))))

define unit_program
$(B)/test/unit/$(1): $(B)/obj/test/unit/$(1).o \
		$(patsubst %.c,$(B)/obj/%.o,$(call unit_links,test/unit/$(1).c)) \
		$(B)/libisospin.a
	@mkdir -p $$(@D)
	$$(CC) $$(DYN_LDFLAGS) $$^ -o $$@ -pthread
endef
$(foreach p,$(UNIT),$(eval $(call unit_program,$(p))))

# The soft driver under an unmodified program, without a VM.
build/test/soft-preload.so: test/tools/soft-preload.c src/abi/abi.c \
		$(GEN)/abi_tables.c \
		$(filter-out %/soft_host.c,$(wildcard src/drv/soft/*.c)) \
		$(wildcard src/drv/*.h src/drv/soft/*.h) | $(GEN_H)
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -fPIC -shared \
		$(filter %.c,$^) -o $@ -ldl -pthread

# gpu-broker with the drivers of test/tools/driver-test.c instead of its own.
BROKER_TEST := $(filter-out src/drv/registry.c,$(gpu-broker_SRC)) \
	       test/tools/driver-test.c
$(B)/test/bin/gpu-broker-test: $(BROKER_TEST:%.c=$(B)/obj/%.o) \
		$(B)/libisospin.a
	@mkdir -p $(@D)
	$(CC) $(DYN_LDFLAGS) $^ -o $@ -pthread

$(S)/test/gpu-broker-test: $(BROKER_TEST:%.c=$(S)/obj/%.o) $(S)/libisospin.a
	@mkdir -p $(@D)
	$(MUSL_CC) $(MUSL_LDFLAGS) $^ -o $@ -pthread

$(B)/test/bin/wire-client: $(B)/obj/test/guest/wire-client.o $(patsubst \
		%.c,$(B)/obj/%.o,$(call unit_links,test/guest/wire-client.c)) \
		$(B)/libisospin.a
	@mkdir -p $(@D)
	$(CC) $(DYN_LDFLAGS) $^ -o $@

unit: $(B)/test/bin/gpu-broker-test $(B)/test/bin/wire-client
guest-tests: $(S)/test/gpu-broker-test

# Programs that run inside a guest for a test or a benchmark.
define guest_program
$(S)/test/$(1): $(S)/obj/test/guest/$(1).o \
		$(patsubst %.c,$(S)/obj/%.o,$(call unit_links,test/guest/$(1).c)) \
		$(S)/libisospin.a
	@mkdir -p $$(@D)
	$$(MUSL_CC) $$(MUSL_LDFLAGS) $$^ -o $$@ -pthread
endef
$(foreach p,$(GUEST_TESTS),$(eval $(call guest_program,$(p))))
guest-tests: $(GUEST_TESTS:%=$(S)/test/%)
.PHONY: guest-tests

define bench_program
$(B)/bench/$(1): $(B)/obj/test/bench/$(1).o \
		$(patsubst %.c,$(B)/obj/%.o,$(call unit_links,test/bench/$(1).c)) \
		$(B)/libisospin.a
	@mkdir -p $$(@D)
	$$(CC) $$(DYN_LDFLAGS) $$^ -o $$@ -pthread
endef
$(foreach p,$(BENCH),$(eval $(call bench_program,$(p))))

# libFuzzer targets, whole programs compiled by clang.
define fuzz_program
build/fuzz/$(1): test/fuzz/$(1).c $(call unit_links,test/fuzz/$(1).c) \
		$(LIB_SRC) | $$(GEN_H)
	@mkdir -p $$(@D)
	clang -std=c11 -D_GNU_SOURCE -DISOSPIN_VERSION='"$(VERSION)"' -O1 -g \
		-fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=all -Isrc -I$(GEN) $$(filter %.c,$$^) \
		-o $$@ -pthread
endef
$(foreach p,$(FUZZ),$(eval $(call fuzz_program,$(p))))
fuzz: $(FUZZ:%=build/fuzz/%)

# ---- kernel module --------------------------------------------------------

# One build/kmod/RELEASE/nvidia-shim.ko for each unpacked kernel.
KERNELS := $(notdir $(patsubst %/,%,$(dir $(wildcard \
	.vm-assets/kernels/*/headers))))
# The lab's kernel is for any machine; those of the VMs are for the cloud.
LAB_KERNELS := $(filter-out %-cloud-amd64,$(filter %-amd64,$(KERNELS)))
kmod: $(patsubst %,build/kmod/%/nvidia-shim.ko,$(filter-out \
	$(LAB_KERNELS),$(KERNELS)))

# The lab needs these besides everything else.
lab: all $(LAB_KERNELS:%=build/lab/%/hang.ko)
build/lab/%/hang.ko: $(wildcard share/lab/modules/*)
	@mkdir -p $(@D)
	cp $^ $(@D)/
	$(MAKE) -s -C .vm-assets/kernels/$*/headers M=$(CURDIR)/$(@D) modules

build/kmod/%/nvidia-shim.ko: $(wildcard kmod/*.c kmod/*.h kmod/Kbuild) \
		src/abi/iso_wire.h
	@mkdir -p $(@D)
	cp kmod/*.c kmod/*.h kmod/Kbuild $(@D)/
	cp src/abi/iso_wire.h $(@D)/
	$(MAKE) -s -C .vm-assets/kernels/$*/headers M=$(CURDIR)/$(@D) modules

# ---- tests ----------------------------------------------------------------

check-fast: all unit
	sh test/run.sh fast

check-build: all unit kmod guest-tests lab
.PHONY: check-build

check: check-build
	sh test/run.sh all

check-long: check fuzz
	sh test/run.sh long

lint:
	sh scripts/lint.sh

bench: all kmod guest-tests lab $(BENCH:%=$(B)/bench/%)
	sh test/bench/run.sh

# ---- install --------------------------------------------------------------

install: all
	sh scripts/gen/install.sh install "$(DESTDIR)" "$(PREFIX)" $(SYSCONFDIR)

uninstall:
	sh scripts/gen/install.sh uninstall "$(DESTDIR)" "$(PREFIX)" $(SYSCONFDIR)

clean:
	rm -rf build

-include $(shell find build -path build/kernel -prune -o -type f -name '*.d' -print 2>/dev/null)
