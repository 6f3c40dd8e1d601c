// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What comes in on a lane: every field is checked before it is believed, then
 * a frame becomes at most one event for the engine.
 */
#include "lane.h"

static void credit_returned(struct pt_lane *la)
{
	u32 half = la->link->node->cfg.window / 2;

	if (la->crd_grant - la->crd_told >= half) {
		la->due |= PT_DUE_NOP;
		la->link->actions |= la->link->tx_open ? PT_ACT_TX(la->class) : 0;
	}
}

/**
 * pt_consume - a received message's buffers are free again
 * @la:     lane
 * @frames: as the event said
 * @life:   as the event said; nothing happens if the peer died since
 */
void pt_consume(struct pt_lane *la, u16 frames, u32 life)
{
	if (life != la->link->life)
		return;
	la->crd_grant += frames;
	credit_returned(la);
}

static void slot_done(struct pt_lane *la, struct pt_slot *s, int status, struct pt_event *ev)
{
	ev->slot = s;
	s->status = status;
	if (s->cancel.state == PT_TX_QUEUED) {
		pt_queue_del(&la->msgq, &s->cancel);
		s->cancel.state = PT_TX_FREE;
	}
	if (s->state == PT_SLOT_ZOMBIE) {
		la->stats.late++;
		ev->what = PT_EV_ZOMBIE;
	} else {
		s->state = PT_SLOT_DONE;
		ev->what = PT_EV_DONE;
	}
}

/* The slot that an answer is for, or NULL if no such request is out. */
static struct pt_slot *slot_find(struct pt_lane *la, u16 slot, u16 gen)
{
	struct pt_slot *s;

	if (slot >= la->link->node->cfg.slots)
		return NULL;
	s = &la->slots[slot];
	if ((s->state != PT_SLOT_WAITING && s->state != PT_SLOT_ZOMBIE) ||
	    s->gen != gen || s->tx.state == PT_TX_QUEUED)
		return NULL;
	if (s->leader && s->leader->gen == s->lead_gen && s->leader->tx.state == PT_TX_QUEUED)
		return NULL;
	return s;
}

/* An answer shows that its request arrived, and so all before it. */
static bool slot_acked(struct pt_lane *la, struct pt_slot *s)
{
	u32 last = pt_tx_last(&s->tx);

	if (s->tx.state == PT_TX_FREE)
		return true;
	return !pt_after(last, la->tx_posted) &&
	       (!pt_after(last, la->tx_acked) || pt_lane_acked(la, last));
}

static int rx_answer(struct pt_lane *la, const struct pw_hdr *h, const void *payload, u32 len,
		     struct pt_event *ev)
{
	struct pt_slot *s = slot_find(la, le16_to_cpu(h->slot), le16_to_cpu(h->gen));
	u32 total = le32_to_cpu(h->total), frag = le16_to_cpu(h->frag);
	u32 off = frag * PW_PAYLOAD, want;
	s32 status = (s32)le32_to_cpu(h->arg);

	if (!s || !slot_acked(la, s))
		return -EPROTO;
	if (h->kind == PW_PAGE) {
		if (s->frame == PW_NOFRAME || frag || total != len ||
		    len != 1u << la->link->node->page_shift)
			return -EPROTO;
		slot_done(la, s, 0, ev);
		return 0;
	}
	if (total > s->ans_max || status > 0 || status < -4095 || (status && total) ||
	    frag != s->ans_len / PW_PAYLOAD || off != s->ans_len)
		return -EPROTO;
	want = total - off < PW_PAYLOAD ? total - off : PW_PAYLOAD;
	if (off > total || len != want)
		return -EPROTO;
	if (s->ans && len)
		memcpy((u8 *)s->ans + off, payload, len);
	s->ans_len += len;
	if (s->ans_len < total)
		return 0;
	/* A page request is answered with a page or an error. */
	if (!status && s->frame != PW_NOFRAME)
		status = -EPROTO;
	slot_done(la, s, status, ev);
	return 0;
}

static void open_answer(struct pt_lane *la, u16 slot, u16 gen, u32 frame, u32 max)
{
	struct pt_ans *a = &la->ans[slot];

	a->state = PT_ANS_OPEN;
	a->gen = gen;
	a->frame = frame;
	a->max = max;
	a->tx.notify = false;
}

static bool can_open(const struct pt_lane *la, u16 slot)
{
	return slot < la->link->node->cfg.slots && la->ans[slot].state == PT_ANS_IDLE;
}

