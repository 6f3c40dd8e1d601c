// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Frames that no correct peer sends: each is -EPROTO and moves nothing.
 */
#include "pair.h"

static struct pw_hdr h;
static u8 body[PW_PAYLOAD];

/* A correct header for the next frame of side 0's lane. */
static void next(struct pt_lane *la, u8 kind, u32 len)
{
	memset(&h, 0, sizeof(h));
	h.kind = kind;
	h.seq = cpu_to_le32(la->rx_seq + (kind >= PW_MSG));
	h.ack = cpu_to_le32(la->tx_acked);
	h.credit = cpu_to_le32(la->crd_limit);
	h.type = cpu_to_le16(20);
	h.len = cpu_to_le16(len);
	h.total = cpu_to_le32(len);
}

static int rx(struct pt_lane *la, u32 len)
{
	struct pt_event ev;
	u8 *exact = malloc(len + !len);
	int r;

	memcpy(exact, body, len);
	memset(&ev, 0xff, sizeof(ev));
	r = pt_lane_rx(la, &h, exact, len, &ev);
	free(exact);
	if (r)
		CHECK(ev.what == PT_EV_NONE && !ev.slot);
	return r;
}

/* Everything of a lane that a frame could move. */
struct moved {
	struct pt_lane la;
	struct pt_slot slot[8];
	struct pt_ans ans[8];
};

static void snap(struct pt_lane *la, struct moved *m)
{
	m->la = *la;
	memcpy(m->slot, la->slots, sizeof(m->slot));
	memcpy(m->ans, la->ans, sizeof(m->ans));
	/* Only the first frame of the next message is kept there. */
	memset(&m->la.rx_first, 0, sizeof(m->la.rx_first));
	m->la.rx_frags = 0;
}

#define REFUSED(la, len) \
	do { \
		struct moved before, after; \
		snap(la, &before); \
		CHECK_EQ(rx(la, len), -EPROTO); \
		snap(la, &after); \
		CHECK(!memcmp(&before, &after, sizeof(before))); \
	} while (0)

static void headers(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];
	int k;

	pair_settle(p);
	for (k = PW_KINDS; k < 256; k++) {
		next(la, k, 0);
		REFUSED(la, 0);
	}
	next(la, PW_MSG, 10);
	REFUSED(la, 9);			/* less came than it says */
	REFUSED(la, 11);
	h.seq = cpu_to_le32(la->rx_seq);	/* again */
	REFUSED(la, 10);
	h.seq = cpu_to_le32(la->rx_seq + 2);	/* one is missing */
	REFUSED(la, 10);
	next(la, PW_MSG, 10);
	h.ack = cpu_to_le32(la->tx_posted + 1);	/* never sent */
	REFUSED(la, 10);
	next(la, PW_MSG, 10);
	h.ack = cpu_to_le32(la->tx_acked - 1);	/* taken back */
	REFUSED(la, 10);
	next(la, PW_MSG, 10);
	h.credit = cpu_to_le32(la->crd_limit - 1);
	REFUSED(la, 10);
	next(la, PW_MSG, 10);
	h.credit = cpu_to_le32(la->crd_used + 0x10000);
	REFUSED(la, 10);
	next(la, PW_MSG, 10);
	CHECK_EQ(rx(la, 10), 0);
	pair_free(p);
}

static void unsequenced(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[0];
	int k;

	pair_settle(p);
	for (k = PW_NOP; k <= PW_BYE; k++) {
		u32 len = k == PW_HB ? 16 : 0;

		next(la, k, len);
		h.seq = cpu_to_le32(la->rx_seq + 1);
		REFUSED(la, len);
		next(la, k, len + 1);
		REFUSED(la, len + 1);
		if (len) {
			next(la, k, len - 1);
			REFUSED(la, len - 1);
		}
	}
	next(la, PW_NOP, 0);
	CHECK_EQ(rx(la, 0), 0);
	CHECK_EQ(p->s[0].l.state, PT_LINK_UP);
	pair_free(p);
}

