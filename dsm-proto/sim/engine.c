// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What an engine does around the core: it carries out actions, answers requests, keeps
 * frames and mappings. Each call into the core is entered in the table of transitions.
 */
#include <stdlib.h>

#include "sim.h"

static void act_all(struct region *rg, u16 node, u32 page, struct pd_acts *acts);

static struct pg *pg_of(struct region *rg, u16 node, u32 page)
{
	return &rg->node[node].pg[page];
}

static bool alive(struct region *rg, u16 node)
{
	return !rg->node[node].dead && !rg->node[node].gone;
}

/* ------------------------------------------------------------------ messages */

static const char *const msg_name[MSGS] = {
	"ASK", "ANSWER", "FWD", "FETCH", "SENT", "INV", "ACK", "DATA", "DONE", "NODATA", "PUT"
};

static u64 delay(struct region *rg, const struct msg *m)
{
	struct sim *s = rg->s;
	u64 d = 1000 + sim_below(s, s->delay_ns);

	if (one_in(s, 16))
		d += sim_below(s, 8 * s->delay_ns);
	d *= rg->node[m->from].slow > rg->node[m->to].slow ? rg->node[m->from].slow :
							    rg->node[m->to].slow;
	if (rg->node[m->from].side != rg->node[m->to].side && s->now >= s->split_at &&
	    s->now < s->split_end)
		d += s->split_end - s->now;
	return d;
}

static void post(struct region *rg, const struct msg *m, u64 d)
{
	struct event *e = sim_event(rg->s, E_MSG, d);

	e->rg = rg;
	e->m = *m;
}

static void send(struct region *rg, struct msg m)
{
	struct sim *s = rg->s;

	if (m.to >= rg->n)
		sim_fail(s, "%s for node %u: there are %u", msg_name[m.type], m.to, rg->n);
	if (s->cfg.bug == BUG_DROP_ACK && m.type == M_ACK && one_in(s, 20))
		return;
	if (m.to == m.from) {
		if (s->deep) {
			eng_deliver(rg, &m);
		} else {
			struct msg *c = malloc(sizeof(*c));

			*c = m;
			c->next = NULL;
			s->own_rg = rg;
			*s->own_end = c;
			s->own_end = &c->next;
		}
		return;
	}
	s->msgs++;
	post(rg, &m, delay(rg, &m));
	if ((s->cfg.faults & F_DUP || s->cfg.bug == BUG_STALE_GRANT) &&
	    (m.type == M_DATA || m.type == M_DONE || m.type == M_NODATA ||
	     m.type == M_ANSWER) && one_in(s, 8)) {
		if (m.type == M_ANSWER)
			m.data = false;		/* its frame isn't named any more */
		if (m.type == M_ANSWER && !m.status)
			m.status = -ESTALE;	/* a second answer says nothing */
		post(rg, &m, delay(rg, &m) + sim_below(s, 20 * s->delay_ns));
	}
}

/* Messages to the own node that wait for the end of what was under way. */
void eng_own(struct sim *s)
{
	struct msg *m;

	while ((m = s->own)) {
		s->own = m->next;
		if (!s->own)
			s->own_end = &s->own;
		eng_deliver(s->own_rg, m);
		free(m);
	}
}

/* --------------------------------------------------------- calls into the core */

static void limit(struct region *rg, const struct pd_acts *a)
{
	if (a->n > PD_ACTS)
		sim_fail(rg->s, "a call returned %u actions", a->n);
}

#define NODE_CALL(rg, nd, pg_no, event, expr) \
	({ \
		struct pg *g = pg_of(rg, nd, pg_no); \
		const struct pd_cfg *c = &(rg)->cfg[nd]; \
		u32 before = table_node(&g->p); \
		int ret; \
		acts.n = 0; \
		ret = (expr); \
		(void)c; \
		limit(rg, &acts); \
		table_add(event, before, table_node(&g->p), ret, &acts); \
		sim_trace((rg)->s, "core %u/%u page %u: event %d ret %d acts %u", (rg)->id, nd, \
			  pg_no, event, ret, acts.n); \
		ret; \
	})

