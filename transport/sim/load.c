// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the nodes do with the transport, and the truth that it is held against:
 * messages, requests and pages at random, every one followed from its sender
 * to its end.
 */
#include "sim.h"

#define QUEUE_MAX	48		/* one-ways of a lane not acknowledged: then wait */
#define MSG_SALT	0x6d65737361676531ull
#define ANS_SALT	0x616e737765727331ull

static void work(struct sim *s, void *arg, u64 unused);

/* ------------------------------------------------------------------- contents */

/* Byte @off of a payload, by whose it is: cheap, and never the same twice. */
static void fill(u8 *buf, u32 len, u64 key)
{
	u64 x = sim_mix(key);
	u32 i;

	for (i = 0; i < len; i++) {
		if (!(i & 7))
			x = x * 6364136223846793005ull + 1442695040888963407ull;
		buf[i] = x >> (8 * (i & 7));
	}
}

static bool matches(const u8 *buf, u32 from, u32 len, u64 key)
{
	u64 x = sim_mix(key);
	u32 i;

	for (i = 0; i < len; i++) {
		if (!(i & 7))
			x = x * 6364136223846793005ull + 1442695040888963407ull;
		if (i >= from && buf[i] != (u8)(x >> (8 * (i & 7))))
			return false;
	}
	return true;
}

void load_page_tag(u64 id, u64 w[PAGE_WORDS])
{
	int i;

	for (i = 0; i < PAGE_WORDS; i++)
		w[i] = sim_mix(id * PAGE_WORDS + i);
}

/* Frame buffers as the core wants them: header space, then payload. */
static void **fv_new(struct sim *s, u32 len, u64 key)
{
	u32 frames = pt_frames(len), i;
	void **fv = sim_alloc(s, (frames + 1) * sizeof(*fv));
	u8 *all = sim_alloc(s, len + 1);

	fill(all, len, key);
	for (i = 0; i < frames; i++) {
		u32 off = i * PW_PAYLOAD, part = len - off < PW_PAYLOAD ? len - off : PW_PAYLOAD;

		fv[i] = sim_alloc(s, PW_HDR + part);
		memcpy((u8 *)fv[i] + PW_HDR, all + off, part);
	}
	sim_free(s, all);
	return fv;
}

static void fv_free(struct sim *s, void **fv)
{
	u32 i;

	if (!fv)
		return;
	for (i = 0; fv[i]; i++)
		sim_free(s, fv[i]);
	sim_free(s, fv);
}

static u32 some_len(struct sim *s, u32 max)
{
	u32 len;

	if (sim_chance(s, 100))
		return 0;
	len = sim_spread(s, 0, sim_chance(s, 30) ? PW_MSG_MAX : sim_chance(s, 100) ? 12000 : 300);
	/* Lengths around a frame's end are where mistakes are. */
	if (sim_chance(s, 20))
		len = PW_PAYLOAD * (1 + sim_below(s, 3)) - 1 + sim_below(s, 3);
	return len < max ? len : max;
}

/* ------------------------------------------------------------------- messages */

void msg_put(struct sim *s, struct msg *m)
{
	u32 i;

	if (--m->refs)
		return;
	for (i = 1; i < m->batch_n; i++)
		msg_put(s, m->batch[i]);
	fv_free(s, m->fv);
	sim_free(s, m->ans);
	sim_free(s, m);
}

static struct msg *msg_new(struct sim *s, struct slink *sl, u8 class, u8 kind, u32 len)
{
	struct msg *m = sim_alloc(s, sizeof(*m));

	m->id = ++s->next_id;
	m->refs = 1;
	m->class = class;
	m->kind = kind;
	m->type = PW_T_USER + sim_below(s, 1000);
	m->len = len;
	m->fv = fv_new(s, len, m->id ^ MSG_SALT);
	m->sl = sl;
	m->boot = sl->n->boot;
	m->frame = -1;
	m->asked = s->now;
	return m;
}

