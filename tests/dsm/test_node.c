// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A node's half of the coherence protocol, call by call.
 */
#include "../core/tap.h"
#include "../../dsm-proto/core/dsm.h"

jmp_buf tap_out;

static const struct pd_cfg cfg = { .self = 2, .home = 0, .hold_ns = 100 };
static struct pd_page p;
static struct pd_acts out;
static u32 seen;

#define HERE	1000	/* now, if nothing else matters */

static void fresh(void)
{
	memset(&p, 0, sizeof(p));
	memset(&out, 0, sizeof(out));
	seen = 0;
}

#define CALL(x)	({ out.n = seen = 0; __auto_type call_r = (x); CHECK(out.n <= PD_ACTS); call_r; })
#define DO(x)	CALL(((x), 0))

/* The next action of the last call. */
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

/* It has the page. */
static void have(u8 state, u64 now)
{
	bool write = state == PD_M;

	CHECK_EQ(CALL(pd_fault(&cfg, &p, write, &out)), -EINPROGRESS);
	CHECK_EQ(next(PD_SEND_ASK)->flags, write ? PD_F_WRITE : 0);
	CHECK_EQ(CALL(pd_granted(&cfg, &p, p.req, 0, true, now, &out)), 0);
	CHECK_EQ(next(PD_SEND_DONE)->flags, 0);
	next(PD_DO_WAKE);
	none();
	CHECK_EQ(p.state, state);
}

static void a_fault_asks_once(void)
{
	const struct pd_act *a;

	fresh();
	CHECK_EQ(CALL(pd_fault(&cfg, &p, false, &out)), -EINPROGRESS);
	a = next(PD_SEND_ASK);
	CHECK_EQ(a->to, 0);
	CHECK_EQ(a->node, 2);
	CHECK_EQ(a->req, p.req);
	none();
	CHECK_EQ(CALL(pd_fault(&cfg, &p, true, &out)), -EINPROGRESS);
	none();
	CHECK_EQ(CALL(pd_ahead(&cfg, &p, false, &out)), -EBUSY);
	CHECK_EQ(CALL(pd_drop(&cfg, &p, false, &out)), -EBUSY);
}

static void data_and_right_in_any_order(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		fresh();
		CALL(pd_fault(&cfg, &p, true, &out));
		CHECK_EQ(i ? CALL(pd_data(&cfg, &p, 1, HERE, &out)) :
			     CALL(pd_granted(&cfg, &p, 1, 0, false, HERE, &out)), 0);
		none();
		CHECK(!pd_may(&p, false));
		CHECK_EQ(i ? CALL(pd_granted(&cfg, &p, 1, 0, false, HERE, &out)) :
			     CALL(pd_data(&cfg, &p, 1, HERE, &out)), 0);
		next(PD_SEND_DONE);
		next(PD_DO_WAKE);
		CHECK(pd_may(&p, true));
		CHECK(p.flags & PD_P_OWNER);
	}
}

static void what_is_stale_changes_nothing(void)
{
	struct pd_page was;

	fresh();
	have(PD_S, HERE);
	was = p;
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 1, 0, true, HERE, &out)), -ESTALE);
	CHECK_EQ(CALL(pd_data(&cfg, &p, 1, HERE, &out)), -ESTALE);
	DO(pd_nodata(&cfg, &p, 1, &out));
	none();
	CHECK(!memcmp(&p, &was, sizeof(p)));
	CALL(pd_fault(&cfg, &p, true, &out));
	CHECK_EQ(next(PD_SEND_ASK)->flags, PD_F_WRITE | PD_F_HOLDS);
	was = p;
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 1, 0, true, HERE, &out)), -ESTALE);
	CHECK_EQ(CALL(pd_data(&cfg, &p, 1, HERE, &out)), -ESTALE);
	CHECK_EQ(CALL(pd_data(&cfg, &p, 2, HERE, &out)), -ESTALE);	/* it holds them */
	DO(pd_nodata(&cfg, &p, 2, &out));
	none();
	CHECK(!memcmp(&p, &was, sizeof(p)));
}

static void an_upgrade_needs_no_data(void)
{
	fresh();
	have(PD_S, HERE);
	CALL(pd_fault(&cfg, &p, true, &out));
	CHECK(pd_may(&p, false));
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 2, 0, false, HERE, &out)), 0);
	next(PD_SEND_DONE);
	CHECK(pd_may(&p, true));
}

