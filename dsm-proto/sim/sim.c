// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Time, chance and what happens next. A run is what its seed says, and nothing else.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "sim.h"

#define STEPS_MAX	20000000	/* events; no run goes on for ever */

u64 sim_rand(struct sim *s)
{
	u64 x;

	if (s->cfg.tape) {
		x = 0;
		if (s->tape_at + 2 <= s->cfg.tape_len)
			x = s->cfg.tape[s->tape_at] | s->cfg.tape[s->tape_at + 1] << 8;
		s->tape_at += 2;
		return x;
	}
	s->rng += 0x9e3779b97f4a7c15ull;	/* splitmix64 */
	x = s->rng;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	longjmp(s->out, 1);
}

void sim_trace(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->cfg.trace)
		return;
	printf("%10llu ", (unsigned long long)s->now);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* ---------------------------------------------------------------------- time */

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

struct event *sim_event(struct sim *s, enum what what, u64 delay)
{
	struct event *e = calloc(1, sizeof(*e));
	u32 i;

	if (s->events == s->heap_max) {
		s->heap_max = s->heap_max ? 2 * s->heap_max : 256;
		s->heap = realloc(s->heap, s->heap_max * sizeof(*s->heap));
	}
	e->what = what;
	e->at = s->now + delay;
	e->order = s->order++;
	for (i = s->events++; i && before(e, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = e;
	return e;
}

static struct event *next_event(struct sim *s)
{
	struct event *e = s->heap[0], *last = s->heap[--s->events];
	u32 i = 0, k;

	for (; (k = 2 * i + 1) < s->events; i = k) {
		if (k + 1 < s->events && before(s->heap[k + 1], s->heap[k]))
			k++;
		if (!before(s->heap[k], last))
			break;
		s->heap[i] = s->heap[k];
	}
	s->heap[i] = last;
	return e;
}

/* --------------------------------------------------------------------- death */

static void crash(struct region *rg, u16 node)
{
	struct sim *s = rg->s;
	u32 p;
	u16 i;

	if (rg->node[node].dead)
		return;
	sim_trace(s, "region %u: node %u dies", rg->id, node);
	rg->node[node].dead = true;
	s->deaths++;
	for (p = 0; p < rg->pages; p++) {
		const struct pd_page *g = &rg->node[node].pg[p].p;
		struct page *pp = &rg->page[p];
		const struct pd_txn *x = pp->now;

		if (!g->state && !g->want && !(x && (x->node == node || x->from == node)))
			continue;
		pp->doubt = true;
		/* A copy that nobody drops, or has been told to give away, survives. */
		for (i = 0; i < rg->n; i++) {
			const struct pd_page *o = &rg->node[i].pg[p].p;

			if (!rg->node[i].dead && o->state &&
			    (o->doing == PD_IDLE || o->doing == PD_SHARES))
				break;
		}
		/* One that is given to the dead doesn't; nor others, once told to go. */
		if (i == rg->n || (x && x->flags & PD_F_WRITE &&
				   (x->steps & PD_X_INVS ||
				    (x->steps & PD_X_FWD && x->node == node))))
			pp->died = true;
	}
	for (i = 0; i < rg->n; i++) {
		struct event *e;

		if (i == node || (s->cfg.bug == BUG_SHORT_NOTICE && i == rg->home))
			continue;
		e = sim_event(s, E_NOTICE, sim_below(s, s->notice_ns));
		e->rg = rg;
		e->node = i;
		e->peer = node;
	}
}

/* --------------------------------------------------------------------- a run */

static u32 chosen(struct sim *s, u32 wanted, u32 lo, u32 hi)
{
	u32 drawn = lo + sim_below(s, hi - lo + 1);

	return wanted ? wanted : drawn;
}

static void draw(struct sim *s)
{
	struct sim_cfg *c = &s->cfg;
	bool many = one_in(s, 25), all = one_in(s, 12);

	c->regions = chosen(s, c->regions, many ? 2 : 1, many ? 6 : 1);
	c->nodes = chosen(s, c->nodes, many ? 20 : 2, many || all ? PD_NODES : 7);
	c->pages = chosen(s, c->pages, 1, one_in(s, 3) ? 24 : 4);
	c->threads = chosen(s, c->threads, 1, c->nodes > 8 ? 1 : 4);
	c->ops = chosen(s, c->ops, 1000, 10000);
	c->hold_us = chosen(s, c->hold_us, 20, 200);
	s->delay_ns = 2000 + sim_below(s, 30000);
	s->unmap_ns = 1000 + sim_below(s, 20000);
	s->wake_ns = 500 + sim_below(s, 5000);
	s->pin_ns = 1000 + sim_below(s, 500000);
	s->notice_ns = 1000 + sim_below(s, 3000000);
	s->hold_ns = c->hold_us * 1000;
	s->deep = one_in(s, 2);
	if (c->fair) {
		/* A hold is of use if it is longer than a request takes. */
		c->nodes = 2 + sim_below(s, 2);
		c->regions = c->pages = c->threads = 1;
		c->ops = 60000;
		c->faults = 0;
		s->delay_ns = 2000 + sim_below(s, 8000);
		s->unmap_ns = 1000 + sim_below(s, 5000);
		s->hold_ns = 4 * s->delay_ns + sim_below(s, 100000);
	}
	if (one_in(s, 6) && !c->tape)
		c->faults = 0;		/* all is well */
	if (c->faults & F_SPLIT) {
		s->split_at = sim_below(s, 3000000);
		s->split_end = s->split_at + sim_below(s, 5000000);
	}
}

static void begin(struct sim *s)
{
	u32 i, k, deaths;

	draw(s);
	s->rg = calloc(s->cfg.regions, sizeof(*s->rg));
	s->regions = s->cfg.regions;
	for (i = 0; i < s->regions; i++) {
		struct region *rg = &s->rg[i];

		rg->s = s;
		rg->id = i;
		rg->n = s->cfg.nodes;
		rg->home = sim_below(s, rg->n);
		rg->pages = s->cfg.pages;
		rg->page = calloc(rg->pages, sizeof(*rg->page));
		for (k = 0; k < rg->n; k++) {
			rg->cfg[k] = (struct pd_cfg){ .self = k, .home = rg->home,
						      .hold_ns = s->hold_ns };
			rg->node[k].pg = calloc(rg->pages, sizeof(struct pg));
			rg->node[k].slow = s->cfg.faults & F_SLOW && one_in(s, 5) ? 10 : 1;
			rg->node[k].side = sim_below(s, 2);
		}
		deaths = s->cfg.faults & F_CRASH && !one_in(s, 3) ? 1 + sim_below(s, 3) : 0;
		for (k = 0; k < deaths; k++) {
			u16 who = sim_below(s, rg->n);
			struct event *e;

			if (who == rg->home && !one_in(s, 6))
				who = (who + 1) % rg->n;
			e = sim_event(s, E_CRASH, sim_below(s, 20ull * s->cfg.ops * s->delay_ns /
							     rg->n / s->regions));
			e->rg = rg;
			e->node = who;
		}
	}
	/*
	 * Each fault waits at most for one of each other node, and each of those for a few
	 * messages, a hold, from when the page is mapped, and who uses it. Then again, if the
	 * page was gone before it was used.
	 */
	s->patience_ns = 4ull * (s->cfg.nodes + 2) * s->cfg.threads *
		(10ull * 9 * (s->cfg.faults & F_SLOW ? 10 : 1) * (s->delay_ns + 1000) +
		 3 * s->hold_ns + s->unmap_ns + 2 * s->pin_ns) +
		8ull * s->notice_ns + 2 * (s->split_end - s->split_at);
	load_begin(s);
}

static void happen(struct sim *s, struct event *e)
{
	u32 p;

	switch (e->what) {
	case E_MSG:
		eng_deliver(e->rg, &e->m);
		break;
	case E_THREAD:
		load_step(e->t);
		break;
	case E_PIN:
		load_pinned(e->t);
		break;
	case E_UNMAP:
		if (!e->rg->node[e->node].dead && !e->rg->node[e->node].gone)
			eng_unmapped(e->rg, e->node, e->page);
		break;
	case E_CRASH:
		crash(e->rg, e->node);
		break;
	case E_NOTICE:
		eng_notice(e->rg, e->node, e->peer);
		break;
	}
	eng_own(s);
	switch (e->what) {
	case E_MSG:
		check_page(e->rg, e->m.page);
		break;
	case E_UNMAP:
		check_page(e->rg, e->page);
		break;
	case E_THREAD:
	case E_PIN:
		check_page(e->t->rg, e->t->page);
		break;
	case E_NOTICE:
	case E_CRASH:
		for (p = 0; p < e->rg->pages; p++)
			check_page(e->rg, p);
		break;
	}
}

static void clear(struct sim *s)
{
	u32 i, k;

	while (s->events)
		free(next_event(s));
	free(s->heap);
	while (s->own) {
		struct msg *m = s->own;

		s->own = m->next;
		free(m);
	}
	for (i = 0; i < s->regions; i++) {
		struct region *rg = &s->rg[i];

		for (k = 0; k < rg->n; k++)
			free(rg->node[k].pg);
		for (k = 0; rg->page && k < rg->pages; k++) {
			while (rg->page[k].now) {
				struct pd_txn *x = rg->page[k].now;

				rg->page[k].now = x->next;
				free(x);
			}
			free(rg->page[k].ops);
		}
		free(rg->page);
	}
	free(s->rg);
	free(s->thread);
}

u32 sim_share(const struct sim *s)
{
	u64 all = 0, least = ~0ull;
	u32 i;

	for (i = 0; i < s->cfg.nodes; i++) {
		all += s->work[i];
		if (s->work[i] < least)
			least = s->work[i];
	}
	return all ? least * 100 / all : 0;
}

int sim_run(struct sim *s, const struct sim_cfg *cfg)
{
	struct event *volatile e = NULL;
	int r;

	memset(s, 0, sizeof(*s));
	s->cfg = *cfg;
	s->rng = cfg->seed * 0x2545f4914f6cdd1dull;
	s->own_end = &s->own;
	s->now = 1000000;
	r = setjmp(s->out);
	if (!r) {
		begin(s);
		while (s->events) {
			e = next_event(s);
			s->now = e->at;
			happen(s, e);
			free(e);
			e = NULL;
			if (s->steps++ > STEPS_MAX)
				sim_fail(s, "no end after %u events", STEPS_MAX);
		}
		check_end(s);
		check_lin(s);
	}
	free(e);
	clear(s);
	return r;
}
