// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Barriers of a region: who says what to whom, and when the threads go.
 */
#include "barrier.h"

#define AT_ONCE_MAX	0xffff		/* threads of a node that wait */
#define FAILED_AGO	(1u << 30)	/* counts wrap */

static u64 bit(u16 node)
{
	return 1ull << node;
}

static bool is_home(const struct pd_tree *t)
{
	return t->self == t->home;
}

/* Threads of a node that wait, as far as known here. */
static u32 waiting(const struct pd_word_of *of)
{
	return pt_after(of->come, of->went) ? of->come - of->went : 0;
}

static void queue(struct pd_tree *t, struct pd_bar *b)
{
	if (b->queued)
		return;
	b->queued = true;
	b->todo = t->todo;
	t->todo = b;
}

void pd_tree_init(struct pd_tree *t, u16 self, u16 home)
{
	memset(t, 0, sizeof(*t));
	t->self = self;
	t->home = home;
	t->fan = PD_FAN;
	t->below = bit(self);
	if (self == home) {
		t->epoch = 1;
		t->members = bit(self);
	}
}

/* ---------------------------------------------------------------- the way */

/* A member's place: the home's is 0. */
static u32 rank(const struct pd_tree *t, u16 node)
{
	u64 before = t->members & (bit(node) - 1) & ~bit(t->home);
	u32 r = node != t->home;

	for (; r && before; before &= before - 1)
		r++;
	return r;
}

static u16 at_rank(const struct pd_tree *t, u32 r)
{
	u64 m = t->members & ~bit(t->home);

	if (!r)
		return t->home;
	while (--r)
		m &= m - 1;
	return __builtin_ctzll(m);
}

/* Where a word goes that is for the home. */
static u16 parent(const struct pd_tree *t)
{
	if (!(t->members & bit(t->self)))
		return t->home;
	return at_rank(t, (rank(t, t->self) - 1) / t->fan);
}

/* The place of who is next on the way to @node, a member; 0: this node isn't on the way. */
static u32 next_rank(const struct pd_tree *t, u16 node)
{
	u32 self = rank(t, t->self), r = rank(t, node);

	while (r > self && (r - 1) / t->fan != self)
		r = (r - 1) / t->fan;
	return r > self ? r : 0;
}

/* Where a word goes that is for @node. */
static u16 toward(const struct pd_tree *t, u16 node)
{
	return t->below & bit(node) ? at_rank(t, next_rank(t, node)) : node;
}

/* Other members are known. */
static void set_members(struct pd_tree *t, u64 members)
{
	u64 m;

	t->members = members;
	t->below = bit(t->self);
	for (m = members & bit(t->self) ? members : 0; m; m &= m - 1)
		if (next_rank(t, __builtin_ctzll(m)))
			t->below |= m & -m;
}

/* ---------------------------------------------------------------- going up */

/* Somebody's word is to go up; at once, or when those that usually come together have. */
static void up(struct pd_tree *t, struct pd_bar *b, u64 who, u32 awaited, bool at_once, u64 now)
{
	u32 here = 0;
	u64 m;

	b->up |= who;
	queue(t, b);
	for (m = at_once ? 0 : t->below; m; m &= m - 1)
		here += waiting(&b->of[__builtin_ctzll(m)]);
	if (at_once || here >= b->usual || here >= awaited)
		b->now = true;
	else if (!b->due)
		b->due = now + PD_TOGETHER_NS;
}

/* So many more of the own threads may go. */
static void own_go(struct pd_tree *t, struct pd_bar *b, u32 went, u32 failed, struct pd_go *go)
{
	struct pd_word_of *own = &b->of[t->self];
	u32 more = went - own->went, n = more, bad;

	if (!pt_after(went, own->went))
		return;
	if (n > waiting(own))
		n = waiting(own);
	bad = pt_after(failed, own->went) ? failed - own->went : 0;
	own->went = went;
	go->n += n;
	go->failed += bad < n ? bad : n;
	if (n == more)
		return;
	/* Threads were told to go that had given up. */
	own->come += more - n;
	own->seq++;
	if (!is_home(t))
		up(t, b, bit(t->self), 0, true, 0);
}

/* ---------------------------------------------------------------- the home */

/* @n threads of a node may go. */
static void let_go(struct pd_tree *t, struct pd_bar *b, u16 node, u32 n, bool failed,
		   struct pd_go *go)
{
	struct pd_word_of *of = &b->of[node];
	u32 went = of->went + n;

	if (failed)
		of->failed = went;
	else if (went - of->failed > FAILED_AGO)
		of->failed = went - FAILED_AGO;
	if (node == t->self) {
		own_go(t, b, went, of->failed, go);
		return;
	}
	of->went = went;
	b->down |= bit(node);
	queue(t, b);
}

