# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The runtime in every program that popcorn-cc links: compiled for each ISA as it is, without instrumentation.

RT_ISAS := x86-64 aarch64 riscv64
RT_CC := clang-19
RT_TARGET_x86-64 := --target=x86_64-unknown-linux-musl
RT_TARGET_aarch64 := --target=aarch64-unknown-linux-musl -mno-outline-atomics
RT_TARGET_riscv64 := --target=riscv64-unknown-linux-musl -march=rv64gc -mno-relax
# What runs once in a while is small; what is done for each frame is fast.
RT_FAST := records thread
RT_LEVEL = $(if $(filter $(RT_FAST),$(basename $(notdir $<))),-O2,-Os)
RT_CFLAGS := -std=gnu11 -g -ffreestanding -fno-pic -fno-stack-protector -ffunction-sections -fdata-sections \
	-fno-asynchronous-unwind-tables -fno-strict-aliasing -Wall -Wextra -Werror \
	-nostdlibinc
RT_SRC := $(sort $(wildcard compiler/rt/*.c compiler/rt/*.S))
RT_HDR := $(wildcard compiler/rt/*.h)

define rt-isa
build/obj/rt/$(1)/%.o: compiler/rt/% $(RT_HDR) compiler/rt/build.mk
	@mkdir -p $$(@D)
	$(RT_CC) $(RT_TARGET_$(1)) $$(RT_LEVEL) $(RT_CFLAGS) -c -o $$@ $$<
build/compiler/rt/$(1)/libpopcorn-rt.a: $(RT_SRC:compiler/rt/%=build/obj/rt/$(1)/%.o)
	@mkdir -p $$(@D)
	rm -f $$@
	llvm-ar-19 qcsD $$@ $$^
endef
$(foreach i,$(RT_ISAS),$(eval $(call rt-isa,$(i))))

# What programs include of it.

RT_INCLUDE := build/compiler/sysroot/include
$(RT_INCLUDE)/popcorn/migrate.h: include/popcorn/migrate.h
$(RT_INCLUDE)/migrate.h: compiler/rt/include/migrate.h
$(RT_INCLUDE)/popcorn/migrate.h $(RT_INCLUDE)/migrate.h:
	@mkdir -p $(@D)
	cp $< $@

.PHONY: compiler-rt
compiler-rt: $(RT_INCLUDE)/popcorn/migrate.h $(RT_INCLUDE)/migrate.h
compiler-rt: $(RT_ISAS:%=build/compiler/rt/%/libpopcorn-rt.a)
compiler: compiler-rt

# A program made by hand, for tests of the runtime alone.

RT_TEST := tests/compiler/rt
RT_FRAMES := $(RT_ISAS:%=build/bin/rt-frames_%)

define rt-frames
build/bin/rt-frames_$(1): $(RT_TEST)/frames.c $(RT_TEST)/frames.ld build/compiler/rt/$(1)/libpopcorn-rt.a
	@mkdir -p $$(@D) build/obj/rt
	$(RT_CC) $(RT_TARGET_$(1)) -O2 $(RT_CFLAGS) -I. -c -o build/obj/rt/frames_$(1).o $$<
	ld.lld-19 -static --gc-sections -z norelro -T $(RT_TEST)/frames.ld -o $$@ \
		build/obj/rt/frames_$(1).o build/compiler/rt/$(1)/libpopcorn-rt.a
endef
$(foreach i,$(RT_ISAS),$(eval $(call rt-frames,$(i))))

.PHONY: rt-tests
rt-tests: $(RT_FRAMES)

# The pure parts have unit tests that print TAP, and a fuzzer.

RT_UNIT := $(patsubst $(RT_TEST)/test_%.c,build/bin/rt-test_%,$(wildcard $(RT_TEST)/test_*.c))
RT_PURE := compiler/rt/image.c compiler/rt/mapset.c
RT_PURE_DEPS := $(RT_PURE) $(RT_HDR) $(RT_TEST)/make_image.h tests/core/tap.h compiler/rt/build.mk

$(RT_UNIT): build/bin/rt-test_%: $(RT_TEST)/test_%.c $(RT_PURE_DEPS)
	@mkdir -p $(@D)
	$(CC) $(PT_CFLAGS) $(PT_SAN) -o $@ $< $(RT_PURE)

build/bin/rt-test_migrate: compiler/rt/migrate.c include/popcorn/migrate.h

build/bin/fuzz_image: $(RT_TEST)/fuzz_image.c $(RT_PURE_DEPS)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(PT_CFLAGS) $(FUZZ_FLAGS) -o $@ $< $(RT_PURE)

rt-tests: $(RT_UNIT) build/bin/fuzz_image

.PHONY: image-fuzz-check
image-fuzz-check: build/bin/fuzz_image
	$(call fuzz-check,image,$(RT_TEST)/corpus)
