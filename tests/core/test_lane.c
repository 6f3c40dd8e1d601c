// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Lanes between two correct nodes: credit, prepaid answers, fragments, replay
 * after a session was lost at any point, cancelled and late answers, and
 * numbers that wrap around.
 */
#include "pair.h"

static void send(struct pair *p, int i, int class, u16 type, u32 len)
{
	struct pt_tx *tx = msg_new(len, type);

	CHECK_EQ(pt_send(&p->s[i].l.lane[class], tx, type, len), 0);
	side_act(p, i);
}

static struct pt_lane *lane(struct pair *p, int i, int class)
{
	return &p->s[i].l.lane[class];
}

static u32 in_flight(struct pair *p, int i, int class)
{
	return p->s[i].tail[class] - p->s[i].head[class];
}

/* ------------------------------------------------------------------- one way */

static void in_order(void)
{
	struct pair *p = pair_up();
	int i;

	for (i = 0; i < 200; i++) {
		send(p, 0, 1, 100 + i, i % 50);
		if (i % 7 == 0)
			pair_settle(p);
	}
	pair_settle(p);
	pair_tick(p, 20);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 200);
	for (i = 0; i < 200; i++)
		CHECK_EQ(p->s[1].types[i], 100 + i);
	CHECK_EQ(p->s[0].reaped, 200);
	CHECK_EQ(p->s[0].dropped, 0);
	pair_free(p);
}

static void fragments(void)
{
	static const u32 len[] = {
		0, 1, PW_PAYLOAD - 1, PW_PAYLOAD, PW_PAYLOAD + 1, 2 * PW_PAYLOAD,
		2 * PW_PAYLOAD + 1, 16 * PW_PAYLOAD + 1, PW_MSG_MAX - 1, PW_MSG_MAX,
	};
	struct pair *p = pair_up();
	u32 i, k;

	for (i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		send(p, 0, 2, 7, len[i]);
		pair_settle(p);
		CHECK_EQ(p->s[1].type_n, i + 1);
		CHECK_EQ(p->s[1].ev.total, len[i]);
		CHECK_EQ(p->s[1].text_len, len[i]);
		CHECK_EQ(p->s[1].ev.frames, pt_frames(len[i]));
		for (k = 0; k < len[i]; k++)
			CHECK(p->s[1].text[k] == (u8)(7 + k / PW_PAYLOAD));
	}
	pair_free(p);
}

static void too_long(void)
{
	struct pair *p = pair_up();
	struct pt_tx tx = { 0 };
	struct pt_slot *s;

	CHECK_EQ(pt_send(lane(p, 0, 1), &tx, 7, PW_MSG_MAX + 1), -EMSGSIZE);
	CHECK(!pt_slot_get(lane(p, 0, 1), PW_MSG_MAX + 1));
	s = pt_slot_get(lane(p, 0, 1), 0);
	CHECK_EQ(pt_slot_send(lane(p, 0, 1), s, 7, PW_MSG_MAX + 1, ~0ull), -EMSGSIZE);
	pt_slot_put(lane(p, 0, 1), s);
	CHECK_EQ(lane(p, 0, 1)->slots_used, 0);
	pair_free(p);
}

/* A page has to wait for keys, which come on URGENT. */
static void no_page_on_urgent(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pt_slot_get(lane(p, 0, PW_URGENT), 0);

	s->frame = 3;
	CHECK_EQ(pt_slot_send(lane(p, 0, PW_URGENT), s, 7, 0, ~0ull), -EINVAL);
	pt_slot_put(lane(p, 0, PW_URGENT), s);
	pair_free(p);
}

/* ------------------------------------------------------------------- credit */

static void credit_is_never_exceeded(void)
{
	struct pair *p = pair_up();
	struct pt_event first;
	int i;

	p->s[1].keep = true;
	for (i = 0; i < 50; i++)
		send(p, 0, 1, 100 + i, 10);
	pair_pump(p, 0);
	CHECK_EQ(in_flight(p, 0, 1), 20);
	CHECK(!pt_lane_tx_pending(lane(p, 0, 1)));
	CHECK_EQ(lane(p, 0, 1)->stats.stalls, 1);
	pair_settle(p);
	first = p->s[1].ev;
	pair_tick(p, 1000);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 20);
	/* Received is acknowledged, but only what is consumed gives credit. */
	CHECK_EQ(p->s[0].reaped, 20);
	pt_consume(lane(p, 1, 1), 1, first.life);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 20);	/* one frame isn't worth a message of its own */
	pair_tick(p, 10);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 21);
	for (i = 0; i < 9; i++)
		pt_consume(lane(p, 1, 1), 1, first.life);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 21);
	pt_consume(lane(p, 1, 1), 1, first.life);
	pair_settle(p);			/* half a window is: without a tick */
	CHECK_EQ(p->s[1].type_n, 31);
	for (i = 0; i < 39; i++) {
		pt_consume(lane(p, 1, 1), 1, first.life);
		pair_settle(p);
	}
	pair_tick(p, 20);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 50);
	CHECK_EQ(p->s[0].reaped, 50);
	pair_free(p);
}

