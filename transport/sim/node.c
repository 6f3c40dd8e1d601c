// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Nodes: the engine that the core asks for, on the simulated wires, and the
 * checks that need to see two nodes at once (leases and deaths).
 */
#include "sim.h"

static void tick(struct sim *s, void *arg, u64 boot);

/* CLOCK_BOOTTIME of a node: it goes on while the node is suspended. */
u64 node_ms(struct snode *n)
{
	s64 t = n->s->now;

	return (t + n->clock_off + t / 1000000 * n->clock_ppm +
		t % 1000000 * n->clock_ppm / 1000000) / 1000;
}

static u64 asleep(const struct snode *n)
{
	return n->paused > n->stopped ? n->paused : n->stopped;
}

void node_boot(struct sim *s, struct snode *n)
{
	u32 i;

	n->boot++;
	n->up = true;
	n->paused = n->stopped = n->slow = 0;
	n->pn.incarnation = s->last_inc = s->last_inc + 1 + sim_below(s, 1000);
	n->frames = n->frames_free = s->frames;
	n->frame = sim_alloc(s, n->frames * sizeof(*n->frame));
	n->frame_free = sim_alloc(s, n->frames * sizeof(*n->frame_free));
	for (i = 0; i < n->frames; i++)
		n->frame_free[i] = i;
	sim_log(s, "node %u: up, incarnation %llu", n->id,
		(unsigned long long)n->pn.incarnation);
	sim_at(s, s->now + sim_below(s, 10 * MS), tick, n, n->boot);
	load_start(s, n);
	net_changed(s);
}

struct slink *node_link(struct sim *s, struct snode *n, u16 peer)
{
	u16 slots = n->pn.cfg.slots;
	struct slink *sl = n->link[peer];
	u8 c;

	if (sl)
		return sl;
	sl = sim_alloc(s, sizeof(*sl));
	sl->n = n;
	sl->slots = sim_alloc(s, PW_CLASSES * slots * sizeof(*sl->slots));
	sl->ans = sim_alloc(s, PW_CLASSES * slots * sizeof(*sl->ans));
	for (c = 0; c < PW_CLASSES; c++) {
		sl->req[c] = sim_alloc(s, slots * sizeof(*sl->req[c]));
		sl->serving[c] = sim_alloc(s, slots * sizeof(*sl->serving[c]));
	}
	pt_link_init(&sl->l, &n->pn, peer, sl->slots, sl->ans);
	sl->next = n->links;
	n->links = sl;
	n->link[peer] = sl;
	return sl;
}

static void rx_drop(struct sim *s, struct slink *sl, u8 class)
{
	sim_free(s, sl->rx[class]);
	sl->rx[class] = NULL;
	if (sl->rx_msg[class])
		msg_put(s, sl->rx_msg[class]);
	sl->rx_msg[class] = NULL;
}

static void link_free(struct sim *s, struct slink *sl)
{
	u16 i;
	u8 c;

	load_crashed(s, sl);
	for (c = 0; c < PW_CLASSES; c++) {
		rx_drop(s, sl, c);
		for (i = 0; i < sl->n->pn.cfg.slots; i++)
			if (sl->serving[c][i])
				msg_put(s, sl->serving[c][i]);
		sim_free(s, sl->req[c]);
		sim_free(s, sl->serving[c]);
	}
	s->st.replays += sl->l.lane[0].stats.replays + sl->l.lane[1].stats.replays +
			 sl->l.lane[2].stats.replays;
	sim_free(s, sl->slots);
	sim_free(s, sl->ans);
	sl->n->link[sl->l.peer] = NULL;
	sim_free(s, sl);
}

void node_crash(struct sim *s, struct snode *n)
{
	struct slink *sl;

	sim_log(s, "node %u: down", n->id);
	net_crash(s, n);
	n->up = false;
	while ((sl = n->links)) {
		n->links = sl->next;
		link_free(s, sl);
	}
	sim_free(s, n->frame);
	sim_free(s, n->frame_free);
	n->frame = NULL;
	n->frame_free = NULL;
	net_changed(s);
}

