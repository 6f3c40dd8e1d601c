# SPDX-License-Identifier: GPL-2.0-only OR MIT
# The model of page coherence, for spin; and the table of docs/coherence.md, of the real core.

.PHONY: model
model: build/bin/dsm-table
	dsm-proto/model/check
	dsm-proto/model/table

build/bin/dsm-table: dsm-proto/model/table.c $(wildcard dsm-proto/core/*.[ch]) include/popcorn/dsm_wire.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -Iinclude -I. -o $@ $< dsm-proto/core/home.c dsm-proto/core/node.c
