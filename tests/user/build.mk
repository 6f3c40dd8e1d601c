# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Test programs of the user-mode engine, with sanitizers.

UT_SRC := $(wildcard tests/user/*.c)
UT_BIN := $(UT_SRC:tests/user/%.c=build/bin/user-%)
UT_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -fno-lto

$(UT_BIN): build/bin/user-%: tests/user/%.c build/lib/libpopcorn-san.a $(UE_HDR) tests/user/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) $(UT_SAN) -o $@ $< build/lib/libpopcorn-san.a $(UE_LIBS)

.PHONY: user-tests
user-tests: $(UT_BIN)