static void bye_done(struct sim *s, void *arg, u64 boot)
{
	struct snode *n = arg;
	struct slink *sl;
	u8 c;

	if (!node_is(n, boot))
		return;
	for (sl = n->links; sl; sl = sl->next)
		for (c = 0; c < PW_CLASSES; c++)
			if (sl->c[c])
				net_close(s, sl->c[c], sl->side[c], true);
	node_crash(s, n);
}

/* An orderly end: peers are told. */
void node_bye(struct sim *s, struct snode *n)
{
	struct slink *sl;

	for (sl = n->links; sl; sl = sl->next) {
		if (sl->l.state != PT_LINK_UP)
			continue;
		pt_link_bye(&sl->l);
		eng_act(s, sl);
	}
	sim_at(s, s->now + 5 * MS, bye_done, n, n->boot);
}

static void tick(struct sim *s, void *arg, u64 boot)
{
	struct snode *n = arg;
	struct slink *sl;

	if (!node_is(n, boot))
		return;
	if (asleep(n) > s->now) {
		n->woken = asleep(n);
		sim_at(s, n->woken + sim_below(s, 2 * MS), tick, n, boot);
		return;
	}
	for (sl = n->links; sl; sl = sl->next) {
		pt_link_tick(&sl->l, node_ms(n));
		eng_act(s, sl);
	}
	sim_at(s, s->now + 10 * MS, tick, n, boot);
}

/* ------------------------------------------------- what two nodes agree about */

static struct slink *other_side(struct sim *s, struct slink *sl)
{
	struct snode *p = &s->nodes[sl->l.peer];

	return p->up ? p->link[sl->n->id] : NULL;
}

/* A node has declared a peer dead: was there a reason, and is the lease over? */
static void check_death(struct sim *s, struct slink *sl)
{
	struct snode *n = sl->n, *p = &s->nodes[sl->l.peer];
	struct slink *o = other_side(s, sl);
	u64 silent = node_ms(n) - sl->heard;

	sl->declared = sl->l.dead_inc;
	s->st.deaths++;
	sim_log(s, "node %u: declares %u dead (%llu)", n->id, p->id,
		(unsigned long long)sl->l.dead_inc);
	if (!p->up || p->pn.incarnation != sl->l.dead_inc)
		return;
	/* A goodbye, or having been declared dead over there, is reason enough. */
	if (!sl->bye && !(o && o->declared == n->pn.incarnation) &&
	    silent + 20 < n->pn.cfg.dead_ms)
		sim_fail(s, "node %u declared %u dead after %llu ms without news", n->id, p->id,
			 (unsigned long long)silent);
	if (o && pt_link_lease_ok(&o->l, node_ms(p)))
		sim_fail(s, "node %u declared %u dead, whose lease has %lld ms to go", n->id, p->id,
			 (long long)(o->l.lease_end - node_ms(p)));
}

static void check_lease_back(struct sim *s, struct slink *sl)
{
	struct slink *o = other_side(s, sl);

	if (o && o->declared == sl->n->pn.incarnation &&
	    o->n->pn.incarnation == sl->l.peer_inc)
		sim_fail(s, "node %u got a lease from %u, which had declared it dead", sl->n->id,
			 sl->l.peer);
}

/* ------------------------------------------------------------------ sessions */

static void restart(struct sim *s, void *arg, u64 boot)
{
	struct snode *n = arg;

	if (!node_is(n, boot))
		return;
	node_crash(s, n);
	node_boot(s, n);
}

/* Somebody declared this incarnation dead; an operator may load the module again. */
static void refused(struct sim *s, struct slink *sl)
{
	if (sl->l.refusal == PW_REFUSE_DEAD && !s->quiet && sim_chance(s, 300))
		sim_at(s, s->now + sim_spread(s, 1, 500 * MS), restart, sl->n, sl->n->boot);
}

static void drained_all(struct sim *s, struct slink *sl)
{
	pt_link_drained(&sl->l, node_ms(sl->n));
	eng_act(s, sl);
}

static void drained(struct sim *s, void *arg, u64 i)
{
	struct conn *c = arg;
	struct end *e = &c->e[i];
	struct slink *sl = e->sl;

	if (e->state == END_CLOSED && asleep(e->n) > s->now) {
		sim_at(s, asleep(e->n), drained, c, i);
		return;
	}
	if (e->state == END_CLOSED) {
		bool mine = sl && sl->c[c->class] == c && sl->side[c->class] == i;

		net_drained(s, c, i);
		if (mine) {
			sl->c[c->class] = NULL;
			sl->draining &= ~(1u << c->class);
			if (!sl->draining)
				drained_all(s, sl);
		}
	}
	net_put(s, c);
}

