// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Barriers: who says what to whom. The simulator (popcorn-dsm-sim --barriers) has the rest:
 * any order, loss, deaths.
 */
#include "../core/tap.h"
#include "../../dsm-proto/core/barrier.h"

jmp_buf tap_out;

#define NODES	8

static struct pd_tree t[NODES];
static struct pd_bar b[NODES];
static struct pd_go go[NODES];
static u32 got[NODES];		/* messages */
static u64 now;
static u16 cut[2];		/* these two can't reach each other */

static void fresh(void)
{
	u16 i;

	memset(go, 0, sizeof(go));
	cut[0] = cut[1] = NODES;
	now = 1;
	for (i = 0; i < NODES; i++) {
		pd_tree_init(&t[i], i, 0);
		t[i].fan = 2;
		pd_bar_init(&b[i], 5);
	}
}

/* All messages, until there are no more. */
static void run(void)
{
	struct pd_say say;
	bool more = true;
	u16 i;

	while (more) {
		for (i = 0, more = false; i < NODES; i++) {
			while (pd_tree_next(&t[i], now, &say)) {
				more = true;
				if ((i == cut[0] && say.to == cut[1]) ||
				    (i == cut[1] && say.to == cut[0])) {
					pd_tree_unsent(&t[i], &b[i], &say, true);
					continue;
				}
				got[say.to]++;
				if (say.type == PD_T_BARRIER)
					CHECK(!pd_bar_msg(&t[say.to], &b[say.to], i, &say.bar, say.len,
							  now, &go[say.to]));
				else if (pd_tree_msg(&t[say.to], &say.tree, say.len))
					pd_bar_again(&t[say.to], &b[say.to], false);
			}
		}
	}
}

static void come(u16 node, u32 awaited)
{
	pd_bar_come(&t[node], &b[node], awaited, now, &go[node]);
	run();
}

static u32 gone(void)
{
	u32 i, n = 0;

	for (i = 0; i < NODES; i++)
		n += go[i].n;
	return n;
}

/* Nobody keeps a word any longer, at whatever depth. */
static void later(void)
{
	u32 i;

	for (i = 0; i < 3; i++) {
		now += PD_TOGETHER_NS;
		run();
	}
}

/* All meet, until each knows the tree. */
static void settle(void)
{
	u32 round, i;

	memset(go, 0, sizeof(go));
	for (round = 0; round < 8; round++) {
		for (i = 0; i < NODES; i++) {
			CHECK_EQ(gone(), round * NODES);
			come(i, NODES);
			later();
		}
		for (i = 0; i < NODES; i++)
			CHECK_EQ(go[i].n, round + 1);
	}
	memset(go, 0, sizeof(go));
	memset(got, 0, sizeof(got));
}

static void the_home_hears_of_its_children_only(void)
{
	u32 i;

	fresh();
	settle();
	for (i = NODES; i--;)
		come(i, NODES);
	CHECK_EQ(gone(), NODES);
	/* 0 - 1 2; 1 - 3 4; 2 - 5 6; 3 - 7 */
	CHECK_EQ(got[0], 2);
	CHECK_EQ(got[1], 3);
	CHECK_EQ(got[3], 2);
	CHECK_EQ(got[7], 1);
}

static void a_word_waits_for_others_but_not_for_long(void)
{
	fresh();
	settle();
	come(7, 2);
	come(3, 2);	/* together they are as many as are awaited */
	CHECK_EQ(gone(), 2);
	settle();
	come(7, 3);
	CHECK_EQ(got[3], 1);
	CHECK_EQ(got[1], 0);
	later();
	come(0, 3);
	CHECK_EQ(gone(), 0);
	come(0, 3);
	CHECK_EQ(gone(), 3);
	CHECK_EQ(go[7].n, 1);
}

static void exactly_so_many_go(void)
{
	u32 i;

	fresh();
	for (i = 0; i < 5; i++)
		come(0, 2);
	CHECK_EQ(gone(), 4);
	come(1, 2);
	CHECK_EQ(gone(), 6);
}

static void who_gives_up_is_not_counted(void)
{
	fresh();
	settle();
	come(1, 2);
	pd_bar_leave(&t[1], &b[1]);
	run();
	come(2, 2);
	later();
	CHECK_EQ(gone(), 0);
	come(1, 2);
	later();
	CHECK_EQ(gone(), 2);
}