static void message_waits_for_all_its_credit(void)
{
	struct pair *p = pair_up();
	struct pt_event big;

	p->s[1].keep = true;
	send(p, 0, 2, 1, 9 * PW_PAYLOAD);
	send(p, 0, 2, 2, 16 * PW_PAYLOAD + 100);
	send(p, 0, 2, 3, 0);
	pair_settle(p);
	big = p->s[1].ev;
	CHECK_EQ(p->s[1].type_n, 1);	/* nothing overtakes, nothing is begun */
	CHECK_EQ(lane(p, 0, 2)->crd_used, 9);
	pt_consume(lane(p, 1, 2), big.frames, big.life);
	pair_tick(p, 10);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 3);
	pair_free(p);
}

/* Classes have credit of their own: a stuck BULK leaves URGENT alone. */
static void classes_are_apart(void)
{
	struct pair *p = pair_up();
	int i;

	p->s[1].keep = true;
	for (i = 0; i < 40; i++)
		send(p, 0, PW_BULK, 100, 0);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 20);
	send(p, 0, PW_URGENT, 200, 0);
	pair_settle(p);
	CHECK_EQ(p->s[1].types[20], 200);
	pair_free(p);
}

/* What an old life received gives no credit in the next. */
static void consume_of_an_old_life(void)
{
	struct pair *p = pair_up();
	struct pt_event old;

	p->s[1].keep = true;
	send(p, 0, 1, 1, 0);
	pair_settle(p);
	old = p->s[1].ev;
	pt_link_kill(&p->s[1].l, -EHOSTDOWN, p->now);
	pair_cut(p);
	CHECK_EQ(lane(p, 1, 1)->crd_grant, 20);
	pt_consume(lane(p, 1, 1), old.frames, old.life);
	CHECK_EQ(lane(p, 1, 1)->crd_grant, 20);
	CHECK(!pt_ans_get(lane(p, 1, 1), 0, 1, old.life));
	pair_free(p);
}

/* Nobody acknowledges acknowledgements: a quiet link says nothing but heartbeats. */
static void quiet_means_quiet(void)
{
	struct pair *p = pair_up();
	u64 nops[2];

	send(p, 0, 1, 1, 0);
	pair_settle(p);
	pair_tick(p, 100);
	pair_settle(p);
	nops[0] = lane(p, 0, 1)->stats.nops;
	nops[1] = lane(p, 1, 1)->stats.nops;
	pair_tick(p, 3000);
	pair_settle(p);
	CHECK_EQ(lane(p, 0, 1)->stats.nops, nops[0]);
	CHECK_EQ(lane(p, 1, 1)->stats.nops, nops[1]);
	pair_free(p);
}

/* ------------------------------------------------------- requests and answers */

static void answered(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask(p, 0, 1, 33, 70, ~0ull);
	int i;

	pair_settle(p);
	CHECK_EQ(p->s[1].events[PT_EV_REQ], 1);
	CHECK_EQ(p->s[1].ev.total, 33);
	CHECK_EQ(p->s[1].ev.frame, PW_NOFRAME);
	CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 71, 'a'), -EMSGSIZE);
	CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 70, 'a'), 0);
	CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 70, 'a'), -ENOENT);
	pair_settle(p);
	CHECK_EQ(p->s[0].events[PT_EV_DONE], 1);
	CHECK(p->s[0].ev.slot == s);
	CHECK_EQ(s->state, PT_SLOT_DONE);
	CHECK_EQ(s->status, 0);
	CHECK_EQ(s->ans_len, 70);
	for (i = 0; i < 70; i++)
		CHECK_EQ(((u8 *)s->ans)[i], 'a');
	slot_release(p, 0, 1, s);
	CHECK_EQ(lane(p, 0, 1)->prepaid, 20);
	pair_free(p);
}

static void answered_with_an_error(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask(p, 0, 0, 0, 100, ~0ull);

	pair_settle(p);
	CHECK_EQ(pair_answer(p, 1, 0, &p->s[1].ev, -EFAULT, 0, 0), 0);
	pair_settle(p);
	CHECK_EQ(s->status, -EFAULT);
	CHECK_EQ(s->ans_len, 0);
	slot_release(p, 0, 0, s);
	pair_free(p);
}

