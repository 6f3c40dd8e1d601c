// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The home's half of the coherence protocol, call by call. Node 0 is the home.
 */
#include "../core/tap.h"
#include "../../dsm-proto/core/dsm.h"

jmp_buf tap_out;

static const struct pd_cfg cfg = { .self = 0, .home = 0, .hold_ns = 100 };
static struct pd_dir dir;
static struct pd_txn *now, x[4];
static struct pd_home h = { &dir, &now };
static struct pd_acts out;
static u32 seen;

#define CALL(x)	({ out.n = seen = 0; __auto_type call_r = (x); CHECK(out.n <= PD_ACTS); call_r; })
#define BIT(n)	(1ull << (n))

static void fresh(u64 sharers, u8 owner, u8 state)
{
	memset(&dir, 0, sizeof(dir));
	memset(x, 0, sizeof(x));
	now = NULL;
	dir.sharers = sharers;
	dir.owner = owner;
	dir.state = state;
	seen = 0;
}

static const struct pd_act *next(u8 what)
{
	CHECK(seen < out.n);
	CHECK_EQ(out.a[seen].what, what);
	return &out.a[seen++];
}

static void none(void)
{
	CHECK_EQ(seen, out.n);
}

static int ask(struct pd_txn *t, u16 node, u32 req, u8 flags)
{
	t->cookie = node ? t : NULL;
	t->node = node;
	t->req = req;
	t->flags = flags;
	return CALL(pd_home_ask(&cfg, &h, t, &out));
}

static void the_first_use(void)
{
	struct pd_page own = { 0 };

	fresh(0, 0, 0);
	pd_home_first(&cfg, &dir, &own);
	CHECK_EQ(own.state, PD_M);
	CHECK_EQ(dir.sharers, BIT(0));
	CHECK_EQ(ask(&x[0], 2, 1, 0), 0);
	CHECK_EQ(next(PD_SEND_FWD)->to, 0);	/* right and data are one message */
	none();
	CHECK(!CALL(pd_home_sent(&cfg, &h, 0, 0, &out)));
	none();
	CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, 0, &out)) == &x[0]);
	none();
	CHECK_EQ(dir.sharers, BIT(0) | BIT(2));
	CHECK_EQ(dir.owner, 0);
	CHECK(!now);
}

static void three_hops(void)
{
	const struct pd_act *a;

	fresh(BIT(3), 3, PD_M);
	ask(&x[0], 2, 9, 0);
	a = next(PD_SEND_FWD);
	CHECK_EQ(a->to, 3);
	CHECK_EQ(a->node, 2);
	CHECK_EQ(a->req, 9);
	CHECK(next(PD_SEND_GRANT)->cookie == &x[0]);
	none();
	/* DONE may come before the supplier's answer, and isn't the end then. */
	CHECK(!CALL(pd_home_done(&cfg, &h, 2, 9, 0, &out)));
	CHECK(CALL(pd_home_sent(&cfg, &h, 3, 0, &out)) == &x[0]);
	CHECK_EQ(dir.sharers, BIT(2) | BIT(3));
	CHECK_EQ(dir.owner, 3);
}

static void a_write_waits_for_all_acks(void)
{
	fresh(BIT(1) | BIT(2) | BIT(3) | BIT(4), 3, PD_S);
	ask(&x[0], 5, 1, PD_F_WRITE);
	CHECK_EQ(next(PD_SEND_FWD)->to, 3);
	none();
	CALL(pd_home_sent(&cfg, &h, 3, 0, &out));
	CHECK_EQ(next(PD_SEND_INV)->mask, BIT(1) | BIT(2) | BIT(4));
	none();
	CALL(pd_home_ack(&cfg, &h, 4, &out));
	CALL(pd_home_ack(&cfg, &h, 4, &out));	/* once more: nothing */
	CALL(pd_home_ack(&cfg, &h, 1, &out));
	none();
	CALL(pd_home_ack(&cfg, &h, 2, &out));
	CHECK_EQ(next(PD_SEND_GRANT)->status, 0);
	none();
	CHECK(CALL(pd_home_done(&cfg, &h, 5, 1, 0, &out)) == &x[0]);
	CHECK_EQ(dir.sharers, BIT(5));
	CHECK_EQ(dir.owner, 5);
	CHECK_EQ(dir.state, PD_M);
}