#define HOME_CALL(rg, pg_no, event, expr) \
	({ \
		struct page *pp = &(rg)->page[pg_no]; \
		struct pd_home h = { &pp->dir, &pp->now }; \
		const struct pd_cfg *c = &(rg)->cfg[(rg)->home]; \
		u32 before = table_home(c, pp); \
		const struct pd_txn *was = pp->now; \
		acts.n = 0; \
		__auto_type ret = (expr); \
		limit(rg, &acts); \
		table_add(event, before, \
			  was && pp->now != was ? TABLE_END : table_home(c, pp), \
			  (long)ret == -EAGAIN ? -EAGAIN : 0, &acts); \
		sim_trace((rg)->s, "home %u page %u: event %d ret %ld acts %u", (rg)->id, pg_no, \
			  event, (long)ret, acts.n); \
		ret; \
	})

/* After each call about a page at a node: the request's frame goes with the request. */
static void settle(struct region *rg, u16 node, u32 page)
{
	struct pg *g = pg_of(rg, node, page);

	if (!g->p.want)
		g->rframe = false;
}

/* The page came: the request's frame is the page's from now on. */
static void install(struct region *rg, u16 node, u32 page, u64 val)
{
	struct pg *g = pg_of(rg, node, page);

	if (g->frame)
		sim_fail(rg->s, "page %u came to node %u, which has it", page, node);
	if (!g->rframe)
		sim_fail(rg->s, "page %u came to node %u, which has no frame", page, node);
	g->rframe = false;
	g->frame = true;
	g->val = val;
}

static void first(struct region *rg, u32 page)
{
	struct page *pp = &rg->page[page];
	struct pg *g = pg_of(rg, rg->home, page);

	if (pp->dir.state)
		return;
	pd_home_first(&rg->cfg[rg->home], &pp->dir, &g->p);
	g->frame = true;
	g->val = 0;
}

int eng_fault(struct region *rg, u16 node, u32 page, bool write)
{
	struct pd_acts acts;
	int r;

	if (node == rg->home)
		first(rg, page);
	r = NODE_CALL(rg, node, page, write ? C_FAULT_W : C_FAULT_R,
		      pd_fault(c, &g->p, write, &acts));
	act_all(rg, node, page, &acts);
	return r;
}

void eng_map(struct region *rg, u16 node, u32 page, bool write)
{
	struct pg *g = pg_of(rg, node, page);

	if (!pd_may(&g->p, write) || !g->frame)
		sim_fail(rg->s, "page %u can't be mapped at node %u", page, node);
	if (g->unmap == PD_DO_UNMAP)
		sim_fail(rg->s, "page %u is mapped at node %u while it is unmapped", page, node);
	g->pte = pd_may(&g->p, true) ? PD_M : PD_S;
	pd_mapped(&g->p, rg->s->now);
}

static void batch_send(struct region *rg, struct msg *m)
{
	if (m->pages)
		send(rg, *m);
	m->pages = 0;
}

/* @n pages from @page on, with as few messages as that can be. */
void eng_ahead(struct region *rg, u16 node, u32 page, u32 n, bool write)
{
	struct msg m = { .pages = 0 };
	struct pd_acts acts;
	u32 i, base = 0;

	for (i = 0; i < n; i++) {
		u32 least = pg_of(rg, node, page + i)->p.req + 1 - i;

		base = !i || (s32)(least - base) > 0 ? least : base;
	}
	for (i = 0; i < n; i++, page++) {
		if (node == rg->home)
			first(rg, page);
		else
			rg->s->batch = &m;
		if (pd_number(&pg_of(rg, node, page)->p, base + i)) {
			NODE_CALL(rg, node, page, write ? C_AHEAD_W : C_AHEAD,
				  pd_ahead(c, &g->p, write, &acts));
			act_all(rg, node, page, &acts);
		}
		rg->s->batch = NULL;
		if (m.pages && m.page + m.pages != page + 1)
			batch_send(rg, &m);
	}
	batch_send(rg, &m);
}