/* The core has taken it: it has its place in the order. */
static void stream_add(struct sim *s, struct slink *sl, struct msg *m)
{
	struct stream *st = sl->st[m->class];

	if (!st || st->life != sl->l.life) {
		st = sim_alloc(s, sizeof(*st));
		st->src = sl->n->id;
		st->dst = sl->l.peer;
		st->src_inc = sl->n->pn.incarnation;
		st->class = m->class;
		st->life = sl->l.life;
		st->tail = &st->head;
		st->next = s->streams;
		s->streams = st;
		sl->st[m->class] = st;
	}
	m->st = st;
	m->next = NULL;
	*st->tail = msg_get(m);
	st->tail = &m->next;
}

static void stream_pop(struct sim *s, struct stream *st)
{
	struct msg *m = st->head;

	st->head = m->next;
	if (!st->head)
		st->tail = &st->head;
	msg_put(s, m);
}

/* ------------------------------------------------------------------ requesters */

static int frame_take(struct snode *n, struct msg *m)
{
	int f;

	if (!n->frames_free)
		return -1;
	f = n->frame_free[--n->frames_free];
	n->frame[f].owner = m;
	return f;
}

/* Last freed, first used: reuse as fast as the rules allow. */
void frame_release(struct sim *s, struct snode *n, int f, struct msg *m)
{
	if (n->frame[f].owner != m) {
		if (s->bug == BUG_FREE_ON_TIMEOUT)
			return;
		sim_fail(s, "node %u: frame %d freed twice", n->id, f);
	}
	n->frame[f].owner = NULL;
	n->frame_free[n->frames_free++] = f;
}

/* The slot is ours again, and so is all that it held. */
static void request_over(struct sim *s, struct slink *sl, struct pt_slot *slot, struct msg *m)
{
	if (m->frame >= 0)
		frame_release(s, sl->n, m->frame, m);
	sl->req[m->class][slot->index] = NULL;
	m->slot = NULL;
	m->state = M_OVER;
	pt_slot_put(&sl->l.lane[m->class], slot);
	fv_free(s, m->fv);
	m->fv = NULL;
	msg_put(s, m);
}

static void looks(struct sim *s, struct slink *sl, struct pt_slot *slot, struct msg *m)
{
	u64 w[PAGE_WORDS];

	m->waiting = false;
	m->status = slot->status;
	if (!m->answered) {
		/* pt_link_fail_next() */
		if (slot->status >= 0)
			sim_fail(s, "node %u: request %llu succeeded without an answer", sl->n->id,
				 (unsigned long long)m->id);
		s->st.failed++;
	} else if (slot->status != m->ans_status) {
		sim_fail(s, "node %u: request %llu got status %d, was answered %d", sl->n->id,
			 (unsigned long long)m->id, slot->status, m->ans_status);
	} else if (!slot->status && m->frame >= 0) {
		load_page_tag(m->id, w);
		if (memcmp(w, sl->n->frame[m->frame].w, sizeof(w)))
			sim_fail(s, "node %u: request %llu got a page that isn't its own",
				 sl->n->id, (unsigned long long)m->id);
		s->st.pages++;
	} else if (!slot->status) {
		if (slot->ans_len != m->ans_len ||
		    !matches(m->ans, 0, m->ans_len, m->id ^ ANS_SALT))
			sim_fail(s, "node %u: request %llu got a wrong answer", sl->n->id,
				 (unsigned long long)m->id);
	}
	if (m->answered)
		s->st.answered++;
	request_over(s, sl, slot, m);
}

/* A waiter that was woken and gets the CPU only now. */
static void looks_late(struct sim *s, void *arg, u64 unused)
{
	struct msg *m = arg;
	struct snode *n = &s->nodes[m->st->src];

	(void)unused;
	if (node_is(n, m->boot) && m->slot) {
		looks(s, m->sl, m->slot, m);
		eng_act(s, m->sl);
	}
	msg_put(s, m);
}