static void the_homes_own_copy_goes_after_the_acks(void)
{
	fresh(BIT(0) | BIT(3), 0, PD_S);
	ask(&x[0], 5, 1, PD_F_WRITE);
	CHECK_EQ(next(PD_SEND_INV)->mask, BIT(3));
	none();
	CALL(pd_home_ack(&cfg, &h, 3, &out));
	CHECK_EQ(next(PD_SEND_FWD)->to, 0);
	none();
	CALL(pd_home_sent(&cfg, &h, 0, 0, &out));
	none();
	CHECK(CALL(pd_home_done(&cfg, &h, 5, 1, 0, &out)) == &x[0]);
	CHECK_EQ(dir.sharers, BIT(5));
}

static void an_upgrade(void)
{
	fresh(BIT(0) | BIT(3) | BIT(5), 0, PD_S);
	ask(&x[0], 5, 1, PD_F_WRITE | PD_F_HOLDS);
	CHECK_EQ(next(PD_SEND_INV)->mask, BIT(0) | BIT(3));
	none();
	CALL(pd_home_ack(&cfg, &h, 3, &out));
	CALL(pd_home_ack(&cfg, &h, 0, &out));
	next(PD_SEND_GRANT);
	none();
	CHECK(CALL(pd_home_done(&cfg, &h, 5, 1, 0, &out)) == &x[0]);
	/* Who isn't listed any more needs the page, whatever it says. */
	ask(&x[1], 3, 2, PD_F_WRITE | PD_F_HOLDS);
	CHECK_EQ(next(PD_SEND_FWD)->to, 5);
	next(PD_SEND_GRANT);
	none();
}

static void one_at_a_time_in_order(void)
{
	fresh(BIT(0), 0, PD_M);
	ask(&x[0], 2, 1, PD_F_WRITE);
	next(PD_SEND_FWD);
	ask(&x[1], 3, 1, 0);
	none();
	ask(&x[2], 0, 1, 0);
	none();
	CALL(pd_home_sent(&cfg, &h, 0, 0, &out));
	/* Another's DONE, and an earlier one, are not this one's. */
	CHECK(!CALL(pd_home_done(&cfg, &h, 3, 1, 0, &out)));
	CHECK(!CALL(pd_home_done(&cfg, &h, 2, 0, 0, &out)));
	CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, 0, &out)) == &x[0]);
	CHECK_EQ(next(PD_SEND_FWD)->node, 3);
	next(PD_SEND_GRANT);
	none();
	CALL(pd_home_sent(&cfg, &h, 2, 0, &out));
	CHECK(CALL(pd_home_done(&cfg, &h, 3, 1, 0, &out)) == &x[1]);
	/* The home wants it itself: a fetch. */
	CHECK_EQ(next(PD_SEND_FWD)->to, 2);
	CHECK(!next(PD_SEND_GRANT)->cookie);
	CALL(pd_home_done(&cfg, &h, 0, 1, 0, &out));
	CHECK(CALL(pd_home_sent(&cfg, &h, 2, 0, &out)) == &x[2]);
	CHECK_EQ(dir.owner, 0);
	CHECK_EQ(dir.sharers, BIT(0) | BIT(2) | BIT(3));
}