static void messages(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];

	pair_settle(p);
	next(la, PW_MSG, 10);
	h.total = cpu_to_le32(11);	/* a single frame is the whole message */
	REFUSED(la, 10);
	h.total = cpu_to_le32(9);
	REFUSED(la, 10);
	h.total = cpu_to_le32(PW_MSG_MAX + 1);
	REFUSED(la, 10);
	h.total = cpu_to_le32(~0u);
	REFUSED(la, 10);
	next(la, PW_MSG, 10);
	h.frag = cpu_to_le16(1);	/* begins in the middle */
	REFUSED(la, 10);
	/* a first fragment must be full */
	next(la, PW_MSG, PW_PAYLOAD - 1);
	h.total = cpu_to_le32(PW_PAYLOAD + 10);
	REFUSED(la, PW_PAYLOAD - 1);

	next(la, PW_MSG, PW_PAYLOAD);
	h.total = cpu_to_le32(PW_PAYLOAD + 10);
	CHECK_EQ(rx(la, PW_PAYLOAD), 0);
	/* now only its second fragment may come */
#define SECOND(field, value) do { \
	next(la, PW_MSG, 10); \
	h.total = cpu_to_le32(PW_PAYLOAD + 10); \
	h.frag = cpu_to_le16(1); \
	h.field = value; \
	CHECK_EQ(rx(la, 10), -EPROTO); \
	CHECK_EQ(la->rx_frag, 1); \
} while (0)
	SECOND(frag, cpu_to_le16(0));
	SECOND(frag, cpu_to_le16(2));
	SECOND(kind, PW_REQ);
	SECOND(type, cpu_to_le16(21));
	SECOND(slot, cpu_to_le16(1));
	SECOND(gen, cpu_to_le16(1));
	SECOND(total, cpu_to_le32(PW_PAYLOAD + 11));
	next(la, PW_MSG, 10);
	h.total = cpu_to_le32(PW_PAYLOAD + 10);
	h.frag = cpu_to_le16(1);
	CHECK_EQ(rx(la, 10), 0);
	CHECK_EQ(la->rx_frag, 0);
	pair_free(p);
}

static void more_than_allowed(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];
	int i;

	pair_settle(p);
	for (i = 0; i < 20; i++) {
		next(la, PW_MSG, 0);
		CHECK_EQ(rx(la, 0), 0);
	}
	next(la, PW_MSG, 0);
	REFUSED(la, 0);
	/* Consumed, but the peer hasn't been told: still too many. */
	pt_consume(la, 1, 0);
	next(la, PW_MSG, 0);
	REFUSED(la, 0);
	pair_free(p);
}

static void requests(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];

	pair_settle(p);
	next(la, PW_REQ, 0);
	h.slot = cpu_to_le16(8);
	REFUSED(la, 0);
	h.slot = cpu_to_le16(0xffff);
	REFUSED(la, 0);
	next(la, PW_REQ, 0);
	h.arg = cpu_to_le32(PW_MSG_MAX + 1);
	REFUSED(la, 0);
	next(la, PW_REQ, 0);
	CHECK_EQ(rx(la, 0), 0);
	next(la, PW_REQ, 0);		/* the slot isn't answered yet */
	h.gen = cpu_to_le16(1);
	REFUSED(la, 0);
	next(la, PW_REQ, 10);
	REFUSED(la, 10);

	la = &p->s[0].l.lane[PW_URGENT];
	next(la, PW_REQ, 0);
	h.flags = PW_F_PAGE;
	REFUSED(la, 0);
	pair_free(p);
}

static void want(int i, u32 frame, u16 slot, u16 gen)
{
	((struct pw_want *)body)[i] = (struct pw_want){
		cpu_to_le32(frame), cpu_to_le16(slot), cpu_to_le16(gen)
	};
}

static void several_pages(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];

	pair_settle(p);
