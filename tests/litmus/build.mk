# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Litmus tests of shared memory: one program, its table has them all.

build/bin/litmus: tests/litmus/litmus.c build/lib/libpopcorn.a include/popcorn/popcorn.h tests/litmus/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $< build/lib/libpopcorn.a $(UE_LIBS)

.PHONY: litmus
litmus: build/bin/litmus

# For guests, static, kernel mode only: what user mode would call is left unresolved.
GUEST_API := runtime/api.c runtime/api_kernel.c
GUEST_LINK = $(CROSS_$*)gcc -std=gnu11 -O2 -g $(WARN) -Iinclude -I. -static -pthread \
	-Wl,--unresolved-symbols=ignore-all

guest: build/guest/litmus-amd64 build/guest/litmus-arm64

build/guest/litmus-%: tests/litmus/litmus.c $(GUEST_API) $(UE_HDR) tests/litmus/build.mk
	@mkdir -p $(@D)
	$(GUEST_LINK) -o $@ $< $(GUEST_API)
