# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Programs of the test clusters: the guests' agent for each architecture, the switch for the host;
# and the kernel with checks.

.PHONY: guest
guest: build/guest/agent-amd64 build/guest/agent-arm64 build/guest/cluster-switch

build/guest/agent-%: cluster/agent.c
	@mkdir -p $(@D)
	$(CROSS_$*)gcc -std=gnu11 -O2 $(WARN) -static -o $@ $<

build/guest/cluster-switch: cluster/switch.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -o $@ $<

# Linux 6.1 from Debian's source, with what finds mistakes that no test sees: a quarter of an
# hour on two cores. In place, since kbuild's trees can't be moved; `release` comes last. One
# file goes unchecked by KASAN: rxe_mr_copy() looks past a registration's last table, and uses
# nothing of it; the report would be the first of all, and the last of lockdep.

DEBUG := build/kernels/debug-amd64
DEBUG_MAKE = $(MAKE) --no-print-directory ARCH=x86_64 CROSS_COMPILE=$(CROSS_amd64) \
	O=$(CURDIR)/$(DEBUG)/headers KASAN_SANITIZE_rxe_mr.o=n

.PHONY: debug-kernel modules-debug-amd64
debug-kernel: $(DEBUG)/release
build/source/%:
	cluster/fetch source-$*
.PRECIOUS: build/source/%

$(DEBUG)/release: cluster/debug.config | build/source/6.1
	@mkdir -p $(DEBUG)/headers
	$(DEBUG_MAKE) -C build/source/6.1 KCONFIG_ALLCONFIG=$(CURDIR)/$< allnoconfig
	@grep '^CONFIG' $< | while read -r line; do grep -qxF "$$line" $(DEBUG)/headers/.config || \
		{ echo "$<: $$line has no effect"; exit 1; }; done
	$(DEBUG_MAKE) -C build/source/6.1 all
	$(DEBUG_MAKE) -C build/source/6.1 INSTALL_MOD_PATH=$(CURDIR)/$(DEBUG) modules_install
	@cp $(DEBUG)/headers/arch/x86/boot/bzImage $(DEBUG)/kernel
	@cp $(DEBUG)/headers/include/config/kernel.release $@

modules-debug-amd64: $(DEBUG)/release
	$(call mod-build,debug-amd64)
