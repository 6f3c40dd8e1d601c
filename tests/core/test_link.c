// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Links in time: heartbeats, leases, death, goodbyes, attempts and pauses.
 */
#include "pair.h"

/* Time passes and everything sent arrives at once. */
static void run(struct pair *p, u64 ms)
{
	while (ms) {
		u64 step = ms < 10 ? ms : 10;

		pair_tick(p, step);
		pair_settle(p);
		ms -= step;
	}
}

/* Only what @from says arrives. */
static void run_one_way(struct pair *p, u64 ms, int from)
{
	for (; ms; ms -= 10) {
		pair_tick(p, 10);
		pair_pump(p, 0);
		pair_pump(p, 1);
		while (p->s[from].head[PW_URGENT] != p->s[from].tail[PW_URGENT])
			CHECK_EQ(pair_rx(p, !from, PW_URGENT), 0);
		pair_lose(p, !from);
	}
}

static void limits(void)
{
	struct pt_cfg c = pair_cfg();

#define BAD(field, value) do { \
	c = pair_cfg(); \
	CHECK_EQ(pt_cfg_check(&c), 0); \
	c.field = value; \
	CHECK_EQ(pt_cfg_check(&c), -EINVAL); \
} while (0)
	BAD(window, PW_FRAMES_MAX - 1);
	BAD(window, 0x4001);
	BAD(slots, PT_SLOTS_MIN - 1);
	BAD(slots, 21);
	BAD(prepaid, PW_FRAMES_MAX - 1);
	BAD(prepaid, 0x4001);
	BAD(hb_ms, 0);
	BAD(hb_ms, 5001);
	BAD(hb_ms, ~0u);
	BAD(lease_ms, 20000);
	BAD(dead_ms, 10000);
	BAD(connect_ms, 0);
	BAD(backoff_ms, 0);
}

static void lease_begins_and_holds(void)
{
	struct pair *p = pair_up();

	CHECK(!pt_link_lease_ok(&p->s[0].l, p->now));
	run(p, 600);
	CHECK(p->s[0].acts & PT_ACT_LEASE_BACK);
	CHECK(p->s[1].acts & PT_ACT_LEASE_BACK);
	run(p, 60000);
	CHECK(pt_link_lease_ok(&p->s[0].l, p->now));
	CHECK(pt_link_lease_ok(&p->s[1].l, p->now));
	CHECK(!(p->s[0].acts & (PT_ACT_LEASE_LOST | PT_ACT_DEAD | PT_ACT_CLOSE)));
	CHECK_EQ(p->s[0].l.state, PT_LINK_UP);
	pair_free(p);
}

/* Both fall silent: the lease ends first, then each is dead for the other. */
static void silence(void)
{
	struct pair *p = pair_up();
	u64 cut;
	int i;

	run(p, 2000);
	cut = p->now;
	for (i = 0; i < 2; i++)
		p->s[i].acts = 0;
	while (p->now < cut + 9000) {
		pair_tick(p, 10);
		pair_pump(p, 0);
		pair_pump(p, 1);
		pair_lose(p, 0);
		pair_lose(p, 1);
	}
	CHECK(pt_link_lease_ok(&p->s[0].l, p->now));
	while (p->now < cut + 10000) {
		pair_tick(p, 10);
		pair_pump(p, 0);
		pair_pump(p, 1);
		pair_lose(p, 0);
		pair_lose(p, 1);
	}
	for (i = 0; i < 2; i++) {
		CHECK(!pt_link_lease_ok(&p->s[i].l, p->now));
		CHECK(p->s[i].acts & PT_ACT_LEASE_LOST);
		CHECK(!(p->s[i].acts & PT_ACT_CLOSE));
	}
	while (p->now < cut + 19980)
		pair_tick(p, 10);
	CHECK_EQ(p->s[0].l.state, PT_LINK_UP);
	pair_tick(p, 40);
	for (i = 0; i < 2; i++) {
		CHECK(p->s[i].acts & PT_ACT_CLOSE);
		CHECK(!(p->s[i].acts & PT_ACT_DEAD));
		pt_link_drained(&p->s[i].l, p->now);
		side_act(p, i);
		CHECK(p->s[i].acts & PT_ACT_DEAD);
		CHECK_EQ(p->s[i].l.dead_inc, p->s[!i].node.incarnation);
		CHECK(p->s[i].l.dead);
		CHECK_EQ(p->s[i].l.life, 1);
	}
	pair_free(p);
}

