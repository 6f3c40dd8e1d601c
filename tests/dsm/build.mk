# SPDX-License-Identifier: GPL-2.0-only OR MIT
# What guests run to test shared memory; static, for each architecture.

guest: build/guest/dsmtest-amd64 build/guest/dsmtest-arm64

build/guest/dsmtest-%: tests/dsm/dsmtest.c include/popcorn/uapi.h
	@mkdir -p $(@D)
	$(CROSS_$*)gcc -std=gnu11 -O2 -g $(WARN) -Iinclude -static -pthread -o $@ $<
