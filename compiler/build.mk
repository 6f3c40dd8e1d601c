# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The compiler's commands, which run in place, and its installation. The directories below build the passes,
# the C library and the runtime.

COMPILER_BIN := popcorn-cc popcorn-check
COMPILER_HOME = $(DESTDIR)$(PREFIX)/lib/popcorn
COMPILER_PAGES := $(wildcard compiler/*.1)

.PHONY: compiler install-compiler uninstall-compiler
all: compiler
compiler: $(COMPILER_BIN:%=build/bin/%)
compiler: build/compiler/popcorn.so build/compiler/popcorn-lower

$(COMPILER_BIN:%=build/bin/%): build/bin/%: compiler/%
	@mkdir -p $(@D)
	ln -sfn ../../$< $@

# Makefiles find theirs in the tree as they do where it is installed.
compiler: build/share/build/Makefile
build/share/build/Makefile: compiler/program.mk
	@mkdir -p $(@D)
	ln -sfn ../../../$< $@

build/compiler/popcorn-lower: compiler/driver/lower.cpp
	@mkdir -p $(@D)
	clang++-19 -std=c++17 -O1 -fno-rtti -fno-exceptions -Wall -Wextra -Werror -Wno-unused-parameter \
		-isystem $(shell llvm-config-19 --includedir) -o $@ $< $(shell llvm-config-19 --ldflags) -lLLVM-19

# The sysroot says for itself what is in it; a file that an older version had must not stay.
install-compiler: compiler
	rm -rf '$(COMPILER_HOME)'
	install -d '$(COMPILER_HOME)/driver' $(addprefix '$(DESTDIR)$(PREFIX)'/,bin share/build share/man/man1)
	install -m 644 compiler/driver/*.py '$(COMPILER_HOME)/driver'
	install $(COMPILER_BIN:%=compiler/%) '$(COMPILER_HOME)'
	install -m 644 build/compiler/popcorn.so '$(COMPILER_HOME)'
	install build/compiler/popcorn-lower '$(COMPILER_HOME)'
	grep POPCORN_VERSION include/popcorn/version.h >'$(COMPILER_HOME)/version'
	cp -r build/compiler/sysroot '$(COMPILER_HOME)'
	/usr/bin/python3 -m compileall -q -d '$(PREFIX)/lib/popcorn/driver' '$(COMPILER_HOME)/driver'
	for b in $(COMPILER_BIN); do ln -sfn ../lib/popcorn/$$b '$(DESTDIR)$(PREFIX)'/bin/$$b || exit; done
	install -m 644 -T compiler/program.mk '$(DESTDIR)$(PREFIX)/share/build/Makefile'
	install -m 644 $(COMPILER_PAGES) '$(DESTDIR)$(PREFIX)/share/man/man1'

uninstall-compiler:
	rm -rf '$(COMPILER_HOME)'
	rm -f $(addprefix '$(DESTDIR)$(PREFIX)'/,$(COMPILER_BIN:%=bin/%) share/build/Makefile \
		$(COMPILER_PAGES:compiler/%=share/man/man1/%))

# Who wants modules only needs no LLVM: `make install` takes the compiler along if it is built.
install: $(if $(wildcard build/compiler/sysroot/lib/riscv64/libc.a),install-compiler)
uninstall: uninstall-compiler