void load_answered(struct sim *s, struct slink *sl, u8 class, struct pt_slot *slot)
{
	struct msg *m = sl->req[class][slot->index];

	if (slot->state == PT_SLOT_ZOMBIE) {
		if (m->waiting)
			sim_fail(s, "node %u: request %llu is a zombie with a waiter", sl->n->id,
				 (unsigned long long)m->id);
		s->st.late++;
		request_over(s, sl, slot, m);
		return;
	}
	if (!m->waiting)
		sim_fail(s, "node %u: request %llu is done, nobody waits", sl->n->id,
			 (unsigned long long)m->id);
	if (sim_chance(s, 200))
		sim_at(s, s->now + sim_spread(s, 0, MS), looks_late, msg_get(m), 0);
	else
		looks(s, sl, slot, m);
}

void load_failed(struct sim *s, struct slink *sl, struct pt_slot *slot)
{
	struct msg *m = sl->req[(slot - sl->slots) / sl->n->pn.cfg.slots][slot->index];

	if (slot->state == PT_SLOT_ZOMBIE)
		request_over(s, sl, slot, m);
	else
		looks(s, sl, slot, m);
}

static void give_up(struct sim *s, struct slink *sl, struct pt_slot *slot, struct msg *m,
		    int status)
{
	bool done = slot->state == PT_SLOT_DONE;

	m->waiting = false;
	m->status = status;
	if (s->bug == BUG_FREE_ON_TIMEOUT && m->frame >= 0)
		frame_release(s, sl->n, m->frame, m);
	if (!pt_slot_abandon(&sl->l.lane[m->class], slot))
		return;
	msg_get(m);
	request_over(s, sl, slot, m);
	if (!done)
		m->state = M_WITHDRAWN;
	msg_put(s, m);
}

void load_timeouts(struct sim *s, struct slink *sl, u8 class)
{
	struct pt_lane *la = &sl->l.lane[class];
	u64 now = node_ms(sl->n);
	struct pt_slot *slot;

	while ((slot = pt_lane_timeout_next(la, now))) {
		struct msg *m = sl->req[class][slot->index];

		/* A waiter isn't left alone for longer than it said. */
		if (now > m->deadline + 30 && s->now > sl->n->woken + 50 * MS)
			sim_fail(s, "node %u: request %llu timed out %llu ms late", sl->n->id,
				 (unsigned long long)m->id,
				 (unsigned long long)(now - m->deadline));
		s->st.timeouts++;
		give_up(s, sl, slot, m, -ETIMEDOUT);
	}
}

static void killed(struct sim *s, void *arg, u64 unused)
{
	struct msg *m = arg;
	struct snode *n = &s->nodes[m->st->src];

	(void)unused;
	if (node_is(n, m->boot) && m->slot && m->waiting) {
		struct slink *sl = m->sl;

		s->st.killed++;
		give_up(s, sl, m->slot, m, -EINTR);
		eng_act(s, sl);
	}
	msg_put(s, m);
}

static void kill_later(struct sim *s, struct msg *m)
{
	if (sim_chance(s, 50))
		sim_at(s, s->now + sim_spread(s, 0, 50 * MS), killed, msg_get(m), 0);
}

static struct msg *ask_one(struct sim *s, struct slink *sl, u8 class, struct pt_slot *slot,
			   u32 ans_max, u32 len)
{
	struct msg *m = msg_new(s, sl, class, PW_REQ, len);

	m->ans_max = ans_max;
	m->ans = sim_alloc(s, ans_max + 1);
	m->slot = slot;
	m->index = slot->index;
	m->gen = slot->gen;
	slot->tx.fv = m->fv;
	slot->ans = m->ans;
	slot->ctx = m;
	sl->req[class][slot->index] = m;
	return m;
}

static u64 some_deadline(struct sim *s, struct snode *n)
{
	return sim_chance(s, 300) ? FOREVER :
	       node_ms(n) + sim_spread(s, 1, 2 * n->pn.cfg.dead_ms);
}

static void ask(struct sim *s, struct slink *sl, u8 class)
{
	struct pt_lane *la = &sl->l.lane[class];
	u32 ans_max = some_len(s, PW_MSG_MAX);
	struct pt_slot *slot = pt_slot_get(la, ans_max);
	struct msg *m;

	if (!slot)
		return;
	m = ask_one(s, sl, class, slot, ans_max, some_len(s, PW_MSG_MAX));
	m->deadline = some_deadline(s, sl->n);
	if (pt_slot_send(la, slot, m->type, m->len, m->deadline)) {
		request_over(s, sl, slot, m);
		return;
	}
	s->st.asked++;
	m->waiting = true;
	stream_add(s, sl, m);
	kill_later(s, m);
	eng_act(s, sl);
}

