/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The mappings of common memory as a sorted table of ranges. Pure: no system calls, memory from the caller.
 */
#ifndef POPCORN_RT_MAPSET_H
#define POPCORN_RT_MAPSET_H

#include <stdint.h>

/* What a range holds, and so what an image has of it. */
enum popcorn_map_kind {
	POPCORN_KIND_ANON = 1,	/* private memory */
	POPCORN_KIND_FILE,	/* private mapping of a file: written as memory */
	POPCORN_KIND_SHARED,	/* shared anonymous memory */
	POPCORN_KIND_SHARED_FILE, /* can't be written yet: the file would have to be there, too */
	POPCORN_KIND_SHADOW,	/* a shadow stack: written from its pointer upwards */
	POPCORN_KIND_RECORDS,	/* records of captured frames: written with their thread */
	POPCORN_KIND_END,
};

struct popcorn_map {
	uint64_t start, end;	/* [start, end), multiples of 4096 */
	uint32_t kind;
	uint32_t prot;		/* PROT_* */
};

struct popcorn_mapset {
	struct popcorn_map *v;	/* sorted, without overlaps; alike neighbours are one */
	uint32_t n, room;
	uint64_t next;		/* where the last gap was found: the search goes on there */
};

/* Entries that one change can add: there must be room for them. */
#define POPCORN_MAPSET_GROWTH 2

uint32_t popcorn_mapset_find(const struct popcorn_mapset *s, uint64_t addr);
void popcorn_mapset_remove(struct popcorn_mapset *s, uint64_t start, uint64_t end);
void popcorn_mapset_add(struct popcorn_mapset *s, uint64_t start, uint64_t end, uint32_t kind,
			uint32_t prot);
void popcorn_mapset_protect(struct popcorn_mapset *s, uint64_t start, uint64_t end, uint32_t prot);
uint64_t popcorn_mapset_gap(struct popcorn_mapset *s, uint64_t len, uint64_t align, uint64_t low,
			    uint64_t high);
int popcorn_mapset_overlaps(const struct popcorn_mapset *s, uint64_t start, uint64_t end);

#endif
