/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Barriers of a region: the protocol, without I/O, locks, clock or memory of its own.
 *
 * A node says how many of its threads have come, and the home how many of them may go. Both
 * are counts that only go on, each is said as a whole and the newest holds: so it does no harm
 * if something is said twice, late or in another order. The home alone decides, and exactly:
 * as many go as are awaited.
 *
 * The nodes are a tree: the home, then its members by id, PD_FAN below each. A node's word goes
 * up, the home's down, and who is in between puts those of several nodes into one message, so
 * that the home gets PD_FAN messages, not one of each node. The tree is no more than a way:
 * whatever each thinks of it, a word comes nearer to where it goes with each step, and who
 * hears of another tree than its own sends it on directly. What is lost with a
 * member that dies or leaves is said again: the home gives all a new tree then, and who gets one
 * tells the home, directly, what it knows; the home answers what is news.
 *
 * A node is part of the tree from its first word on, which goes to the home directly.
 *
 * Context. The caller serialises calls about a region's barriers, sends what pd_tree_next()
 * says until that has nothing more, and calls it again when it comes to t->due.
 */
#ifndef PD_BARRIER_H
#define PD_BARRIER_H

#include "dsm.h"

#define PD_FAN		8		/* docs/coherence.md says why */
#define PD_WORDS	24		/* of one message */
#define PD_TOGETHER_NS	200000		/* that a word waits for others, at most */

/**
 * struct pd_word_of - what is known of a node at a barrier
 * @seq:     of its last word
 * @come:    threads that have come, but for those that gave up
 * @went:    that may go
 * @failed:  up to this one of them because somebody died
 * @awaited: how many in all, as who came last says
 * @born:    which of the node's lives
 */
struct pd_word_of {
	u32 seq;
	u32 come;
	u32 went;
	u32 failed;
	u32 awaited;
	u32 born;
};

/**
 * struct pd_bar - a barrier at one node; begin with pd_bar_init()
 * @todo:   the next one with something to say
 * @queued: it is one of them
 * @now:    @up isn't to wait any longer
 * @number: which
 * @usual:  how many went last time, here and below
 * @due:    when @up is to go on, whoever has come; 0: nothing waits
 * @up:     whose word is to go up
 * @up_direct: to the home itself
 * @down:   who is to be told
 * @down_direct: itself
 * @back: whom this node can't reach: the home is to
 * @all:    home: how many it was opened for last
 * @broken: home: who says that so many are awaited doesn't wait, since
 * @had:    home: nodes that had part when it was opened last
 * @lost:   home: these died that had part in it
 * @of:     by node
 */
struct pd_bar {
	struct pd_bar *todo;
	bool queued;
	bool now;
	u32 number;
	u32 usual;
	u64 due;
	u64 up, up_direct;
	u64 down, down_direct, back;
	u32 all;
	u32 broken;
	u64 had;
	u64 lost;
	struct pd_word_of of[PD_NODES];
};

/**
 * struct pd_tree - a region's barriers at one node
 * @self, @home: ids
 * @fan:     most below each
 * @epoch:   counts trees; 0: hasn't heard of one
 * @members: of this tree
 * @below:   of them: this node, and whose way to the home it is on
 * @gone:    the last one that somebody isn't in who had been
 * @untold:  who is to hear of it
 * @todo:    barriers with something to say
 * @due:     when one is to be looked at again; 0: never
 * @born:    which of each node's lives; at the home, else only the own one
 */
struct pd_tree {
	u16 self;
	u16 home;
	u32 fan;
	u32 epoch;
	u32 gone;
	u64 members;
	u64 below;
	u64 untold;
	struct pd_bar *todo;
	u64 due;
	u32 born[PD_NODES];
};

/* Own threads that may go: @n, in the order they came; the first @failed are told of a death. */
struct pd_go {
	u32 n;
	u32 failed;
};

/* A message to be sent, as PD_T_BARRIER or PD_T_TREE; the caller fills in the region. */
struct pd_say {
	u16 to;
	u16 type;
	bool direct;
	u32 len;
	union {
		struct pd_msg m;
		struct pd_bar_msg bar;
		struct pd_tree_msg tree;
		u8 room[sizeof(struct pd_bar_msg) + PD_WORDS * sizeof(struct pd_word)];
	};
};

void pd_tree_init(struct pd_tree *t, u16 self, u16 home);

static inline void pd_bar_init(struct pd_bar *b, u32 number)
{
	memset(b, 0, sizeof(*b));
	b->number = number;
}

/* Own threads that wait. */
static inline u32 pd_bar_waiting(const struct pd_tree *t, const struct pd_bar *b)
{
	return b->of[t->self].come - b->of[t->self].went;
}

/* An own thread has come, and waits for @awaited in all. */
void pd_bar_come(struct pd_tree *t, struct pd_bar *b, u32 awaited, u64 now, struct pd_go *go);

/* An own thread that waits gives up. */
void pd_bar_leave(struct pd_tree *t, struct pd_bar *b);

/**
 * pd_bar_msg - BARRIER came
 * @t:    tree
 * @b:    barrier that it names
 * @from: sender: at the home a member
 * @m:    message
 * @len:  bytes of it
 * @now:  time, ns
 * @go:   added to
 *
 * Return: 0, or -EINVAL: it makes no sense.
 */
int pd_bar_msg(struct pd_tree *t, struct pd_bar *b, u16 from, const struct pd_bar_msg *m, u32 len,
	       u64 now, struct pd_go *go);

/**
 * pd_tree_msg - TREE came
 * Return: whether words may be lost: then pd_bar_again() for every barrier, @all false.
 */
bool pd_tree_msg(struct pd_tree *t, const struct pd_tree_msg *m, u32 len);

/**
 * pd_bar_again - words may be lost: what this node knows is said again, to the home itself
 * @t:     tree
 * @b:     barrier
 * @all:   that of others, too. Who has heard of a new tree says it for itself; but of a connection
 *	   of two members that is lost, only these know
 */
void pd_bar_again(struct pd_tree *t, struct pd_bar *b, bool all);

/**
 * pd_tree_gone - home: a member has died or left
 * pd_bar_gone() is for every barrier, before.
 */
void pd_tree_gone(struct pd_tree *t, u16 node);
void pd_bar_gone(struct pd_tree *t, struct pd_bar *b, u16 node, bool dead, struct pd_go *go);

/* Home: who waits is told that somebody, a process, has ended. */
void pd_bar_break(struct pd_tree *t, struct pd_bar *b, struct pd_go *go);

/**
 * pd_tree_next - what is to be sent now
 * @t:   tree; then t->due is when to call it again
 * @now: time, ns
 * @say: message
 *
 * Return: whether there is one.
 */
bool pd_tree_next(struct pd_tree *t, u64 now, struct pd_say *say);

/**
 * pd_tree_unsent - it couldn't be sent
 * @t:    tree
 * @b:    barrier that it names, NULL: it was TREE
 * @say:  message
 * @dead: its receiver can't be reached; otherwise it is to be tried again
 */
void pd_tree_unsent(struct pd_tree *t, struct pd_bar *b, const struct pd_say *say, bool dead);

#endif
