// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Wires. A connection delivers in order and once while it lives, as RC and TCP
 * do. When it dies, of what is in flight a random beginning still arrives, as
 * late as chance wants, until the receiver has drained its side. Page answers
 * are written into the receiver's memory when they arrive; its software hears
 * of it later or never. The NIC reads what it sends when it likes, until the
 * sender has drained.
 */
#include "sim.h"

static void arrive(struct sim *s, void *arg, u64 i);
static void poll_cq(struct sim *s, void *arg, u64 i);
static void retry(struct sim *s, void *arg, u64 i);

static bool paused(const struct sim *s, const struct snode *n)
{
	return n->paused > s->now;
}

/* Does what is in flight get from one node to the other? */
bool net_path(struct sim *s, u16 from, u16 to)
{
	return !s->cut[from * s->n + to] && s->nodes[to].up && !paused(s, &s->nodes[to]);
}

/* Do acknowledgements of the NIC at the other end come back to end @i? */
static bool alive(struct sim *s, const struct conn *c, int i)
{
	const struct end *e = &c->e[i], *o = &c->e[!i];

	if (!net_path(s, e->id, o->id) || s->cut[o->id * s->n + e->id])
		return false;
	return o->state == END_NONE ||
	       (node_is(o->n, o->boot) && (o->state == END_HS || o->state == END_UP));
}

void pkt_free(struct sim *s, struct pkt *p)
{
	if (p->m)
		msg_put(s, p->m);
	sim_free(s, p->data);
	sim_free(s, p);
}

static void free_list(struct sim *s, struct pkt *p)
{
	while (p) {
		struct pkt *next = p->next;

		pkt_free(s, p);
		p = next;
	}
}

/* The NIC reads the sender's memory. */
static void capture(struct sim *s, struct pkt *p)
{
	if (p->late) {
		p->data = sim_alloc(s, p->len);
		memcpy(p->data, p->late, p->len);
		p->late = NULL;
	}
	if (p->page) {
		memcpy(p->w, p->page->w, sizeof(p->w));
		p->page = NULL;
	}
}

static void conn_get(struct conn *c)
{
	c->refs++;
}

void net_put(struct sim *s, struct conn *c)
{
	int i;

	if (--c->refs)
		return;
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	for (i = 0; i < 2; i++) {
		free_list(s, c->e[i].head);
		free_list(s, c->e[i].cq_head);
	}
	sim_free(s, c);
}

static void arm(struct sim *s, struct conn *c, int i, u64 at)
{
	struct end *e = &c->e[i];

	if (e->armed)
		return;
	e->armed = true;
	conn_get(c);
	sim_at(s, at, arrive, c, i);
}

static void arm_cq(struct sim *s, struct conn *c, int i)
{
	struct end *e = &c->e[i];
	u64 at = s->now;

	if (e->cq_armed)
		return;
	if (sim_chance(s, 300))
		at += sim_spread(s, 0, 500 * US);
	if (at < e->cq_last)
		at = e->cq_last;
	e->cq_last = at;
	e->cq_armed = true;
	conn_get(c);
	sim_at(s, at, poll_cq, c, i);
}

static void arm_retry(struct sim *s, struct conn *c, int i)
{
	struct end *e = &c->e[i];

	if (e->retry_armed || e->dead_tx || (e->state != END_HS && e->state != END_UP))
		return;
	e->retry_armed = true;
	conn_get(c);
	sim_at(s, s->now + (s->retry_lo + sim_below(s, s->retry_hi - s->retry_lo)) * MS,
	       retry, c, i);
}

struct conn *net_connect(struct sim *s, struct slink *sl, u8 class, bool imm)
{
	struct conn *c = sim_alloc(s, sizeof(*c));
	int i;