/* One page, or several with one request. */
static void ask_pages(struct sim *s, struct slink *sl, u8 class)
{
	struct pt_lane *la = &sl->l.lane[class];
	bool many = sim_chance(s, 300);
	u32 want = many ? 1 + sim_below(s, BATCH_MAX) : 1, n, i;
	struct pt_slot *slot[BATCH_MAX];
	struct msg *m[BATCH_MAX];
	u32 len = some_len(s, PW_MSG_MAX);
	u64 deadline = some_deadline(s, sl->n);
	int r;

	if (many)
		len = len % 3000 + want * sizeof(struct pw_want);
	for (n = 0; n < want && sl->n->frames_free; n++) {
		slot[n] = pt_slot_get(la, 0);
		if (!slot[n])
			break;
		m[n] = ask_one(s, sl, class, slot[n], 0, n ? 0 : len);
		m[n]->deadline = deadline;
		m[n]->frame = frame_take(sl->n, m[n]);
		slot[n]->frame = m[n]->frame;
		slot[n]->page = &sl->n->frame[m[n]->frame];
	}
	if (!n)
		return;
	if (many)
		r = pt_slots_send(la, slot, n, m[0]->type, len, deadline);
	else
		r = pt_slot_send(la, slot[0], m[0]->type, len, deadline);
	if (r) {
		for (i = 0; i < n; i++)
			request_over(s, sl, slot[i], m[i]);
		return;
	}
	stream_add(s, sl, m[0]);
	for (i = 0; i < n; i++) {
		s->st.asked++;
		m[i]->waiting = true;
		m[i]->st = m[0]->st;
		if (many)
			m[0]->batch[m[0]->batch_n++] = i ? msg_get(m[i]) : m[0];
		kill_later(s, m[i]);
	}
	eng_act(s, sl);
}

static void tell(struct sim *s, struct slink *sl, u8 class)
{
	struct msg *m;

	if (sl->queued[class] >= QUEUE_MAX)
		return;
	m = msg_new(s, sl, class, PW_MSG, some_len(s, PW_MSG_MAX));
	m->tx.fv = m->fv;
	m->tx.notify = true;
	if (pt_send(&sl->l.lane[class], &m->tx, m->type, m->len)) {
		msg_put(s, m);
		return;
	}
	s->st.sent++;
	sl->queued[class]++;
	stream_add(s, sl, m);
	eng_act(s, sl);
}

/* Keys hold for a session; the message may be delivered in a later one. */
void load_keys(struct sim *s, struct slink *sl)
{
	struct msg *m = msg_new(s, sl, PW_URGENT, PW_MSG, sizeof(struct pw_key));

	m->type = PW_T_KEYS;
	m->keys = true;
	m->key_session = sl->l.session;
	m->tx.fv = m->fv;
	m->tx.notify = true;
	if (pt_send(&sl->l.lane[PW_URGENT], &m->tx, m->type, m->len)) {
		msg_put(s, m);
		return;
	}
	sl->queued[PW_URGENT]++;
	stream_add(s, sl, m);
}

/* ------------------------------------------------------------------ responders */

/**
 * struct task - a message in a handler's hands
 * @m:        truth
 * @ev:       as the core gave it, or a page's part of it
 * @consumed: its receives aren't this task's to give back
 */
struct task {
	struct snode *n;
	u32 boot;
	u16 peer;
	u8 class;
	struct msg *m;
	struct pt_event ev;
	bool consumed;
};

