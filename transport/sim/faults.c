// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What goes wrong in a run, and when.
 */
#include "sim.h"

/* A cut from some nodes to others that ends at a time. */
struct cut {
	u64 gen;
	bool back;			/* the other direction too */
	u32 n;
	u16 pair[][2];
};

static u64 duration(struct sim *s)
{
	return sim_spread(s, MS, 5 * s->cfg.dead_ms * MS / 2);
}

static void cut_add(struct sim *s, struct cut *k, int by)
{
	u32 i;

	for (i = 0; i < k->n; i++) {
		s->cut[k->pair[i][0] * s->n + k->pair[i][1]] += by;
		if (k->back)
			s->cut[k->pair[i][1] * s->n + k->pair[i][0]] += by;
	}
	net_changed(s);
}

static void cut_end(struct sim *s, void *arg, u64 unused)
{
	struct cut *k = arg;

	(void)unused;
	if (k->gen == s->cuts)
		cut_add(s, k, -1);
	sim_free(s, k);
}

static void cut_pair(struct sim *s, u16 a, u16 b, bool back)
{
	struct cut *k = sim_alloc(s, sizeof(*k) + sizeof(k->pair[0]));

	k->gen = s->cuts;
	k->back = back;
	k->n = 1;
	k->pair[0][0] = a;
	k->pair[0][1] = b;
	cut_add(s, k, 1);
	sim_at(s, s->now + duration(s), cut_end, k, 0);
	sim_log(s, "cut: %u to %u%s", a, b, back ? " and back" : "");
}

static void split(struct sim *s)
{
	struct cut *k = sim_alloc(s, sizeof(*k) + s->n * s->n / 4 * sizeof(k->pair[0]));
	u64 salt = sim_rand(s);
	u16 a, b;

	k->gen = s->cuts;
	k->back = true;
	for (a = 0; a < s->n; a++)
		for (b = 0; b < s->n; b++)
			if ((sim_mix(salt + a) & 1) && !(sim_mix(salt + b) & 1) &&
			    k->n < s->n * s->n / 4u) {
				k->pair[k->n][0] = a;
				k->pair[k->n++][1] = b;
			}
	cut_add(s, k, 1);
	sim_at(s, s->now + duration(s), cut_end, k, 0);
	sim_log(s, "split in two");
}

static void boot(struct sim *s, void *arg, u64 unused)
{
	struct snode *n = arg;

	(void)unused;
	if (!n->up)
		node_boot(s, n);
}

static void wake(struct sim *s, void *arg, u64 unused)
{
	(void)arg;
	(void)unused;
	net_changed(s);
}

static void lanes(struct sim *s)
{
	u32 n = 0, pick;
	struct conn *c;

	for (c = s->conns; c; c = c->next)
		n++;
	pick = sim_below(s, n);
	for (c = s->conns; c && pick--; c = c->next)
		;
	if (c)
		net_break(s, c);
}

static void fault(struct sim *s, u32 which)
{
	struct snode *n = &s->nodes[sim_below(s, s->n)];
	u16 peer = n->neighbour[sim_below(s, n->neighbours)];

	s->st.faults++;
	switch (which) {
	case F_LANE:
		lanes(s);
		return;
	case F_CUT:
		cut_pair(s, n->id, peer, true);
		return;
	case F_ONEWAY:
		if (sim_chance(s, 500))
			cut_pair(s, n->id, peer, false);
		else
			cut_pair(s, peer, n->id, false);
		return;
	case F_SPLIT:
		split(s);
		return;
	}
	if (!n->up)
		return;
	switch (which) {
	case F_CRASH:
		s->st.crashes++;
		node_crash(s, n);
		if (sim_chance(s, 850))
			sim_at(s, s->now + duration(s), boot, n, 0);
		return;
	case F_BYE:
		node_bye(s, n);
		sim_at(s, s->now + 10 * MS + duration(s), boot, n, 0);
		return;
	case F_PAUSE:
		n->paused = s->now + duration(s);
		sim_log(s, "node %u: suspended until %.6f", n->id, n->paused / 1e6);
		sim_at(s, n->paused, wake, n, 0);
		net_changed(s);
		return;
	case F_STOP:
		n->stopped = s->now + duration(s);
		sim_log(s, "node %u: stopped until %.6f", n->id, n->stopped / 1e6);
		return;
	case F_SLOW:
		n->slow = s->now + duration(s);
		sim_log(s, "node %u: handlers stop until %.6f", n->id, n->slow / 1e6);
		return;
	}
}

static void next_fault(struct sim *s, void *arg, u64 unused)
{
	u32 which;

	(void)unused;
	if (s->quiet)
		return;
	/* Lanes fail more often than whole nodes. */
	which = sim_chance(s, 400) ? F_LANE : 1u << sim_below(s, 9);
	if (s->faults & which)
		fault(s, which);
	sim_at(s, s->now + sim_spread(s, 1, 2 * s->fault_gap * MS), next_fault, arg, 0);
}

void faults_start(struct sim *s)
{
	if (s->faults & ~(F_REFUSE | F_FOREVER))
		sim_at(s, s->now + sim_spread(s, 0, 100 * MS), next_fault, NULL, 0);
}

/* The end of the troubles, except for cuts that are for ever. */
void faults_heal(struct sim *s)
{
	u16 i;

	s->cuts++;
	if (!(s->faults & F_FOREVER))
		memset(s->cut, 0, s->n * s->n);
	for (i = 0; i < s->n; i++)
		s->nodes[i].paused = s->nodes[i].stopped = s->nodes[i].slow = 0;
	net_changed(s);
}