	c->class = class;
	c->imm = imm;
	c->session = sl->l.session;
	c->refs = 1;			/* our end's */
	for (i = 0; i < 2; i++) {
		c->e[i].tail = &c->e[i].head;
		c->e[i].cq_tail = &c->e[i].cq_head;
	}
	c->e[0].n = sl->n;
	c->e[0].id = sl->n->id;
	c->e[0].boot = sl->n->boot;
	c->e[0].sl = sl;
	c->e[0].state = END_HS;
	c->e[1].id = sl->l.peer;
	c->next = s->conns;
	if (c->next)
		c->next->prev = c;
	s->conns = c;
	return c;
}

static void append(struct sim *s, struct conn *c, int i, struct pkt *p)
{
	struct end *e = &c->e[i];

	p->at = s->now + sim_spread(s, s->lat_lo, s->lat_hi);
	if (p->at < e->last_at)
		p->at = e->last_at;
	e->last_at = p->at;
	p->next = NULL;
	*e->tail = p;
	e->tail = &p->next;
	e->in_flight++;
	if (!e->parked)
		arm(s, c, i, e->head->at);
}

/* Give a packet to end @i for the other one. */
void net_post(struct sim *s, struct conn *c, int i, struct pkt *p)
{
	if (c->e[i].dead_tx) {
		pkt_free(s, p);
		return;
	}
	append(s, c, i, p);
	if (!alive(s, c, i))
		arm_retry(s, c, i);
}

void net_blob(struct sim *s, struct conn *c, int i, u8 what, const void *buf, u32 len)
{
	struct pkt *p = sim_alloc(s, sizeof(*p));

	p->what = what;
	p->len = len;
	if (len) {
		p->data = sim_alloc(s, len);
		memcpy(p->data, buf, len);
	}
	net_post(s, c, i, p);
}

/* Nothing more is sent from end @i; of what is in flight, a beginning arrives. */
static void stop_tx(struct sim *s, struct conn *c, int i)
{
	struct end *e = &c->e[i];
	u32 keep = e->in_flight;
	struct pkt **p = &e->head;

	if (e->dead_tx)
		return;
	e->dead_tx = true;
	if (sim_chance(s, 700))
		keep = sim_below(s, keep + 1);
	e->in_flight = keep;
	while (keep--)
		p = &(*p)->next;
	free_list(s, *p);
	*p = NULL;
	e->tail = p;
}

/*
 * The engine closes its side: it can't send any more, but until net_drained()
 * writes land here and completions may come.
 */
void net_close(struct sim *s, struct conn *c, int i, bool tell)
{
	struct end *e = &c->e[i];
	struct pkt *p;

	if (e->state != END_HS && e->state != END_UP)
		return;
	e->state = END_CLOSED;
	e->deaf = sim_chance(s, 500);
	stop_tx(s, c, i);
	if (tell) {
		p = sim_alloc(s, sizeof(*p));
		p->what = PK_CLOSED;
		append(s, c, i, p);
	}
}

static void drop_cq(struct sim *s, struct end *e)
{
	free_list(s, e->cq_head);
	e->cq_head = NULL;
	e->cq_tail = &e->cq_head;
	e->cq_seqd = e->cq_ctl = 0;
}

static void capture_all(struct sim *s, struct end *e)
{
	struct pkt *p;

	for (p = e->head; p; p = p->next)
		capture(s, p);
}

/* Nothing comes in at end @i any more, and the NIC doesn't look at its memory. */
void net_drained(struct sim *s, struct conn *c, int i)
{
	struct end *e = &c->e[i];

	if (e->state == END_NONE || e->state == END_DRAINED)
		return;
	if (!e->dead_tx)
		stop_tx(s, c, i);
	capture_all(s, e);
	drop_cq(s, e);
	e->state = END_DRAINED;
	e->sl = NULL;
	net_put(s, c);
}