static void check_delivery(struct sim *s, struct slink *sl, struct msg *m)
{
	struct stream *st = m->st;
	struct snode *src = &s->nodes[st->src];
	u64 inc = sl->n->pn.incarnation;

	if (m->delivered)
		sim_fail(s, "node %u: message %llu from %u delivered twice", sl->n->id,
			 (unsigned long long)m->id, st->src);
	while (st->head && st->head != m && st->head->state == M_WITHDRAWN)
		stream_pop(s, st);
	if (st->head != m)
		sim_fail(s, "node %u: message %llu from %u out of order, %llu is next", sl->n->id,
			 (unsigned long long)m->id, st->src,
			 (unsigned long long)(st->head ? st->head->id : 0));
	if (st->dst != sl->n->id || (st->dst_inc && st->dst_inc != inc))
		sim_fail(s, "node %u: message %llu was for %u, incarnation %llu", sl->n->id,
			 (unsigned long long)m->id, st->dst, (unsigned long long)st->dst_inc);
	st->dst_inc = inc;
	if (sl->declared && sl->declared >= st->src_inc)
		sim_fail(s, "node %u: message %llu from %u, declared dead here", sl->n->id,
			 (unsigned long long)m->id, st->src);
	if (src->up && src->pn.incarnation == st->src_inc && src->link[st->dst] &&
	    src->link[st->dst]->l.life == st->life && src->link[st->dst]->declared >= inc)
		sim_fail(s, "node %u: message %llu from %u, which had declared it dead", sl->n->id,
			 (unsigned long long)m->id, st->src);
	m->delivered = true;
	s->st.delivered++;
	stream_pop(s, st);
}

void load_message(struct sim *s, struct slink *sl, u8 class, struct msg *m,
		  const struct pt_event *ev, u8 *buf)
{
	struct task *t;
	u64 delay;
	u32 i;

	/* What the core writes into a request for several pages is checked by itself. */
	if (ev->kind != m->kind || ev->type != m->type ||
	    !matches(buf, ev->wants * sizeof(struct pw_want), m->len, m->id ^ MSG_SALT))
		sim_fail(s, "node %u: message %llu arrived changed", sl->n->id,
			 (unsigned long long)m->id);
	check_delivery(s, sl, m);
	if (s->bug == BUG_DUP_DELIVER && sim_chance(s, 10))
		check_delivery(s, sl, m);
	if (m->keys) {
		if (m->key_session == sl->l.session) {
			sl->keys = m->key_session;
			sl->l.actions |= PT_ACT_TX_ALL;
		}
		eng_consume(s, sl, class, ev->frames, ev->life);
		sim_free(s, buf);
		return;
	}
	for (i = 0; i < (ev->wants ? ev->wants : 1); i++) {
		t = sim_alloc(s, sizeof(*t));
		t->n = sl->n;
		t->boot = sl->n->boot;
		t->peer = sl->l.peer;
		t->class = class;
		t->ev = *ev;
		t->m = m;
		t->consumed = i > 0;
		if (ev->wants) {
			t->m = m->batch[i];
			t->m->delivered = true;
			t->ev.aslot = t->m->index;
			t->ev.gen = t->m->gen;
		}
		msg_get(t->m);
		delay = sim_chance(s, 20) ? sim_spread(s, 0, 300 * MS) :
			sim_spread(s, 0, 200 * US);
		sim_at(s, s->now + delay, work, t, 0);
	}
	sim_free(s, buf);
}

/* The truth about page @i of a request; @w is what the frame says about it. */
struct msg *load_wanted(struct sim *s, struct slink *sl, struct msg *m,
			const struct pt_event *ev, const u8 *buf, u32 i, struct pw_want *w)
{
	struct msg *b;

	memcpy(w, buf + i * sizeof(*w), sizeof(*w));
	if (ev->wants != m->batch_n)
		sim_fail(s, "node %u: request %llu is for %u pages, not %u", sl->n->id,
			 (unsigned long long)m->id, m->batch_n, ev->wants);
	b = m->batch[i];
	if (le32_to_cpu(w->frame) != (u32)b->frame || le16_to_cpu(w->slot) != b->index ||
	    le16_to_cpu(w->gen) != b->gen)
		sim_fail(s, "node %u: request %llu names another page", sl->n->id,
			 (unsigned long long)b->id);
	return b;
}