/* One direction is cut: who isn't heard has lost its lease long before it is dead. */
static void one_way_cut(void)
{
	struct pair *p = pair_up();
	u64 cut;

	run(p, 2000);
	cut = p->now;
	p->s[0].acts = p->s[1].acts = 0;
	/* 1 isn't heard by 0; 1 hears 0, whose heartbeats echo nothing new. */
	while (!(p->s[0].acts & PT_ACT_CLOSE)) {
		run_one_way(p, 10, 0);
		CHECK(p->now < cut + 30000);
		if (p->s[1].acts & PT_ACT_LEASE_LOST)
			CHECK(p->now >= cut + 9000);
	}
	CHECK(p->now >= cut + 19500);
	CHECK(p->s[1].acts & PT_ACT_LEASE_LOST);
	CHECK(!pt_link_lease_ok(&p->s[1].l, p->now));
	CHECK(!(p->s[1].acts & PT_ACT_CLOSE));
	pair_free(p);
}

/* Suspended: the clock went on, and the first thing after is an old heartbeat. */
static void suspended(void)
{
	struct pair *p = pair_up();

	run(p, 2000);
	pair_tick(p, 500);
	pair_pump(p, 1);
	pair_pump(p, 0);
	p->s[0].acts = 0;
	p->now += 60000;
	CHECK_EQ(pair_rx(p, 0, PW_URGENT), 0);
	CHECK(!pt_link_lease_ok(&p->s[0].l, p->now));
	CHECK(!(p->s[0].acts & PT_ACT_LEASE_BACK));
	pt_link_tick(&p->s[0].l, p->now);
	side_act(p, 0);
	CHECK(p->s[0].acts & PT_ACT_LEASE_LOST);
	CHECK(!(p->s[0].acts & PT_ACT_LEASE_BACK));
	pair_free(p);
}

/* News of any kind and class keeps a peer alive. */
static void any_frame_is_news(void)
{
	struct pair *p = pair_up();
	int i;

	for (i = 0; i < 30; i++) {
		struct pt_tx *tx = msg_new(4, 'x');

		CHECK_EQ(pt_send(&p->s[1].l.lane[PW_BULK], tx, 1, 4), 0);
		pair_tick(p, 1000);
		pair_pump(p, 1);
		pair_pump(p, 0);
		CHECK_EQ(pair_rx(p, 0, PW_BULK), 0);
		while (p->s[1].head[PW_BULK] != p->s[1].tail[PW_BULK])
			CHECK_EQ(pair_rx(p, 0, PW_BULK), 0);
		while (p->s[0].head[PW_BULK] != p->s[0].tail[PW_BULK])
			CHECK_EQ(pair_rx(p, 1, PW_BULK), 0);
		pair_lose_lane(p, 0, PW_URGENT);
		pair_lose_lane(p, 1, PW_URGENT);
	}
	CHECK(!(p->s[0].acts & PT_ACT_CLOSE));
	/* But nobody told node 0 that its heartbeats arrive. */
	CHECK(!pt_link_lease_ok(&p->s[0].l, p->now));
	pair_free(p);
}