#define WANT(n, len_) do { \
	next(la, PW_REQ, len_); \
	h.flags = PW_F_PAGES; \
	h.arg = cpu_to_le32(n); \
	want(0, 1, 0, 0); \
	want(1, 2, 1, 5); \
	want(2, 3, 2, 6); \
} while (0)
	WANT(0, 24);
	REFUSED(la, 24);
	WANT(PW_WANTS_MAX + 1, PW_PAYLOAD);
	REFUSED(la, PW_PAYLOAD);
	WANT(3, 23);
	REFUSED(la, 23);
	WANT(~0u, 24);
	REFUSED(la, 24);
	WANT(3, PW_PAYLOAD);		/* more than one frame */
	h.total = cpu_to_le32(PW_PAYLOAD + 1);
	REFUSED(la, PW_PAYLOAD);
	WANT(3, 24);
	want(0, 1, 3, 0);		/* the first isn't the header's */
	REFUSED(la, 24);
	WANT(3, 24);
	want(0, 1, 0, 1);
	REFUSED(la, 24);
	WANT(3, 24);
	want(2, 1, 1, 7);		/* one slot twice: the others are let go */
	CHECK_EQ(rx(la, 24), -EPROTO);
	CHECK_EQ(la->ans[0].state | la->ans[1].state | la->ans[2].state, PT_ANS_IDLE);
	WANT(3, 24);
	want(2, 1, 8, 7);		/* no such slot */
	CHECK_EQ(rx(la, 24), -EPROTO);
	CHECK_EQ(la->ans[0].state | la->ans[1].state, PT_ANS_IDLE);
	WANT(3, 24);
	CHECK_EQ(rx(la, 24), 0);
	CHECK_EQ(la->ans[2].state, PT_ANS_OPEN);
	CHECK_EQ(la->ans[2].gen, 6);
	CHECK_EQ(la->ans[2].frame, 3);
	WANT(3, 24);			/* all three are open */
	REFUSED(la, 24);
	la = &p->s[0].l.lane[PW_URGENT];
	WANT(1, 8);
	REFUSED(la, 8);
	memset(body, 0, sizeof(body));
	pair_free(p);
}

static void cancels(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];

	pair_settle(p);
	next(la, PW_CANCEL, 0);
	h.slot = cpu_to_le16(8);
	REFUSED(la, 0);
	next(la, PW_CANCEL, 10);
	REFUSED(la, 10);
	next(la, PW_CANCEL, PW_PAYLOAD);
	h.total = cpu_to_le32(PW_PAYLOAD + 1);
	REFUSED(la, PW_PAYLOAD);
	next(la, PW_CANCEL, 0);		/* of nothing: may be late */
	CHECK_EQ(rx(la, 0), 0);
	CHECK_EQ(la->ans[0].state, PT_ANS_IDLE);
	pair_free(p);
}

static void answers(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];
	struct pt_slot *s;
	struct pt_event ev;
	int i;

	next(la, PW_ANS, 0);
	REFUSED(la, 0);			/* nobody asked */
	s = pair_ask(p, 0, 1, 0, 5000, ~0ull);
	next(la, PW_ANS, 0);
	h.gen = cpu_to_le16(s->gen);
	REFUSED(la, 0);			/* not even sent */
	pair_settle(p);
	pair_tick(p, 20);
	pair_settle(p);

#define ANSWER(len_) do { next(la, PW_ANS, len_); h.gen = cpu_to_le16(s->gen); } while (0)
	ANSWER(0);
	h.gen = cpu_to_le16(s->gen - 1);
	REFUSED(la, 0);
	ANSWER(0);
	h.slot = cpu_to_le16(1);
	REFUSED(la, 0);
	h.slot = cpu_to_le16(8);
	REFUSED(la, 0);
	ANSWER(0);
	h.arg = cpu_to_le32(1);
	REFUSED(la, 0);
	h.arg = cpu_to_le32(-4096);
	REFUSED(la, 0);
	ANSWER(10);
	h.arg = cpu_to_le32(-5);	/* an error with a payload */
	REFUSED(la, 10);
	ANSWER(10);
	h.total = cpu_to_le32(5001);	/* more than was prepaid */
	REFUSED(la, 10);
	h.total = cpu_to_le32(11);
	REFUSED(la, 10);
	ANSWER(10);
	h.frag = cpu_to_le16(1);
	REFUSED(la, 10);
	next(la, PW_PAGE, PAGE);	/* no page was asked for */
	h.gen = cpu_to_le16(s->gen);
	CHECK(!pt_lane_rx_page(la, &h));
	CHECK_EQ(pt_lane_rx(la, &h, NULL, PAGE, &ev), -EPROTO);
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(0, s->gen), PAGE, &ev), -EPROTO);
	CHECK_EQ(s->state, PT_SLOT_WAITING);

	ANSWER(PW_PAYLOAD);
	h.total = cpu_to_le32(5000);
	CHECK_EQ(rx(la, PW_PAYLOAD), 0);
	ANSWER(PW_PAYLOAD);		/* the first again */
	h.total = cpu_to_le32(5000);
	REFUSED(la, PW_PAYLOAD);
	ANSWER(5000 - PW_PAYLOAD);
	h.total = cpu_to_le32(5000);
	h.frag = cpu_to_le16(1);
	CHECK_EQ(rx(la, 5000 - PW_PAYLOAD), 0);
	CHECK_EQ(s->state, PT_SLOT_DONE);
	h.seq = cpu_to_le32(la->rx_seq + 1);
	REFUSED(la, 5000 - PW_PAYLOAD);	/* answered */
	slot_release(p, 0, 1, s);
	for (i = 0; i < 8; i++)
		CHECK_EQ(la->slots[i].state, PT_SLOT_FREE);
	pair_free(p);
}