static void answer(struct sim *s, struct slink *sl, struct task *t)
{
	struct pt_lane *la = &sl->l.lane[t->class];
	struct pt_ans *a = pt_ans_get(la, t->ev.aslot, t->ev.gen, t->ev.life);
	struct msg *m = t->m;

	if (!a)
		return;
	if (s->bug == BUG_LOSE_ANSWER && sim_chance(s, 10))
		return;
	if (sim_chance(s, 50)) {
		m->ans_status = -EFAULT;
		pt_ans_send(la, a, -EFAULT, 0);
	} else if (a->frame != PW_NOFRAME) {
		struct spage *pg = sim_alloc(s, sizeof(*pg));

		load_page_tag(m->id, pg->w);
		a->tx.notify = true;
		if (pt_ans_send_page(la, a, pg))
			sim_fail(s, "node %u: page answer refused", sl->n->id);
		if (s->bug == BUG_EARLY_REUSE && sim_chance(s, 50))
			memset(pg->w, 0, sizeof(pg->w));
	} else {
		m->ans_len = sim_spread(s, 0, m->ans_max);
		if (m->ans_len) {
			a->tx.fv = fv_new(s, m->ans_len, m->id ^ ANS_SALT);
			a->tx.notify = true;
		}
		if (pt_ans_send(la, a, 0, m->ans_len))
			sim_fail(s, "node %u: answer refused", sl->n->id);
	}
}

static void work(struct sim *s, void *arg, u64 unused)
{
	struct task *t = arg;
	struct snode *n = t->n;
	struct slink *sl;
	u64 wake = n->paused;
	bool first;

	(void)unused;
	if (!node_is(n, t->boot)) {
		msg_put(s, t->m);
		sim_free(s, t);
		return;
	}
	wake = n->stopped > wake ? n->stopped : wake;
	wake = n->slow > wake ? n->slow : wake;
	if (wake > s->now) {
		sim_at(s, wake + sim_below(s, MS), work, t, 0);
		return;
	}
	sl = n->link[t->peer];
	first = !t->consumed && sim_chance(s, 500);
	if (first)
		eng_consume(s, sl, t->class, t->ev.frames, t->ev.life);
	if (t->ev.what == PT_EV_REQ)
		answer(s, sl, t);
	if (!first && !t->consumed)
		eng_consume(s, sl, t->class, t->ev.frames, t->ev.life);
	eng_act(s, sl);
	msg_put(s, t->m);
	sim_free(s, t);
}

/* The core is done with a message: acknowledged, or failed for good. */
void load_reaped(struct sim *s, struct slink *sl, u8 class, struct pt_tx *tx)
{
	struct msg *m;

	switch (tx->kind) {
	case PW_MSG:
		m = (struct msg *)((char *)tx - offsetof(struct msg, tx));
		sl->queued[class]--;
		if (!tx->status && !m->delivered)
			sim_fail(s, "node %u: message %llu acknowledged, not delivered",
				 sl->n->id, (unsigned long long)m->id);
		if (tx->status && sl->l.life == m->st->life)
			sim_fail(s, "node %u: message %llu failed (%d) though %u is alive",
				 sl->n->id, (unsigned long long)m->id, tx->status, sl->l.peer);
		if (tx->status)
			s->st.failed++;
		m->state = M_OVER;
		fv_free(s, m->fv);
		m->fv = NULL;
		msg_put(s, m);
		break;
	case PW_ANS:
		fv_free(s, tx->fv);
		break;
	case PW_PAGE:
		sim_free(s, tx->page);
		break;
	}
}

/* A node's memory is gone. */
void load_crashed(struct sim *s, struct slink *sl)
{
	struct pt_queue *q;
	u16 i;
	u8 c, k;

	for (c = 0; c < PW_CLASSES; c++) {
		struct pt_lane *la = &sl->l.lane[c];

		for (i = 0; i < sl->n->pn.cfg.slots; i++) {
			struct msg *m = sl->req[c][i];

			if (!m)
				continue;
			m->slot = NULL;
			m->state = M_OVER;
			fv_free(s, m->fv);
			m->fv = NULL;
			msg_put(s, m);
		}
		for (k = 0; k < 4; k++) {
			q = k == 0 ? &la->sent : k == 1 ? &la->ansq : k == 2 ? &la->msgq :
			    &la->done;
			while (q->head) {
				struct pt_tx *tx = q->head;
				struct msg *m = (struct msg *)((char *)tx - offsetof(struct msg, tx));

				q->head = tx->next;
				if (!tx->notify)
					continue;
				if (tx->kind == PW_ANS) {
					fv_free(s, tx->fv);
				} else if (tx->kind == PW_PAGE) {
					sim_free(s, tx->page);
				} else {
					m->state = M_OVER;
					fv_free(s, m->fv);
					m->fv = NULL;
					msg_put(s, m);
				}
			}
		}
	}
}

