// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Lanes: the order, the credit and the exactly-once delivery of one class of
 * one link, and requests with their prepaid answers. The receiving half is in
 * rx.c.
 *
 * Sequence. A message is given numbers for all its frames when its first frame
 * goes out, and no other message comes between them. It stays in @sent until
 * the peer has acknowledged the last of them; a new session goes on at the
 * frame after the peer's last (pt_lane_resume). A page written by RDMA has no
 * header: it counts as the next number, since a lane keeps its order.
 *
 * Credit. The receiver says how many frames it allows in all: those that were
 * consumed plus its window. Only PW_MSG, PW_REQ and PW_CANCEL use credit, and a
 * message starts only with credit for all its frames. Answers use receives that
 * the requester reserved (prepaid). Unsequenced frames have PT_SPARE receives:
 * between two PW_NOPs for credit the peer used up half a window, PW_NOPs for
 * acknowledgement alone and PW_HBs are a tick or more apart, and they are
 * taken off and posted again at once; a burst that is late all the same is
 * held back by the wire (RNR, socket buffer) and lost nowhere.
 */
#include "lane.h"

/* All of a lane that depends on the peer's incarnation. */
void pt_lane_reset(struct pt_lane *la)
{
	const struct pt_cfg *cfg = &la->link->node->cfg;

	la->tx_seq = la->tx_posted = la->tx_acked = 0;
	la->rx_seq = la->ack_told = 0;
	la->crd_used = la->crd_limit = la->crd_rx = 0;
	la->crd_grant = la->crd_told = cfg->window;
	la->rx_frag = 0;
	la->cur = NULL;
	la->stalled = false;
	la->due = 0;
	la->peer_slots = PT_SLOTS_MIN;
}

void pt_lane_init(struct pt_lane *la, struct pt_link *l, u8 class,
		  struct pt_slot *slots, struct pt_ans *ans)
{
	const struct pt_cfg *cfg = &l->node->cfg;
	int i;

	memset(la, 0, sizeof(*la));
	la->link = l;
	la->class = class;
	pt_queue_init(&la->ansq);
	pt_queue_init(&la->msgq);
	pt_queue_init(&la->sent);
	pt_queue_init(&la->done);
	la->slots = slots;
	la->ans = ans;
	la->prepaid = cfg->prepaid;
	for (i = cfg->slots - 1; i >= 0; i--) {
		slots[i].index = i;
		slots[i].state = PT_SLOT_FREE;
		slots[i].next = la->slot_free;
		la->slot_free = &slots[i];
		ans[i].state = PT_ANS_IDLE;
	}
	pt_lane_reset(la);
}

static void cancel(struct pt_lane *la, struct pt_slot *s);

static void retire(struct pt_lane *la, struct pt_tx *tx, int status)
{
	tx->state = PT_TX_FREE;
	tx->status = status;
	if (tx->kind == PW_ANS || tx->kind == PW_PAGE) {
		la->ans[tx->slot].state = PT_ANS_IDLE;
	} else if (tx->kind == PW_CANCEL && !status) {
		struct pt_slot *s = &la->slots[tx->slot];

		if (s->state == PT_SLOT_ZOMBIE && s->gen != tx->gen)
			cancel(la, s);
	}
	if (tx->notify) {
		pt_queue_add(&la->done, tx);
		la->link->reap |= 1u << la->class;
	}
}

/**
 * pt_lane_reap - next message that the core is done with
 * @la: lane
 *
 * Gives back messages with notify set: acknowledged (status 0) or given up.
 * Return: the message, or NULL.
 */
struct pt_tx *pt_lane_reap(struct pt_lane *la)
{
	if (la->done.head)
		return pt_queue_pop(&la->done);
	la->link->reap &= ~(1u << la->class);
	return NULL;
}

