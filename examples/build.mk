# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Example programs of shared memory; docs/dsm.md walks through them.

EXAMPLES := $(patsubst examples/%.c,build/bin/example-%,$(wildcard examples/*.c))

$(EXAMPLES): build/bin/example-%: examples/%.c build/lib/libpopcorn.a include/popcorn/popcorn.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(CFLAGS) $(WARN) -Iinclude -o $@ $< build/lib/libpopcorn.a -lcrypto -pthread

.PHONY: examples
examples: $(EXAMPLES)
all: examples
