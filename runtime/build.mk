# SPDX-License-Identifier: GPL-2.0-only OR MIT
# libpopcorn: the user-mode engine with the cores; once plain, once with the
# address and undefined-behaviour sanitizers (build/lib/libpopcorn-san.a), for tests.

UE_SRC := $(wildcard runtime/*.c) transport/socket/usocket.c transport/shm/shm.c
UE_HDR := $(wildcard runtime/*.h dsm-proto/core/*.h transport/shm/*.h transport/core/*.h include/popcorn/*.h)
UE_CFLAGS := -std=gnu11 -O2 -g -flto=auto -ffat-lto-objects -Wall -Wextra -Werror -Iinclude -I. -pthread
UE_CORE := $(wildcard transport/core/*.c dsm-proto/core/*.c)
UE_OBJ := $(UE_SRC:%.c=build/obj/ue/%.o) $(UE_CORE:%.c=build/obj/ue/%.o)
UE_SAN := $(UE_SRC:%.c=build/obj/ue-san/%.o) $(UE_CORE:%.c=build/obj/ue-san/%.o)
UE_LIBS := -lcrypto -pthread

# The core is compiled once more here: hidden from the loader, and inlined across its files.
build/obj/ue/%.o: %.c $(UE_HDR) runtime/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -c -o $@ $<

build/obj/ue-san/%.o: %.c $(UE_HDR) runtime/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -fsanitize=address,undefined -fno-sanitize-recover=all \
		-fno-omit-frame-pointer -fno-lto -c -o $@ $<

build/lib/libpopcorn.a: $(UE_OBJ)
build/lib/libpopcorn-san.a: $(UE_SAN)
build/lib/%.a:
	@mkdir -p $(@D)
	rm -f $@
	$(AR) qcs $@ $^

.PHONY: runtime
runtime: build/lib/libpopcorn.a
all: runtime