static void drained_none(struct sim *s, void *arg, u64 tag)
{
	struct snode *n = arg;
	struct slink *sl;

	if (!node_is(n, tag >> 16))
		return;
	sl = n->link[tag & 0xffff];
	if (sl && !sl->draining && sl->l.state == PT_LINK_CLOSE)
		drained_all(s, sl);
}

/* One connection that no session has taken (or has let go) ends. */
static void drop_end(struct sim *s, struct conn *c, int i, bool tell)
{
	if (c->e[i].state != END_HS && c->e[i].state != END_UP)
		return;
	net_close(s, c, i, tell);
	c->refs++;
	sim_at(s, s->now + sim_spread(s, 0, 20 * MS), drained, c, i);
}

static void close_session(struct sim *s, struct slink *sl)
{
	u8 c;

	sl->draining = 0;
	for (c = 0; c < PW_CLASSES; c++) {
		if (!sl->c[c])
			continue;
		sl->draining |= 1u << c;
		drop_end(s, sl->c[c], sl->side[c], sim_chance(s, 800));
		if (s->bug == BUG_NO_DRAIN)
			sl->c[c] = NULL;
	}
	if (s->bug == BUG_NO_DRAIN) {
		sl->draining = 0;
		drained_all(s, sl);
	} else if (!sl->draining) {
		sim_at(s, s->now, drained_none, sl->n,
		       (u64)sl->n->boot << 16 | sl->l.peer);
	}
}

static void connect(struct sim *s, struct slink *sl)
{
	u32 order = sim_below(s, 6), i;
	bool imm = s->mix_imm ? sim_chance(s, 500) : s->imm;

	sl->imm = imm;
	sl->l.imm = imm;
	for (i = 0; i < PW_CLASSES; i++) {
		u8 class = (order / 2 + (order & 1 ? i : PW_CLASSES - i)) % PW_CLASSES;
		struct conn *c = net_connect(s, sl, class, imm);

		sl->c[class] = c;
		sl->side[class] = 0;
		pt_hs_hello(&c->e[0].hs, &sl->l, class);
		net_blob(s, c, 0, PK_HELLO, &c->e[0].hs.hello, sizeof(c->e[0].hs.hello));
	}
}

static struct msg *owner_of(struct slink *sl, u8 class, struct pt_tx *tx)
{
	switch (tx->kind) {
	case PW_MSG:
		return (struct msg *)((char *)tx - offsetof(struct msg, tx));
	case PW_REQ:
		return sl->req[class][tx->slot];
	case PW_ANS:
	case PW_PAGE:
		return sl->serving[class][tx->slot];
	}
	return NULL;
}

/* Give a lane's frames to its wire, as many as that takes. */
static void pump(struct sim *s, struct slink *sl, u8 class)
{
	struct pt_lane *la = &sl->l.lane[class];
	struct conn *c = sl->c[class];
	struct pt_out out;

	if (!c || c->e[sl->side[class]].state != END_UP)
		return;
	while (c->e[sl->side[class]].in_flight < s->sq && pt_lane_tx_pending(la)) {
		struct pt_tx *tx = pt_lane_tx_peek(la);
		u32 posted = la->tx_posted;
		struct pkt *p;

		if (tx && tx->kind == PW_PAGE && sl->imm && sl->keys != sl->l.session &&
		    !(la->due & (PT_DUE_HB | PT_DUE_BYE)))
			return;
		if (!pt_lane_tx(la, &out))
			return;
		p = sim_alloc(s, sizeof(*p));
		p->what = PK_FRAME;
		p->seqd = out.hdr != &la->ctl.hdr;
		if (p->seqd) {
			p->m = owner_of(sl, class, tx);
			if (p->m)
				msg_get(p->m);
			p->answer = tx->kind == PW_ANS || tx->kind == PW_PAGE;
		}
		if (out.page) {
			p->is_page = true;
			p->page = out.page;
			p->frame = out.frame;
			p->imm = out.imm;
		}
		if (!out.page || !sl->imm) {
			p->has_hdr = true;
			p->len = PW_HDR + out.len;
			p->late = out.hdr;
		}
		if (p->late && (!p->seqd || sim_chance(s, 500))) {
			p->data = sim_alloc(s, p->len);
			memcpy(p->data, p->late, p->len);
			p->late = NULL;
		}
		if (s->bug == BUG_FORGET_REPLAY && p->seqd && la->tx_posted == posted &&
		    sim_chance(s, 250)) {
			pkt_free(s, p);
			continue;
		}
		net_post(s, c, sl->side[class], p);
	}
}

