# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The C library and the compiler's run-time functions, for all ISAs, in build/compiler/sysroot.

LIBC_DEPS := build/compiler/popcorn.so build/compiler/popcorn-lower
LIBC_RT := $(foreach i,x86-64 aarch64 riscv64,build/compiler/sysroot/lib/$(i)/libpopcorn.a)

.PHONY: compiler-libc
compiler: compiler-libc
compiler-libc: $(LIBC_DEPS) $(LIBC_RT) | build/source/musl build/source/builtins
	compiler/libc/build

build/source/%:
	cluster/fetch source-$*
.PRECIOUS: build/source/%

$(LIBC_RT): build/compiler/sysroot/lib/%/libpopcorn.a: build/compiler/rt/%/libpopcorn-rt.a
	@mkdir -p $(@D)
	cp --remove-destination $< $@
