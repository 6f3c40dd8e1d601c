// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Threads that use the memory. A thread needs a mapping: it faults, sets it, and runs the
 * instruction again, which may find it gone.
 */
#include <stdlib.h>

#include "sim.h"

enum { OP_NONE, OP_READ, OP_WRITE, OP_CHANGE, OP_SCAN, OP_FILL, OP_PIN_R, OP_PIN_W };

static struct pg *page_of(struct thread *t)
{
	return &t->rg->node[t->node].pg[t->page];
}

static void again(struct thread *t, u64 delay)
{
	struct event *e = sim_event(t->rg->s, E_THREAD, delay);

	e->t = t;
}

void load_wake(struct region *rg, struct pg *g)
{
	struct thread *t = g->wait, *next;

	g->wait = NULL;
	for (; t; t = next) {
		next = t->next;
		again(t, sim_below(rg->s, rg->s->wake_ns));
	}
}

void load_begin(struct sim *s)
{
	u32 r, n, k, i = 0, all = s->regions * s->cfg.nodes * s->cfg.threads;

	s->threads = all;
	s->thread = calloc(all, sizeof(*s->thread));
	for (r = 0; r < s->regions; r++) {
		for (n = 0; n < s->cfg.nodes; n++) {
			for (k = 0; k < s->cfg.threads; k++, i++) {
				struct thread *t = &s->thread[i];

				t->rg = &s->rg[r];
				t->node = n;
				t->id = i;
				t->left = 1 + s->cfg.ops / all;
				again(t, sim_below(s, s->delay_ns));
			}
		}
	}
}

static void note(struct region *rg, u32 page, struct lin_op o)
{
	struct page *pp = &rg->page[page];

	if (pp->nops == pp->maxops) {
		pp->maxops = pp->maxops ? 2 * pp->maxops : 64;
		pp->ops = realloc(pp->ops, pp->maxops * sizeof(*pp->ops));
	}
	pp->ops[pp->nops++] = o;
}

static bool writes(const struct thread *t)
{
	return t->op == OP_WRITE || t->op == OP_CHANGE || t->op == OP_PIN_W || t->op == OP_FILL;
}

static bool streams(const struct thread *t)
{
	return t->op == OP_SCAN || t->op == OP_FILL;
}

/* The next operation. Return: false: there is none, or it is done already. */
static bool choose(struct thread *t)
{
	struct sim *s = t->rg->s;
	u32 kind = sim_below(s, 100), i;

	t->began = s->now;
	if (streams(t) && t->page + 1 < t->rg->pages) {
		t->page++;
		goto scan;
	}
	t->page = sim_below(s, t->rg->pages);
	if (s->cfg.fair) {
		t->op = OP_WRITE;
		t->start = ++s->stamp;
		return true;
	}
	if (kind < 12 && s->cfg.faults & F_DROP) {
		eng_drop(t->rg, t->node, t->page);
		t->op = OP_NONE;
		return false;
	}
	if (kind < 20 && s->cfg.faults & F_PIN)
		t->op = kind & 1 ? OP_PIN_R : OP_PIN_W;
	else if (kind < 55)
		t->op = OP_READ;
	else if (kind < 75)
		t->op = OP_WRITE;
	else if (kind < 93)
		t->op = OP_CHANGE;
	else
		t->op = kind < 97 ? OP_SCAN : OP_FILL;
scan:
	t->start = ++s->stamp;
	for (i = 0; streams(t) && i < 4 && t->page + 1 + i < t->rg->pages; i++)
		;
	if (streams(t))
		eng_ahead(t->rg, t->node, t->page + 1, i, t->op == OP_FILL);
	return true;
}

static void over(struct thread *t)
{
	struct sim *s = t->rg->s;

	if (s->now - t->began > s->patience_ns)
		sim_fail(s, "thread %u of node %u waited %llu us for page %u", t->id, t->node,
			 (unsigned long long)(s->now - t->began) / 1000, t->page);
	s->ops++;
	t->left--;
	if (s->cfg.fair) {
		/* Until the first has done its part: the others' work is compared with that. */
		if (!t->left)
			s->stop = true;
		if (!s->stop)
			s->work[t->node]++;
		t->op = OP_NONE;
		again(t, 1000);
		return;
	}
	if (!streams(t))
		t->op = OP_NONE;
	again(t, sim_below(s, s->delay_ns * (one_in(s, 10) ? 20 : 1)));
}

static void use(struct thread *t)
{
	struct sim *s = t->rg->s;
	struct pg *g = page_of(t);
	struct page *pp = &t->rg->page[t->page];
	struct lin_op o = { .start = t->start };

	if (t->op == OP_PIN_R || t->op == OP_PIN_W) {
		struct event *e = sim_event(s, E_PIN, sim_below(s, s->pin_ns));

		e->t = t;
		g->pins++;
	}
	if (t->op != OP_WRITE) {
		o.read = true;
		o.reads = g->val;
	}
	if (writes(t)) {
		o.writes = ++s->value;
		g->val = pp->latest = o.writes;
	}
	o.end = ++s->stamp;
	note(t->rg, t->page, o);
	/* Who has pinned goes on when the device is done. */
	if (t->op != OP_PIN_R && t->op != OP_PIN_W)
		over(t);
}

/* A device has used the page for a while, and uses it once more. */
void load_pinned(struct thread *t)
{
	struct sim *s = t->rg->s;
	struct pg *g = page_of(t);
	struct page *pp = &t->rg->page[t->page];
	bool w = t->op == OP_PIN_W;

	if (t->rg->node[t->node].dead || t->rg->node[t->node].gone) {
		t->over = true;
		return;
	}
	if (!g->frame)
		sim_fail(s, "a device uses page %u that isn't at node %u any more", t->page, t->node);
	if (w) {
		g->val = pp->latest = ++s->value;
		note(t->rg, t->page, (struct lin_op){ .start = s->stamp + 1, .end = s->stamp + 2,
						      .writes = s->value });
	} else {
		note(t->rg, t->page, (struct lin_op){ .start = s->stamp + 1, .end = s->stamp + 2,
						      .reads = g->val, .read = true });
	}
	s->stamp += 2;
	eng_unpin(t->rg, t->node, t->page);
	over(t);
}

void load_step(struct thread *t)
{
	struct region *rg = t->rg;
	struct sim *s = rg->s;
	struct pg *g;
	bool w;
	int r;

	if (!t->left || s->stop || rg->node[t->node].dead || rg->node[t->node].gone) {
		t->over = true;
		return;
	}
	if (!t->tries++) {
		if (!choose(t)) {
			t->tries = 0;
			t->left--;
			again(t, sim_below(s, s->delay_ns));
			return;
		}
	}
	g = page_of(t);
	w = writes(t);
	if (g->pte >= (w ? PD_M : PD_S)) {
		t->tries = 0;
		use(t);
		return;
	}
	t->next = g->wait;
	g->wait = t;
	r = eng_fault(rg, t->node, t->page, w);
	if (r == -EINPROGRESS)
		return;
	g->wait = t->next;
	if (!r) {
		eng_map(rg, t->node, t->page, w);
		again(t, sim_below(s, 300));
	} else if (r == -EIO) {
		if (!rg->page[t->page].died)
			sim_fail(s, "page %u is lost, and nobody died who had the only copy", t->page);
		s->lost++;
		t->tries = 0;
		over(t);
	} else {
		sim_fail(s, "a fault returned %d", r);
	}
}
