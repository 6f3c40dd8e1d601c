# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Everything is built under build/. Each directory adds its own targets in its build.mk.

KERNEL ?= 6.1
ARCH ?= amd64
KERNELS := 6.1-amd64 6.1-arm64 6.12-amd64 6.12-arm64
PYTEST := /usr/bin/python3 -m pytest -p no:cacheprovider
# Two at a time, all that needs virtual machines one after the other.
PYTEST_2 := $(PYTEST) -n 2 --dist loadgroup

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Werror
SHELL := /bin/bash
.DELETE_ON_ERROR:

.PHONY: all help
all: modules guest

help:
	@echo 'make deps          install the Debian packages that building and testing need'
	@echo 'make modules       kernel modules for KERNEL=6.1|6.12 ARCH=amd64|arm64'
	@echo 'make modules-all   kernel modules for all four'
	@echo 'make compiler      popcorn-cc and the C library that it links'
	@echo 'make sparse        the same with sparse'
	@echo 'make check         every test; check-quick: those without virtual machines'
	@echo 'make soak          the long form of the tests of shared memory: hours'
	@echo 'make check-debug   kernel tests on a kernel that checks locks, accesses and leaks (make debug-kernel)'
	@echo 'make demo          two virtual nodes, and what the messages between them cost'
	@echo 'make install       modules by DKMS, the tool popcorn, man pages, units; PREFIX=, DESTDIR='

# Dependencies: apt is asked only when something is missing.

PACKAGES = $(shell sed 's/\#.*//' packaging/deps.txt)

.PHONY: deps
deps:
	@missing=$$(for p in $(PACKAGES); do \
		dpkg-query -W -f='$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		echo "deps: installing" $$missing; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get -q update && apt-get -q -y --no-install-recommends install $$missing; \
	fi

# What guests are made of, unpacked from Debian packages. Each is there whole or not at all.

build/kernels/%:
	cluster/fetch $*
build/userland/%:
	cluster/fetch userland-$*

.PRECIOUS: build/kernels/% build/userland/%

# Modules are built in a copy of the sources, one copy for each kernel.

CROSS_amd64 := x86_64-linux-gnu-
CROSS_arm64 := aarch64-linux-gnu-
LINUX_amd64 := x86
LINUX_arm64 := arm64
MOD_SOURCES := Kbuild include kernel transport rdma-kmod microbench dsm-proto tests/kmod

# $(call mod-build,KERNEL-ARCH,further arguments)
define mod-build
	@mkdir -p build/mod/$(1)
	@flock build/mod/.$(1).lock rsync -rltR --delete --exclude='*.mod.c' --include='*/' \
		--include='*.[chS]' --include=/Kbuild --exclude='*' --prune-empty-dirs \
		$(wildcard $(MOD_SOURCES)) build/mod/$(1)/
	@flock build/mod/.$(1).lock $(MAKE) --no-print-directory -C build/kernels/$(1)/headers \
		M=$(CURDIR)/build/mod/$(1) ARCH=$(LINUX_$(lastword $(subst -, ,$(1)))) \
		CROSS_COMPILE=$(CROSS_$(lastword $(subst -, ,$(1)))) \
		CC=$(CROSS_$(lastword $(subst -, ,$(1))))gcc \
		CONFIG_DEBUG_INFO_BTF_MODULES= CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT= W=1 $(2) modules
endef

.PHONY: modules modules-all sparse $(addprefix modules-,$(KERNELS))
modules: modules-$(KERNEL)-$(ARCH)
modules-all: $(addprefix modules-,$(KERNELS))
$(addprefix modules-,$(KERNELS)): modules-%: | build/kernels/%
	$(call mod-build,$*)

sparse: | build/kernels/$(KERNEL)-$(ARCH)
	$(call mod-build,$(KERNEL)-$(ARCH),C=2 CF="-Wno-context -Wsparse-error")

# Tests.

.PHONY: check check-quick check-debug soak demo clean distclean
check: deps
	@$(MAKE) --no-print-directory all modules-all
	$(PYTEST_2) tests
check-quick: all
	$(PYTEST) -m 'not qemu' tests

soak: deps
	@$(MAKE) --no-print-directory all modules-all
	$(PYTEST) --soak tests

# Not in CI: an hour. Fails on any report of KASAN, lockdep, kmemleak or the like.
check-debug: deps
	@$(MAKE) --no-print-directory guest modules-debug-amd64
	POPCORN_KERNEL=debug $(PYTEST) tests/test_kernel.py tests/test_kdsm.py tests/test_kdsm_memory.py \
		tests/test_kdsm_hard.py

demo: deps
	@cluster/demo --arch $(ARCH) --kernel $(KERNEL)

clean:
	rm -rf build/bin* build/lib build/obj build/mod build/guest build/cluster build/compiler
distclean:
	rm -rf build

-include $(sort $(wildcard */build.mk */*/build.mk))
