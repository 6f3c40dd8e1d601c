# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The tool popcorn, for this machine and, static, for test guests.

TOOL_SRC := $(wildcard runtime/tool/*.c) compiler/rt/image.c
TOOL_HDR := $(wildcard runtime/tool/*.h compiler/rt/*.h) include/popcorn/version.h

.PHONY: tool
tool: build/bin/popcorn build/bin/popcorn-dsm-report

build/bin/popcorn-dsm-report: analysis/dsm-report
	@mkdir -p $(@D)
	install $< $@

build/bin/popcorn: $(TOOL_SRC) $(TOOL_HDR)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) $(WARN) -Iinclude -static -o $@ $(TOOL_SRC)

build/bin-arm64/popcorn: $(TOOL_SRC) $(TOOL_HDR)
	@mkdir -p $(@D)
	aarch64-linux-gnu-gcc -std=gnu11 $(CFLAGS) $(WARN) -Iinclude -static -o $@ $(TOOL_SRC)

all: tool
guest: build/bin-arm64/popcorn build/bin/popcorn