static void long_answer(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask(p, 0, 2, PW_MSG_MAX, PW_MSG_MAX, ~0ull);
	u32 i;

	CHECK_EQ(lane(p, 0, 2)->prepaid, 3);
	CHECK(!pt_slot_get(lane(p, 0, 2), 4 * PW_PAYLOAD));
	pair_settle(p);
	CHECK_EQ(p->s[1].ev.total, PW_MSG_MAX);
	CHECK_EQ(pair_answer(p, 1, 2, &p->s[1].ev, 0, PW_MSG_MAX, 1), 0);
	pair_settle(p);
	CHECK_EQ(s->state, PT_SLOT_DONE);
	CHECK_EQ(s->ans_len, PW_MSG_MAX);
	for (i = 0; i < PW_MSG_MAX; i++)
		CHECK(((u8 *)s->ans)[i] == (u8)(1 + i / PW_PAYLOAD));
	slot_release(p, 0, 2, s);
	CHECK_EQ(lane(p, 0, 2)->prepaid, 20);
	pair_free(p);
}

/* An answer needs no credit: it gets through when not one message could. */
static void answers_are_prepaid(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s[8];
	int i;

	p->s[0].keep = p->s[1].keep = true;
	for (i = 0; i < 8; i++)
		s[i] = pair_ask(p, 0, 1, 0, 10, ~0ull);
	CHECK(!pair_ask(p, 0, 1, 0, 10, ~0ull));
	for (i = 0; i < 30; i++)
		send(p, 1, 1, 300, 0);
	pair_settle(p);
	CHECK_EQ(p->s[0].type_n, 20);
	CHECK_EQ(lane(p, 1, 1)->crd_limit - lane(p, 1, 1)->crd_used, 0);
	for (i = 0; i < 8; i++) {
		struct pt_event ev = { .aslot = i, .gen = 1, .life = p->s[1].l.life };

		CHECK_EQ(pair_answer(p, 1, 1, &ev, 0, 10, 'z'), 0);
	}
	pair_settle(p);
	for (i = 0; i < 8; i++) {
		CHECK_EQ(s[i]->state, PT_SLOT_DONE);
		slot_release(p, 0, 1, s[i]);
	}
	pair_free(p);
}

static void page(bool imm, bool urgent_load)
{
	struct pair *p = pair_up();
	struct pt_slot *s;
	struct pt_ans *a;
	u8 frame[8], source[8];

	p->s[0].l.imm = p->s[1].l.imm = imm;
	s = pair_ask_page(p, 0, 1, 77, frame);
	if (urgent_load)
		send(p, 0, 1, 1, 9000);
	pair_pump(p, 0);
	CHECK_EQ(pair_rx(p, 1, 1), 0);
	CHECK_EQ(p->s[1].ev.what, PT_EV_REQ);
	CHECK_EQ(p->s[1].ev.frame, 77);
	a = pt_ans_get(lane(p, 1, 1), p->s[1].ev.aslot, p->s[1].ev.gen, p->s[1].ev.life);
	a->tx.notify = true;
	CHECK_EQ(pt_ans_send(lane(p, 1, 1), a, 0, 10), -EMSGSIZE);
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 1), a, source), 0);
	CHECK(pt_lane_tx_peek(lane(p, 1, 1)) == &a->tx);
	pair_pump(p, 1);
	CHECK(p->s[1].wire[1][p->s[1].head[1]].out.page == source);
	CHECK_EQ(p->s[1].wire[1][p->s[1].head[1]].out.frame, 77);
	if (!imm)
		CHECK(pt_lane_rx_page(lane(p, 0, 1), (void *)p->s[1].wire[1][p->s[1].head[1]].data)
		      == frame);
	CHECK_EQ(p->s[1].reaped, 0);
	pair_settle(p);
	CHECK_EQ(s->state, PT_SLOT_DONE);
	CHECK_EQ(s->status, 0);
	/* The source page is the engine's again only when the answer is acknowledged. */
	pair_tick(p, 20);
	pair_settle(p);
	CHECK_EQ(p->s[1].reaped, 1);
	slot_release(p, 0, 1, s);
	pair_free(p);
}

static void pages(void)
{
	page(true, false);
	page(false, false);
	page(true, true);
	page(false, true);
}

/* A written page has no header, but says as much: its request had arrived. */
static void written_page_acknowledges(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s;
	struct pt_ans *a;

	p->s[0].l.imm = p->s[1].l.imm = true;
	send(p, 0, 1, 1, 5000);
	s = pair_ask_page(p, 0, 1, 3, &p);
	send(p, 0, 1, 2, 0);
	pair_pump(p, 0);
	while (in_flight(p, 0, 1))
		CHECK_EQ(pair_rx(p, 1, 1), 0);
	a = pt_ans_get(lane(p, 1, 1), s->index, s->gen, p->s[1].l.life);
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 1), a, &p), 0);
	pair_pump(p, 1);
	CHECK(p->s[1].wire[1][p->s[1].head[1]].out.page);
	CHECK_EQ(lane(p, 0, 1)->tx_acked, 0);
	CHECK_EQ(pair_rx(p, 0, 1), 0);
	CHECK_EQ(lane(p, 0, 1)->tx_acked, 3);	/* not what was sent after the request */
	CHECK_EQ(p->s[0].reaped, 1);
	CHECK_EQ(s->tx.state, PT_TX_FREE);
	slot_release(p, 0, 1, s);
	pair_free(p);
}