/* Have enough come? Then exactly so many go, or twice as many, ... */
static void count(struct pd_tree *t, struct pd_bar *b, u32 awaited, struct pd_go *go)
{
	u32 left, n, i, all = 0;

	for (i = 0; i < PD_NODES; i++)
		all += waiting(&b->of[i]);
	if (!awaited || all < awaited)
		return;
	b->all = awaited;
	b->had = 0;
	for (i = 0, left = all - all % awaited; left; i++) {
		n = waiting(&b->of[i]);
		if (!n)
			continue;
		n = n < left ? n : left;
		left -= n;
		b->had |= bit(i);
		let_go(t, b, i, n, false, go);
	}
}

/* Threads of a node have come. */
static void arrived(struct pd_tree *t, struct pd_bar *b, u16 node, struct pd_go *go)
{
	struct pd_word_of *of = &b->of[node];

	if (b->lost & bit(node))
		b->broken = b->lost = 0;	/* it is back */
	if (of->awaited == b->broken)
		let_go(t, b, node, waiting(of), true, go);
	else
		count(t, b, of->awaited, go);
}

void pd_bar_break(struct pd_tree *t, struct pd_bar *b, struct pd_go *go)
{
	u64 had = 0;
	u32 i, n;

	for (i = 0; i < PD_NODES; i++) {
		n = waiting(&b->of[i]);
		if (!n)
			continue;
		b->all = b->of[i].awaited;
		had |= bit(i);
		let_go(t, b, i, n, true, go);
	}
	if (had)
		b->had = had;
}

void pd_bar_gone(struct pd_tree *t, struct pd_bar *b, u16 node, bool dead, struct pd_go *go)
{
	bool part = b->had & bit(node);
	u32 i;

	for (i = 0; i < PD_NODES; i++)
		part |= waiting(&b->of[i]);
	if (dead)
		pd_bar_break(t, b, go);
	if (dead && part) {
		b->broken = b->all;
		b->lost |= bit(node);
	}
	memset(&b->of[node], 0, sizeof(b->of[node]));
	b->down &= ~bit(node);
	b->had &= ~bit(node);
}

void pd_tree_gone(struct pd_tree *t, u16 node)
{
	if (!(t->members & bit(node)))
		return;
	set_members(t, t->members & ~bit(node));
	t->gone = ++t->epoch;
	t->untold = t->members & ~bit(t->self);
}

/* A node's first word; its life is called by the tree that it begins with. */
static void join(struct pd_tree *t, u16 node)
{
	set_members(t, t->members | bit(node));
	t->epoch++;
	t->born[node] = t->epoch;
	t->untold |= bit(node);
}

/* ------------------------------------------------------------- what is asked */

void pd_bar_come(struct pd_tree *t, struct pd_bar *b, u32 awaited, u64 now, struct pd_go *go)
{
	struct pd_word_of *own = &b->of[t->self];

	own->come++;
	own->seq++;
	own->awaited = awaited;
	if (is_home(t))
		arrived(t, b, t->self, go);
	else
		up(t, b, bit(t->self), awaited, false, now);
}

void pd_bar_leave(struct pd_tree *t, struct pd_bar *b)
{
	struct pd_word_of *own = &b->of[t->self];

	own->come--;
	own->seq++;
	if (!is_home(t))
		up(t, b, bit(t->self), 0, true, 0);
}

void pd_bar_again(struct pd_tree *t, struct pd_bar *b, bool all)
{
	u64 who = bit(t->self);
	u32 i;

	if (is_home(t))
		return;
	for (i = 0; all && i < PD_NODES; i++)
		if (b->of[i].seq)
			who |= bit(i);
	if (!(who & ~bit(t->self) || b->of[t->self].seq || b->up))
		return;
	b->of[t->self].seq++;
	b->up_direct |= b->up | who;
	b->down_direct |= b->down;
	up(t, b, who, 0, true, 0);
}

/* --------------------------------------------------------------- messages */

/* Is a word of, or for, the life of a node that is known here? A later one is, from now on. */
static bool same_life(struct pd_word_of *of, u32 born)
{
	if (pt_after(born, of->born)) {
		memset(of, 0, sizeof(*of));
		of->born = born;
	}
	return of->born == born;
}

