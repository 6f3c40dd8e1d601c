// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Two correct nodes, and an input that says in which order everything happens:
 * what they say, which frame arrives, when a session is lost, who calls, when
 * waiters give up, handlers answer and time passes. Each message arrives once
 * and in order, no frame is refused, and in the end nothing is left over. With
 * an adversary on the wire (first byte odd) only the invariants are asserted.
 */
#include "fuzz.h"

#define HELD	64

struct seen {
	u16 next;			/* type that is sent next */
	u16 expected;			/* type that arrives next */
	u8 gone[65536 / 8];		/* types withdrawn before they were sent */
};

static struct seen *seen;		/* [side * PW_CLASSES + class] */
static struct pt_event held[2][HELD];	/* not answered, not consumed */
static u8 held_class[2][HELD];
static struct pw_want held_want[2][HELD][8];
static bool evil;

static struct seen *seen_by(int to, int class)
{
	return &seen[to * PW_CLASSES + class];
}

static void arrived(struct pair *p, int to, int class)
{
	struct pt_event *ev = &p->s[to].ev;
	int i;

	if (ev->what != PT_EV_MSG && ev->what != PT_EV_REQ)
		return;
	if (!evil) {
		struct seen *s = seen_by(to, class);

		while (s->gone[s->expected / 8] & 1 << s->expected % 8)
			s->expected++;
		CHECK_EQ(ev->type, s->expected);
		s->expected++;
	}
	p->s[to].type_n = 0;
	for (i = 0; i < HELD && held[to][i].what; i++)
		;
	if (i == HELD)
		i = 0;
	held[to][i] = *ev;
	held_class[to][i] = class;
	memcpy(held_want[to][i], p->s[to].text, sizeof(held_want[to][i]));
}

static void bring(struct input *in, struct pair *p, int to, int class)
{
	struct side *from = &p->s[!to];
	struct wire_frame *f;
	int r;

	if (from->head[class] == from->tail[class])
		return;
	f = &from->wire[class][from->head[class] % WIRE_MAX];
	if (evil && f->data && in8(in) < 64)
		f->data[in8(in) % f->len] ^= in8(in);
	r = pair_rx(p, to, class);
	if (r) {
		CHECK(evil || p->s[to].l.state != PT_LINK_UP);
		pt_link_fault(&p->s[to].l, r, p->now);
		side_act(p, to);
		return;
	}
	arrived(p, to, class);
}

/* A handler comes round to what it holds. */
static void handle(struct pair *p, int i, u8 which, u8 how)
{
	struct pt_event *ev = &held[i][which % HELD];
	int class = held_class[i][which % HELD];
	struct pt_lane *la = &p->s[i].l.lane[class];
	struct pw_want *want = held_want[i][which % HELD];
	struct pt_ans *a;
	u32 k;

	if (!ev->what)
		return;
	if (how & 1)
		pt_consume(la, ev->frames, ev->life);
	for (k = 0; ev->what == PT_EV_REQ && k < (ev->wants ? ev->wants : 1) && k < 8; k++) {
		if (ev->wants) {
			ev->aslot = le16_to_cpu(want[k].slot);
			ev->gen = le16_to_cpu(want[k].gen);
		}
		a = pt_ans_get(la, ev->aslot, ev->gen, ev->life);
		if (!a)
			continue;
		if (how & 2)
			pt_ans_send(la, a, -EFAULT, 0);
		else if (a->frame != PW_NOFRAME)
			pt_ans_send_page(la, a, p);
		else
			pair_answer(p, i, class, ev, 0, a->max, how);
	}
	if (!(how & 1))
		pt_consume(la, ev->frames, ev->life);
	ev->what = 0;
	side_act(p, i);
}

static void let_go(struct pair *p, int i, int class, struct pt_slot *s)
{
	u16 type = s->tx.type;
	bool queued = s->tx.state == PT_TX_QUEUED;

	if (s->state == PT_SLOT_WAITING) {
		if (!pt_slot_abandon(&p->s[i].l.lane[class], s)) {
			side_act(p, i);
			return;
		}
		if (queued) {
			struct seen *e = seen_by(!i, class);

			e->gone[type / 8] |= 1 << type % 8;
		}
	} else if (s->state != PT_SLOT_DONE) {
		return;
	}
	slot_release(p, i, class, s);
}

/* Both sides end the session and one calls again. */
static bool reconnect(struct pair *p, int who)
{
	int r;

	pair_cut(p);
	r = pair_connect(p, who);
	if (r)
		pair_cut(p);
	return !r;
}

static void ask(struct input *in, struct pair *p, int i, int class, u8 how)
{
	struct seen *e = seen_by(!i, class);
	struct pt_lane *la = &p->s[i].l.lane[class];
	struct pt_slot *s, *many[4];
	u32 ans = how & 4 ? in16(in) % 9000 : how;

	if (p->s[i].l.dead)
		return;
	if (how & 32 && class) {
		if (pair_ask_pages(p, i, class, 1 + how % 4, e->next, how, p, many))
			e->next++;
		return;
	}
	s = pt_slot_get(la, how & 8 && class ? 0 : ans);
	if (!s)
		return;
	s->tx.fv = msg_buffers(how & 16 ? 5000 : 3);
	if (how & 8 && class) {
		s->frame = how;
		s->page = p;
	} else {
		s->ans = calloc(1, ans + 1);
		p->s[i].text_of[s - p->s[i].slots] = s->ans;
	}
	CHECK_EQ(pt_slot_send(la, s, e->next++, how & 16 ? 5000 : 3, p->now + in16(in)), 0);
	side_act(p, i);
}

