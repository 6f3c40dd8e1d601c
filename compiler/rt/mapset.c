// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The table of common mappings: see mapset.h. */
#include "mapset.h"

/** popcorn_mapset_find - index of the first range that ends behind @addr, n if there is none */
uint32_t popcorn_mapset_find(const struct popcorn_mapset *s, uint64_t addr)
{
	uint32_t low = 0, high = s->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (s->v[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void open_at(struct popcorn_mapset *s, uint32_t i)
{
	uint32_t k;

	for (k = s->n++; k > i; k--)
		s->v[k] = s->v[k - 1];
}

static void close_at(struct popcorn_mapset *s, uint32_t i, uint32_t count)
{
	uint32_t k;

	s->n -= count;
	for (k = i; k < s->n; k++)
		s->v[k] = s->v[k + count];
}

/* A range that @addr is inside of becomes two that meet there. */
static void split(struct popcorn_mapset *s, uint64_t addr)
{
	uint32_t i = popcorn_mapset_find(s, addr);

	if (i == s->n || s->v[i].start >= addr)
		return;
	open_at(s, i);
	s->v[i].end = addr;
	s->v[i + 1].start = addr;
}

static int alike(const struct popcorn_map *a, const struct popcorn_map *b)
{
	return a->end == b->start && a->kind == b->kind && a->prot == b->prot;
}

/* Joins alike neighbours from range @i - 1 up to range @j. */
static void join(struct popcorn_mapset *s, uint32_t i, uint32_t j)
{
	if (i)
		i--;
	while (i + 1 < s->n && i <= j) {
		if (alike(&s->v[i], &s->v[i + 1])) {
			s->v[i].end = s->v[i + 1].end;
			close_at(s, i + 1, 1);
			if (j)
				j--;
		} else {
			i++;
		}
	}
}

/** popcorn_mapset_remove - nothing is mapped in [@start, @end) any more */
void popcorn_mapset_remove(struct popcorn_mapset *s, uint64_t start, uint64_t end)
{
	uint32_t i, j;

	if (start >= end)
		return;
	split(s, start);
	split(s, end);
	i = popcorn_mapset_find(s, start);
	for (j = i; j < s->n && s->v[j].end <= end; j++)
		;
	close_at(s, i, j - i);
}

/** popcorn_mapset_add - [@start, @end) is one mapping now, whatever was there */
void popcorn_mapset_add(struct popcorn_mapset *s, uint64_t start, uint64_t end, uint32_t kind,
			uint32_t prot)
{
	uint32_t i;

	if (start >= end)
		return;
	popcorn_mapset_remove(s, start, end);
	i = popcorn_mapset_find(s, start);
	open_at(s, i);
	s->v[i] = (struct popcorn_map){ start, end, kind, prot };
	join(s, i, i);
}

/** popcorn_mapset_protect - what is mapped in [@start, @end) has the protection @prot now */
void popcorn_mapset_protect(struct popcorn_mapset *s, uint64_t start, uint64_t end, uint32_t prot)
{
	uint32_t i, j;

	if (start >= end)
		return;
	split(s, start);
	split(s, end);
	i = popcorn_mapset_find(s, start);
	for (j = i; j < s->n && s->v[j].end <= end; j++)
		s->v[j].prot = prot;
	join(s, i, j);
}

/** popcorn_mapset_overlaps - is anything mapped in [@start, @end)? */
int popcorn_mapset_overlaps(const struct popcorn_mapset *s, uint64_t start, uint64_t end)
{
	uint32_t i = popcorn_mapset_find(s, start);

	return i < s->n && s->v[i].start < end;
}

static uint64_t gap_in(const struct popcorn_mapset *s, uint64_t len, uint64_t align, uint64_t from,
		       uint64_t to)
{
	uint32_t i = popcorn_mapset_find(s, from);
	uint64_t at = (from + align - 1) & ~(align - 1);

	for (; at < to && to - at >= len; i++) {
		if (i == s->n || (s->v[i].start >= at && s->v[i].start - at >= len))
			return at;
		if (s->v[i].end > at)
			at = (s->v[i].end + align - 1) & ~(align - 1);
	}
	return 0;
}

/**
 * popcorn_mapset_gap - where @len bytes are free
 * @align: power of two
 * @low, @high: limits of the search, [low, high)
 *
 * Goes on where the last one was found, so that an address is not used again at once. Returns 0 if there is none.
 */
uint64_t popcorn_mapset_gap(struct popcorn_mapset *s, uint64_t len, uint64_t align, uint64_t low,
			    uint64_t high)
{
	uint64_t from = s->next >= low && s->next < high ? s->next : low, at;

	at = gap_in(s, len, align, from, high);
	if (!at && from > low)
		at = gap_in(s, len, align, low, high);
	if (at)
		s->next = at + len;
	return at;
}