/* Heartbeats of liars: no time of the future, no news of the past. */
static void false_echoes(void)
{
	struct pair *p = pair_up();
	u64 end;

	run(p, 2000);
	end = p->s[0].l.lease_end;
	pt_link_heartbeat(&p->s[0].l, 1, p->now + 1000000);
	CHECK(p->s[0].l.lease_end == end);
	pt_link_heartbeat(&p->s[0].l, 1, ~0ull);
	CHECK(p->s[0].l.lease_end == end);
	pt_link_heartbeat(&p->s[0].l, 1, 1);
	CHECK(p->s[0].l.lease_end == end);
	pt_link_heartbeat(&p->s[0].l, 1, 0);
	CHECK(p->s[0].l.lease_end == end);
	CHECK(p->s[0].l.peer_sent > 1);
	pair_free(p);
}

static void goodbye(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s;

	run(p, 2000);
	s = pair_ask(p, 0, 1, 0, 0, ~0ull);
	CHECK_EQ(s->state, PT_SLOT_WAITING);
	p->s[1].acts = 0;
	pt_link_bye(&p->s[1].l);
	side_act(p, 1);
	/* Whoever says it has no lease from then on. */
	CHECK(p->s[1].acts & PT_ACT_LEASE_LOST);
	CHECK(!pt_link_lease_ok(&p->s[1].l, p->now));
	pair_pump(p, 1);
	CHECK_EQ(pair_rx(p, 0, PW_URGENT), 0);
	CHECK(p->s[0].acts & PT_ACT_CLOSE);
	CHECK_EQ(p->s[0].failed, 0);
	pt_link_drained(&p->s[0].l, p->now);
	side_act(p, 0);
	CHECK(p->s[0].acts & PT_ACT_DEAD);
	CHECK_EQ(p->s[0].failed, 1);
	CHECK_EQ(p->s[0].fail_status, -EHOSTDOWN);
	pair_free(p);
}

static void bye_is_not_lost_behind_messages(void)
{
	struct pair *p = pair_up();
	struct pt_out out;
	int i;

	for (i = 0; i < 20; i++)
		CHECK_EQ(pt_send(&p->s[1].l.lane[PW_URGENT], msg_new(0, 0), 1, 0), 0);
	pt_link_bye(&p->s[1].l);
	CHECK(pt_lane_tx(&p->s[1].l.lane[PW_URGENT], &out));
	CHECK_EQ(out.hdr->kind, PW_BYE);
	pair_free(p);
}

/* Never met: requests wait, and fail when the death bound is over. */
static void never_there(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);
	u64 start = p->now, attempts = 0;

	pair_ask(p, 0, 1, 0, 0, ~0ull);
	while (!p->s[0].failed) {
		p->now += 10;
		CHECK(p->now < start + 25000);
		pt_link_tick(&p->s[0].l, p->now);
		p->s[0].acts = 0;
		side_act(p, 0);
		if (p->s[0].acts & PT_ACT_CONNECT) {
			attempts++;
			pt_link_fault(&p->s[0].l, -ECONNREFUSED, p->now);
			side_act(p, 0);
		}
		if (p->s[0].acts & PT_ACT_CLOSE) {
			pt_link_drained(&p->s[0].l, p->now);
			side_act(p, 0);
		}
	}
	CHECK_EQ(p->s[0].fail_status, -EHOSTUNREACH);
	CHECK(p->now >= start + 20000);
	CHECK(attempts > 10 && attempts < 40);	/* pauses double, up to 32 times the first */
	/* It isn't dead: nobody knows it. The next request waits again. */
	CHECK(!p->s[0].l.dead);
	CHECK(pair_ask(p, 0, 1, 0, 0, ~0ull));
	pair_free(p);
}

static void attempt_times_out(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);

	pt_link_want(&p->s[0].l, p->now);
	side_act(p, 0);
	CHECK(p->s[0].acts & PT_ACT_CONNECT);
	pair_tick(p, 2990);
	CHECK_EQ(p->s[0].l.state, PT_LINK_CONNECT);
	pair_tick(p, 10);
	CHECK_EQ(p->s[0].l.state, PT_LINK_CLOSE);
	CHECK_EQ(p->s[0].l.error, -ETIMEDOUT);
	/* No new attempt before the old one is drained. */
	pair_tick(p, 5000);
	CHECK_EQ(p->s[0].l.state, PT_LINK_CLOSE);
	pt_link_drained(&p->s[0].l, p->now);
	CHECK_EQ(p->s[0].l.state, PT_LINK_WAIT);
	pair_tick(p, 20);
	CHECK_EQ(p->s[0].l.state, PT_LINK_WAIT);
	pair_tick(p, 55);
	CHECK_EQ(p->s[0].l.state, PT_LINK_CONNECT);
	pair_free(p);
}