/* A node's word on its way up, or at the home. */
static void word_up(struct pd_tree *t, struct pd_bar *b, u16 from, const struct pd_word *w,
		    bool direct, u64 now, struct pd_go *go)
{
	u16 node = le16_to_cpu(w->node);
	u32 born = le32_to_cpu(w->born), seq = le32_to_cpu(w->seq), come = le32_to_cpu(w->come);
	struct pd_word_of *of = &b->of[node];
	bool more;

	if (node == t->self)
		return;
	if (is_home(t)) {
		if (!born && from == node && !(t->members & bit(node)))
			join(t, node);
		if (!(t->members & bit(node)) || (born ? born != t->born[node] : from != node))
			return;
		if (le32_to_cpu(w->went) != of->went) {
			b->down |= bit(node);	/* it hasn't heard, or not yet */
			queue(t, b);
		}
	} else if (!same_life(of, born)) {
		return;
	}
	if (!pt_after(seq, of->seq) || (pt_after(come, of->went) && come - of->went > AT_ONCE_MAX))
		return;
	more = pt_after(come, of->come);
	of->seq = seq;
	of->come = come;
	of->awaited = le32_to_cpu(w->awaited);
	if (is_home(t)) {
		if (more)
			arrived(t, b, node, go);
		return;
	}
	if (pt_after(le32_to_cpu(w->went), of->went))
		of->went = le32_to_cpu(w->went);
	if (direct)
		b->up_direct |= bit(node);
	up(t, b, bit(node), of->awaited, direct || !more, now);
}

/* The home's word on its way to a node. */
static u32 word_down(struct pd_tree *t, struct pd_bar *b, const struct pd_word *w, bool direct,
		     struct pd_go *go)
{
	u16 node = le16_to_cpu(w->node);
	u32 born = le32_to_cpu(w->born), went = le32_to_cpu(w->went), failed = le32_to_cpu(w->come);
	struct pd_word_of *of = &b->of[node];
	u32 n;

	if (node == t->self) {
		if (!born || born != t->born[node])
			return 0;
		n = pt_after(went, of->went) ? went - of->went : 0;
		own_go(t, b, went, failed, go);
		return n;
	}
	if (!same_life(of, born))
		return 0;
	n = pt_after(went, of->went) ? went - of->went : 0;
	of->went += n;
	if (pt_after(failed, of->failed))
		of->failed = failed;
	b->down |= bit(node);
	if (direct)
		b->down_direct |= bit(node);
	queue(t, b);
	return n;
}

/* The home's word came back from who couldn't pass it on. */
static void word_back(struct pd_tree *t, struct pd_bar *b, const struct pd_word *w)
{
	u16 node = le16_to_cpu(w->node);

	if (node == t->self || !(t->members & bit(node)) ||
	    le32_to_cpu(w->born) != t->born[node])
		return;
	b->down |= bit(node);
	b->down_direct |= bit(node);
	queue(t, b);
}

int pd_bar_msg(struct pd_tree *t, struct pd_bar *b, u16 from, const struct pd_bar_msg *m, u32 len,
	       u64 now, struct pd_go *go)
{
	u32 epoch = le32_to_cpu(m->h.req), n = 0, i;
	bool down = m->h.flags & PD_F_DOWN, other = epoch != t->epoch;

	if (m->h.pages > PD_WORDS || len != sizeof(*m) + m->h.pages * sizeof(m->word[0]) ||
	    from >= PD_NODES)
		return -EINVAL;
	for (i = 0; i < m->h.pages; i++)
		if (le16_to_cpu(m->word[i].node) >= PD_NODES)
			return -EINVAL;
	for (i = 0; i < m->h.pages; i++) {
		if (down && is_home(t))
			word_back(t, b, &m->word[i]);
		else if (down)
			n += word_down(t, b, &m->word[i], other, go);
		else
			word_up(t, b, from, &m->word[i], other, now, go);
	}
	if (n)
		b->usual = n;
	if (!down && pt_after(t->epoch, epoch) && from != t->self && (epoch || is_home(t)))
		t->untold |= bit(from) & t->members;
	return 0;
}

bool pd_tree_msg(struct pd_tree *t, const struct pd_tree_msg *m, u32 len)
{
	u32 epoch, had = t->epoch;

	if (len != sizeof(*m) || is_home(t))
		return false;
	epoch = le32_to_cpu(m->h.req);
	if (m->born)
		t->born[t->self] = le32_to_cpu(m->born);
	if (!pt_after(epoch, t->epoch) || !t->born[t->self])
		return false;
	t->epoch = epoch;
	set_members(t, le64_to_cpu(m->members));
	t->gone = le32_to_cpu(m->gone);
	t->untold = 0;
	return !had || pt_after(t->gone, had);
}

/* ----------------------------------------------------------------- sending */

/* Words of @who, as many as fit, to @to. Return: of whom. */
static u64 put(const struct pd_tree *t, const struct pd_bar *b, u64 who, u16 to, bool down,
	       struct pd_say *say)
{
	u64 in = 0;
	u32 n = 0;