/* The peer's earlier life is over: what was held for it is void. */
static void failed(struct sim *s, struct slink *sl)
{
	struct pt_slot *slot;
	u8 c;

	for (c = 0; c < PW_CLASSES; c++) {
		rx_drop(s, sl, c);
		sl->lent[c] = 0;
		sl->st[c] = NULL;
	}
	while ((slot = pt_link_fail_next(&sl->l)))
		load_failed(s, sl, slot);
	sl->bye = false;
}

/* After every call into the core: take back what it is done with, do what it wants. */
void eng_act(struct sim *s, struct slink *sl)
{
	struct pt_link *l = &sl->l;
	struct pt_tx *tx;
	u32 a;
	u8 c;

	do {
		for (c = 0; c < PW_CLASSES; c++)
			while ((tx = pt_lane_reap(&l->lane[c])))
				load_reaped(s, sl, c, tx);
		a = pt_link_actions(l);
		if (a & PT_ACT_LEASE_LOST)
			s->st.lease_lost++;
		if (a & PT_ACT_LEASE_BACK)
			check_lease_back(s, sl);
		if (a & PT_ACT_DEAD)
			check_death(s, sl);
		if (a & PT_ACT_FAIL)
			failed(s, sl);
		if (a & PT_ACT_CLOSE) {
			sim_log(s, "node %u: session with %u ends (%d)", sl->n->id, l->peer,
				l->error);
			close_session(s, sl);
		}
		if (a & PT_ACT_CONNECT)
			connect(s, sl);
		if (a & PT_ACT_UP) {
			s->st.sessions++;
			sim_log(s, "node %u: session with %u is up", sl->n->id, l->peer);
			if (sl->imm)
				load_keys(s, sl);
		}
		for (c = 0; c < PW_CLASSES; c++) {
			if (a & PT_ACT_TIMEOUT)
				load_timeouts(s, sl, c);
			if (a & PT_ACT_TX(c))
				pump(s, sl, c);
		}
	} while (a);
}

/* A wire says that it failed. */
void eng_fault(struct sim *s, struct conn *c, int i, int error)
{
	struct slink *sl = c->e[i].sl;

	if (!sl || sl->c[c->class] != c || sl->side[c->class] != i) {
		drop_end(s, c, i, false);
		return;
	}
	pt_link_fault(&sl->l, error, node_ms(sl->n));
	eng_act(s, sl);
}

/* ----------------------------------------------------------------- receiving */

static void half_open(struct sim *s, void *arg, u64 i)
{
	struct conn *c = arg;

	if (c->e[i].state == END_HS)
		drop_end(s, c, i, true);
	net_put(s, c);
}

static void rx_hello(struct sim *s, struct conn *c, struct pkt *p)
{
	struct end *e = &c->e[1];
	struct snode *n = e->n;
	struct slink *sl;
	u16 src;
	int r;

	c->refs++;
	sim_at(s, s->now + n->pn.cfg.connect_ms * MS, half_open, c, 1);
	if ((s->faults & F_REFUSE) && !s->quiet && sim_chance(s, 100)) {
		drop_end(s, c, 1, true);
		return;
	}
	r = pt_hs_parse(&e->hs, &n->pn, p->data, p->len, pt_table_addr(&s->table, c->e[0].id),
			&src);
	if (r || src != c->e[0].id)
		sim_fail(s, "node %u refuses %u's HELLO: %s", n->id, c->e[0].id,
			 pt_refusal_str(e->hs.welcome.refusal));
	sl = e->sl = node_link(s, n, src);
	r = pt_hs_accept(&e->hs, &sl->l, node_ms(n));
	net_blob(s, c, 1, PK_WELCOME, &e->hs.welcome, sizeof(e->hs.welcome));
	if (r)
		drop_end(s, c, 1, true);
	eng_act(s, sl);
}

