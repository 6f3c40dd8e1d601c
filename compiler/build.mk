# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The compiler: what its parts in the directories below build, and its commands, which run in place.

COMPILER_BIN := build/bin/popcorn-cc build/bin/popcorn-check

.PHONY: compiler
all: compiler
compiler: $(COMPILER_BIN)
compiler: $(if $(wildcard compiler/plugin/build.mk),build/compiler/popcorn.so)

$(COMPILER_BIN): build/bin/%: compiler/%
	@mkdir -p $(@D)
	ln -sfn ../../$< $@
