# SPDX-License-Identifier: GPL-2.0-only OR MIT
# popcorn-bench-dsm: what shared memory costs in user mode, beside its floors.

build/bin/popcorn-bench-dsm: runtime/bench/dsm.c build/lib/libpopcorn.a include/popcorn/popcorn.h
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $< build/lib/libpopcorn.a $(UE_LIBS)

all: build/bin/popcorn-bench-dsm
