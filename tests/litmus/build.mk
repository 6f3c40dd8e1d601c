# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Litmus tests of shared memory: one program, its table has them all.

build/bin/litmus: tests/litmus/litmus.c build/lib/libpopcorn.a include/popcorn/popcorn.h tests/litmus/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $< build/lib/libpopcorn.a $(UE_LIBS)

.PHONY: litmus
litmus: build/bin/litmus

# For guests, static. Their library is without user mode's keys, for which there is no libcrypto of both
# architectures: kernel mode needs none.
GUEST_SRC := $(filter-out runtime/key.c,$(UE_SRC)) $(UE_CORE)
GUEST_OBJ := $(GUEST_SRC:.c=.o)
GUEST_LINK = $(CROSS_$*)gcc -std=gnu11 -O2 -g $(WARN) -Iinclude -static -pthread \
	-Wl,--unresolved-symbols=ignore-all

build/obj/guest-amd64/%.o: %.c $(UE_HDR)
	@mkdir -p $(@D)
	$(CROSS_amd64)gcc -std=gnu11 -O2 $(WARN) -Iinclude -I. -pthread -c -o $@ $<

build/obj/guest-arm64/%.o: %.c $(UE_HDR)
	@mkdir -p $(@D)
	$(CROSS_arm64)gcc -std=gnu11 -O2 $(WARN) -Iinclude -I. -pthread -c -o $@ $<

build/guest/libpopcorn-amd64.a: $(GUEST_OBJ:%=build/obj/guest-amd64/%)
build/guest/libpopcorn-arm64.a: $(GUEST_OBJ:%=build/obj/guest-arm64/%)
build/guest/libpopcorn-%.a:
	rm -f $@
	$(CROSS_$*)ar qcs $@ $^

guest: build/guest/litmus-amd64 build/guest/litmus-arm64

build/guest/litmus-%: tests/litmus/litmus.c build/guest/libpopcorn-%.a tests/litmus/build.mk
	@mkdir -p $(@D)
	$(GUEST_LINK) -o $@ $< build/guest/libpopcorn-$*.a