static void rx_proof(struct sim *s, struct conn *c, struct pkt *p)
{
	struct end *e = &c->e[1];
	struct slink *sl = e->sl;
	int r = pt_hs_proof(&e->hs, &sl->l, p->data, p->len, node_ms(e->n));

	if (r && r != -ECONNREFUSED)
		sim_fail(s, "node %u: PROOF from %u is wrong: %d", e->id, c->e[0].id, r);
	if (e->hs.ready.refusal == PW_REFUSE_STATE)
		sim_fail(s, "node %u: %u's sequence numbers don't fit", e->id, c->e[0].id);
	if (r) {
		net_blob(s, c, 1, PK_READY, &e->hs.ready, sizeof(e->hs.ready));
		drop_end(s, c, 1, true);
		eng_act(s, sl);
		return;
	}
	if (sl->c[c->class])
		sim_fail(s, "node %u: lane %u of a new session with %u before the old is drained",
			 e->id, c->class, c->e[0].id);
	sl->c[c->class] = c;
	sl->side[c->class] = 1;
	sl->imm = c->imm;
	sl->l.imm = c->imm;
	e->state = END_UP;
	net_blob(s, c, 1, PK_READY, &e->hs.ready, sizeof(e->hs.ready));
	pt_hs_up(&e->hs, &sl->l, node_ms(e->n));
	eng_act(s, sl);
}

static void rx_initiator(struct sim *s, struct conn *c, struct pkt *p)
{
	struct end *e = &c->e[0];
	struct slink *sl = e->sl;
	int r;

	if (p->what == PK_WELCOME) {
		r = pt_hs_welcome(&e->hs, &sl->l, p->data, p->len, node_ms(e->n));
		if (!r)
			net_blob(s, c, 0, PK_PROOF, &e->hs.proof, sizeof(e->hs.proof));
	} else {
		r = pt_hs_ready(&e->hs, &sl->l, p->data, p->len, node_ms(e->n));
		if (!r)
			e->state = END_UP;
	}
	if (r == -ECONNREFUSED && sl->l.refusal != PW_REFUSE_BUSY &&
	    sl->l.refusal != PW_REFUSE_DEAD)
		sim_fail(s, "node %u: refused by %u: %s", e->id, c->e[1].id,
			 pt_refusal_str(sl->l.refusal));
	if (r == -EPROTO)
		sim_fail(s, "node %u: malformed handshake from %u", e->id, c->e[1].id);
	if (r)
		refused(s, sl);
	eng_act(s, sl);
}

/* Remember which requests the core's answers will be to. */
static void serve(struct sim *s, struct slink *sl, u8 class, struct msg *m,
		  const struct pt_event *ev)
{
	u16 slot = ev->aslot;
	struct pw_want w;
	u32 i = 0;

	do {
		if (ev->wants) {
			m = load_wanted(s, sl, sl->rx_msg[class], ev, sl->rx[class], i, &w);
			slot = le16_to_cpu(w.slot);
		}
		if (sl->serving[class][slot])
			msg_put(s, sl->serving[class][slot]);
		sl->serving[class][slot] = msg_get(m);
	} while (++i < ev->wants);
}

/* Frames of a message are kept until its last one is there. */
static void rx_message(struct sim *s, struct slink *sl, u8 class, struct pkt *p,
		       const struct pt_event *ev)
{
	u32 len = p->len - PW_HDR;
	struct msg *m = p->m;
	u8 *buf;

	if (!m || p->answer)
		sim_fail(s, "node %u: a message that was an answer", sl->n->id);
	if (!sl->rx_msg[class]) {
		sl->rx_msg[class] = msg_get(m);
		sl->rx[class] = sim_alloc(s, ev->total + 1);
		sl->rx_len[class] = 0;
	}
	if (sl->rx_msg[class] != m)
		sim_fail(s, "node %u: message %llu in the middle of %llu", sl->n->id,
			 (unsigned long long)m->id,
			 (unsigned long long)sl->rx_msg[class]->id);
	buf = sl->rx[class];
	memcpy(buf + sl->rx_len[class], p->data + PW_HDR, len);
	sl->rx_len[class] += len;
	sl->lent[class]++;
	if (ev->what == PT_EV_FRAG)
		return;
	if (sl->rx_len[class] != ev->total || ev->total != m->len)
		sim_fail(s, "node %u: message %llu has %u bytes of %u", sl->n->id,
			 (unsigned long long)m->id, ev->total, m->len);
	if (ev->what == PT_EV_REQ)
		serve(s, sl, class, m, ev);
	sl->rx[class] = NULL;
	sl->rx_msg[class] = NULL;
	load_message(s, sl, class, m, ev, buf);
	msg_put(s, m);
}

