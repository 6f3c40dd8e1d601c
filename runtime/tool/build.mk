# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The tool popcorn, for this machine and, static, for test guests.

TOOL_SRC := $(wildcard runtime/tool/*.c)

.PHONY: tool
tool: build/bin/popcorn build/bin/popcorn-dsm-report

build/bin/popcorn-dsm-report: analysis/dsm-report
	@mkdir -p $(@D)
	install $< $@

build/bin/popcorn: $(TOOL_SRC) $(wildcard runtime/tool/*.h) include/popcorn/version.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) $(WARN) -Iinclude -static -o $@ $(TOOL_SRC)

build/bin-arm64/popcorn: $(TOOL_SRC) $(wildcard runtime/tool/*.h) include/popcorn/version.h
	@mkdir -p $(@D)
	aarch64-linux-gnu-gcc -std=gnu11 $(CFLAGS) $(WARN) -Iinclude -static -o $@ $(TOOL_SRC)

all: tool
guest: build/bin-arm64/popcorn build/bin/popcorn