/* The peer has everything up to @ack. Only what was posted can have arrived. */
bool pt_lane_acked(struct pt_lane *la, u32 ack)
{
	if (pt_after(ack, la->tx_posted) || pt_after(la->tx_acked, ack))
		return false;
	la->tx_acked = ack;
	while (la->sent.head && !pt_after(pt_tx_last(la->sent.head), ack)) {
		if (la->sent.head == la->cur)
			la->cur = la->cur->next;
		retire(la, pt_queue_pop(&la->sent), 0);
	}
	return true;
}

/**
 * pt_lane_resume - take up a lane where the peer's state says
 * @la:     lane, drained
 * @rx_seq: last frame that the peer received in order
 * @credit: the peer's credit limit
 * @slots:  requests that the peer serves
 *
 * Return: 0, or -EPROTO if that can't be: nothing is changed then.
 */
int pt_lane_resume(struct pt_lane *la, u32 rx_seq, u32 credit, u16 slots)
{
	struct pt_tx *tx;

	if (slots < PT_SLOTS_MIN || pt_after(rx_seq, la->tx_posted) ||
	    pt_after(la->tx_acked, rx_seq) || pt_after(la->crd_limit, credit) || credit - la->crd_used > 0xffff)
		return -EPROTO;
	la->cur = NULL;
	pt_lane_acked(la, rx_seq);
	for (tx = la->sent.head; tx; tx = tx->next) {
		u16 skip = pt_after(tx->seq, rx_seq) ? 0 : rx_seq + 1 - tx->seq;

		if (tx->sent > skip)
			la->stats.replays += tx->sent - skip;
		tx->sent = skip;
	}
	la->cur = la->sent.head;
	la->crd_limit = credit;
	la->peer_slots = slots;
	la->ready = true;
	return 0;
}

/* The other half: what this side tells. From here on the peer knows it. */
void pt_lane_tell(struct pt_lane *la, struct pw_state *st)
{
	memset(st, 0, sizeof(*st));
	st->rx_seq = cpu_to_le32(la->rx_seq);
	st->credit = cpu_to_le32(la->crd_grant);
	st->slots = cpu_to_le16(la->link->node->cfg.slots);
	la->ack_told = la->rx_seq;
	la->crd_told = la->crd_grant;
}

/* ---------------------------------------------------------------- sending */

static bool has_credit(const struct pt_lane *la, const struct pt_tx *tx)
{
	return (s32)(la->crd_limit - la->crd_used) >= tx->frames;
}

void pt_lane_kick(struct pt_lane *la)
{
	if (pt_lane_tx_pending(la))
		la->link->actions |= PT_ACT_TX(la->class);
}

static void enqueue(struct pt_lane *la, struct pt_queue *q, struct pt_tx *tx)
{
	tx->state = PT_TX_QUEUED;
	tx->sent = 0;
	pt_queue_add(q, tx);
	if (!la->link->tx_open)
		la->link->wanted = true;
	else if (q == &la->ansq || q->head != tx || has_credit(la, tx))
		la->link->actions |= PT_ACT_TX(la->class);
	if (q == &la->msgq && q->head == tx && !has_credit(la, tx) && !la->stalled) {
		la->stalled = true;
		la->stats.stalls++;
	}
}

/* First frame of a message: it gets its numbers and pays. */
static void start(struct pt_lane *la, struct pt_tx *tx)
{
	if (la->ansq.head == tx) {
		pt_queue_pop(&la->ansq);
	} else {
		pt_queue_pop(&la->msgq);
		la->crd_used += tx->frames;
		la->stalled = false;
		if (la->msgq.head && !has_credit(la, la->msgq.head)) {
			la->stalled = true;
			la->stats.stalls++;
		}
	}
	tx->seq = la->tx_seq + 1;
	la->tx_seq += tx->frames;
	tx->state = PT_TX_SENT;
	pt_queue_add(&la->sent, tx);
	la->cur = tx;
	la->stats.tx_msgs++;
	la->stats.tx_bytes += tx->len;
}

/* A frame with a header carries acknowledgement and credit. */
static void tell(struct pt_lane *la, struct pw_hdr *h)
{
	h->ack = cpu_to_le32(la->rx_seq);
	h->credit = cpu_to_le32(la->crd_grant);
	la->ack_told = la->rx_seq;
	la->crd_told = la->crd_grant;
	la->due &= ~PT_DUE_NOP;
}