/* ------------------------------------------------------------------- the load */

static void act(struct sim *s, void *arg, u64 boot)
{
	struct snode *n = arg;
	u64 wake = n->paused > n->stopped ? n->paused : n->stopped;
	struct slink *sl;
	u8 class;

	if (!node_is(n, boot) || s->quiet)
		return;
	if (wake > s->now) {
		sim_at(s, wake, act, arg, boot);
		return;
	}
	sl = node_link(s, n, n->neighbour[sim_below(s, n->neighbours)]);
	class = sim_below(s, PW_CLASSES);
	switch (s->reconnects ? 4 + sim_below(s, 4) : sim_below(s, 8)) {
	case 0:
	case 1:
	case 2:
		tell(s, sl, class);
		break;
	case 3:
	case 4:
		ask(s, sl, class);
		break;
	default:
		ask_pages(s, sl, class == PW_URGENT ? PW_SYNC : class);
	}
	sim_at(s, s->now + sim_spread(s, 1, 2 * s->think), act, arg, boot);
}

void load_start(struct sim *s, struct snode *n)
{
	sim_at(s, s->now + sim_spread(s, 0, 20 * MS), act, n, n->boot);
}

/* ------------------------------------------------------------ when all is over */

static void quiet_lane(struct sim *s, struct slink *sl, u8 c)
{
	struct pt_lane *la = &sl->l.lane[c];
	const struct pt_cfg *cfg = &sl->n->pn.cfg;
	const char *what = NULL;
	u16 i;

	if (la->slots_used)
		what = "a request has neither answer nor error";
	else if (la->msgq.head)
		what = "a message waits for ever";
	else if (la->ansq.head)
		what = "an answer waits for ever";
	else if (la->sent.head)
		what = "a message isn't acknowledged";
	else if (la->done.head)
		what = "a message wasn't reaped";
	else if (la->prepaid != cfg->prepaid)
		what = "reserved receives are lost";
	else if (sl->lent[c] || la->crd_grant - la->crd_rx != cfg->window)
		what = "credit is lost";
	else if (sl->queued[c])
		what = "a message is neither acknowledged nor failed";
	for (i = 0; i < cfg->slots && !what; i++)
		if (la->ans[i].state != PT_ANS_IDLE)
			what = "a request is still to be answered";
	if (what)
		sim_fail(s, "node %u to %u (%s), class %u: %s", sl->n->id, sl->l.peer,
			 pt_link_state_str(&sl->l), c, what);
}

/* Nobody says anything new, and time enough has passed. Is everything settled? */
void load_quiet(struct sim *s, bool healed)
{
	struct slink *sl;
	u16 i;
	u8 c;

	for (i = 0; i < s->n; i++) {
		struct snode *n = &s->nodes[i];

		if (!n->up)
			continue;
		for (sl = n->links; sl; sl = sl->next) {
			for (c = 0; c < PW_CLASSES; c++)
				quiet_lane(s, sl, c);
			if (healed && s->nodes[sl->l.peer].up && sl->l.wanted &&
			    sl->l.state != PT_LINK_UP && sl->l.refusal != PW_REFUSE_DEAD &&
			    sl->declared != s->nodes[sl->l.peer].pn.incarnation)
				sim_fail(s, "node %u: no session with %u (%s, refusal %u)", n->id,
					 sl->l.peer, pt_link_state_str(&sl->l), sl->l.refusal);
		}
		if (n->frames_free != n->frames)
			sim_fail(s, "node %u: %u frames are lost", n->id,
				 n->frames - n->frames_free);
	}
}