/* ---------------------------------------------------- several pages, one request */

static struct pt_ans *wanted(struct pair *p, struct pt_slot *s)
{
	return pt_ans_get(lane(p, 1, 2), s->index, s->gen, p->s[1].l.life);
}

static void pages_of_one_request(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s[6];
	struct pw_want *w;
	int i;

	p->s[0].l.imm = p->s[1].l.imm = true;
	CHECK_EQ(pair_ask_pages(p, 0, 2, 6, 9, 40, &p, s), 6);
	CHECK_EQ(lane(p, 0, 2)->prepaid, 14);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 1);		/* a single message with a single credit */
	CHECK_EQ(lane(p, 0, 2)->crd_used, 1);
	CHECK_EQ(p->s[1].ev.wants, 6);
	CHECK_EQ(p->s[1].ev.frame, PW_NOFRAME);
	w = (struct pw_want *)p->s[1].text;
	for (i = 0; i < 6; i++) {
		CHECK_EQ(le32_to_cpu(w[i].frame), 40 + i);
		CHECK_EQ(le16_to_cpu(w[i].slot), s[i]->index);
		CHECK_EQ(le16_to_cpu(w[i].gen), s[i]->gen);
	}
	/* In any order, each by itself, with a page or an error. */
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 2), wanted(p, s[5]), &p), 0);
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 2), wanted(p, s[0]), &p), 0);
	CHECK_EQ(pt_ans_send(lane(p, 1, 2), wanted(p, s[3]), -EFAULT, 0), 0);
	side_act(p, 1);
	pair_settle(p);
	for (i = 0; i < 6; i++)
		CHECK_EQ(s[i]->state, i % 5 && i != 3 ? PT_SLOT_WAITING : PT_SLOT_DONE);
	CHECK_EQ(s[3]->status, -EFAULT);
	/* The first one's slot is free for others while the rest wait. */
	slot_release(p, 0, 2, s[0]);
	CHECK(pair_ask(p, 0, 2, 3, 3, ~0ull) == s[0]);
	pair_settle(p);
	CHECK_EQ(pair_answer(p, 1, 2, &p->s[1].ev, 0, 3, 'x'), 0);
	/* One is given up: it alone is cancelled. */
	CHECK(!pt_slot_abandon(lane(p, 0, 2), s[1]));
	pair_settle(p);
	CHECK_EQ(s[1]->state, PT_SLOT_FREE);
	CHECK(!wanted(p, s[1]));
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 2), wanted(p, s[2]), &p), 0);
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 2), wanted(p, s[4]), &p), 0);
	side_act(p, 1);
	pair_settle(p);
	for (i = 0; i < 6; i++) {
		if (i == 1)
			continue;
		CHECK_EQ(s[i]->state, PT_SLOT_DONE);
		slot_release(p, 0, 2, s[i]);
	}
	CHECK_EQ(lane(p, 0, 2)->prepaid, 20);
	pair_free(p);
}

/* Given up before it was sent: others still want theirs, so it goes out all the same. */
static void pages_given_up_unsent(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);
	struct pt_slot *s[3];
	int i;

	CHECK_EQ(pair_ask_pages(p, 0, 1, 3, 9, 0, &p, s), 3);
	for (i = 0; i < 2; i++)
		CHECK(!pt_slot_abandon(lane(p, 0, 1), s[i]));
	CHECK_EQ(pair_connect(p, 0), 0);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 1);
	CHECK_EQ(p->s[0].events[PT_EV_ZOMBIE], 2);
	CHECK_EQ(s[2]->state, PT_SLOT_WAITING);
	CHECK_EQ(lane(p, 0, 1)->slots_used, 1);
	pair_free(p);
}

static void pages_wrongly_asked(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = lane(p, 0, 1);
	struct pt_slot *s[2] = { pt_slot_get(la, 0), pt_slot_get(la, 0) };

	s[0]->frame = 1;
	CHECK_EQ(pt_slots_send(la, s, 2, 9, 16, ~0ull), -EINVAL);	/* no frame */
	s[1]->frame = 2;
	CHECK_EQ(pt_slots_send(la, s, 0, 9, 16, ~0ull), -EMSGSIZE);
	CHECK_EQ(pt_slots_send(la, s, PW_WANTS_MAX + 1, 9, PW_PAYLOAD, ~0ull), -EMSGSIZE);
	CHECK_EQ(pt_slots_send(la, s, 2, 9, 15, ~0ull), -EMSGSIZE);
	CHECK_EQ(pt_slots_send(la, s, 2, 9, PW_PAYLOAD + 1, ~0ull), -EMSGSIZE);
	CHECK_EQ(s[0]->state, PT_SLOT_TAKEN);
	CHECK_EQ(s[1]->state, PT_SLOT_TAKEN);
	pt_slot_put(la, s[0]);
	pt_slot_put(la, s[1]);
	pair_free(p);
}