static void ahead_of_need_takes_idle_pages_only(void)
{
	fresh(BIT(0), 0, PD_M);
	CHECK_EQ(ask(&x[0], 2, 1, PD_F_IDLE), 0);
	CHECK_EQ(ask(&x[1], 3, 1, PD_F_IDLE), -EAGAIN);
	none();
	fresh(BIT(4), 4, PD_M);
	CHECK_EQ(ask(&x[0], 2, 1, PD_F_IDLE), -EAGAIN);
	CHECK(!now);
}

static void the_suppliers_death(void)
{
	/* Others have it: ask one that may. */
	fresh(BIT(3) | BIT(4) | BIT(6), 3, PD_S);
	ask(&x[0], 2, 1, 0);
	CALL(pd_home_dead(&cfg, &h, 3, &out));
	CHECK_EQ(next(PD_SEND_FWD)->to, 4);
	none();
	CHECK(dir.flags & PD_D_DOUBT);
	CALL(pd_home_sent(&cfg, &h, 4, -ENODATA, &out));
	CHECK_EQ(next(PD_SEND_FWD)->to, 6);
	CALL(pd_home_sent(&cfg, &h, 6, 0, &out));
	CHECK(!(dir.flags & PD_D_DOUBT));
	CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, 0, &out)) == &x[0]);
	CHECK_EQ(dir.sharers, BIT(2) | BIT(6));
	CHECK_EQ(dir.owner, 6);

	/* Nobody has it. */
	fresh(BIT(3), 3, PD_M);
	ask(&x[0], 2, 1, PD_F_WRITE);
	next(PD_SEND_FWD);
	next(PD_SEND_GRANT);
	CALL(pd_home_dead(&cfg, &h, 3, &out));
	CHECK_EQ(next(PD_SEND_NODATA)->req, 1);
	none();
	CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, PD_F_FAIL, &out)) == &x[0]);
	CHECK(dir.flags & PD_D_LOST);
	ask(&x[1], 2, 2, 0);
	CHECK_EQ(next(PD_SEND_GRANT)->status, -EIO);
	none();

	/* It died when it had sent, and the page arrived. */
	fresh(BIT(3), 3, PD_M);
	ask(&x[0], 2, 1, PD_F_WRITE);
	CALL(pd_home_sent(&cfg, &h, 3, 0, &out));
	CALL(pd_home_dead(&cfg, &h, 3, &out));
	next(PD_SEND_NODATA);
	CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, 0, &out)) == &x[0]);
	CHECK(!(dir.flags & PD_D_LOST));
	CHECK_EQ(dir.owner, 2);
}

/* What is told to drop its copy before the supplier has sent would be missed. */
static void a_suppliers_death_leaves_the_sharers(void)
{
	int says;

	for (says = 0; says < 2; says++) {
		fresh(BIT(3) | BIT(4) | BIT(6), 3, PD_S);
		ask(&x[0], 2, 1, PD_F_WRITE);
		CHECK_EQ(next(PD_SEND_FWD)->to, 3);
		none();
		if (says)
			CALL(pd_home_sent(&cfg, &h, 3, -ENODATA, &out));
		else
			CALL(pd_home_dead(&cfg, &h, 3, &out));
		CHECK_EQ(next(PD_SEND_FWD)->to, 4);
		none();
		CALL(pd_home_sent(&cfg, &h, 4, 0, &out));
		CHECK_EQ(next(PD_SEND_INV)->mask, BIT(6));
		CALL(pd_home_ack(&cfg, &h, 6, &out));
		CHECK_EQ(next(PD_SEND_GRANT)->status, 0);
		CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, 0, &out)) == &x[0]);
		CHECK_EQ(dir.sharers, BIT(2));
		CHECK(!(dir.flags & PD_D_LOST));
	}

	/* It may have sent before it died: the last sharer drops its copy before the grant, too. */
	fresh(BIT(3) | BIT(4), 3, PD_S);
	ask(&x[0], 2, 1, PD_F_WRITE);
	CALL(pd_home_dead(&cfg, &h, 3, &out));
	CHECK_EQ(next(PD_SEND_FWD)->to, 4);
	none();
	CALL(pd_home_sent(&cfg, &h, 4, 0, &out));
	CHECK_EQ(next(PD_SEND_GRANT)->status, 0);
	none();
}