static bool all_done(struct pair *p)
{
	int i, c;

	for (i = 0; i < 2; i++) {
		for (c = 0; c < PW_CLASSES; c++) {
			struct pt_lane *la = &p->s[i].l.lane[c];

			if (la->slots_used || la->sent.head || la->msgq.head || la->ansq.head ||
			    la->crd_grant - la->crd_rx != p->s[i].node.cfg.window ||
			    pt_lane_tx_pending(la))
				return false;
		}
	}
	return true;
}

/* Without the adversary all that was begun comes to its end. */
static void settle(struct pair *p)
{
	int i, c, k, round;

	if (p->s[0].l.state != PT_LINK_UP || p->s[1].l.state != PT_LINK_UP)
		for (k = 0; k < 4 && !reconnect(p, k & 1); k++)
			;
	CHECK_EQ(p->s[0].l.state, PT_LINK_UP);
	for (round = 0; round < 400 && !all_done(p); round++) {
		struct input none = { NULL, 0 };

		pair_pump(p, 0);
		pair_pump(p, 1);
		for (i = 0; i < 2; i++) {
			for (c = 0; c < PW_CLASSES; c++)
				while (p->s[!i].head[c] != p->s[!i].tail[c])
					bring(&none, p, i, c);
			for (k = 0; k < HELD; k++)
				handle(p, i, k, 1);
			for (k = 0; k < PW_CLASSES * 8; k++)
				if (p->s[i].slots[k].state == PT_SLOT_DONE)
					let_go(p, i, k / 8, &p->s[i].slots[k]);
		}
		pair_tick(p, 10);
	}
	CHECK(all_done(p));
	side_sane(&p->s[0]);
	side_sane(&p->s[1]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct pair *p = pair_up();
	int i, c, k, sent = 0;

	seen = calloc(2 * PW_CLASSES, sizeof(*seen));
	memset(held, 0, sizeof(held));
	evil = p->lossy = in8(&in) & 1;
	for (i = 0; i < 2; i++)
		p->s[i].keep = true;
	p->s[0].l.imm = p->s[1].l.imm = in8(&in) & 1;

	while (in.left && sent < 3000) {
		u8 op = in8(&in), how = in8(&in);
		struct pt_tx *tx;
		u32 len;

		i = op & 1;
		c = (op >> 1 & 3) % PW_CLASSES;
		switch (op >> 3 & 15) {
		case 0:
		case 1:
			if (p->s[i].l.dead)
				break;
			len = how & 128 ? how * 64 : how;
			tx = msg_new(len, how);
			CHECK_EQ(pt_send(&p->s[i].l.lane[c], tx, seen_by(!i, c)->next++, len), 0);
			side_act(p, i);
			sent++;
			break;
		case 2:
		case 3:
			ask(&in, p, i, c, how);
			sent++;
			break;
		case 4:
			let_go(p, i, c, &p->s[i].slots[c * 8 + how % 8]);
			break;
		case 5:
		case 6:
			handle(p, i, how, how >> 6);
			break;
		case 7:
			pair_tick(p, how);
			break;
		case 8:
			pair_pump(p, i);
			break;
		case 9:
			for (k = how % 16; k >= 0; k--)
				bring(&in, p, i, c);
			break;
		case 10:
			pair_pump(p, 0);
			pair_pump(p, 1);
			for (k = 0; k < 2; k++)
				for (c = 0; c < PW_CLASSES; c++)
					while (p->s[!k].head[c] != p->s[!k].tail[c] &&
					       p->s[k].l.state == PT_LINK_UP)
						bring(&in, p, k, c);
			break;
		case 11:
			/* Of what is in flight, a beginning arrives. */
			for (k = how % 4; k; k--)
				bring(&in, p, i, c);
			reconnect(p, how >> 7);
			break;
		case 12:
			if (how < 32) {
				pt_link_fault(&p->s[i].l, -EIO, p->now);
				side_act(p, i);
			}
			break;
		case 13:
			p->s[0].l.imm = p->s[1].l.imm = how & 1;
			reconnect(p, i);
			break;
		default:
			break;
		}
		side_sane(&p->s[0]);
		side_sane(&p->s[1]);
		/* An adversary may have ended a life: a new node takes its place. */
		if (p->s[0].l.dead || p->s[1].l.dead || p->s[0].l.dying || p->s[1].l.dying) {
			CHECK(evil || p->now >= 21000);
			break;
		}
	}
	if (!evil && !p->s[0].l.dead && !p->s[1].l.dead && !p->s[0].l.dying && !p->s[1].l.dying)
		settle(p);
	for (i = 0; i < 2; i++)
		for (k = 0; k < PW_CLASSES * 8; k++)
			if (p->s[i].slots[k].state == PT_SLOT_DONE)
				slot_release(p, i, k / 8, &p->s[i].slots[k]);
	pair_free(p);
	free(seen);
	return 0;
}