	say->to = to;
	say->type = PD_T_BARRIER;
	say->m = (struct pd_msg){
		.page = cpu_to_le32(b->number), .req = cpu_to_le32(t->epoch),
		.flags = down ? PD_F_DOWN : 0,
	};
	for (; who && n < PD_WORDS; who &= who - 1) {
		u16 node = __builtin_ctzll(who);
		const struct pd_word_of *of = &b->of[node];
		u32 born = is_home(t) || node == t->self ? t->born[node] : of->born;

		say->bar.word[n++] = (struct pd_word){
			.node = cpu_to_le16(node), .born = cpu_to_le32(born),
			.seq = cpu_to_le32(down ? 0 : of->seq),
			.come = cpu_to_le32(down ? of->failed : of->come),
			.went = cpu_to_le32(of->went),
			.awaited = cpu_to_le32(down ? 0 : of->awaited),
		};
		in |= bit(node);
	}
	say->m.pages = n;
	say->len = sizeof(say->bar) + n * sizeof(say->bar.word[0]);
	return in;
}

static bool next_up(struct pd_tree *t, struct pd_bar *b, struct pd_say *say)
{
	u64 direct = t->epoch ? b->up & b->up_direct : b->up;
	u64 in;

	if (!b->up || !b->now)
		return false;
	if (direct)
		in = put(t, b, direct, t->home, false, say);
	else
		in = put(t, b, b->up, parent(t), false, say);
	say->direct = direct;
	b->up &= ~in;
	b->up_direct &= ~in;
	if (!b->up) {
		b->now = false;
		b->due = 0;
	}
	return true;
}

static bool next_down(struct pd_tree *t, struct pd_bar *b, struct pd_say *say)
{
	u64 who, m, in;
	u16 to;

	if (b->back) {
		b->back &= ~put(t, b, b->back, t->home, true, say);
		say->direct = true;
		return true;
	}
	if (!b->down)
		return false;
	to = __builtin_ctzll(b->down);
	say->direct = b->down_direct & bit(to);
	if (say->direct) {
		who = bit(to);
	} else {
		to = toward(t, to);
		for (who = 0, m = b->down & ~b->down_direct; m; m &= m - 1)
			if (toward(t, __builtin_ctzll(m)) == to)
				who |= m & -m;
	}
	in = put(t, b, who, to, true, say);
	b->down &= ~in;
	b->down_direct &= ~in;
	return true;
}

static void next_tree(struct pd_tree *t, struct pd_say *say)
{
	u16 to = __builtin_ctzll(t->untold);

	t->untold &= t->untold - 1;
	say->to = to;
	say->type = PD_T_TREE;
	say->direct = true;
	say->len = sizeof(say->tree);
	say->tree = (struct pd_tree_msg){
		.h = { .req = cpu_to_le32(t->epoch), .pages = 1 },
		.members = cpu_to_le64(t->members), .gone = cpu_to_le32(t->gone),
		.born = cpu_to_le32(is_home(t) ? t->born[to] : 0),
	};
}

bool pd_tree_next(struct pd_tree *t, u64 now, struct pd_say *say)
{
	struct pd_bar **at = &t->todo, *b;

	if (t->untold) {
		next_tree(t, say);
		return true;
	}
	t->due = 0;
	while ((b = *at)) {
		if (b->due && b->due <= now)
			b->now = true;
		if (next_down(t, b, say) || next_up(t, b, say))
			return true;
		if (!b->up) {
			*at = b->todo;
			b->queued = false;
			continue;
		}
		if (!t->due || b->due < t->due)
			t->due = b->due;
		at = &b->todo;
	}
	return false;
}

void pd_tree_unsent(struct pd_tree *t, struct pd_bar *b, const struct pd_say *say, bool dead)
{
	bool down = say->m.flags & PD_F_DOWN, direct = dead || say->direct;
	u32 i;

	if (say->type == PD_T_TREE) {
		if (!dead)
			t->untold |= bit(say->to) & t->members;
		return;
	}
	for (i = 0; i < say->m.pages; i++) {
		u16 node = le16_to_cpu(say->bar.word[i].node);

		if (dead && (say->to == t->home || (is_home(t) && say->to == node)))
			continue;	/* its end is told otherwise */
		if (down && !is_home(t) && say->to == (dead ? node : t->home)) {
			b->back |= bit(node);
		} else if (down) {
			b->down |= bit(node);
			if (direct)
				b->down_direct |= bit(node);
		} else {
			b->up |= bit(node);
			b->now = true;
			if (direct)
				b->up_direct |= bit(node);
		}
		queue(t, b);
	}
}
