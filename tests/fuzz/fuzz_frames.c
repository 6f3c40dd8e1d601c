// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * One node whose peer says anything at all. An input is a list of steps: the
 * node does something itself, or a frame comes that is right but for what the
 * input changes, or is nothing but the input. Whatever is refused ends the
 * session; the invariants hold throughout.
 */
#include "fuzz.h"

/* The frame that a correct peer could send now, for the input to spoil. */
static void good_header(struct input *in, struct pt_lane *la, struct pw_hdr *h)
{
	u16 slot = in8(in) % 8;
	u32 len = in16(in) % (PW_PAYLOAD + 1);

	memset(h, 0, sizeof(*h));
	h->kind = in8(in) % PW_KINDS;
	h->seq = cpu_to_le32(la->rx_seq + (h->kind >= PW_MSG));
	h->ack = cpu_to_le32(la->tx_acked + in8(in) % (la->tx_posted - la->tx_acked + 1));
	h->credit = cpu_to_le32(la->crd_limit + in8(in));
	h->slot = cpu_to_le16(slot);
	h->gen = cpu_to_le16(h->kind == PW_ANS || h->kind == PW_PAGE ? la->slots[slot].gen :
			     la->ans[slot].gen + (h->kind == PW_REQ));
	h->total = cpu_to_le32(len);
	if (la->rx_frag && (h->kind == PW_MSG || h->kind == PW_REQ)) {
		u32 total = le32_to_cpu(la->rx_first.total);

		h->kind = la->rx_first.kind;
		h->flags = la->rx_first.flags;
		h->type = la->rx_first.type;
		h->slot = la->rx_first.slot;
		h->gen = la->rx_first.gen;
		h->arg = la->rx_first.arg;
		h->frag = cpu_to_le16(la->rx_frag);
		h->total = cpu_to_le32(total);
		len = total - la->rx_frag * PW_PAYLOAD;
	} else if (h->kind == PW_HB) {
		len = sizeof(struct pw_heartbeat);
	} else if (h->kind < PW_MSG || h->kind == PW_CANCEL) {
		len = 0;
	} else if (h->kind == PW_PAGE) {
		len = PAGE;
	} else if (h->kind == PW_REQ) {
		h->flags = in8(in) % 4;
		h->arg = cpu_to_le32(h->flags & PW_F_PAGES ? in8(in) % 10 : in16(in));
	} else if (h->kind == PW_ANS && la->slots[slot].ans_len) {
		h->frag = cpu_to_le16(la->slots[slot].ans_len / PW_PAYLOAD);
		len += la->slots[slot].ans_len;
		h->total = cpu_to_le32(len);
		len -= la->slots[slot].ans_len;
	}
	if (h->kind >= PW_MSG && in8(in) & 1 && !h->frag)
		h->total = cpu_to_le32(in32(in) % (PW_MSG_MAX + 2));
	else if (!h->frag)
		h->total = cpu_to_le32(len);
	if (h->kind != PW_PAGE && len > PW_PAYLOAD)
		len = PW_PAYLOAD;
	h->len = cpu_to_le16(len);
}

/* The peer's own core takes no part: make it one that could have said all this. */
static void sync_peer(struct pair *p)
{
	int c;

	for (c = 0; c < PW_CLASSES; c++) {
		struct pt_lane *a = &p->s[0].l.lane[c], *b = &p->s[1].l.lane[c];

		b->rx_seq = a->tx_acked;
		b->tx_seq = b->tx_posted = b->tx_acked = a->rx_seq;
		b->crd_rx = a->crd_used;
		b->crd_grant = b->crd_told = a->crd_limit;
		b->crd_used = b->crd_limit = a->crd_grant;
	}
}

static void again(struct pair *p)
{
	int tries;

	for (tries = 0;; tries++) {
		CHECK(tries < 8);
		pair_cut(p);
		sync_peer(p);
		if (!pair_connect(p, 1))
			break;
		/* Declared dead after a goodbye: it comes back as a new one. */
		if (p->s[0].l.dead && p->s[0].l.dead_inc >= p->s[1].node.incarnation)
			pair_restart(p, 1);
	}
}