/* Both call at once, both fail, and the lower one's wires always take so much longer to drain. */
static void callers_fall_out_of_step(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);
	struct pt_link *l[2] = { &p->s[0].l, &p->s[1].l };
	int round, i, apart = 0;

	for (round = 0; round < 10; round++) {
		for (i = 0; i < 2; i++) {
			pt_link_want(l[i], p->now);
			while (l[i]->state != PT_LINK_CONNECT)
				pt_link_tick(l[i], l[i]->deadline);
			pt_link_fault(l[i], -ECONNRESET, p->now);
			side_act(p, i);
		}
		p->now += 1000;
		pt_link_drained(l[1], p->now);
		pt_link_drained(l[0], p->now + 2 * cfg.backoff_ms);
		apart += l[0]->deadline + 20 < l[1]->deadline || l[1]->deadline + 20 < l[0]->deadline;
	}
	CHECK(apart);
	pair_free(p);
}

static void faults_in_every_state(void)
{
	struct pair *p = pair_up();
	struct pt_link *l = &p->s[0].l;

	pt_link_fault(l, -EIO, p->now);
	CHECK_EQ(l->state, PT_LINK_CLOSE);
	CHECK_EQ(l->error, -EIO);
	pt_link_fault(l, -EPROTO, p->now);
	CHECK_EQ(l->error, -EIO);	/* the first one is the reason */
	CHECK(!l->tx_open);
	CHECK(!pt_lane_tx_pending(&l->lane[0]));
	pt_link_drained(l, p->now);
	CHECK_EQ(l->state, PT_LINK_WAIT);
	pt_link_fault(l, -EIO, p->now);
	CHECK_EQ(l->state, PT_LINK_WAIT);
	pt_link_drained(l, p->now);
	CHECK_EQ(l->state, PT_LINK_WAIT);
	pair_free(p);
}

static void killed_in_every_state(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);
	struct pt_link *l = &p->s[0].l;

	pt_link_kill(l, -EIO, p->now);
	CHECK_EQ(l->life, 1);
	CHECK(!(l->actions & PT_ACT_DEAD));	/* nobody has died */
	pt_link_want(l, p->now);
	pt_link_kill(l, -EIO, p->now);
	CHECK_EQ(l->state, PT_LINK_CLOSE);
	pt_link_kill(l, -EIO, p->now);
	CHECK_EQ(l->life, 1);
	pt_link_drained(l, p->now);
	CHECK_EQ(l->life, 2);
	CHECK_EQ(l->state, PT_LINK_WAIT);
	pair_free(p);
}

static void states_have_names(void)
{
	struct pair *p = pair_up();
	int i;

	for (i = 0; i < PT_LINK_STATES; i++) {
		p->s[0].l.state = i;
		CHECK(pt_link_state_str(&p->s[0].l)[0]);
	}
	p->s[0].l.state = PT_LINK_UP;
	pair_free(p);
}

static const struct tap_test tests[] = {
	TEST(limits), TEST(lease_begins_and_holds), TEST(silence), TEST(one_way_cut),
	TEST(suspended), TEST(any_frame_is_news), TEST(false_echoes), TEST(goodbye),
	TEST(bye_is_not_lost_behind_messages), TEST(never_there), TEST(attempt_times_out),
	TEST(callers_fall_out_of_step),
	TEST(faults_in_every_state), TEST(killed_in_every_state), TEST(states_have_names),
};

TAP_MAIN(tests)
