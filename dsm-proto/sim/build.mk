# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The coherence protocol's core in user space, its simulator, unit tests and fuzzer.
# build/obj/dsm/ is plain, build/obj/dsm-san/ has the address and UB sanitizers.

PD_CORE_SRC := $(wildcard dsm-proto/core/*.c)
PD_SIM_SRC := $(wildcard dsm-proto/sim/*.c)
PD_HDR := $(wildcard dsm-proto/core/*.h dsm-proto/sim/*.h include/popcorn/*.h) transport/core/compat.h
PD_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -Iinclude -I.
PD_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

PD_OBJ := $(patsubst dsm-proto/%.c,build/obj/dsm/%.o,$(PD_CORE_SRC) $(PD_SIM_SRC))
PD_OBJ_SAN := $(PD_OBJ:build/obj/dsm/%=build/obj/dsm-san/%)

$(PD_OBJ): build/obj/dsm/%.o: dsm-proto/%.c $(PD_HDR) dsm-proto/sim/build.mk
	@mkdir -p $(@D)
	$(CC) $(PD_CFLAGS) -fPIC -c -o $@ $<

$(PD_OBJ_SAN): build/obj/dsm-san/%.o: dsm-proto/%.c $(PD_HDR) dsm-proto/sim/build.mk
	@mkdir -p $(@D)
	$(CC) $(PD_CFLAGS) $(PD_SAN) -c -o $@ $<

build/bin/popcorn-dsm-sim: $(PD_OBJ)
	@mkdir -p $(@D)
	$(CC) -o $@ $^

build/bin/popcorn-dsm-sim-san: $(PD_OBJ_SAN)
	@mkdir -p $(@D)
	$(CC) $(PD_SAN) -o $@ $^

.PHONY: dsm-sim
dsm-sim: build/bin/popcorn-dsm-sim build/bin/popcorn-dsm-sim-san
all: dsm-sim

# Unit tests: programs that print TAP, run by tests/test_dsm.py.

PD_TEST_BIN := $(patsubst tests/dsm/%.c,build/bin/dsm-%,$(wildcard tests/dsm/test_*.c))
PD_TEST_OBJ := $(filter build/obj/dsm-san/core/%,$(PD_OBJ_SAN)) build/obj/dsm-san/sim/lin.o

$(PD_TEST_BIN): build/bin/dsm-%: tests/dsm/%.c tests/core/tap.h $(PD_HDR) $(PD_TEST_OBJ)
	@mkdir -p $(@D)
	$(CC) $(PD_CFLAGS) $(PD_SAN) -o $@ $< $(PD_TEST_OBJ)

.PHONY: dsm-tests
dsm-tests: $(PD_TEST_BIN)
all: dsm-tests

# A fuzzer. `make dsm-fuzz FUZZ_SECONDS=60` runs it for so long, beginning with the corpus;
# `make dsm-fuzz-check` the same inputs each time.

build/bin/fuzz_dsm: tests/dsm/fuzz_dsm.c $(PD_CORE_SRC) $(PD_SIM_SRC) $(PD_HDR) dsm-proto/sim/build.mk
	@mkdir -p $(@D)
	clang-19 $(PD_CFLAGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o $@ $< \
		$(PD_CORE_SRC) $(filter-out %/main.c,$(PD_SIM_SRC))

.PHONY: dsm-fuzzer fuzz dsm-fuzz dsm-fuzz-check
fuzz: dsm-fuzz
dsm-fuzzer: build/bin/fuzz_dsm
all: dsm-fuzzer
dsm-fuzz: build/bin/fuzz_dsm
	@mkdir -p build/fuzz/dsm
	$< -max_total_time=$(or $(FUZZ_SECONDS),60) -timeout=10 -max_len=4096 -len_control=0 \
		-print_final_stats=1 -artifact_prefix=build/fuzz/dsm- build/fuzz/dsm tests/dsm/corpus
dsm-fuzz-check: build/bin/fuzz_dsm
	$(call fuzz-check,dsm,tests/dsm/corpus)
