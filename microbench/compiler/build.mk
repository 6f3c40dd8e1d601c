# SPDX-License-Identifier: GPL-2.0-only OR MIT
# What programs of popcorn-cc are measured against: the same musl, from the same source, plain, with its own assembly.

PLAIN_MUSL := build/compiler/plain-musl

.PHONY: compiler-plain
compiler-plain: $(PLAIN_MUSL)/lib/libc.a

$(PLAIN_MUSL)/lib/libc.a: | build/source/musl
	@mkdir -p $(PLAIN_MUSL)/obj
	cd $(PLAIN_MUSL)/obj && $(CURDIR)/build/source/musl/configure CC=clang-19 CFLAGS='-O2 -w' --disable-shared \
		--prefix=$(CURDIR)/$(PLAIN_MUSL) --enable-wrapper=no >configure.log
	$(MAKE) --no-print-directory -s -C $(PLAIN_MUSL)/obj CROSS_COMPILE=llvm- AR=llvm-ar-19 RANLIB=llvm-ranlib-19 \
		install-headers install-libs