/* Number of the last frame sent in this session: a replay may be under way. */
static u32 last_out(const struct pt_lane *la)
{
	return la->cur ? la->cur->seq + la->cur->sent - 1 : la->tx_seq;
}

static bool unsequenced(struct pt_lane *la, struct pt_out *out)
{
	struct pt_link *l = la->link;
	struct pw_hdr *h = &la->ctl.hdr;

	if (!la->due)
		return false;
	memset(h, 0, sizeof(*h));
	memset(out, 0, sizeof(*out));
	h->seq = cpu_to_le32(last_out(la));
	out->hdr = h;
	if (la->due & PT_DUE_BYE) {
		h->kind = PW_BYE;
		la->due &= ~PT_DUE_BYE;
	} else if (la->due & PT_DUE_HB) {
		h->kind = PW_HB;
		la->due &= ~PT_DUE_HB;
		la->ctl.hb.sent = cpu_to_le64(l->now);
		la->ctl.hb.echo = cpu_to_le64(l->peer_sent);
		out->len = sizeof(la->ctl.hb);
		h->len = cpu_to_le16(out->len);
		h->total = cpu_to_le32(out->len);
	} else {
		h->kind = PW_NOP;
	}
	la->stats.nops++;
	tell(la, h);
	return true;
}

/**
 * pt_lane_tx - take the lane's next frame
 * @la:  lane
 * @out: the frame; the driver must send it, in this order, or fault the link
 *
 * Heartbeats go first; answers go before messages, which may wait for credit.
 * Return: false if there is nothing to send now.
 */
bool pt_lane_tx(struct pt_lane *la, struct pt_out *out)
{
	struct pt_tx *tx;
	struct pw_hdr *h;
	u32 off;

	if (!la->link->tx_open)
		return false;
	if (unlikely(la->due & (PT_DUE_HB | PT_DUE_BYE)))
		return unsequenced(la, out);
	tx = pt_lane_tx_peek(la);
	if (!tx)
		return unsequenced(la, out);
	if (tx != la->cur)
		start(la, tx);

	h = tx->fv[tx->sent];
	off = tx->sent * PW_PAYLOAD;
	h->seq = cpu_to_le32(tx->seq + tx->sent);
	h->type = cpu_to_le16(tx->type);
	h->kind = tx->kind;
	h->flags = tx->flags;
	h->slot = cpu_to_le16(tx->slot);
	h->gen = cpu_to_le16(tx->gen);
	h->frag = cpu_to_le16(tx->sent);
	h->total = cpu_to_le32(tx->len);
	h->arg = cpu_to_le32(tx->arg);
	out->hdr = h;
	out->page = tx->page;
	if (tx->kind == PW_PAGE) {
		h->len = cpu_to_le16(tx->len);
		out->len = 0;
		out->frame = tx->frame;
		out->imm = PW_IMM(tx->slot, tx->gen);
	} else {
		out->len = tx->len - off < PW_PAYLOAD ? tx->len - off : PW_PAYLOAD;
		h->len = cpu_to_le16(out->len);
	}
	if (tx->kind != PW_PAGE || !la->link->imm)
		tell(la, h);
	if (pt_after(tx->seq + tx->sent, la->tx_posted))
		la->tx_posted = tx->seq + tx->sent;
	if (++tx->sent == tx->frames)
		la->cur = tx->next;
	return true;
}

/**
 * pt_lane_nop - have a frame go out even if there is nothing to say
 * @la: lane
 */
void pt_lane_nop(struct pt_lane *la)
{
	la->due |= PT_DUE_NOP;
	pt_lane_kick(la);
}

static void tx_fill(struct pt_tx *tx, u8 kind, u16 type, u32 len)
{
	tx->kind = kind;
	tx->flags = 0;
	tx->type = type;
	tx->len = len;
	tx->frames = pt_frames(len);
	tx->arg = 0;
	tx->page = NULL;
}