static void page_request_answered_without_page(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask_page(p, 0, 1, 5, &p);
	struct pt_slot *t = pair_ask(p, 0, 1, 0, 0, ~0ull);
	struct pt_ans *a;

	pair_pump(p, 0);
	CHECK_EQ(pair_rx(p, 1, 1), 0);
	CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 0, 0), 0);
	CHECK_EQ(pair_rx(p, 1, 1), 0);
	a = pt_ans_get(lane(p, 1, 1), p->s[1].ev.aslot, p->s[1].ev.gen, p->s[1].ev.life);
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 1), a, &p), -EINVAL);
	CHECK_EQ(pt_ans_send(lane(p, 1, 1), a, 0, 0), 0);
	pair_settle(p);
	CHECK_EQ(s->status, -EPROTO);	/* success without a page is none */
	CHECK_EQ(t->status, 0);
	slot_release(p, 0, 1, s);
	slot_release(p, 0, 1, t);
	pair_free(p);
}

/* ---------------------------------------------------- cancelled and late answers */

static void abandoned_before_sent(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);
	struct pt_slot *s = pair_ask(p, 0, 1, 5, 5, ~0ull);

	CHECK(pt_slot_abandon(lane(p, 0, 1), s));
	slot_release(p, 0, 1, s);
	CHECK_EQ(pair_connect(p, 0), 0);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 0);
	pair_free(p);
}

static void cancelled(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask(p, 0, 1, 5, 5, ~0ull);

	pair_settle(p);
	CHECK(!pt_slot_abandon(lane(p, 0, 1), s));
	CHECK_EQ(s->state, PT_SLOT_ZOMBIE);
	CHECK(!s->ans);
	side_act(p, 0);
	/* Not answered yet: the core answers, the handler finds nobody. */
	pair_pump(p, 0);
	CHECK_EQ(pair_rx(p, 1, 1), 0);
	CHECK_EQ(p->s[1].ev.what, PT_EV_NONE);
	CHECK_EQ(pair_answer(p, 1, 1, &(struct pt_event){ .gen = 1 }, 0, 5, 'l'), -ENOENT);
	pair_settle(p);
	CHECK_EQ(p->s[0].events[PT_EV_ZOMBIE], 1);
	CHECK_EQ(s->state, PT_SLOT_FREE);
	CHECK_EQ(lane(p, 0, 1)->stats.late, 1);
	CHECK_EQ(lane(p, 0, 1)->prepaid, 20);
	pair_free(p);
}

/* The answer and the cancel cross: the answer counts, and only it. */
static void cancel_crosses_answer(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask(p, 0, 1, 5, 5, ~0ull);
	u16 gen = s->gen;

	pair_settle(p);
	CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 5, 'l'), 0);
	pair_pump(p, 1);
	CHECK(!pt_slot_abandon(lane(p, 0, 1), s));
	pair_pump(p, 0);
	CHECK_EQ(pair_rx(p, 0, 1), 0);
	CHECK_EQ(p->s[0].events[PT_EV_ZOMBIE], 1);
	/* The slot is used again while the cancel of its earlier use is on its way. */
	s = pair_ask(p, 0, 1, 5, 5, ~0ull);
	CHECK_EQ(s->index, 0);
	CHECK(s->gen != gen);
	pair_settle(p);
	CHECK_EQ(p->s[1].ev.what, PT_EV_REQ);
	CHECK_EQ(s->state, PT_SLOT_WAITING);
	CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 3, 'n'), 0);
	pair_settle(p);
	CHECK_EQ(s->state, PT_SLOT_DONE);
	CHECK_EQ(s->ans_len, 3);
	slot_release(p, 0, 1, s);
	pair_free(p);
}

/* A second zombie of one slot, whose first cancel isn't acknowledged yet. */
static void cancel_twice(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask(p, 0, 1, 5, 5, ~0ull);

	pair_settle(p);
	CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 5, 'l'), 0);
	pair_pump(p, 1);
	CHECK(!pt_slot_abandon(lane(p, 0, 1), s));
	pair_pump(p, 0);
	CHECK_EQ(pair_rx(p, 0, 1), 0);
	s = pair_ask(p, 0, 1, 5, 5, ~0ull);
	pair_pump(p, 0);
	CHECK(!pt_slot_abandon(lane(p, 0, 1), s));
	CHECK_EQ(s->cancel.state, PT_TX_SENT);
	pair_settle(p);
	pair_tick(p, 20);
	pair_settle(p);
	pair_tick(p, 20);
	pair_settle(p);
	/* It was cancelled too, once that could be said. */
	CHECK_EQ(s->state, PT_SLOT_FREE);
	CHECK_EQ(p->s[0].events[PT_EV_ZOMBIE], 2);
	pair_free(p);
}