/* The power is off: like draining, without anybody being told. */
void net_crash(struct sim *s, struct snode *n)
{
	struct conn *c, *next;
	int i;

	for (c = s->conns; c; c = next) {
		conn_get(c);
		for (i = 0; i < 2; i++)
			if (c->e[i].n == n && c->e[i].boot == n->boot)
				net_drained(s, c, i);
		next = c->next;
		net_put(s, c);
	}
}

static void broken(struct sim *s, void *arg, u64 i)
{
	struct conn *c = arg;

	if (c->e[i].state == END_HS || c->e[i].state == END_UP)
		eng_fault(s, c, i, -EIO);
	net_put(s, c);
}

/* The connection fails; each side hears of it sooner or later, one perhaps never. */
void net_break(struct sim *s, struct conn *c)
{
	int i, deaf = sim_chance(s, 300) ? (int)sim_below(s, 2) : -1;

	for (i = 0; i < 2; i++) {
		stop_tx(s, c, i);
		if (i == deaf)
			continue;
		conn_get(c);
		sim_at(s, s->now + sim_spread(s, 0, 50 * MS), broken, c, i);
	}
}

/* A NIC or a TCP gives up when nothing has come back for long. */
static void retry(struct sim *s, void *arg, u64 i)
{
	struct conn *c = arg;
	struct end *e = &c->e[i];

	e->retry_armed = false;
	if ((e->state == END_HS || e->state == END_UP) && !alive(s, c, i)) {
		if (paused(s, e->n)) {
			arm_retry(s, c, i);
		} else {
			stop_tx(s, c, i);
			eng_fault(s, c, i, -ETIMEDOUT);
		}
	}
	net_put(s, c);
}

/* Paths have changed: what waited goes on, what went may wait. */
void net_changed(struct sim *s)
{
	struct conn *c;
	int i;

	for (c = s->conns; c; c = c->next) {
		for (i = 0; i < 2; i++) {
			struct end *e = &c->e[i];

			if (e->head && !alive(s, c, i))
				arm_retry(s, c, i);
			if (e->parked && !e->rnr) {
				e->parked = false;
				if (e->head)
					arm(s, c, i, s->now + sim_spread(s, s->lat_lo, s->lat_hi));
			}
		}
	}
}

/* End @i has receives again. */
void net_reposted(struct sim *s, struct conn *c, int i)
{
	struct end *e = &c->e[!i];

	if (!e->rnr)
		return;
	e->rnr = e->parked = false;
	if (e->head)
		arm(s, c, !i, s->now);
}

/* The NIC writes a page into memory. This is where stale writes show. */
static void land(struct sim *s, struct snode *n, struct pkt *p)
{
	struct frame *f;

	capture(s, p);
	if (p->frame >= n->frames)
		sim_fail(s, "node %u: write into frame %u of %u", n->id, p->frame, n->frames);
	f = &n->frame[p->frame];
	if (f->owner != p->m)
		sim_fail(s, "node %u: stale write of request %llu in frame %u, which is %s %llu",
			 n->id, (unsigned long long)p->m->id, p->frame,
			 f->owner ? "named by request" : "free, not named by",
			 (unsigned long long)(f->owner ? f->owner->id : p->m->id));
	memcpy(f->w, p->w, sizeof(f->w));
	p->landed = true;
}

/* Is there a receive for it? Sequenced frames always have one: that's what credit is. */
static bool take_receive(struct sim *s, struct end *o, const struct conn *c, struct pkt *p)
{
	const struct pt_cfg *cfg = &o->n->pn.cfg;
	u32 used;

	if (p->what != PK_FRAME || !o->sl || o->state == END_CLOSED)
		return true;
	used = o->sl->lent[c->class] + o->cq_seqd;
	if (p->seqd && used + 1 > (u32)cfg->window + cfg->prepaid)
		sim_fail(s, "node %u from %u, class %u: %u frames outstanding, %u + %u allowed",
			 o->id, o->sl->l.peer, c->class, used + 1, cfg->window, cfg->prepaid);
	return used + o->cq_ctl + 1 <= pt_cfg_receives(cfg);
}