static void a_write_in_doubt_invalidates_nobody_yet(void)
{
	fresh(BIT(3) | BIT(4) | BIT(6), 3, PD_S);
	CALL(pd_home_dead(&cfg, &h, 3, &out));
	none();
	ask(&x[0], 2, 1, PD_F_WRITE);
	CHECK_EQ(next(PD_SEND_FWD)->to, 4);
	none();
	CALL(pd_home_sent(&cfg, &h, 4, 0, &out));
	CHECK_EQ(next(PD_SEND_INV)->mask, BIT(6));
	none();
	CALL(pd_home_ack(&cfg, &h, 6, &out));
	next(PD_SEND_GRANT);
	CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, 0, &out)) == &x[0]);
	CHECK_EQ(dir.sharers, BIT(2));
	CHECK_EQ(dir.flags, 0);

	/* An upgrade in doubt: its writer has the only copy, and there is no doubt. */
	fresh(BIT(3) | BIT(4) | BIT(6), 3, PD_S);
	CALL(pd_home_dead(&cfg, &h, 3, &out));
	ask(&x[0], 6, 1, PD_F_WRITE | PD_F_HOLDS);
	CHECK_EQ(next(PD_SEND_INV)->mask, BIT(4));
	CALL(pd_home_ack(&cfg, &h, 4, &out));
	CALL(pd_home_done(&cfg, &h, 6, 1, 0, &out));
	CHECK_EQ(dir.flags, 0);
}

static void the_requesters_death(void)
{
	struct pd_txn *t;

	fresh(BIT(3) | BIT(4), 3, PD_S);
	ask(&x[0], 2, 1, PD_F_WRITE);
	ask(&x[1], 5, 1, 0);
	ask(&x[2], 2, 2, 0);
	t = CALL(pd_home_dead(&cfg, &h, 2, &out));
	CHECK(t == &x[2]);		/* queued */
	CHECK(!t->next);
	none();
	/* Who was asked answers first; others keep what they have. */
	CHECK(CALL(pd_home_sent(&cfg, &h, 3, 0, &out)) == &x[0]);
	CHECK_EQ(next(PD_SEND_FWD)->to, 4);
	next(PD_SEND_GRANT);	/* of the next one, to read */
	none();
	CHECK(!(dir.flags & PD_D_LOST));
}

static void a_sharers_death_is_its_ack(void)
{
	fresh(BIT(3) | BIT(4), 3, PD_S);
	ask(&x[0], 2, 1, PD_F_WRITE);
	CALL(pd_home_sent(&cfg, &h, 3, 0, &out));
	CALL(pd_home_dead(&cfg, &h, 4, &out));
	next(PD_SEND_GRANT);
	none();
	CALL(pd_home_ack(&cfg, &h, 4, &out));
	none();
	CHECK(CALL(pd_home_done(&cfg, &h, 2, 1, 0, &out)) == &x[0]);
}

static void an_entry_is_small(void)
{
	CHECK(sizeof(struct pd_dir) <= 16);
}

static const struct tap_test tests[] = {
	TEST(the_first_use), TEST(three_hops), TEST(a_write_waits_for_all_acks),
	TEST(the_homes_own_copy_goes_after_the_acks), TEST(an_upgrade),
	TEST(one_at_a_time_in_order), TEST(ahead_of_need_takes_idle_pages_only),
	TEST(the_suppliers_death), TEST(a_suppliers_death_leaves_the_sharers),
	TEST(a_write_in_doubt_invalidates_nobody_yet),
	TEST(the_requesters_death), TEST(a_sharers_death_is_its_ack), TEST(an_entry_is_small),
};

TAP_MAIN(tests)
