# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Programs that are hard on shared memory, in guests, in kernel mode; and in user mode.

build/bin/kdsm-hard: tests/kdsm/hard.c build/lib/libpopcorn.a include/popcorn/popcorn.h tests/kdsm/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $< build/lib/libpopcorn.a $(UE_LIBS)

guest: $(foreach a,amd64 arm64,build/guest/kdsm-hard-$(a) build/guest/kdsm-fuzz-$(a))

build/guest/kdsm-hard-%: tests/kdsm/hard.c build/guest/libpopcorn-%.a tests/kdsm/build.mk
	@mkdir -p $(@D)
	$(GUEST_LINK) -o $@ $< build/guest/libpopcorn-$*.a

build/guest/kdsm-fuzz-%: tests/kdsm/fuzz.c include/popcorn/uapi.h
	@mkdir -p $(@D)
	$(CROSS_$*)gcc -std=gnu11 -O2 -g $(WARN) -Iinclude -static -o $@ $<