void eng_drop(struct region *rg, u16 node, u32 page)
{
	struct pg *g = pg_of(rg, node, page);
	struct pd_acts acts;

	if (rg->s->cfg.bug == BUG_SILENT_SUPPLIER)
		g->p.flags &= ~PD_P_OWNER;
	NODE_CALL(rg, node, page, C_DROP, pd_drop(c, &g->p, rg->s->now & 1, &acts));
	if (g->p.doing == PD_DROPS && rg->page[page].doubt)
		rg->page[page].died = true;	/* it didn't know that it was the last one */
	act_all(rg, node, page, &acts);
}

void eng_unmapped(struct region *rg, u16 node, u32 page)
{
	struct pg *g = pg_of(rg, node, page);
	struct pd_acts acts;
	bool early = rg->s->cfg.bug == BUG_EARLY_ACK && g->p.doing == PD_INVALIDATES;

	if (g->pins) {
		g->ready = true;
		return;
	}
	g->ready = false;
	if (g->unmap == PD_DO_UNMAP)
		g->pte = PD_I;
	else if (g->pte == PD_M && rg->s->cfg.bug != BUG_NO_PROTECT)
		g->pte = PD_S;
	g->unmap = 0;
	if (early)
		g->p.doing = PD_DROPS;	/* acknowledged before */
	NODE_CALL(rg, node, page, C_UNMAPPED, (pd_unmapped(c, &g->p, &acts), 0));
	act_all(rg, node, page, &acts);
	settle(rg, node, page);
}

void eng_unpin(struct region *rg, u16 node, u32 page)
{
	struct pg *g = pg_of(rg, node, page);

	g->pins--;
	if (!g->pins && g->ready)
		eng_unmapped(rg, node, page);
}

/* ------------------------------------------------------------------- actions */

static struct ask *ask_of(struct pd_txn *x)
{
	return (struct ask *)x;
}

/* Answer the ASK of the transaction under way. */
static void answer(struct region *rg, struct ask *a, int status, bool data, u64 val)
{
	if (a->answered)
		sim_fail(rg->s, "request %u of node %u is answered twice", a->x.req, a->x.node);
	a->answered = true;
	send(rg, (struct msg){ .type = M_ANSWER, .from = rg->home, .to = a->x.node,
			       .node = a->x.node, .page = a->page, .req = a->x.req,
			       .status = status, .data = data, .val = val });
}

static void granted(struct region *rg, u16 node, u32 page, u32 req, int status, bool data, u64 val)
{
	struct pg *g = pg_of(rg, node, page);
	struct pd_acts acts;
	int r;

	if (rg->s->cfg.bug == BUG_STALE_GRANT && status == -ESTALE) {
		req = g->p.req;
		status = 0;
	} else if (status == -ESTALE && req == g->p.req && g->p.want) {
		return;		/* the message layer brought it twice, and has dropped the second */
	}
	r = NODE_CALL(rg, node, page,
		      status == -EIO ? C_GRANT_LOST : status ? C_GRANT_NO :
		      data ? C_GRANT_DATA : C_GRANT,
		      pd_granted(c, &g->p, req, status, data, rg->s->now, &acts));
	if (!r && data)
		install(rg, node, page, val);
	if (!r && rg->s->cfg.bug == BUG_EARLY_DONE && g->p.want)
		send(rg, (struct msg){ .type = M_DONE, .from = node, .to = rg->home, .node = node,
				       .page = page, .req = req });
	settle(rg, node, page);
	act_all(rg, node, page, &acts);
	settle(rg, node, page);
}