static void frame(struct input *in, struct pair *p, int class)
{
	struct side *s = &p->s[0];
	struct pt_lane *la = &s->l.lane[class];
	u8 how = in8(in);
	struct pt_event ev;
	struct pw_hdr h;
	u32 len, k;
	u8 *body;
	int r;

	if (how & 1)
		good_header(in, la, &h);
	else
		in_bytes(in, &h, sizeof(h));
	for (k = how >> 1 & 3; k; k--)
		((u8 *)&h)[in8(in) % sizeof(h)] ^= in8(in);
	len = how & 0x80 ? in16(in) % (PAGE + 1) : le16_to_cpu(h.len);
	if (len > PAGE)
		len = PAGE;
	body = calloc(1, len + !len);
	in_bytes(in, body, len < 80 ? len : 80);

	if (how & 0x40 && h.kind == PW_PAGE) {
		r = pt_lane_rx_imm(la, PW_IMM(le16_to_cpu(h.slot), le16_to_cpu(h.gen)), len, &ev);
	} else {
		if (h.kind == PW_PAGE)
			pt_lane_rx_page(la, &h);
		r = pt_lane_rx(la, &h, body, len, &ev);
	}
	free(body);
	CHECK(r == 0 || r == -EPROTO);
	if (r) {
		CHECK(ev.what == PT_EV_NONE && !ev.slot);
		pt_link_fault(&s->l, r, p->now);
		CHECK(s->l.state != PT_LINK_UP);
	} else if (ev.what == PT_EV_ZOMBIE) {
		slot_release(p, 0, class, ev.slot);
	} else if (ev.what == PT_EV_MSG || ev.what == PT_EV_REQ) {
		CHECK(ev.frames && ev.frames <= PW_FRAMES_MAX && ev.total <= PW_MSG_MAX);
		CHECK(ev.wants * sizeof(struct pw_want) <= ev.total);
		if (how & 0x20)
			pt_consume(la, ev.frames, ev.life);
		if (ev.what == PT_EV_REQ && how & 0x10 && !ev.wants) {
			struct pt_ans *a = pt_ans_get(la, ev.aslot, ev.gen, ev.life);

			CHECK(a);
			if (a->frame != PW_NOFRAME)
				CHECK_EQ(pt_ans_send_page(la, a, p), 0);
			else
				CHECK_EQ(pt_ans_send(la, a, -ENOENT, 0), 0);
		}
	}
	side_act(p, 0);
	if (s->l.state != PT_LINK_UP)
		again(p);
}

/* Who gives credit without end gets frames without end. */
static void send_all(struct pair *p)
{
	struct pt_out out;
	int c;

	for (c = 0; c < PW_CLASSES; c++)
		while (pt_lane_tx(&p->s[0].l.lane[c], &out))
			CHECK(out.len <= PW_PAYLOAD);
	side_act(p, 0);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct pair *p = pair_up();
	struct pt_slot *slots[8];
	struct pt_slot *slot;
	u32 i;

	while (in.left) {
		u8 op = in8(&in);
		int class = op >> 4 & 3;
		struct pt_lane *la;

		if (class == 3)
			class = 1;
		la = &p->s[0].l.lane[class];
		slot = &la->slots[op >> 6 | (op & 8) >> 1];
		switch (op & 7) {
		default:
			frame(&in, p, class);
			break;
		case 0:
			if (!p->s[0].l.dead && !la->msgq.head) {
				u32 len = in16(&in) % 9000;
				struct pt_tx *tx = msg_new(len, op);

				if (pt_send(la, tx, 17, len))
					msg_free(tx);
			}
			break;
		case 1:
			pair_ask(p, 0, class, in8(&in), in16(&in) % 20000, p->now + in8(&in));
			break;
		case 2:
			if (class)
				pair_ask_pages(p, 0, class, 1 + in8(&in) % 4, 9, op, p, slots);
			break;
		case 3:
			if (slot->state == PT_SLOT_DONE ||
			    (slot->state == PT_SLOT_WAITING && pt_slot_abandon(la, slot)))
				slot_release(p, 0, class, slot);
			break;
		}
		side_act(p, 0);
		send_all(p);
		if (op & 0x80)
			pair_tick(p, 10);
		side_sane(&p->s[0]);
	}
	for (i = 0; i < PW_CLASSES * 8; i++)
		if (p->s[0].slots[i].state == PT_SLOT_DONE)
			slot_release(p, 0, i / 8, &p->s[0].slots[i]);
	pair_free(p);
	return 0;
}