static void die(u16 node, bool dead)
{
	pd_bar_gone(&t[0], &b[0], node, dead, &go[0]);
	pd_tree_gone(&t[0], node);
	pd_tree_init(&t[node], node, 0);
	t[node].fan = 2;
	pd_bar_init(&b[node], 5);
	run();
}

static void a_death_is_told(void)
{
	fresh();
	settle();
	come(7, NODES);
	come(0, NODES);
	later();
	die(3, true);
	CHECK_EQ(go[7].failed, 1);
	CHECK_EQ(go[0].failed, 1);
	/* Who comes later for as many doesn't wait; with another number all is well. */
	come(4, NODES);
	later();
	CHECK_EQ(go[4].failed, 1);
	come(4, 2);
	later();
	CHECK_EQ(go[4].n, 1);
	come(5, 2);
	later();
	CHECK_EQ(go[4].n, 2);
	CHECK_EQ(go[4].failed, 1);
	CHECK_EQ(go[5].failed, 0);
	/* It is back. */
	come(3, 1);
	later();
	CHECK_EQ(go[3].n, 1);
	CHECK_EQ(go[3].failed, 0);
}

static void who_was_on_the_way_leaves(void)
{
	fresh();
	settle();
	come(7, 2);	/* 3 keeps its word */
	CHECK_EQ(got[3], 1);
	die(3, false);
	come(0, 2);
	CHECK_EQ(gone(), 2);
	CHECK_EQ(go[7].failed, 0);
}

/* 7 is below 3, which is below 1: the home tells 7 what 3 can't. */
static void members_lose_each_other(void)
{
	struct pd_say lost;

	fresh();
	settle();
	come(0, 2);
	pd_bar_come(&t[7], &b[7], 2, now, &go[7]);
	CHECK(pd_tree_next(&t[7], now, &lost));
	CHECK_EQ(lost.to, 3);
	cut[0] = 3;
	cut[1] = 7;
	run();
	CHECK_EQ(gone(), 0);
	pd_bar_again(&t[3], &b[3], true);
	pd_bar_again(&t[7], &b[7], true);
	run();
	CHECK_EQ(gone(), 2);
	CHECK_EQ(go[7].n, 1);
	CHECK_EQ(go[7].failed, 0);
}

static void nonsense_is_refused(void)
{
	struct pd_say say = { .bar.h.pages = 1 }, out;
	u32 len = sizeof(say.bar) + sizeof(say.bar.word[0]);

	fresh();
	CHECK_EQ(pd_bar_msg(&t[0], &b[0], 1, &say.bar, len - 1, now, &go[0]), -EINVAL);
	CHECK_EQ(pd_bar_msg(&t[0], &b[0], PD_NODES, &say.bar, len, now, &go[0]), -EINVAL);
	say.bar.word[0].node = cpu_to_le16(PD_NODES);
	CHECK_EQ(pd_bar_msg(&t[0], &b[0], 1, &say.bar, len, now, &go[0]), -EINVAL);
	say.bar.word[0].node = cpu_to_le16(1);
	say.bar.h.flags = PD_F_DOWN;
	CHECK_EQ(pd_bar_msg(&t[0], &b[0], 1, &say.bar, len, now, &go[0]), 0);	/* no member */
	CHECK(!pd_tree_next(&t[0], now, &out));
	say.bar.h.flags = 0;
	say.bar.word[0].seq = cpu_to_le32(1);
	say.bar.word[0].come = cpu_to_le32(1 << 20);	/* threads of one node */
	CHECK_EQ(pd_bar_msg(&t[0], &b[0], 1, &say.bar, len, now, &go[0]), 0);
	come(0, 2);
	CHECK_EQ(gone(), 0);
	CHECK(!pd_tree_msg(&t[0], &say.tree, sizeof(say.tree)));
}

static const struct tap_test tests[] = {
	TEST(the_home_hears_of_its_children_only), TEST(a_word_waits_for_others_but_not_for_long),
	TEST(exactly_so_many_go), TEST(who_gives_up_is_not_counted), TEST(a_death_is_told),
	TEST(who_was_on_the_way_leaves), TEST(members_lose_each_other),
	TEST(nonsense_is_refused),
};

TAP_MAIN(tests)