static void act(struct region *rg, u16 node, u32 page, const struct pd_act *a, u64 *fetched,
		bool *has)
{
	struct sim *s = rg->s;
	struct pg *g = pg_of(rg, node, page);
	struct page *pp = &rg->page[page];
	struct msg m = { .from = node, .to = a->to, .node = a->node, .page = page, .req = a->req,
			 .flags = a->flags, .status = a->status };
	struct event *e;
	u16 i;

	switch (a->what) {
	case PD_SEND_ASK:
		if (g->rframe)
			sim_fail(s, "node %u asks twice for page %u", node, page);
		g->rframe = true;
		s->faults++;
		m.type = M_ASK;
		if (s->batch && s->batch->pages && s->batch->flags != m.flags)
			batch_send(rg, s->batch);
		if (s->batch && s->batch->pages) {
			s->batch->pages++;
		} else if (s->batch) {
			m.pages = 1;
			*s->batch = m;
		} else {
			send(rg, m);
		}
		break;
	case PD_SEND_FWD:
		if (pp->fwd)
			sim_fail(s, "page %u: two suppliers at a time", page);
		pp->fwd |= 1ull << a->to;
		if (a->to == a->node)
			sim_fail(s, "node %u is to give page %u to itself", a->to, page);
		/* Until the home knows of a death it gives the page to the dead. */
		if (a->flags & PD_F_WRITE && rg->node[a->node].dead)
			pp->died = true;
		m.type = a->node == rg->home ? M_FETCH : M_FWD;
		send(rg, m);
		break;
	case PD_SEND_INV:
		if (pp->inv)
			sim_fail(s, "page %u is invalidated while it is invalidated", page);
		pp->inv = a->mask;
		/* Who had sent before it died may not have been heard. */
		if (rg->node[a->node].dead ||
		    (pp->now->steps & PD_X_NEEDS && rg->node[pp->now->from].dead))
			pp->died = true;
		if (s->invs) {
			s->invs[page - s->inv_first] = a->mask & ~(1ull << node);
			m.type = M_INV;
			m.to = node;
			if (a->mask & 1ull << node)
				send(rg, m);
			break;
		}
		for (i = 0; i < PD_NODES; i++) {
			if (!(a->mask & 1ull << i))
				continue;
			m.type = M_INV;
			m.to = i;
			send(rg, m);
		}
		if (s->cfg.bug == BUG_EARLY_WRITE) {
			struct pd_acts acts;

			for (i = 0; i < PD_NODES; i++) {
				if (!(a->mask & 1ull << i))
					continue;
				HOME_CALL(rg, page, C_ACK, pd_home_ack(c, &h, i, &acts));
				act_all(rg, node, page, &acts);
			}
		}
		break;
	case PD_SEND_GRANT:
		if (a->node == rg->home)
			granted(rg, node, page, a->req, a->status, false, 0);
		else
			answer(rg, a->cookie, a->status, false, 0);
		break;
	case PD_SEND_DATA:
		if (!g->frame)
			sim_fail(s, "node %u sends page %u that it hasn't got", node, page);
		if (node == rg->home) {
			if (!pp->now || pp->now->node != a->to || pp->now->req != a->req)
				sim_fail(s, "page %u for a request that isn't under way", page);
			answer(rg, ask_of(pp->now), 0, true, g->val);
		} else if (a->to == rg->home) {
			*fetched = g->val;	/* goes with the answer */
			*has = true;
		} else {
			m.type = M_DATA;
			m.data = true;
			m.val = g->val;
			send(rg, m);
		}
		break;
	case PD_SEND_ACK:
		if (g->mute)
			break;
		m.type = M_ACK;
		send(rg, m);
		break;
	case PD_SEND_SENT:
		m.type = M_SENT;
		m.data = *has;
		m.val = *fetched;
		if (a->node == rg->home && !a->status != *has)
			sim_fail(s, "a fetch of page %u is answered without it", page);
		send(rg, m);
		break;
	case PD_SEND_DONE:
		m.type = M_DONE;
		send(rg, m);
		break;
	case PD_SEND_NODATA:
		m.type = M_NODATA;
		send(rg, m);
		break;
	case PD_SEND_PUT:
		m.type = M_PUT;
		send(rg, m);
		break;
	case PD_DO_UNMAP:
	case PD_DO_PROTECT:
		if (g->unmap)
			sim_fail(s, "page %u at node %u is unmapped twice", page, node);
		g->unmap = a->what;
		if (s->cfg.bug == BUG_EARLY_ACK && g->p.doing == PD_INVALIDATES)
			send(rg, (struct msg){ .type = M_ACK, .from = node, .to = rg->home,
					       .page = page });
		if (g->mute)
			break;		/* at once, with others */
		e = sim_event(s, E_UNMAP, sim_below(s, s->unmap_ns));
		e->rg = rg;
		e->node = node;
		e->page = page;
		break;
	case PD_DO_FREE:
		if (!g->frame || g->pte || g->pins || g->unmap)
			sim_fail(s, "page %u at node %u is freed: frame %u, mapped %u, pins %u",
				 page, node, g->frame, g->pte, g->pins);
		g->frame = false;
		break;
	case PD_DO_WAKE:
		load_wake(rg, g);
		break;
	default:
		sim_fail(s, "unknown action %u", a->what);
	}
}

