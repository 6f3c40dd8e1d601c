# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Between user-mode nodes: popcorn-bench has the transport's rows, popcorn-bench-dsm those of shared
# memory, also in kernel mode.

BENCH_PROGRAMS := build/bin/popcorn-bench build/bin/popcorn-bench-dsm
build/bin/popcorn-bench: microbench/user/bench.c runtime/transport.h
build/bin/popcorn-bench-dsm: microbench/user/dsm.c include/popcorn/popcorn.h
$(BENCH_PROGRAMS): microbench/user/args.h microbench/user/pin.h build/lib/libpopcorn.a
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $(filter %.c,$^) build/lib/libpopcorn.a $(UE_LIBS)

# For guests, whose library is another.
build/guest/popcorn-bench-dsm-%: microbench/user/dsm.c microbench/user/args.h microbench/user/pin.h \
		include/popcorn/popcorn.h build/guest/libpopcorn-%.a
	@mkdir -p $(@D)
	$(GUEST_LINK) -o $@ $< build/guest/libpopcorn-$*.a

all: $(BENCH_PROGRAMS)
guest: $(foreach a,amd64 arm64,build/guest/popcorn-bench-dsm-$(a))
