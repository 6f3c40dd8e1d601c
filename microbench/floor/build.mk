# SPDX-License-Identifier: GPL-2.0-only OR MIT
# User-space floors: build/bin/floor_*. The kernel floors are in the top-level Kbuild.

FLOOR_DIR := microbench/floor
FLOOR_BIN := $(addprefix build/bin/,floor_tcp floor_shm floor_mpi floor_verbs)
FLOOR_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror
FLOOR_DEPS := $(FLOOR_DIR)/floor.c $(FLOOR_DIR)/floor.h $(FLOOR_DIR)/build.mk

build/bin/floor_verbs: FLOOR_LIBS := -lrdmacm -libverbs
build/bin/floor_mpi: FLOOR_CC := mpicc
FLOOR_CC = $(CC)

$(FLOOR_BIN): build/bin/%: $(FLOOR_DIR)/%.c $(FLOOR_DEPS)
	@mkdir -p $(@D)
	$(FLOOR_CC) $(FLOOR_CFLAGS) -o $@ $< $(FLOOR_DIR)/floor.c $(FLOOR_LIBS)

.PHONY: floors
floors: $(FLOOR_BIN)
all: floors