static void act_all(struct region *rg, u16 node, u32 page, struct pd_acts *acts)
{
	u64 fetched = 0;
	bool has = false;
	u32 i;

	for (i = 0; i < acts->n; i++)
		act(rg, node, page, &acts->a[i], &fetched, &has);
}

/* ----------------------------------------------------------- what has arrived */

/* Transactions that ended are ours again. */
static void ended(struct region *rg, struct pd_txn *x)
{
	u64 dead = rg->node[rg->home].known;

	while (x) {
		struct ask *a = ask_of(x);

		x = x->next;
		if (!rg->asks--)
			sim_fail(rg->s, "a transaction ended twice");
		if (!a->answered && a->x.node != rg->home && !(dead & 1ull << a->x.node))
			sim_fail(rg->s, "request %u of node %u was never answered", a->x.req,
				 a->x.node);
		free(a);
	}
}

static void asked(struct region *rg, const struct msg *m)
{
	struct ask *a;
	struct pd_txn *x;
	struct pd_acts acts;
	int r;

	first(rg, m->page);
	for (x = rg->page[m->page].now; x; x = x->next)
		if (x->node == m->node && !(x->steps & PD_X_OVER) && m->node == rg->home)
			sim_fail(rg->s, "the home has two requests for page %u", m->page);
	a = calloc(1, sizeof(*a));
	a->rg = rg;
	a->page = m->page;
	a->x.node = m->node;
	a->x.req = m->req;
	a->x.flags = m->flags;
	a->x.cookie = m->node == rg->home ? NULL : a;
	if (rg->s->cfg.faults & F_NOMEM && m->node != rg->home && one_in(rg->s, 50)) {
		answer(rg, a, -EAGAIN, false, 0);
		free(a);
		return;
	}
	rg->asks++;
	r = HOME_CALL(rg, m->page,
		      m->flags & PD_F_IDLE ? !(m->flags & PD_F_WRITE) ? C_IDLE :
		      m->flags & PD_F_HOLDS ? C_IDLE_UP : C_IDLE_W : !(m->flags & PD_F_WRITE) ? C_ASK_R :
		      m->flags & PD_F_HOLDS ? C_UPGRADE : C_ASK_W,
		      pd_home_ask(c, &h, &a->x, &acts));
	if (r) {
		rg->asks--;
		if (m->node == rg->home)
			granted(rg, rg->home, m->page, m->req, r, false, 0);
		else
			answer(rg, a, r, false, 0);
		free(a);
		return;
	}
	act_all(rg, rg->home, m->page, &acts);
}

static void deferred(struct region *rg, const struct msg *m, const struct pd_acts *acts)
{
	struct sim *s = rg->s;
	u64 until = acts->a[0].until;

	if (acts->n != 1 || until <= s->now || until > s->now + s->hold_ns)
		sim_fail(s, "a message is put off for %lld ns, with %u actions",
			 (long long)(until - s->now), acts->n);
	s->deferred++;
	post(rg, m, until - s->now);
}

/* INV, FWD or FETCH. */
static void wanted(struct region *rg, const struct msg *m)
{
	struct pd_acts acts;
	u64 now = rg->s->now;
	bool w = m->flags & PD_F_WRITE;

	if (m->type == M_INV)
		pg_of(rg, m->to, m->page)->mute = false;
	if (m->type == M_INV)
		NODE_CALL(rg, m->to, m->page, C_INV, (pd_inv(c, &g->p, now, &acts), 0));
	else
		NODE_CALL(rg, m->to, m->page,
			  m->type == M_FETCH ? (w ? C_FETCH_W : C_FETCH_R) : w ? C_FWD_W : C_FWD_R,
			  (pd_fwd(c, &g->p, m->node, m->req, m->flags, now, &acts), 0));
	if (acts.n && acts.a[0].what == PD_DO_DEFER)
		deferred(rg, m, &acts);
	else
		act_all(rg, m->to, m->page, &acts);
}