static void rx_frame(struct sim *s, struct conn *c, int i, struct pkt *p)
{
	struct end *e = &c->e[i];
	struct slink *sl = e->sl;
	struct pt_lane *la = &sl->l.lane[c->class];
	const struct pw_hdr *h = (void *)p->data;
	bool ready = la->ready;
	struct pt_event ev;
	struct msg *m;
	int r;

	if (p->is_page && c->imm)
		r = pt_lane_rx_imm(la, p->imm, 1u << sl->n->pn.page_shift, &ev);
	else if (p->is_page)
		r = pt_lane_rx(la, h, NULL, 1u << sl->n->pn.page_shift, &ev);
	else
		r = pt_lane_rx(la, h, h + 1, p->len - PW_HDR, &ev);
	if (r) {
		if (ready)
			sim_fail(s, "node %u: malformed frame from %u, class %u, kind %d, seq %d, "
				 "expected %u", e->id, sl->l.peer, c->class,
				 h ? h->kind : PW_PAGE, h ? (int)le32_to_cpu(h->seq) : -1,
				 la->rx_seq + 1);
		return;
	}
	sl->heard = node_ms(sl->n);
	if (h && h->kind == PW_BYE)
		sl->bye = true;

	switch (ev.what) {
	case PT_EV_FRAG:
	case PT_EV_MSG:
	case PT_EV_REQ:
		rx_message(s, sl, c->class, p, &ev);
		break;
	case PT_EV_DONE:
	case PT_EV_ZOMBIE:
		m = sl->req[c->class][ev.slot->index];
		if (!p->m || !p->answer || p->m != m)
			sim_fail(s, "node %u: answer to request %llu taken for one to %llu", e->id,
				 (unsigned long long)(p->m ? p->m->id : 0),
				 (unsigned long long)(m ? m->id : 0));
		if (m->answered)
			sim_fail(s, "node %u: request %llu answered twice", e->id,
				 (unsigned long long)m->id);
		m->answered = true;
		load_answered(s, sl, c->class, ev.slot);
		break;
	}
}

void eng_rx(struct sim *s, struct conn *c, int i, struct pkt *p)
{
	struct end *e = &c->e[i];
	struct slink *sl = e->sl;
	bool mine = sl && sl->c[c->class] == c && sl->side[c->class] == i;

	switch (p->what) {
	case PK_HELLO:
		if (e->state == END_HS)
			rx_hello(s, c, p);
		return;
	case PK_PROOF:
		if (e->state == END_HS && sl)
			rx_proof(s, c, p);
		return;
	case PK_WELCOME:
	case PK_READY:
		if (e->state == END_HS && mine)
			rx_initiator(s, c, p);
		return;
	case PK_CLOSED:
		if (e->state == END_HS || e->state == END_UP)
			eng_fault(s, c, i, -ECONNRESET);
		return;
	case PK_FRAME:
		if (!mine)
			return;
		rx_frame(s, c, i, p);
		eng_act(s, sl);
		return;
	}
}

void eng_consume(struct sim *s, struct slink *sl, u8 class, u16 frames, u32 life)
{
	if (life != sl->l.life)
		return;
	sl->lent[class] -= frames;
	pt_consume(&sl->l.lane[class], frames, life);
	if (s->bug == BUG_OVER_CONSUME && sim_chance(s, 100))
		pt_consume(&sl->l.lane[class], frames, life);
	if (sl->c[class])
		net_reposted(s, sl->c[class], sl->side[class]);
	eng_act(s, sl);
}
