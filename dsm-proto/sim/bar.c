// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Barriers of simulated nodes, from one seed: messages come in any order, some can't be sent
 * now, threads give up, nodes join, leave and die, members lose each other. At all times no more threads have gone than
 * as many as came allow; when all is quiet, nobody waits who could go.
 */
#include <stdlib.h>

#include "../core/barrier.h"
#include "sim.h"

#define BARS	2
#define MSGS	4096

struct bnode {
	bool in;		/* has attached */
	u64 cut;		/* from these nodes, not from the home */
	u32 waits[BARS];
	struct pd_tree t;
	struct pd_bar bar[BARS];
};

struct bmsg {
	u16 from, to;
	struct pd_say say;
};

static struct bar_sim {
	u64 rng, now;
	u32 n;
	u16 home;
	bool faults;
	struct bnode node[PD_NODES];
	struct bmsg msg[MSGS];
	u32 msgs;
	u32 count[BARS];		/* awaited */
	u64 came[BARS], gone[BARS], failed;
	u64 home_got, home_sent, sent;
	bool died;
	const char *why;
} s;

static u32 rnd(u32 n)
{
	s.rng ^= s.rng << 13;
	s.rng ^= s.rng >> 7;
	s.rng ^= s.rng << 17;
	return s.rng % n;
}

static void fail(const char *why)
{
	if (!s.why)
		s.why = why;
}

static void went(u16 node, u32 i, const struct pd_go *go)
{
	struct bnode *b = &s.node[node];

	if (go->n > b->waits[i] || go->failed > go->n) {
		fail("more threads go than wait");
		return;
	}
	b->waits[i] -= go->n;
	s.gone[i] += go->n - go->failed;
	s.failed += go->failed;
	if (s.gone[i] > s.came[i] - s.came[i] % s.count[i])
		fail("threads go before the others have come");
	if (go->failed && !s.died)
		fail("told of a death, but nobody died");
}

static void flush(u16 node)
{
	struct bnode *b = &s.node[node];
	struct pd_say say;

	while (pd_tree_next(&b->t, s.now, &say)) {
		struct pd_bar *bar = say.type == PD_T_TREE ? NULL : &b->bar[le32_to_cpu(say.m.page)];

		if (say.to == node || say.to >= s.n) {
			fail("a message to nobody");
			return;
		}
		if (s.faults && !rnd(8)) {
			pd_tree_unsent(&b->t, bar, &say, false);
			return;
		}
		if (b->cut >> say.to & 1 || (!s.node[say.to].in && rnd(2))) {
			pd_tree_unsent(&b->t, bar, &say, true);
			continue;
		}
		if (s.msgs == MSGS) {
			fail("too many messages");
			return;
		}
		s.msg[s.msgs++] = (struct bmsg){ .from = node, .to = say.to, .say = say };
		s.sent++;
		s.home_sent += node == s.home;
		s.home_got += say.to == s.home;
	}
}

static void receive(const struct bmsg *m)
{
	struct bnode *b = &s.node[m->to];
	u32 i = le32_to_cpu(m->say.m.page), k;
	struct pd_go go = { 0 };

	if (!b->in || (m->to == s.home && !s.node[m->from].in))
		return;
	if (m->say.type == PD_T_TREE) {
		if (pd_tree_msg(&b->t, &m->say.tree, m->say.len))
			for (k = 0; k < BARS; k++)
				pd_bar_again(&b->t, &b->bar[k], false);
	} else {
		if (pd_bar_msg(&b->t, &b->bar[i], m->from, &m->say.bar, m->say.len, s.now, &go))
			fail("a message that isn't understood");
		went(m->to, i, &go);
	}
	flush(m->to);
}

static void deliver(u32 k)
{
	struct bmsg m = s.msg[k];

	s.msg[k] = s.msg[--s.msgs];
	receive(&m);
}

static void join(u16 node)
{
	struct bnode *b = &s.node[node];
	u32 i;

	memset(b, 0, sizeof(*b));
	b->in = true;
	pd_tree_init(&b->t, node, s.home);
	b->t.fan = s.faults ? 1 + s.rng % 4 : PD_FAN;
	for (i = 0; i < BARS; i++)
		pd_bar_init(&b->bar[i], i);
}

/* It leaves: its last words have come before. Or it dies: then they may, or not. */
static void leave(u16 node, bool dead)
{
	struct bnode *h = &s.node[s.home];
	u32 i, k;

	for (k = 0; k < s.msgs;) {
		if (s.msg[k].from != node || s.msg[k].to != s.home) {
			k++;
		} else if (dead && rnd(2)) {
			s.msg[k] = s.msg[--s.msgs];
		} else {
			deliver(k);
			k = 0;
		}
	}
	s.node[node].in = false;
	s.died |= dead;
	for (k = 0; k < s.msgs;) {
		if (s.msg[k].to == node)
			s.msg[k] = s.msg[--s.msgs];
		else
			k++;
	}
	for (i = 0; i < BARS; i++) {
		struct pd_go go = { 0 };

		s.node[node].waits[i] = 0;
		pd_bar_gone(&h->t, &h->bar[i], node, dead, &go);
		went(s.home, i, &go);
	}
	pd_tree_gone(&h->t, node);
	flush(s.home);
}

