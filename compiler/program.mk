# SPDX-License-Identifier: GPL-2.0-only OR MIT
# For a program's Makefile: include PREFIX/share/build/Makefile after setting
#   BIN    the program; BIN_x86-64, BIN_aarch64 and BIN_riscv64 are made with it
#   SRC    its C files, and .S files with code for each ISA; by default every C file here
#   LIBS   libraries: -lNAME, or archives made with popcorn-cc
# and CFLAGS, CPPFLAGS, LDFLAGS as everywhere. Targets: all, check (one layout?), clean.

POPCORN_PREFIX := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/../..)
CC := $(POPCORN_PREFIX)/bin/popcorn-cc
AR := ar
SRC ?= $(wildcard *.c)
CFLAGS ?= -O2 -g -Wall
BUILD ?= .
OBJ := $(addprefix $(BUILD)/,$(addsuffix .o,$(basename $(SRC))))

.PHONY: all check clean
all: $(BIN)

$(BIN): $(OBJ)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -c -o $@ $<
$(BUILD)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -c -o $@ $<

check: $(BIN)
	$(POPCORN_PREFIX)/bin/popcorn-check $(BIN)

clean:
	rm -f $(BIN) $(addprefix $(BIN)_,x86-64 aarch64 riscv64) $(OBJ) $(OBJ:.o=.d)

-include $(OBJ:.o=.d)
