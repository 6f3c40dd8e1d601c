# SPDX-License-Identifier: GPL-2.0-only OR MIT
# User-space builds of the transport core, its simulator, unit tests and fuzzers.
# build/obj/core/ is plain, build/obj/core-san/ has the address and UB sanitizers.

PT_CORE_SRC := $(wildcard transport/core/*.c)
PT_SIM_SRC := $(wildcard transport/sim/*.c)
PT_HDR := $(wildcard transport/core/*.h include/popcorn/*.h)
PT_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -Iinclude
PT_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

PT_CORE_OBJ := $(PT_CORE_SRC:transport/%.c=build/obj/%.o)
PT_CORE_SAN := $(PT_CORE_SRC:transport/core/%.c=build/obj/core-san/%.o)
PT_SIM_OBJ := $(PT_SIM_SRC:transport/%.c=build/obj/%.o)
PT_SIM_SAN := $(PT_SIM_SRC:transport/sim/%.c=build/obj/sim-san/%.o)

$(PT_CORE_OBJ) $(PT_SIM_OBJ): build/obj/%.o: transport/%.c $(PT_HDR) transport/sim/sim.h transport/build.mk
	@mkdir -p $(@D)
	$(CC) $(PT_CFLAGS) -fPIC -c -o $@ $<

$(PT_CORE_SAN): build/obj/core-san/%.o: transport/core/%.c $(PT_HDR) transport/build.mk
	@mkdir -p $(@D)
	$(CC) $(PT_CFLAGS) $(PT_SAN) -c -o $@ $<

$(PT_SIM_SAN): build/obj/sim-san/%.o: transport/sim/%.c $(PT_HDR) transport/sim/sim.h transport/build.mk
	@mkdir -p $(@D)
	$(CC) $(PT_CFLAGS) $(PT_SAN) -c -o $@ $<

build/bin/popcorn-sim: $(PT_SIM_OBJ) $(PT_CORE_OBJ)
	@mkdir -p $(@D)
	$(CC) -o $@ $^

build/bin/popcorn-sim-san: $(PT_SIM_SAN) $(PT_CORE_SAN)
	@mkdir -p $(@D)
	$(CC) $(PT_SAN) -o $@ $^

.PHONY: sim
sim: build/bin/popcorn-sim build/bin/popcorn-sim-san
all: sim

# Unit tests: programs that print TAP, run by tests/test_core.py.

PT_TEST_BIN := $(patsubst tests/core/%.c,build/bin/core-%,$(wildcard tests/core/test_*.c))

$(PT_TEST_BIN): build/bin/core-%: tests/core/%.c tests/core/pair.c tests/core/pair.h tests/core/tap.h $(PT_CORE_SAN)
	@mkdir -p $(@D)
	$(CC) $(PT_CFLAGS) $(PT_SAN) -o $@ $< tests/core/pair.c $(PT_CORE_SAN)

.PHONY: core-tests
core-tests: $(PT_TEST_BIN)
all: core-tests

# Fuzzers. `make fuzz FUZZ_SECONDS=60` runs each for so long, beginning with the corpus and what was
# found before; `make fuzz-check` the same FUZZ_RUNS inputs each time.

FUZZ := frames handshake events
FUZZ_SECONDS ?= 60
FUZZ_RUNS ?= 6000
FUZZ_BIN := $(addprefix build/bin/fuzz_,$(FUZZ))
FUZZ_CC := clang-19
FUZZ_FLAGS := -DTAP_ABORT -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all

$(FUZZ_BIN): build/bin/%: tests/fuzz/%.c tests/fuzz/fuzz.h tests/core/pair.c tests/core/pair.h tests/core/tap.h $(PT_CORE_SRC) $(PT_HDR) transport/build.mk
	@mkdir -p $(@D)
	$(FUZZ_CC) $(PT_CFLAGS) $(FUZZ_FLAGS) -o $@ $< tests/core/pair.c $(PT_CORE_SRC)

# $(call fuzz-check,NAME,CORPUS): nothing of time or addresses goes into what is tried.
define fuzz-check
	@rm -rf build/fuzz/check-$(1) && mkdir -p build/fuzz/check-$(1)
	build/bin/fuzz_$(1) -seed=1 -use_cmp=0 -entropic=0 -reload=0 -runs=$(FUZZ_RUNS) -timeout=10 \
		-max_len=2048 -len_control=0 -print_final_stats=1 -artifact_prefix=build/fuzz/$(1)- build/fuzz/check-$(1) $(2)
endef

.PHONY: fuzzers fuzz
fuzzers: $(FUZZ_BIN)
all: fuzzers
fuzz: $(FUZZ:%=fuzz-run-%)
fuzz-check-%: build/bin/fuzz_%
	$(call fuzz-check,$*,tests/fuzz/corpus/$*)
fuzz-run-%: build/bin/fuzz_%
	@mkdir -p build/fuzz/$*
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=2048 -len_control=0 -print_final_stats=1 \
		-artifact_prefix=build/fuzz/$*- build/fuzz/$* tests/fuzz/corpus/$*