/* Return: false if the packet has to wait for a receive. */
static bool nic_rx(struct sim *s, struct conn *c, int i, struct pkt *p)
{
	struct end *e = &c->e[i], *o = &c->e[!i];

	if (o->state == END_NONE && p->what == PK_HELLO) {
		o->n = &s->nodes[o->id];
		o->boot = o->n->boot;
		o->state = END_HS;
		conn_get(c);
	}
	if (o->state == END_DRAINED || o->state == END_NONE || !node_is(o->n, o->boot)) {
		e->head = p->next;
		pkt_free(s, p);
		return true;
	}
	if (!take_receive(s, o, c, p)) {
		s->st.rnr++;
		e->parked = e->rnr = true;
		return false;
	}
	e->head = p->next;
	capture(s, p);
	if (p->is_page && c->imm)
		land(s, o->n, p);
	if (o->deaf && o->state == END_CLOSED) {
		pkt_free(s, p);
		return true;
	}
	p->next = NULL;
	*o->cq_tail = p;
	o->cq_tail = &p->next;
	if (p->what == PK_FRAME) {
		if (p->seqd)
			o->cq_seqd++;
		else
			o->cq_ctl++;
	}
	arm_cq(s, c, !i);
	return true;
}

static void arrive(struct sim *s, void *arg, u64 i)
{
	struct conn *c = arg;
	struct end *e = &c->e[i];
	bool room = false;

	e->armed = false;
	while (e->head) {
		if (e->head->at > s->now) {
			arm(s, c, i, e->head->at);
			break;
		}
		if (!net_path(s, e->id, c->e[!i].id)) {
			e->parked = true;
			break;
		}
		if (!nic_rx(s, c, i, e->head))
			break;
		e->in_flight--;
		room = true;
	}
	if (!e->head)
		e->tail = &e->head;
	/* The send queue has room again. */
	if (room && e->sl && e->state == END_UP && !paused(s, e->n)) {
		e->sl->l.actions |= PT_ACT_TX(c->class);
		eng_act(s, e->sl);
	}
	net_put(s, c);
}

static void poll_cq(struct sim *s, void *arg, u64 i)
{
	struct conn *c = arg;
	struct end *e = &c->e[i];
	u32 budget = 1 + sim_below(s, 16);

	e->cq_armed = false;
	if (e->state != END_DRAINED && (paused(s, e->n) || e->n->stopped > s->now)) {
		e->cq_last = e->n->paused > e->n->stopped ? e->n->paused : e->n->stopped;
		arm_cq(s, c, i);
		budget = 0;
	}
	while (budget-- && e->cq_head && e->state != END_DRAINED) {
		struct pkt *p = e->cq_head;

		/* TCP: the payload of a page trickles in after its header was looked at. */
		if (p->is_page && !c->imm && !p->landed && p->has_hdr) {
			struct frame *f = pt_lane_rx_page(&e->sl->l.lane[c->class],
							  (void *)p->data);

			if (f) {
				p->frame = f - e->n->frame;
				p->has_hdr = false;
				if (sim_chance(s, 300)) {
					e->cq_last = s->now + sim_spread(s, 1, 5 * MS);
					break;
				}
			}
		}
		if (p->is_page && !c->imm && !p->has_hdr)
			land(s, e->n, p);
		e->cq_head = p->next;
		if (!e->cq_head)
			e->cq_tail = &e->cq_head;
		if (p->what == PK_FRAME) {
			if (p->seqd)
				e->cq_seqd--;
			else
				e->cq_ctl--;
		}
		p->next = NULL;
		eng_rx(s, c, i, p);
		pkt_free(s, p);
		net_reposted(s, c, i);
	}
	if (e->cq_head && e->state != END_DRAINED)
		arm_cq(s, c, i);
	net_put(s, c);
}
