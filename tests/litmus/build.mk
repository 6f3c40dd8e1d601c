# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Litmus tests of shared memory: one program, its table has them all.

build/bin/litmus: tests/litmus/litmus.c build/lib/libpopcorn.a include/popcorn/popcorn.h tests/litmus/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $< build/lib/libpopcorn.a $(UE_LIBS)

.PHONY: litmus
litmus: build/bin/litmus
