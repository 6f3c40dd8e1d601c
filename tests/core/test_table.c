// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The node table: ids by position, a hash for every prefix, full size.
 */
#include "tap.h"
#include "../../transport/core/core.h"

static struct pt_addr addr(u32 n)
{
	return (struct pt_addr){ { [10] = 255, [11] = 255, [12] = 10, [13] = n >> 16,
				   [14] = n >> 8, [15] = n } };
}

static int add(struct pt_table *t, u32 n)
{
	struct pt_addr a = addr(n);
	void *blk = calloc(256, sizeof(struct pt_table_entry));
	bool took;
	int r = pt_table_add(t, &a, blk, &took);

	if (!took)
		free(blk);
	return r;
}

static void clear(struct pt_table *t)
{
	int i;

	for (i = 0; i < 256; i++)
		free(t->blk[i]);
}

static void ids_are_positions(void)
{
	struct pt_table t;
	struct pt_addr a = addr(7);
	u32 i;

	pt_table_init(&t, "c");
	CHECK_EQ(pt_table_find(&t, &a), -ENOENT);
	for (i = 0; i < 600; i++)
		CHECK_EQ(add(&t, i), i);
	CHECK_EQ(t.n, 600);
	CHECK_EQ(pt_table_find(&t, &a), 7);
	for (i = 0; i < 600; i++) {
		a = addr(i);
		CHECK(!memcmp(pt_table_addr(&t, i), &a, sizeof(a)));
	}
	clear(&t);
}

static void duplicates_are_refused(void)
{
	struct pt_table t;
	u64 h;

	pt_table_init(&t, "c");
	CHECK_EQ(add(&t, 1), 0);
	CHECK_EQ(add(&t, 2), 1);
	h = pt_table_hash(&t, 2);
	CHECK_EQ(add(&t, 1), -EEXIST);
	CHECK_EQ(add(&t, 2), -EEXIST);
	CHECK_EQ(t.n, 2);
	CHECK(pt_table_hash(&t, 2) == h);
	clear(&t);
}

static void memory_is_taken_when_needed(void)
{
	struct pt_addr a = addr(1), b = addr(2);
	struct pt_table t;
	void *blk = calloc(256, sizeof(struct pt_table_entry));
	bool took;

	pt_table_init(&t, "c");
	CHECK_EQ(pt_table_add(&t, &a, NULL, &took), -ENOMEM);
	CHECK(!took);
	CHECK_EQ(t.n, 0);
	CHECK_EQ(pt_table_add(&t, &a, blk, &took), 0);
	CHECK(took);
	CHECK_EQ(pt_table_add(&t, &b, NULL, &took), 1);
	CHECK(!took);
	clear(&t);
}

static void hash_tells_prefixes_apart(void)
{
	struct pt_table a, b, c;
	u32 i;

	pt_table_init(&a, "one");
	pt_table_init(&b, "one");
	pt_table_init(&c, "two");
	CHECK(pt_table_hash(&a, 0) == pt_table_hash(&b, 0));
	CHECK(pt_table_hash(&a, 0) != pt_table_hash(&c, 0));
	for (i = 0; i < 300; i++) {
		add(&a, i);
		add(&b, i == 299 ? 1000 : i);
		add(&c, i);
	}
	for (i = 0; i < 300; i++)
		CHECK(pt_table_hash(&a, i) == pt_table_hash(&b, i));
	CHECK(pt_table_hash(&a, 300) != pt_table_hash(&b, 300));
	for (i = 0; i <= 300; i++)
		CHECK(pt_table_hash(&a, i) != pt_table_hash(&c, i));
	for (i = 0; i < 300; i++)
		CHECK(pt_table_hash(&a, i) != pt_table_hash(&a, i + 1));
	clear(&a);
	clear(&b);
	clear(&c);
}

static void order_matters(void)
{
	struct pt_table a, b;

	pt_table_init(&a, "c");
	pt_table_init(&b, "c");
	add(&a, 1);
	add(&a, 2);
	add(&b, 2);
	add(&b, 1);
	CHECK(pt_table_hash(&a, 2) != pt_table_hash(&b, 2));
	clear(&a);
	clear(&b);
}

/* Adding looks for duplicates, so that filling the table is quadratic: fill it by hand. */
static void all_ids(void)
{
	struct pt_table t;
	u32 i;

	pt_table_init(&t, "c");
	for (i = 0; i < PT_NODES_MAX - 1; i++) {
		if (!t.blk[i >> 8])
			t.blk[i >> 8] = calloc(256, sizeof(struct pt_table_entry));
		t.blk[i >> 8][i & 255].addr = addr(i);
	}
	t.n = PT_NODES_MAX - 1;
	CHECK_EQ(add(&t, 1 << 20), PT_NODES_MAX - 1);
	CHECK_EQ(add(&t, 1 << 21), -ENOSPC);
	CHECK_EQ(t.n, PT_NODES_MAX);
	CHECK(PT_NOBODY >= PT_NODES_MAX);
	clear(&t);
}

static const struct tap_test tests[] = {
	TEST(ids_are_positions), TEST(duplicates_are_refused), TEST(memory_is_taken_when_needed),
	TEST(hash_tells_prefixes_apart), TEST(order_matters), TEST(all_ids),
};

TAP_MAIN(tests)