/* A slot is used again only when its requester has the answer. */
static int rx_request(struct pt_lane *la, const void *payload, struct pt_event *ev)
{
	const struct pw_hdr *h = &la->rx_first;
	u32 arg = le32_to_cpu(h->arg), i;
	const struct pw_want *w = payload;

	ev->aslot = le16_to_cpu(h->slot);
	ev->gen = le16_to_cpu(h->gen);
	ev->frame = PW_NOFRAME;
	if (!can_open(la, ev->aslot))
		return -EPROTO;
	if (!(h->flags & PW_F_PAGES)) {
		if (h->flags & PW_F_PAGE)
			ev->frame = arg;
		open_answer(la, ev->aslot, ev->gen, ev->frame, h->flags & PW_F_PAGE ? 0 : arg);
		return 0;
	}
	if (w[0].slot != h->slot || w[0].gen != h->gen)
		return -EPROTO;
	for (i = 0; i < arg; i++) {
		/* One that is named twice is open the second time. */
		if (!can_open(la, le16_to_cpu(w[i].slot)))
			goto undo;
		open_answer(la, le16_to_cpu(w[i].slot), le16_to_cpu(w[i].gen),
			    le32_to_cpu(w[i].frame), 0);
	}
	ev->wants = arg;
	return 0;

undo:
	while (i--)
		la->ans[le16_to_cpu(w[i].slot)].state = PT_ANS_IDLE;
	return -EPROTO;
}

/* Is this first frame of a request possible? */
static bool request_ok(const struct pt_lane *la, const struct pw_hdr *h, u32 total)
{
	u32 arg = le32_to_cpu(h->arg);

	if (h->flags & PW_F_PAGES)
		return la->class != PW_URGENT && arg && arg <= PW_WANTS_MAX &&
		       total <= PW_PAYLOAD && total >= arg * sizeof(struct pw_want);
	if (h->flags & PW_F_PAGE)
		return la->class != PW_URGENT;
	return arg <= PW_MSG_MAX;
}

/* Requests, one-ways and cancels: whole messages, frame by frame. */
static int rx_message(struct pt_lane *la, const struct pw_hdr *h, const void *payload,
		      u32 len, struct pt_event *ev)
{
	u32 total = le32_to_cpu(h->total), frag = le16_to_cpu(h->frag);
	const struct pw_hdr *first = &la->rx_first;
	u16 slot = le16_to_cpu(h->slot);
	u32 left;

	if (!(s32)(la->crd_told - la->crd_rx)) /* used more than it was given */
		return -EPROTO;
	if (frag != la->rx_frag || total > PW_MSG_MAX)
		return -EPROTO;
	if (!frag) {
		if (h->kind != PW_MSG && slot >= la->link->node->cfg.slots)
			return -EPROTO;
		if (h->kind == PW_CANCEL && total)
			return -EPROTO;
		if (h->kind == PW_REQ && !request_ok(la, h, total))
			return -EPROTO;
		la->rx_first = *h;
		la->rx_frags = pt_frames(total);
	} else if (h->kind != first->kind || h->type != first->type || h->slot != first->slot ||
		   h->gen != first->gen || h->total != first->total) {
		return -EPROTO;
	}
	left = total - frag * PW_PAYLOAD;
	if (frag >= la->rx_frags || len != (left < PW_PAYLOAD ? left : PW_PAYLOAD))
		return -EPROTO;
	if (h->kind == PW_REQ && frag + 1 == la->rx_frags && rx_request(la, payload, ev))
		return -EPROTO;

	ev->kind = h->kind;
	ev->type = le16_to_cpu(h->type);
	ev->frames = la->rx_frags;
	ev->total = total;
	ev->life = la->link->life;
	if (++la->rx_frag < la->rx_frags) {
		ev->what = PT_EV_FRAG;
	} else {
		la->rx_frag = 0;
		if (h->kind == PW_REQ) {
			ev->what = PT_EV_REQ;
		} else if (h->kind == PW_MSG) {
			ev->what = PT_EV_MSG;
		} else {
			struct pt_ans *a = pt_ans_get(la, slot, le16_to_cpu(h->gen),
						      la->link->life);

			if (a)
				pt_ans_send(la, a, -ECANCELED, 0);
			la->crd_grant++;
			credit_returned(la);
		}
		if (ev->what != PT_EV_NONE) {
			la->stats.rx_msgs++;
			la->stats.rx_bytes += total;
		}
	}
	la->crd_rx++;
	return 0;
}

