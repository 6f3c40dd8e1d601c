// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What must be true after every event (the invariants of dsm.h), and at the end.
 */
#include "sim.h"

/* May a thread of the node still use the page so, whatever the core says? */
static u8 right(const struct pg *g)
{
	return g->pte > g->p.state ? g->pte : g->p.state;
}

static void check_dir(struct region *rg, u32 page)
{
	struct sim *s = rg->s;
	const struct page *pp = &rg->page[page];
	const struct pd_dir *d = &pp->dir;
	const struct node *o = &rg->node[d->owner];
	const struct pd_page *p;
	u16 i;

	if (!d->state || pp->now)
		return;
	if (d->flags & PD_D_LOST) {
		if (!pp->died)
			sim_fail(s, "page %u is lost, and nobody died who had the only copy", page);
		for (i = 0; i < rg->n; i++)
			if (!rg->node[i].dead && rg->node[i].pg[page].p.state)
				sim_fail(s, "page %u is lost, but node %u has it", page, i);
		return;
	}
	if (!d->sharers)
		sim_fail(s, "I3: nobody is listed for page %u", page);
	if (d->sharers & 1ull << rg->home && !rg->node[rg->home].pg[page].p.state)
		sim_fail(s, "the home is listed for page %u and hasn't got it", page);
	if (d->flags & PD_D_DOUBT) {
		if (!pp->doubt)
			sim_fail(s, "page %u is in doubt, and nobody died", page);
		return;
	}
	if (!(d->sharers & 1ull << d->owner))
		sim_fail(s, "I3: the supplier of page %u, node %u, isn't listed", page, d->owner);
	if (o->dead)
		return;
	p = &o->pg[page].p;
	if (!p->state || p->doing == PD_DROPS)
		sim_fail(s, "I3: the supplier of page %u, node %u, hasn't got it", page, d->owner);
	if (d->owner != rg->home && !(p->flags & PD_P_OWNER))
		sim_fail(s, "I3: node %u doesn't know that it is the supplier of page %u", d->owner,
			 page);
}

void check_page(struct region *rg, u32 page)
{
	struct sim *s = rg->s;
	const struct page *pp = &rg->page[page];
	int writer = -1, reader = -1;
	u16 i;

	if (rg->node[rg->home].dead)
		return;
	for (i = 0; i < rg->n; i++) {
		const struct node *n = &rg->node[i];
		const struct pg *g = &n->pg[page];
		u8 r = right(g);

		if (n->dead || !r)
			continue;
		if (r == PD_M && writer >= 0)
			sim_fail(s, "I1: nodes %d and %u may write page %u", writer, i, page);
		if (r == PD_M)
			writer = i;
		else
			reader = i;
		if (!(pp->dir.sharers & 1ull << i) && !(pp->now && pp->now->node == i))
			sim_fail(s, "I2: node %u has page %u and isn't listed", i, page);
		if (!g->frame)
			sim_fail(s, "node %u has page %u without a frame", i, page);
		if (g->val != pp->latest)
			sim_fail(s, "node %u has value %llu of page %u, the last one is %llu", i,
				 (unsigned long long)g->val, page,
				 (unsigned long long)pp->latest);
	}
	if (writer >= 0 && reader >= 0)
		sim_fail(s, "I1: node %d may write page %u and node %d may read it", writer, page,
			 reader);
	check_dir(rg, page);
}

static void check_quiet(struct region *rg, u32 page)
{
	struct sim *s = rg->s;
	const struct page *pp = &rg->page[page];
	u16 i;

	if (pp->now)
		sim_fail(s, "page %u: request %u of node %u never ends (steps %x, acks %llx)", page,
			 pp->now->req, pp->now->node, pp->now->steps,
			 (unsigned long long)pp->now->acks);
	if (pp->inv || pp->fwd)
		sim_fail(s, "page %u: an answer to an INV or FWD never came", page);
	for (i = 0; i < rg->n; i++) {
		const struct pg *g = &rg->node[i].pg[page];

		if (rg->node[i].dead)
			continue;
		if (g->p.want || g->p.doing || g->unmap || g->pins || g->wait)
			sim_fail(s, "page %u at node %u: want %u, doing %u, pins %u in the end", page,
				 i, g->p.want, g->p.doing, g->pins);
		if (g->frame != (g->p.state != PD_I) || g->rframe)
			sim_fail(s, "page %u at node %u: a frame too %s", page, i,
				 g->frame ? "many" : "few");
		if (g->p.flags & PD_P_PUT)
			sim_fail(s, "page %u at node %u: a PUT was never heard", page, i);
	}
}

void check_end(struct sim *s)
{
	u32 i, p;

	for (i = 0; i < s->threads; i++) {
		struct thread *t = &s->thread[i];

		if (!t->over && !t->rg->node[t->node].dead)
			sim_fail(s, "thread %u of node %u waits for page %u for ever", t->id,
				 t->node, t->page);
	}
	for (i = 0; i < s->regions; i++) {
		if (s->rg[i].node[s->rg[i].home].dead)
			continue;
		for (p = 0; p < s->rg[i].pages; p++)
			check_quiet(&s->rg[i], p);
		if (s->rg[i].asks)
			sim_fail(s, "%u transactions never came back", s->rg[i].asks);
	}
}

void check_lin(struct sim *s)
{
	const char *why;
	u32 i, p;

	for (i = 0; i < s->regions; i++) {
		for (p = 0; p < s->rg[i].pages; p++) {
			struct page *pp = &s->rg[i].page[p];

			if (lin_check(pp->ops, pp->nops, &why))
				sim_fail(s, "page %u: no order explains what was read: %s", p, why);
		}
	}
}