/* INV of several pages: what can't be dropped at once isn't acknowledged with the others. */
static void unwanted(struct region *rg, const struct msg *m)
{
	struct msg ack = { .type = M_ACK, .from = m->to, .to = m->from, .page = m->page,
			   .mask = m->mask };
	struct pd_acts acts;
	struct pg *pg;
	u32 i, page;
	bool begun;

	for (i = 0; i < PD_BATCH; i++) {
		page = m->page + i;
		if (!(m->mask >> i & 1))
			continue;
		pg = pg_of(rg, m->to, page);
		NODE_CALL(rg, m->to, page, C_INV, (pd_inv(c, &g->p, rg->s->now, &acts), 0));
		if (acts.n && acts.a[0].what == PD_DO_DEFER)
			continue;
		begun = pg->unmap;	/* it is being dropped already */
		pg->mute = true;
		act_all(rg, m->to, page, &acts);
		if (pg->unmap && !begun)
			eng_unmapped(rg, m->to, page);
		if (pg->p.state)
			continue;
		pg->mute = false;
		ack.gone |= 1u << i;
	}
	send(rg, ack);
}

static int data_came(struct region *rg, u16 node, const struct msg *m)
{
	struct pd_acts acts;
	u32 req = m->req;
	int r;

	if (rg->s->cfg.bug == BUG_STALE_GRANT)
		req = pg_of(rg, node, m->page)->p.req;
	r = NODE_CALL(rg, node, m->page, C_DATA, pd_data(c, &g->p, req, rg->s->now, &acts));
	if (!r)
		install(rg, node, m->page, m->val);
	act_all(rg, node, m->page, &acts);
	settle(rg, node, m->page);
	return r;
}

static void sent(struct region *rg, const struct msg *m)
{
	struct page *pp = &rg->page[m->page];
	struct pd_acts acts;
	struct pd_txn *x;
	bool data_first = !one_in(rg->s, 2);

	if (!(pp->fwd & 1ull << m->from))
		sim_fail(rg->s, "node %u answers a FWD for page %u that it hasn't got", m->from,
			 m->page);
	pp->fwd &= ~(1ull << m->from);
	if (m->status && !(pp->dir.flags & PD_D_DOUBT) && !pp->doubt)
		sim_fail(rg->s, "node %u should have page %u, and hasn't", m->from, m->page);
	if (m->data && data_first && data_came(rg, rg->home, m))
		sim_fail(rg->s, "the home doesn't want page %u that it fetched", m->page);
	x = HOME_CALL(rg, m->page, m->status ? C_MISS : C_SENT,
		      pd_home_sent(c, &h, m->from, m->status, &acts));
	act_all(rg, rg->home, m->page, &acts);
	ended(rg, x);
	if (m->data && !data_first && data_came(rg, rg->home, m))
		sim_fail(rg->s, "the home doesn't want page %u that it fetched", m->page);
}

/* The home asks each of @n pages' sharers to drop it, with one message to each of them. */
static void invs_send(struct region *rg, u32 page, const u64 *invs, u32 n)
{
	struct msg m = { .type = M_INV, .from = rg->home };
	u32 i;

	for (m.to = 0; m.to < rg->n; m.to++) {
		m.mask = 0;
		for (i = 0; i < n; i++) {
			if (!(invs[i] >> m.to & 1))
				continue;
			if (!m.mask)
				m.page = page + i;
			m.mask |= 1u << (page + i - m.page);
		}
		if (m.mask)
			send(rg, m);
	}
}

static void asked_many(struct region *rg, const struct msg *m)
{
	u64 invs[PD_BATCH] = { 0 };
	struct msg one = *m;
	u32 i, n = m->pages ? m->pages : 1;

	if (n > 1) {
		rg->s->invs = invs;
		rg->s->inv_first = m->page;
	}
	for (i = 0; i < n; i++, one.page++, one.req++)
		asked(rg, &one);
	rg->s->invs = NULL;
	invs_send(rg, m->page, invs, n);
}

