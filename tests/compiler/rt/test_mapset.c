// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The table of mappings against one word for each page. */
#include "../../../compiler/rt/mapset.h"
#include "../../core/tap.h"

#define PAGES 64
#define PAGE 4096ull
#define BASE 0x1400000000ull

jmp_buf tap_out;

static struct popcorn_map room[2 * PAGES];
static struct popcorn_mapset set;
static unsigned int want[PAGES];	/* kind << 8 | prot, 0: nothing mapped */
static unsigned int seed;

static unsigned int rnd(unsigned int n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

static uint64_t addr(unsigned int page)
{
	return BASE + page * PAGE;
}

static void clear(void)
{
	set = (struct popcorn_mapset){ .v = room, .room = 2 * PAGES };
	memset(want, 0, sizeof(want));
}

static void compare(void)
{
	unsigned int have[PAGES] = { 0 }, i;
	uint64_t a;

	for (i = 0; i < set.n; i++) {
		const struct popcorn_map *m = &set.v[i];

		CHECK(m->start < m->end && m->start >= BASE && m->end <= addr(PAGES));
		if (i) {
			CHECK(m[-1].end <= m->start);
			CHECK(m[-1].end != m->start || m[-1].kind != m->kind || m[-1].prot != m->prot);
		}
		for (a = m->start; a < m->end; a += PAGE)
			have[(a - BASE) / PAGE] = m->kind << 8 | m->prot;
	}
	CHECK(!memcmp(have, want, sizeof(have)));
}

static void one_change(void)
{
	unsigned int first = rnd(PAGES), last = first + rnd(PAGES - first + 1), i;
	unsigned int kind = 1 + rnd(3), prot = rnd(4), what = rnd(3);

	if (!what)
		popcorn_mapset_add(&set, addr(first), addr(last), kind, prot);
	else if (what == 1)
		popcorn_mapset_remove(&set, addr(first), addr(last));
	else
		popcorn_mapset_protect(&set, addr(first), addr(last), prot);
	for (i = first; i < last; i++)
		if (!what)
			want[i] = kind << 8 | prot;
		else if (what == 1)
			want[i] = 0;
		else if (want[i])
			want[i] = (want[i] & ~255u) | prot;
}

static void any_changes(void)
{
	int round, i;

	for (round = 0; round < 500; round++) {
		seed = round;
		clear();
		for (i = 0; i < 60; i++) {
			one_change();
			compare();
		}
	}
}

static int free_at(uint64_t at, unsigned int pages)
{
	unsigned int first = (at - BASE) / PAGE, i;

	for (i = first; i < first + pages; i++)
		if (i >= PAGES || want[i])
			return 0;
	return 1;
}

static void gaps(void)
{
	int round, i;

	for (round = 0; round < 500; round++) {
		unsigned int pages, k, found = 0;
		uint64_t align, at;

		seed = round;
		clear();
		for (i = 0; i < 20; i++)
			one_change();
		pages = 1 + rnd(8);
		align = PAGE << rnd(4);
		at = popcorn_mapset_gap(&set, pages * PAGE, align, BASE, addr(PAGES));
		for (k = 0; k + pages <= PAGES; k++)
			found += !(addr(k) % align) && free_at(addr(k), pages);
		CHECK_EQ(!at, !found);
		if (at)
			CHECK(!(at % align) && at >= BASE && free_at(at, pages));
	}
}

static void gap_goes_on(void)
{
	uint64_t a, b;

	clear();
	a = popcorn_mapset_gap(&set, PAGE, PAGE, BASE, addr(PAGES));
	b = popcorn_mapset_gap(&set, PAGE, PAGE, BASE, addr(PAGES));
	CHECK(a && b && a != b);
	CHECK(!popcorn_mapset_gap(&set, (PAGES + 1) * PAGE, PAGE, BASE, addr(PAGES)));
}

static const struct tap_test tests[] = { TEST(any_changes), TEST(gaps), TEST(gap_goes_on) };
TAP_MAIN(tests)