/* A message without payload lives in its own header. */
static void tx_bare(struct pt_tx *tx)
{
	tx->one = &tx->hdr;
	tx->fv = &tx->one;
}

/**
 * pt_send - queue a one-way message
 * @la:   lane
 * @tx:   entry with fv and notify set, payload filled in; FREE
 * @type: message type
 * @len:  payload bytes, at most PW_MSG_MAX
 *
 * Return: 0, -EHOSTDOWN if the peer is dead, -EMSGSIZE.
 */
int pt_send(struct pt_lane *la, struct pt_tx *tx, u16 type, u32 len)
{
	if (la->link->dead) {
		la->link->wanted = true;
		return -EHOSTDOWN;
	}
	if (len > PW_MSG_MAX)
		return -EMSGSIZE;
	tx_fill(tx, PW_MSG, type, len);
	tx->slot = tx->gen = 0;
	enqueue(la, &la->msgq, tx);
	return 0;
}

/**
 * pt_slot_get - take a request slot and reserve the answer's receives
 * @la:      lane
 * @ans_max: longest answer in bytes; 0 for a page
 *
 * The caller fills in tx.fv (and the payload there), ans, frame, page and ctx,
 * then calls pt_slot_send(). Return: the slot, or NULL if all are in use.
 */
struct pt_slot *pt_slot_get(struct pt_lane *la, u32 ans_max)
{
	u32 units = pt_frames(ans_max);
	struct pt_slot *s, **p;

	/* The peer may serve fewer slots than there are. */
	for (p = &la->slot_free; *p && (*p)->index >= la->peer_slots; p = &(*p)->next)
		;
	s = *p;
	if (!s || units > la->prepaid || ans_max > PW_MSG_MAX)
		return NULL;
	*p = s->next;
	la->slots_used++;
	la->prepaid -= units;
	s->state = PT_SLOT_TAKEN;
	s->gen++;
	s->units = units;
	s->batch = 0;
	s->leader = NULL;
	s->ans = NULL;
	s->ans_max = ans_max;
	s->ans_len = 0;
	s->frame = PW_NOFRAME;
	s->page = NULL;
	s->ctx = NULL;
	s->status = 0;
	return s;
}

/**
 * pt_slot_put - give a slot back: TAKEN and not sent, DONE, or an event's ZOMBIE
 * @la: lane
 * @s:  slot
 */
void pt_slot_put(struct pt_lane *la, struct pt_slot *s)
{
	s->state = PT_SLOT_FREE;
	la->prepaid += s->units;
	la->slots_used--;
	s->next = la->slot_free;
	la->slot_free = s;
}

/**
 * pt_slot_send - queue the request of a slot
 * @la:       lane
 * @s:        slot from pt_slot_get()
 * @type:     message type
 * @len:      payload bytes
 * @deadline: ms; an answer that hasn't come by then is an error
 *
 * Pages don't go on URGENT: remote keys come there, and a page has to wait for
 * them. Return: 0, -EHOSTDOWN, -EMSGSIZE, -EINVAL; on error the slot is still
 * the caller's.
 */
int pt_slot_send(struct pt_lane *la, struct pt_slot *s, u16 type, u32 len, u64 deadline)
{
	if (la->link->dead) {
		la->link->wanted = true;
		return -EHOSTDOWN;
	}
	if (len > PW_MSG_MAX)
		return -EMSGSIZE;
	if (s->frame != PW_NOFRAME && la->class == PW_URGENT)
		return -EINVAL;
	tx_fill(&s->tx, PW_REQ, type, len);
	s->tx.notify = false;
	s->tx.slot = s->index;
	s->tx.gen = s->gen;
	s->tx.arg = s->ans_max;
	if (s->frame != PW_NOFRAME) {
		s->tx.flags = PW_F_PAGE;
		s->tx.arg = s->frame;
	}
	s->state = PT_SLOT_WAITING;
	s->deadline = deadline;
	enqueue(la, &la->msgq, &s->tx);
	return 0;
}