static void acked(struct region *rg, const struct msg *m, u32 page, bool gone)
{
	struct msg again = { .type = M_INV, .from = m->to, .to = m->from, .page = page };
	struct pd_acts acts;
	struct pd_txn *x;

	if (!(rg->page[page].inv & 1ull << m->from))
		sim_fail(rg->s, "node %u answers an INV of page %u that it hasn't got", m->from, page);
	if (!gone) {
		send(rg, again);
		return;
	}
	rg->page[page].inv &= ~(1ull << m->from);
	x = HOME_CALL(rg, page, C_ACK, pd_home_ack(c, &h, m->from, &acts));
	act_all(rg, m->to, page, &acts);
	ended(rg, x);
}

void eng_deliver(struct region *rg, const struct msg *m)
{
	struct sim *s = rg->s;
	struct pd_acts acts;
	struct pd_txn *x;
	u32 i;

	if (!alive(rg, m->to))
		return;
	if (rg->node[m->from].dead && m->from != m->to) {
		/* After the notice nothing comes from the dead any more. */
		if (rg->node[m->to].known & 1ull << m->from || one_in(s, 2))
			return;
	}
	sim_trace(s, "%s region %u page %u: %u -> %u, request %u of %u, flags %u status %d",
		  msg_name[m->type], rg->id, m->page, m->from, m->to, m->req, m->node, m->flags,
		  m->status);
	switch (m->type) {
	case M_ASK:
		asked_many(rg, m);
		break;
	case M_ANSWER:
		granted(rg, m->to, m->page, m->req, m->status, m->data, m->val);
		break;
	case M_FWD:
	case M_FETCH:
	case M_INV:
		if (m->mask)
			unwanted(rg, m);
		else
			wanted(rg, m);
		break;
	case M_SENT:
		sent(rg, m);
		break;
	case M_ACK:
		for (i = 0; i < PD_BATCH; i++)
			if (!i && !m->mask)
				acked(rg, m, m->page, true);
			else if (m->mask >> i & 1)
				acked(rg, m, m->page + i, m->gone >> i & 1);
		break;
	case M_DATA:
		data_came(rg, m->to, m);
		break;
	case M_DONE:
		x = HOME_CALL(rg, m->page, m->flags & PD_F_FAIL ? C_FAIL : C_DONE,
			      pd_home_done(c, &h, m->node, m->req, m->flags, &acts));
		act_all(rg, m->to, m->page, &acts);
		ended(rg, x);
		break;
	case M_NODATA:
		NODE_CALL(rg, m->to, m->page, C_NODATA,
			  (pd_nodata(c, &g->p, m->req, &acts), 0));
		act_all(rg, m->to, m->page, &acts);
		settle(rg, m->to, m->page);
		break;
	case M_PUT:
		eng_ahead(rg, rg->home, m->page, 1, false);
		break;
	}
}

/* @node is told that @dead is dead. */
void eng_notice(struct region *rg, u16 node, u16 dead)
{
	struct pd_acts acts;
	struct pd_txn *x;
	u32 p;

	if (!alive(rg, node) || (rg->node[node].known & 1ull << dead))
		return;
	rg->node[node].known |= 1ull << dead;
	if (dead == rg->home) {
		rg->node[node].gone = true;	/* its threads find out */
		for (p = 0; p < rg->pages; p++)
			load_wake(rg, pg_of(rg, node, p));
		return;
	}
	if (node != rg->home)
		return;
	for (p = 0; p < rg->pages; p++) {
		struct page *pp = &rg->page[p];

		pp->inv &= ~(1ull << dead);
		pp->fwd &= ~(1ull << dead);
		if (!pp->dir.state)
			continue;
		x = HOME_CALL(rg, p, C_DEAD, pd_home_dead(c, &h, dead, &acts));
		act_all(rg, node, p, &acts);
		ended(rg, x);
		if (!pp->now && pp->dir.flags & PD_D_DOUBT && one_in(rg->s, 2))
			eng_ahead(rg, node, p, 1, false);
	}
}