static void late_page_keeps_its_frame(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask_page(p, 0, 1, 9, &p);
	struct pt_ans *a;

	p->s[0].l.imm = p->s[1].l.imm = true;
	pair_settle(p);
	a = pt_ans_get(lane(p, 1, 1), p->s[1].ev.aslot, p->s[1].ev.gen, p->s[1].ev.life);
	CHECK_EQ(pt_ans_send_page(lane(p, 1, 1), a, &p), 0);
	pair_pump(p, 1);
	CHECK(!pt_slot_abandon(lane(p, 0, 1), s));
	CHECK_EQ(s->frame, 9);
	CHECK(s->page == &p);
	CHECK_EQ(pair_rx(p, 0, 1), 0);
	CHECK_EQ(p->s[0].ev.what, PT_EV_ZOMBIE);
	CHECK_EQ(s->state, PT_SLOT_FREE);
	pair_free(p);
}

static void timed_out(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s = pair_ask(p, 0, 1, 5, 5, p->now + 100), *t;

	pair_tick(p, 90);
	CHECK(!(p->s[0].acts & PT_ACT_TIMEOUT));
	CHECK(!pt_lane_timeout_next(lane(p, 0, 1), p->now));
	pair_settle(p);
	pair_tick(p, 10);
	CHECK(p->s[0].acts & PT_ACT_TIMEOUT);
	t = pt_lane_timeout_next(lane(p, 0, 1), p->now);
	CHECK(t == s);
	CHECK(!pt_slot_abandon(lane(p, 0, 1), s));
	CHECK(!pt_lane_timeout_next(lane(p, 0, 1), p->now));
	pair_settle(p);
	CHECK_EQ(s->state, PT_SLOT_FREE);
	pair_free(p);
}

/* All 65536 generations of a slot, and round. */
static void generations_wrap(void)
{
	struct pair *p = pair_up();
	u32 i;

	for (i = 0; i < 65540; i++) {
		struct pt_slot *s = pair_ask(p, 0, 1, 0, 0, ~0ull);

		CHECK_EQ(s->index, 0);
		CHECK_EQ(s->gen, (u16)(i + 1));
		pair_pump(p, 0);
		p->s[1].type_n = 0;
		while (p->s[0].head[1] != p->s[0].tail[1])
			CHECK_EQ(pair_rx(p, 1, 1), 0);
		CHECK_EQ(pair_answer(p, 1, 1, &p->s[1].ev, 0, 0, 0), 0);
		pair_pump(p, 1);
		while (p->s[1].head[1] != p->s[1].tail[1])
			CHECK_EQ(pair_rx(p, 0, 1), 0);
		CHECK_EQ(s->state, PT_SLOT_DONE);
		slot_release(p, 0, 1, s);
	}
	pair_free(p);
}

static void peer_serves_fewer(void)
{
	struct pt_cfg big = pair_cfg(), small = pair_cfg();
	struct pair *p;
	struct pt_slot *s[8];
	int i, n;

	small.slots = 5;
	small.window = 17;
	p = pair_new(&big, &small);
	/* Not met yet: few enough for anybody. */
	for (n = 0; n < 8 && (s[n] = pair_ask(p, 0, 1, 0, 0, ~0ull)); n++)
		;
	CHECK_EQ(n, PT_SLOTS_MIN);
	CHECK_EQ(pair_connect(p, 0), 0);
	for (; n < 8 && (s[n] = pair_ask(p, 0, 1, 0, 0, ~0ull)); n++)
		;
	CHECK_EQ(n, 5);
	pair_settle(p);
	CHECK_EQ(p->s[1].events[PT_EV_REQ], 5);
	for (i = 0; i < n; i++) {
		struct pt_event ev = { .aslot = s[i]->index, .gen = s[i]->gen };

		CHECK_EQ(pair_answer(p, 1, 1, &ev, 0, 0, 0), 0);
	}
	pair_settle(p);
	for (i = 0; i < n; i++)
		slot_release(p, 0, 1, s[i]);
	pair_free(p);
}

/* ------------------------------------------------------------------- replay */

/*
 * A fixed conversation of small and long messages, requests, answers and pages.
 * @cut frames into it the session is lost; of what is on the wires, @arrive
 * frames a direction still come. Whatever the point: everything once, in order.
 */