/**
 * pt_slots_send - queue one request for several pages
 * @la:       lane
 * @s:        slots, each with a frame; the first one's tx has the payload
 * @n:        how many, 1 to PW_WANTS_MAX
 * @type:     message type
 * @len:      payload bytes, in a single frame: @n struct pw_want, filled in
 *            here, then the caller's
 * @deadline: ms, for each of them
 *
 * Each slot is answered, timed out or abandoned by itself.
 * Return: 0, -EHOSTDOWN, -EMSGSIZE, -EINVAL; on error they are all the caller's.
 */
int pt_slots_send(struct pt_lane *la, struct pt_slot **s, u32 n, u16 type, u32 len,
		  u64 deadline)
{
	struct pw_want *w;
	u32 i;
	int r;

	if (!n || n > PW_WANTS_MAX || len > PW_PAYLOAD || len < n * sizeof(*w))
		return -EMSGSIZE;
	for (i = 0; i < n; i++)
		if (s[i]->frame == PW_NOFRAME)
			return -EINVAL;
	r = pt_slot_send(la, s[0], type, len, deadline);
	if (r)
		return r;
	s[0]->tx.flags = PW_F_PAGES;
	s[0]->tx.arg = n;
	s[0]->batch = n;
	w = (struct pw_want *)((struct pw_hdr *)s[0]->tx.fv[0] + 1);
	for (i = 0; i < n; i++) {
		w[i].frame = cpu_to_le32(s[i]->frame);
		w[i].slot = cpu_to_le16(s[i]->index);
		w[i].gen = cpu_to_le16(s[i]->gen);
		s[i]->state = PT_SLOT_WAITING;
		s[i]->deadline = deadline;
		if (i) {
			s[i]->leader = s[0];
			s[i]->lead_gen = s[0]->gen;
		}
	}
	return 0;
}

static void cancel(struct pt_lane *la, struct pt_slot *s)
{
	tx_bare(&s->cancel);
	tx_fill(&s->cancel, PW_CANCEL, PW_T_NONE, 0);
	s->cancel.notify = false;
	s->cancel.slot = s->index;
	s->cancel.gen = s->gen;
	enqueue(la, &la->msgq, &s->cancel);
}

/**
 * pt_slot_abandon - the waiter goes
 * @la: lane
 * @s:  slot, WAITING or DONE; its ans, frame and page must outlive the request
 *
 * Return: true if the slot (and what it holds) is free: the caller puts it.
 * False: it is a zombie now, and PT_EV_ZOMBIE or pt_link_fail_next() says when
 * the answer can no longer come. Its @ans is forgotten at once.
 */
bool pt_slot_abandon(struct pt_lane *la, struct pt_slot *s)
{
	if (s->state == PT_SLOT_DONE || s->state == PT_SLOT_TAKEN)
		return true;
	s->ans = NULL;
	s->ctx = NULL;
	if (s->tx.state == PT_TX_QUEUED && s->batch < 2) {
		pt_queue_del(&la->msgq, &s->tx);
		s->tx.state = PT_TX_FREE;
		pt_lane_kick(la);
		return true;
	}
	s->state = PT_SLOT_ZOMBIE;
	/* The cancel of an earlier use may still be unacknowledged: see retire(). */
	if (s->cancel.state == PT_TX_FREE)
		cancel(la, s);
	return false;
}

/**
 * pt_ans_get - find the entry in which a request is answered
 * @la:   lane
 * @slot: from the request's event
 * @gen:  from there
 * @life: from there
 *
 * Return: the entry; the caller fills in tx.fv and the payload, then calls
 * pt_ans_send() or pt_ans_send_page(). NULL if the request was cancelled or
 * its requester died: nobody waits for the answer.
 */
struct pt_ans *pt_ans_get(struct pt_lane *la, u16 slot, u16 gen, u32 life)
{
	struct pt_ans *a = &la->ans[slot];

	if (life != la->link->life || a->state != PT_ANS_OPEN || a->gen != gen)
		return NULL;
	return a;
}