static int rx_unsequenced(struct pt_lane *la, const struct pw_hdr *h, const void *payload,
			  u32 len)
{
	struct pw_heartbeat hb;

	if (le32_to_cpu(h->seq) != la->rx_seq || len != (h->kind == PW_HB ? sizeof(hb) : 0))
		return -EPROTO;
	if (h->kind == PW_HB) {
		memcpy(&hb, payload, sizeof(hb));
		pt_link_heartbeat(la->link, le64_to_cpu(hb.sent), le64_to_cpu(hb.echo));
	} else if (h->kind == PW_BYE) {
		pt_link_bye_received(la->link);
	}
	return 0;
}

/**
 * pt_lane_rx - a frame has come
 * @la:      lane
 * @h:       its header
 * @payload: its payload, 4-byte aligned; of PW_PAGE not looked at: it is in the
 *           named frame
 * @len:     payload bytes that really came
 * @ev:      what it means
 *
 * Any context. Return: 0, or -EPROTO if no correct peer sends that: the caller
 * calls pt_link_fault(); @ev says nothing then, and the buffer is free.
 */
int pt_lane_rx(struct pt_lane *la, const struct pw_hdr *h, const void *payload, u32 len,
	       struct pt_event *ev)
{
	u32 credit = le32_to_cpu(h->credit);
	int r;

	memset(ev, 0, sizeof(*ev));
	if (!la->ready || le16_to_cpu(h->len) != len || h->kind >= PW_KINDS ||
	    (h->kind >= PW_MSG && le32_to_cpu(h->seq) != la->rx_seq + 1))
		return -EPROTO;
	/* Credit never shrinks, and is never more than 16 bits ahead. */
	if (pt_after(la->crd_limit, credit) || credit - la->crd_used > 0xffff ||
	    !pt_lane_acked(la, le32_to_cpu(h->ack)))
		return -EPROTO;
	la->crd_limit = credit;
	la->link->heard = true;

	switch (h->kind) {
	case PW_NOP:
	case PW_HB:
	case PW_BYE:
		r = rx_unsequenced(la, h, payload, len);
		break;
	case PW_ANS:
	case PW_PAGE:
		r = rx_answer(la, h, payload, len, ev);
		if (!r && ev->slot) {
			la->stats.rx_msgs++;
			la->stats.rx_bytes += le32_to_cpu(h->total);
		}
		break;
	default:
		r = rx_message(la, h, payload, len, ev);
	}
	if (r) {
		memset(ev, 0, sizeof(*ev));
		return r;
	}
	if (h->kind >= PW_MSG)
		la->rx_seq++;
	if (la->msgq.head)
		pt_lane_kick(la);
	return 0;
}

/**
 * pt_lane_rx_imm - a page was written into the frame of a request
 * @la:    lane
 * @imm:   the immediate
 * @bytes: bytes written
 * @ev:    what it means
 *
 * Any context. Return: as pt_lane_rx().
 */
int pt_lane_rx_imm(struct pt_lane *la, u32 imm, u32 bytes, struct pt_event *ev)
{
	struct pt_slot *s = slot_find(la, PW_IMM_SLOT(imm), PW_IMM_GEN(imm));

	memset(ev, 0, sizeof(*ev));
	if (!la->ready || !s || s->frame == PW_NOFRAME ||
	    bytes != 1u << la->link->node->page_shift || !slot_acked(la, s))
		return -EPROTO;
	la->link->heard = true;
	la->rx_seq++;
	la->stats.rx_msgs++;
	la->stats.rx_bytes += bytes;
	slot_done(la, s, 0, ev);
	return 0;
}

/**
 * pt_lane_rx_page - where the payload of a PW_PAGE frame goes
 * @la: lane
 * @h:  its header
 *
 * Return: the handle of the frame named by the request, or NULL if nobody
 * asked: the link is to be faulted.
 */
void *pt_lane_rx_page(struct pt_lane *la, const struct pw_hdr *h)
{
	struct pt_slot *s = slot_find(la, le16_to_cpu(h->slot), le16_to_cpu(h->gen));

	if (!la->ready || !s || s->frame == PW_NOFRAME ||
	    le32_to_cpu(h->seq) != la->rx_seq + 1 ||
	    le16_to_cpu(h->len) != 1u << la->link->node->page_shift)
		return NULL;
	return s->page;
}