static void converse(bool imm, u32 cut, u32 arrive, u32 start, bool *reached)
{
	struct pair *p = pair_up();
	struct pt_slot *s[4] = { 0 };
	u32 steps = 0, i, k, got = 0, sessions;
	int side;

	for (side = 0; side < 2; side++) {
		struct pt_lane *a = lane(p, side, 1), *b = lane(p, !side, 1);

		a->tx_seq = a->tx_posted = a->tx_acked = start;
		b->rx_seq = b->ack_told = start;
		a->crd_used = start;
		b->crd_rx = start;
		b->crd_grant = b->crd_told = a->crd_limit = start + 20;
	}
	p->s[0].l.imm = p->s[1].l.imm = imm;
	send(p, 0, 1, 1000, 10);
	send(p, 0, 1, 1001, 2 * PW_PAYLOAD + 5);
	s[0] = pair_ask(p, 0, 1, 9000, 9000, ~0ull);
	s[1] = pair_ask_page(p, 0, 1, 4, &p);
	send(p, 0, 1, 1002, 0);
	send(p, 1, 1, 2000, 3 * PW_PAYLOAD);
	send(p, 1, 1, 2001, 1);

	for (sessions = 1; got < 2; ) {
		bool moved = false;

		pair_pump(p, 0);
		pair_pump(p, 1);
		for (side = 0; side < 2; side++) {
			while (in_flight(p, side, 1)) {
				if (sessions == 1 && steps == cut) {
					for (k = 0; k < arrive; k++)
						for (i = 0; i < 2; i++)
							if (in_flight(p, i, 1))
								pair_rx(p, !i, 1);
					*reached = true;
					pair_cut(p);
					CHECK_EQ(pair_connect(p, cut & 1), 0);
					sessions = 2;
					moved = true;
					goto next;
				}
				CHECK_EQ(pair_rx(p, !side, 1), 0);
				steps++;
				moved = true;
			}
		}
next:
		/* The responder answers what it has, a request at a time. */
		for (i = 0; i < 2; i++) {
			struct pt_ans *a = pt_ans_get(lane(p, 1, 1), i, s[i] ? s[i]->gen : 0,
						      p->s[1].l.life);

			if (!a)
				continue;
			if (a->frame != PW_NOFRAME) {
				a->tx.notify = false;
				CHECK_EQ(pt_ans_send_page(lane(p, 1, 1), a, &p), 0);
			} else {
				struct pt_event ev = { .aslot = i, .gen = a->gen };

				CHECK_EQ(pair_answer(p, 1, 1, &ev, 0, 9000, 'q'), 0);
			}
			side_act(p, 1);
			moved = true;
		}
		if (!moved)
			pair_tick(p, 10);
		for (got = 0, i = 0; i < 2; i++)
			got += s[i]->state == PT_SLOT_DONE;
		CHECK(p->now < 100000);
	}
	pair_settle(p);
	pair_tick(p, 20);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 5);
	CHECK_EQ(p->s[1].types[0], 1000);
	CHECK_EQ(p->s[1].types[1], 1001);
	CHECK_EQ(p->s[1].types[2], 100);
	CHECK_EQ(p->s[1].types[3], 200);
	CHECK_EQ(p->s[1].types[4], 1002);
	CHECK_EQ(p->s[0].type_n, 2);
	CHECK_EQ(p->s[0].types[0], 2000);
	CHECK_EQ(p->s[0].types[1], 2001);
	CHECK_EQ(p->s[0].events[PT_EV_DONE], 2);
	CHECK_EQ(p->s[0].reaped, 3);
	CHECK_EQ(p->s[1].reaped, 2);
	CHECK_EQ(s[0]->ans_len, 9000);
	for (k = 0; k < 9000; k++)
		CHECK(((u8 *)s[0]->ans)[k] == (u8)('q' + k / PW_PAYLOAD));
	for (i = 0; i < 2; i++) {
		CHECK_EQ(s[i]->status, 0);
		slot_release(p, 0, 1, s[i]);
		CHECK(!lane(p, i, 1)->sent.head && !lane(p, i, 1)->msgq.head);
		CHECK_EQ(lane(p, i, 1)->crd_grant - lane(p, i, 1)->crd_rx, 20);
	}
	pair_free(p);
}

static void replay(bool imm, u32 start)
{
	u32 cut, arrive;
	bool reached = true;

	for (cut = 0; reached; cut++) {
		reached = false;
		for (arrive = 0; arrive < 8; arrive++)
			converse(imm, cut, arrive, start, &reached);
	}
	CHECK(cut > 16);
}

static void replay_at_every_frame(void)
{
	replay(false, 0);
	replay(true, 0);
}

/* The same with numbers and credits that wrap at each possible frame. */
static void replay_across_the_wrap(void)
{
	u32 k;

	for (k = 0; k < 24; k++) {
		bool reached;

		converse(k & 1, 5 + k % 7, k % 3, 0u - k, &reached);
	}
	replay(true, 0u - 7);
}