static void ans_queue(struct pt_lane *la, struct pt_ans *a, u8 kind, u32 len)
{
	struct pt_tx *tx = &a->tx;

	tx_fill(tx, kind, PW_T_NONE, len);
	tx->slot = a - la->ans;
	tx->gen = a->gen;
	a->state = PT_ANS_SENT;
	enqueue(la, &la->ansq, tx);
}

/**
 * pt_ans_send - answer a request
 * @la:     lane
 * @a:      from pt_ans_get()
 * @status: 0 or -errno
 * @len:    payload bytes in tx.fv; none with an error
 *
 * Return: 0, or -EMSGSIZE if more than the requester prepaid (it is still to
 * be answered then).
 */
int pt_ans_send(struct pt_lane *la, struct pt_ans *a, int status, u32 len)
{
	if (len > a->max)
		return -EMSGSIZE;
	if (!len)
		tx_bare(&a->tx);
	ans_queue(la, a, PW_ANS, len);
	a->tx.arg = status;
	return 0;
}

/**
 * pt_ans_send_page - answer a page request with the page
 * @la:   lane
 * @a:    from pt_ans_get(); tx.notify is set, the page is held until reaped
 * @page: engine's handle
 *
 * Return: 0, or -EINVAL if the request named no frame.
 */
int pt_ans_send_page(struct pt_lane *la, struct pt_ans *a, void *page)
{
	if (a->frame == PW_NOFRAME)
		return -EINVAL;
	tx_bare(&a->tx);
	ans_queue(la, a, PW_PAGE, 1u << la->link->node->page_shift);
	a->tx.frames = 1;
	a->tx.page = page;
	a->tx.frame = a->frame;
	return 0;
}

/* ------------------------------------------------------- time and failure */

/* A tick: acknowledge what nothing has carried, time out what nobody answers. */
void pt_lane_tick(struct pt_lane *la, u64 now)
{
	u16 i;

	if (la->ack_told != la->rx_seq || la->crd_told != la->crd_grant) {
		la->due |= PT_DUE_NOP;
		pt_lane_kick(la);
	}
	if (!la->slots_used)
		return;
	for (i = 0; i < la->link->node->cfg.slots; i++)
		if (la->slots[i].state == PT_SLOT_WAITING && now >= la->slots[i].deadline)
			la->link->actions |= PT_ACT_TIMEOUT;
}

/**
 * pt_lane_timeout_next - next request whose answer is overdue
 * @la:  lane
 * @now: ms
 *
 * After PT_ACT_TIMEOUT. The engine completes the waiter with -ETIMEDOUT and
 * calls pt_slot_abandon(). Return: the slot, or NULL.
 */
struct pt_slot *pt_lane_timeout_next(struct pt_lane *la, u64 now)
{
	u16 i;

	for (i = 0; i < la->link->node->cfg.slots; i++)
		if (la->slots[i].state == PT_SLOT_WAITING && now >= la->slots[i].deadline)
			return &la->slots[i];
	return NULL;
}

/* Everything queued or unacknowledged has failed; slots are left for fail_next. */
void pt_lane_fail(struct pt_lane *la, int status)
{
	struct pt_queue *q[] = { &la->sent, &la->ansq, &la->msgq };
	unsigned int i;

	for (i = 0; i < 3; i++)
		while (q[i]->head)
			retire(la, pt_queue_pop(q[i]), status);
	for (i = 0; i < la->link->node->cfg.slots; i++)
		la->ans[i].state = PT_ANS_IDLE;
	pt_lane_reset(la);
}

struct pt_slot *pt_lane_fail_next(struct pt_lane *la, int status)
{
	u16 i;

	if (!la->slots_used)
		return NULL;
	for (i = 0; i < la->link->node->cfg.slots; i++) {
		struct pt_slot *s = &la->slots[i];

		if (s->state == PT_SLOT_WAITING) {
			s->state = PT_SLOT_DONE;
			s->status = status;
			return s;
		}
		if (s->state == PT_SLOT_ZOMBIE)
			return s;
	}
	return NULL;
}