static void pages(void)
{
	struct pair *p = pair_up();
	struct pt_lane *la = &p->s[0].l.lane[1];
	struct pt_slot *s = pair_ask_page(p, 0, 1, 3, &p);
	struct pt_event ev;

	pair_settle(p);
	pair_tick(p, 20);
	pair_settle(p);
#define PAGE_FRAME(len_) do { \
	next(la, PW_PAGE, len_); \
	h.gen = cpu_to_le16(s->gen); \
} while (0)
	PAGE_FRAME(PAGE);
	CHECK(pt_lane_rx_page(la, &h) == &p);
	PAGE_FRAME(PAGE - 1);
	CHECK(!pt_lane_rx_page(la, &h));
	CHECK_EQ(pt_lane_rx(la, &h, NULL, PAGE - 1, &ev), -EPROTO);
	PAGE_FRAME(PAGE);
	h.frag = cpu_to_le16(1);
	CHECK_EQ(pt_lane_rx(la, &h, NULL, PAGE, &ev), -EPROTO);
	PAGE_FRAME(PAGE);
	h.total = cpu_to_le32(PAGE + 1);
	CHECK_EQ(pt_lane_rx(la, &h, NULL, PAGE, &ev), -EPROTO);
	PAGE_FRAME(PAGE);
	h.seq = cpu_to_le32(la->rx_seq + 2);
	CHECK(!pt_lane_rx_page(la, &h));
	PAGE_FRAME(PAGE);
	h.gen = cpu_to_le16(s->gen + 1);
	CHECK(!pt_lane_rx_page(la, &h));
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(0, s->gen + 1), PAGE, &ev), -EPROTO);
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(1, s->gen), PAGE, &ev), -EPROTO);
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(8, s->gen), PAGE, &ev), -EPROTO);
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(0, s->gen), PAGE + 1, &ev), -EPROTO);
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(0, s->gen), 0, &ev), -EPROTO);
	CHECK_EQ(s->state, PT_SLOT_WAITING);
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(0, s->gen), PAGE, &ev), 0);
	CHECK_EQ(ev.what, PT_EV_DONE);
	CHECK_EQ(pt_lane_rx_imm(la, PW_IMM(0, s->gen), PAGE, &ev), -EPROTO);
	slot_release(p, 0, 1, s);
	pair_free(p);
}

/* Nothing is believed before the handshake of that lane, or after the session. */
static void out_of_session(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);
	struct pt_lane *la = &p->s[0].l.lane[1];

	next(la, PW_MSG, 0);
	REFUSED(la, 0);
	next(la, PW_NOP, 0);
	REFUSED(la, 0);
	CHECK_EQ(pair_connect(p, 0), 0);
	pt_link_fault(&p->s[0].l, -EIO, p->now);
	next(la, PW_MSG, 0);
	REFUSED(la, 0);
	next(la, PW_BYE, 0);
	REFUSED(la, 0);
	pair_free(p);
}

/* Any single bit of a good header changed: believed or refused, never worse. */
static void any_bit(void)
{
	u32 bit;

	for (bit = 0; bit < 8 * sizeof(h); bit++) {
		struct pair *p = pair_up();
		struct pt_lane *la = &p->s[0].l.lane[1];
		struct pt_slot *s = pair_ask(p, 0, 1, 0, 100, ~0ull);
		int r;

		pair_settle(p);
		next(la, PW_ANS, 50);
		h.gen = cpu_to_le16(s->gen);
		((u8 *)&h)[bit / 8] ^= 1 << bit % 8;
		r = rx(la, 50);
		CHECK(r == 0 || r == -EPROTO);
		if (s->state == PT_SLOT_DONE)
			slot_release(p, 0, 1, s);
		pair_free(p);
	}
}

static const struct tap_test tests[] = {
	TEST(headers), TEST(unsequenced), TEST(messages), TEST(more_than_allowed),
	TEST(requests), TEST(several_pages), TEST(cancels), TEST(answers), TEST(pages), TEST(out_of_session),
	TEST(any_bit),
};

TAP_MAIN(tests)