/* Lost again and again, always with the first frame of the replay through. */
static void lost_again_and_again(void)
{
	struct pair *p = pair_up();
	int i;

	for (i = 0; i < 20; i++)
		send(p, 0, 1, 100 + i, 0);
	for (i = 0; i < 20; i++) {
		pair_pump(p, 0);
		CHECK_EQ(pair_rx(p, 1, 1), 0);
		pair_cut(p);
		CHECK_EQ(pair_connect(p, i & 1), 0);
	}
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 20);
	for (i = 0; i < 20; i++)
		CHECK_EQ(p->s[1].types[i], 100 + i);
	CHECK_EQ(p->s[0].reaped, 20);
	pair_free(p);
}

/* Heartbeats and acknowledgements in the middle of a replay have the right number. */
static void heartbeat_during_replay(void)
{
	struct pair *p = pair_up();
	struct pt_out out;

	send(p, 0, PW_URGENT, 1, 5 * PW_PAYLOAD);
	send(p, 0, PW_URGENT, 2, 0);
	pair_pump(p, 0);
	pair_rx(p, 1, PW_URGENT);	/* the first heartbeat */
	pair_rx(p, 1, PW_URGENT);
	pair_rx(p, 1, PW_URGENT);
	pair_cut(p);
	CHECK_EQ(pair_connect(p, 0), 0);
	CHECK(pt_lane_tx(lane(p, 0, PW_URGENT), &out));
	CHECK_EQ(out.hdr->kind, PW_HB);
	CHECK_EQ(le32_to_cpu(out.hdr->seq), 2);
	CHECK(pt_lane_tx(lane(p, 0, PW_URGENT), &out));
	CHECK_EQ(le32_to_cpu(out.hdr->seq), 3);
	lane(p, 0, PW_URGENT)->due |= PT_DUE_HB;
	CHECK(pt_lane_tx(lane(p, 0, PW_URGENT), &out));
	CHECK_EQ(out.hdr->kind, PW_HB);
	CHECK_EQ(le32_to_cpu(out.hdr->seq), 3);
	pair_cut(p);
	CHECK_EQ(pair_connect(p, 0), 0);
	pair_settle(p);
	CHECK_EQ(p->s[1].type_n, 2);
	pair_free(p);
}

/* Dead: everything fails once, and nothing of it is left for the next life. */
static void death_fails_everything(void)
{
	struct pair *p = pair_up();
	struct pt_slot *s;

	send(p, 0, 1, 1, 5000);
	pair_ask(p, 0, 1, 10, 10, ~0ull);
	s = pair_ask(p, 0, 2, 10, 10, ~0ull);
	pair_pump(p, 0);
	CHECK(!pt_slot_abandon(lane(p, 0, 2), s));
	send(p, 0, 2, 1, 0);
	CHECK_EQ(p->s[0].failed, 0);
	pt_link_kill(&p->s[0].l, -EHOSTDOWN, p->now);
	CHECK_EQ(p->s[0].failed, 0);	/* frames may still be written to */
	pair_cut(p);
	CHECK_EQ(p->s[0].failed, 2);
	CHECK_EQ(p->s[0].dropped, 2);
	CHECK_EQ(lane(p, 0, 1)->slots_used + lane(p, 0, 2)->slots_used, 0);
	CHECK_EQ(lane(p, 0, 2)->prepaid, 20);
	CHECK_EQ(pt_send(lane(p, 0, 1), &(struct pt_tx){ 0 }, 1, 0), -EHOSTDOWN);
	s = pt_slot_get(lane(p, 0, 1), 0);
	CHECK_EQ(pt_slot_send(lane(p, 0, 1), s, 1, 0, ~0ull), -EHOSTDOWN);
	pt_slot_put(lane(p, 0, 1), s);
	pair_free(p);
}

static const struct tap_test tests[] = {
	TEST(in_order), TEST(fragments), TEST(too_long), TEST(no_page_on_urgent),
	TEST(credit_is_never_exceeded), TEST(message_waits_for_all_its_credit),
	TEST(classes_are_apart), TEST(consume_of_an_old_life), TEST(quiet_means_quiet),
	TEST(answered), TEST(answered_with_an_error), TEST(long_answer),
	TEST(answers_are_prepaid), TEST(pages), TEST(written_page_acknowledges),
	TEST(pages_of_one_request), TEST(pages_given_up_unsent), TEST(pages_wrongly_asked),
	TEST(page_request_answered_without_page),
	TEST(abandoned_before_sent), TEST(cancelled), TEST(cancel_crosses_answer),
	TEST(cancel_twice), TEST(late_page_keeps_its_frame), TEST(timed_out),
	TEST(generations_wrap), TEST(peer_serves_fewer), TEST(replay_at_every_frame),
	TEST(replay_across_the_wrap), TEST(lost_again_and_again), TEST(heartbeat_during_replay),
	TEST(death_fails_everything),
};

TAP_MAIN(tests)