/* Two members can't reach each other any more; what is on the way is lost. */
static void cut(u16 node, u16 other)
{
	u16 end[2] = { node, other };
	u32 i, k;

	for (k = 0; k < s.msgs;) {
		struct bmsg *m = &s.msg[k];

		if ((m->from == node && m->to == other) || (m->from == other && m->to == node))
			*m = s.msg[--s.msgs];
		else
			k++;
	}
	for (i = 0; i < 2; i++)
		s.node[end[i]].cut |= 1ull << end[!i];
	for (i = 0; i < 2; i++) {
		struct bnode *b = &s.node[end[i]];

		for (k = 0; k < BARS && b->in; k++)
			pd_bar_again(&b->t, &b->bar[k], true);
		flush(end[i]);
	}
}

static void heal(u16 node)
{
	u32 i;

	for (i = 0; i < s.n; i++)
		s.node[i].cut &= ~(1ull << node);
	s.node[node].cut = 0;
}

static void come(u16 node, u32 i)
{
	struct bnode *b = &s.node[node];
	struct pd_go go = { 0 };

	b->waits[i]++;
	s.came[i]++;
	pd_bar_come(&b->t, &b->bar[i], s.count[i], s.now, &go);
	went(node, i, &go);
	flush(node);
}

static void step(void)
{
	u16 node = rnd(s.n);
	struct bnode *b = &s.node[node];
	u32 i = rnd(BARS), busy = b->waits[0] + b->waits[1], what = rnd(100);
	u16 other = rnd(s.n);

	if (what < 60 && s.msgs) {
		deliver(rnd(s.msgs));
	} else if (!b->in) {
		if (what < 80)
			join(node);
	} else if (what < 90) {
		if (busy < 4)
			come(node, i);
	} else if (what < 94) {
		s.now += rnd(2 * PD_TOGETHER_NS);
		flush(node);
	} else if (what < 96 && b->waits[i] && s.faults) {
		b->waits[i]--;
		pd_bar_leave(&b->t, &b->bar[i]);
		flush(node);
	} else if (what < 98 && s.faults && node != s.home && !busy) {
		leave(node, false);
	} else if (s.faults && node != s.home && !rnd(20)) {
		leave(node, true);
	} else if (s.faults && node != s.home && other != s.home && other != node) {
		if (rnd(2))
			cut(node, other);
		else
			heal(node);
	}
}

static void quiet(void)
{
	u32 i, k, rounds, waits;

	for (rounds = 0; rounds < 100000 && !s.why; rounds++) {
		if (s.msgs) {
			deliver(rnd(s.msgs));
			continue;
		}
		s.now += PD_TOGETHER_NS;
		for (i = 0; i < s.n; i++)
			if (s.node[i].in)
				flush(i);
		for (i = 0, k = 0; i < s.n; i++)
			k += s.node[i].in && (s.node[i].t.todo || s.node[i].t.untold);
		if (!k && !s.msgs)
			break;
	}
	if (rounds == 100000)
		fail("never quiet");
	for (i = 0; i < BARS; i++) {
		struct pd_bar *b = &s.node[s.home].bar[i];

		for (k = 0, waits = 0; k < s.n; k++)
			waits += s.node[k].waits[i];
		if (waits >= (b->broken == s.count[i] ? 1 : s.count[i]))
			fail("threads wait that could go");
	}
}

static void begin(u64 seed, u32 nodes)
{
	u32 i;

	memset(&s, 0, sizeof(s));
	s.rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (i = 0; i < 8; i++)
		rnd(2);
	s.n = nodes ?: 2 + rnd(rnd(4) ? 12 : PD_NODES - 1);
	s.home = rnd(s.n);
	join(s.home);
}

/**
 * bar_run() - one seed
 * @seed:  of everything
 * @nodes: how many, 0: drawn
 *
 * Return: NULL, or what was wrong.
 */
const char *bar_run(u64 seed, u32 nodes)
{
	u32 i, steps;

	begin(seed, nodes);
	s.faults = true;
	for (i = 0; i < BARS; i++)
		s.count[i] = 1 + rnd(rnd(2) ? 4 : 2 * s.n);
	for (steps = 500 + rnd(1500); steps && !s.why; steps--)
		step();
	quiet();
	return s.why;
}

/* What the home sends and gets each time all nodes meet, one thread each: printed. */
const char *bar_cost(u32 nodes)
{
	u32 round, i, k, node, order[PD_NODES];

	begin(nodes, nodes);
	for (i = 0; i < s.n; i++) {
		order[i] = i;
		if (i != s.home)
			join(i);
	}
	s.count[0] = s.count[1] = s.n;
	for (round = 0; round < 12 && !s.why; round++) {
		if (round == 8)
			s.sent = s.home_got = s.home_sent = 0;
		for (i = 0; i < s.n; i++) {
			k = i + rnd(s.n - i);
			node = order[k];
			order[k] = order[i];
			order[i] = node;
			come(node, 0);
			while (s.msgs && rnd(2))
				deliver(rnd(s.msgs));
		}
		while (s.msgs)
			deliver(rnd(s.msgs));
		if (round < 4)
			quiet();
	}
	for (i = 0; i < s.n; i++)
		if (s.node[i].waits[0])
			fail("not all have gone");
	printf("%2u nodes: the home gets %g and sends %g messages, all nodes %g\n", s.n,
	       s.home_got / 4., s.home_sent / 4., s.sent / 4.);
	return s.why;
}