static void an_upgrade_that_lost_its_copy_needs_them(void)
{
	fresh();
	have(PD_S, HERE);
	CALL(pd_fault(&cfg, &p, true, &out));
	DO(pd_inv(&cfg, &p, HERE + 100, &out));
	next(PD_DO_UNMAP);
	none();
	CHECK(!pd_may(&p, false));
	DO(pd_unmapped(&cfg, &p, &out));
	next(PD_DO_FREE);
	next(PD_SEND_ACK);
	next(PD_DO_WAKE);
	none();
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 2, 0, false, HERE, &out)), 0);
	none();
	CHECK(!pd_may(&p, false));
	CHECK_EQ(CALL(pd_data(&cfg, &p, 2, HERE, &out)), 0);
	CHECK(pd_may(&p, true));
}

static void a_grant_is_held(void)
{
	fresh();
	have(PD_M, HERE);
	DO(pd_fwd(&cfg, &p, 3, 7, PD_F_WRITE, HERE + 10, &out));
	CHECK_EQ(next(PD_DO_DEFER)->until, HERE + 100);
	none();
	/* From when it is mapped, once. */
	pd_mapped(&p, HERE + 50);
	pd_mapped(&p, HERE + 90);
	DO(pd_fwd(&cfg, &p, 3, 7, 0, HERE + 100, &out));
	CHECK_EQ(next(PD_DO_DEFER)->until, HERE + 150);
	DO(pd_fwd(&cfg, &p, 3, 7, 0, HERE + 150, &out));
	next(PD_DO_PROTECT);
	none();
	CHECK(pd_may(&p, false));
	CHECK(!pd_may(&p, true));
	CHECK_EQ(CALL(pd_fault(&cfg, &p, true, &out)), -EINPROGRESS);
	none();		/* after the data are sent */
	DO(pd_unmapped(&cfg, &p, &out));
	CHECK_EQ(next(PD_SEND_DATA)->to, 3);
	CHECK_EQ(next(PD_SEND_SENT)->status, 0);
	next(PD_DO_WAKE);
	none();
	CHECK_EQ(p.state, PD_S);
	CHECK(p.flags & PD_P_OWNER);
	/* A shared copy is given at once. */
	DO(pd_fwd(&cfg, &p, 4, 9, 0, HERE + 151, &out));
	CHECK_EQ(next(PD_SEND_DATA)->req, 9);
	next(PD_SEND_SENT);
	none();
}

static void what_is_given_is_gone(void)
{
	fresh();
	have(PD_M, HERE);
	DO(pd_fwd(&cfg, &p, 3, 7, PD_F_WRITE, HERE + 100, &out));
	next(PD_DO_UNMAP);
	none();
	DO(pd_unmapped(&cfg, &p, &out));
	next(PD_SEND_DATA);
	CHECK_EQ(next(PD_SEND_SENT)->req, 7);
	next(PD_DO_FREE);
	next(PD_DO_WAKE);
	none();
	CHECK_EQ(p.state, PD_I);
	DO(pd_fwd(&cfg, &p, 3, 8, 0, HERE, &out));
	CHECK_EQ(next(PD_SEND_SENT)->status, -ENODATA);
	none();
	DO(pd_inv(&cfg, &p, HERE, &out));
	next(PD_SEND_ACK);
	none();
}

static void copies_are_dropped_silently_but_the_owners(void)
{
	fresh();
	have(PD_S, HERE);
	CHECK_EQ(CALL(pd_drop(&cfg, &p, false, &out)), 0);
	next(PD_DO_UNMAP);
	none();
	/* A FWD finds nothing any more. */
	DO(pd_fwd(&cfg, &p, 3, 7, 0, HERE + 500, &out));
	none();
	DO(pd_unmapped(&cfg, &p, &out));
	CHECK_EQ(next(PD_SEND_SENT)->status, -ENODATA);
	next(PD_DO_FREE);
	next(PD_DO_WAKE);
	none();

	have(PD_M, HERE);
	CHECK_EQ(CALL(pd_drop(&cfg, &p, false, &out)), 0);
	next(PD_SEND_PUT);
	none();
	CHECK(pd_may(&p, true));
	CHECK_EQ(CALL(pd_drop(&cfg, &p, false, &out)), -EBUSY);
	CHECK_EQ(CALL(pd_drop(&cfg, &p, true, &out)), 0);
	next(PD_SEND_PUT);
	none();
	/* The home fetches it, and counts on its own copy from now on. */
	DO(pd_fwd(&cfg, &p, 0, 7, 0, HERE + 500, &out));
	next(PD_DO_PROTECT);
	DO(pd_unmapped(&cfg, &p, &out));
	CHECK_EQ(CALL(pd_drop(&cfg, &p, false, &out)), 0);
	next(PD_DO_UNMAP);
}

