# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Test programs of user-mode shared memory, with sanitizers.

UDSM_BIN := $(patsubst tests/udsm/%.c,build/bin/udsm-%,$(wildcard tests/udsm/*.c))
UDSM_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -fno-lto

$(UDSM_BIN): build/bin/udsm-%: tests/udsm/%.c build/lib/libpopcorn-san.a $(UE_HDR) tests/udsm/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) $(UDSM_SAN) -o $@ $< build/lib/libpopcorn-san.a $(UE_LIBS)

# For guests, which have no sanitizers.
build/guest/udsm-share: tests/udsm/share.c build/lib/libpopcorn.a $(UE_HDR) tests/udsm/build.mk
	@mkdir -p $(@D)
	$(CC) $(UE_CFLAGS) -o $@ $< build/lib/libpopcorn.a $(UE_LIBS)

.PHONY: udsm-tests
udsm-tests: $(UDSM_BIN)
