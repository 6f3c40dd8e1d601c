# SPDX-License-Identifier: GPL-2.0-only OR MIT
# popcorn-bench: the transport's rows between user-mode nodes.

build/bin/popcorn-bench: $(wildcard microbench/user/*.c) build/lib/libpopcorn.a runtime/transport.h
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $(wildcard microbench/user/*.c) build/lib/libpopcorn.a $(UE_LIBS)

all: build/bin/popcorn-bench