static void an_inv_meets_a_drop(void)
{
	fresh();
	have(PD_S, HERE);
	CALL(pd_drop(&cfg, &p, false, &out));
	DO(pd_inv(&cfg, &p, HERE + 500, &out));
	none();
	DO(pd_unmapped(&cfg, &p, &out));
	next(PD_DO_FREE);
	next(PD_SEND_ACK);
	next(PD_DO_WAKE);
	none();
}

static void ahead_of_need(void)
{
	fresh();
	CHECK_EQ(CALL(pd_ahead(&cfg, &p, false, &out)), 0);
	CHECK_EQ(next(PD_SEND_ASK)->flags, PD_F_IDLE);
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 1, 0, true, HERE, &out)), 0);
	/* Nobody waited: it isn't held. */
	DO(pd_inv(&cfg, &p, HERE, &out));
	next(PD_DO_UNMAP);
	DO(pd_unmapped(&cfg, &p, &out));

	CALL(pd_ahead(&cfg, &p, false, &out));
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 2, -EAGAIN, false, HERE, &out)), 0);
	next(PD_DO_WAKE);
	none();
	CALL(pd_ahead(&cfg, &p, false, &out));
	CHECK_EQ(CALL(pd_fault(&cfg, &p, false, &out)), -EINPROGRESS);
	none();
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 3, 0, true, HERE, &out)), 0);
	DO(pd_inv(&cfg, &p, HERE, &out));
	next(PD_DO_DEFER);
}

static void no_request_has_the_number_of_another(void)
{
	fresh();
	CHECK(pd_number(&p, 7));
	CHECK_EQ(CALL(pd_ahead(&cfg, &p, false, &out)), 0);
	CHECK_EQ(next(PD_SEND_ASK)->req, 7);
	CHECK(!pd_number(&p, 8));
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 7, -EAGAIN, false, HERE, &out)), 0);
	CHECK(!pd_number(&p, 7));
	CHECK(pd_number(&p, 0x7fffffff));
	CHECK(pd_number(&p, 0xfffffff0));
	CHECK(pd_number(&p, 3));
	CHECK(!pd_number(&p, 0xfffffff0));
	CALL(pd_fault(&cfg, &p, false, &out));
	CHECK_EQ(next(PD_SEND_ASK)->req, 3);
}

static void a_lost_page(void)
{
	fresh();
	CALL(pd_fault(&cfg, &p, false, &out));
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 1, -EIO, false, HERE, &out)), 0);
	CHECK_EQ(next(PD_SEND_DONE)->flags, PD_F_FAIL);
	next(PD_DO_WAKE);
	none();
	CHECK_EQ(CALL(pd_fault(&cfg, &p, false, &out)), -EIO);
	CHECK_EQ(CALL(pd_ahead(&cfg, &p, false, &out)), -EBUSY);
	/* The supplier's page came first: its frame isn't needed. */
	fresh();
	CALL(pd_fault(&cfg, &p, true, &out));
	CHECK_EQ(CALL(pd_data(&cfg, &p, 1, HERE, &out)), 0);
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 1, -EIO, false, HERE, &out)), 0);
	next(PD_DO_FREE);
	next(PD_SEND_DONE);
	/* The supplier died: ask again. */
	fresh();
	CALL(pd_fault(&cfg, &p, true, &out));
	DO(pd_nodata(&cfg, &p, 1, &out));
	CHECK_EQ(next(PD_SEND_DONE)->flags, PD_F_FAIL);
	next(PD_DO_WAKE);
	CHECK_EQ(CALL(pd_fault(&cfg, &p, true, &out)), -EINPROGRESS);
	CHECK_EQ(next(PD_SEND_ASK)->req, 2);
	CHECK_EQ(CALL(pd_granted(&cfg, &p, 1, 0, false, HERE, &out)), -ESTALE);
}

static const struct tap_test tests[] = {
	TEST(a_fault_asks_once), TEST(data_and_right_in_any_order),
	TEST(what_is_stale_changes_nothing), TEST(an_upgrade_needs_no_data),
	TEST(an_upgrade_that_lost_its_copy_needs_them), TEST(a_grant_is_held),
	TEST(what_is_given_is_gone), TEST(copies_are_dropped_silently_but_the_owners),
	TEST(an_inv_meets_a_drop), TEST(ahead_of_need),
	TEST(no_request_has_the_number_of_another), TEST(a_lost_page),
};

TAP_MAIN(tests)
