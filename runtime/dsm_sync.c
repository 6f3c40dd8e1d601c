// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Locks and barriers of a region in user mode, queued at the home and handed over by
 * one message.
 *
 * A node asks for a lock once, however many of its threads want it, and asks again when it
 * has released it while others of its threads wait: nodes take turns. Everything is said by
 * one-way messages, on the lane that nothing holds up, so that waiting takes no
 * request slot from the faults of whoever has the lock.
 *
 *   LOCK     to the home: wants it; from the home: has it (PD_F_FAIL: whose holder died)
 *   UNLOCK   to the home
 * BARRIER and TREE are dsm-proto/core/barrier.c's.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "dsm.h"

#define NOBODY		0xff

/* At the home. */
struct home_lock {
	bool used;
	bool broken;	/* the last holder died with it */
	u8 owner;
	u8 first;
	u8 waiting;
	u64 queued;
	u8 q[PD_NODES];
};

/* At every node. */
struct own_lock {
	bool held;
	bool asked;
	struct dsm_wait *first;
	struct dsm_wait **last;
};

/* A barrier, and who waits here; once made, it is kept until the region ends. */
struct bar {
	struct pd_bar b;
	struct dsm_wait *first;
	struct dsm_wait **last;
	struct bar *next;
};

struct message {
	u16 to;
	u16 type;
	u32 number;
	u8 flags;
};

/**
 * struct dsm_sync - a region's locks and barriers
 * @lock: guards all
 * @out:  messages that could not be sent yet, @nout of them, room for @max
 * @bar:  barriers by number, or NULL; all are in @bars
 * @tree: how they meet
 * @wake: waits that are over, told when the lock is dropped
 */
struct dsm_sync {
	pthread_mutex_t lock;
	struct home_lock home[POPCORN_SYNC_MAX];
	struct own_lock own[POPCORN_SYNC_MAX];
	struct bar *bar[POPCORN_SYNC_MAX];
	struct bar *bars;
	struct pd_tree tree;
	struct message *out;
	u32 nout;
	u32 max;
	bool failed;
	struct dsm_wait *wake;
};

int dsm_sync_make(struct dsm_region *r)
{
	struct dsm_sync *s = ue_map(sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	pd_tree_init(&s->tree, r->c.self, r->c.home);
	r->sync = s;
	return 0;
}

void dsm_sync_free(struct dsm_region *r)
{
	struct bar *b, *next;

	if (!r->sync)
		return;
	for (b = r->sync->bars; b; b = next) {
		next = b->next;
		free(b);
	}
	free(r->sync->out);
	pthread_mutex_destroy(&r->sync->lock);
	munmap(r->sync, sizeof(*r->sync));
	r->sync = NULL;
}

static struct dsm_sync *enter(struct dsm_region *r)
{
	pthread_mutex_lock(&r->sync->lock);
	return r->sync;
}

static void leave(struct dsm_region *r)
{
	struct dsm_wait *w = r->sync->wake, *next;
	bool failed = r->sync->failed;

	r->sync->wake = NULL;
	pthread_mutex_unlock(&r->sync->lock);
	for (; w; w = next) {
		next = w->next;
		dsm_wake(w, w->status);
	}
	if (failed)
		dsm_region_end(r, "no memory for a message");
}

static void queue(struct dsm_wait **first, struct dsm_wait ***last, struct dsm_wait *w)
{
	w->next = NULL;
	if (!*first)
		*first = w;
	else
		**last = w;
	*last = &w->next;
}

/* Takes the first one from a queue; it is woken by leave(). */
static bool pop(struct dsm_sync *s, struct dsm_wait **first, int status)
{
	struct dsm_wait *w = *first;

	if (!w)
		return false;
	*first = w->next;
	w->status = status;
	w->next = s->wake;
	s->wake = w;
	return true;
}

/* --------------------------------------------------------------- messages */

/* Return: whether it must be tried again. */
static bool send_now(struct dsm_region *r, const struct message *o)
{
	struct pd_msg m;

	dsm_msg_fill(r, &m, o->number, 0, 0, o->flags);
	return popcorn_send(r->d->n, o->to, PW_URGENT, o->type, &m, sizeof(m), POPCORN_NOWAIT) ==
	       -EAGAIN;
}

static void say(struct dsm_region *r, u16 to, u16 type, u32 number, u8 flags)
{
	struct message o = { .to = to, .type = type, .number = number, .flags = flags };
	struct dsm_sync *s = r->sync;
	struct message *more;

	if (!s->nout && !send_now(r, &o))
		return;
	if (s->nout == s->max) {
		more = realloc(s->out, (s->max + 256) * sizeof(*more));
		if (!more) {
			s->failed = true;
			return;
		}
		s->out = more;
		s->max += 256;
	}
	s->out[s->nout++] = o;
	dsm_due(r, dsm_now());
}

/* ------------------------------------------------------------------- locks */

static void home_unlock(struct dsm_region *r, u32 number, u16 node, bool broken);

/* The lock is this node's. */
static void granted(struct dsm_region *r, u32 number, bool broken)
{
	struct dsm_sync *s = r->sync;
	struct own_lock *l = &s->own[number];

	if (!l->asked)
		return;
	l->asked = false;
	l->held = true;
	pop(s, &l->first, broken ? -EOWNERDEAD : 0);
}

static void home_grant(struct dsm_region *r, u32 number, u16 node)
{
	struct home_lock *h = &r->sync->home[number];
	bool broken = h->broken;

	h->owner = node;
	h->broken = false;
	if (node == r->c.self)
		granted(r, number, broken);
	else
		say(r, node, PD_T_LOCK, number, broken ? PD_F_FAIL : 0);
}

static void home_lock(struct dsm_region *r, u32 number, u16 node)
{
	struct home_lock *h = &r->sync->home[number];

	if (!h->used) {
		h->used = true;
		h->owner = NOBODY;
	}
	if (h->owner == NOBODY) {
		home_grant(r, number, node);
	} else if (!(h->queued >> node & 1)) {
		h->queued |= 1ull << node;
		h->q[(h->first + h->waiting++) % PD_NODES] = node;
	}
}

static void home_unlock(struct dsm_region *r, u32 number, u16 node, bool broken)
{
	struct home_lock *h = &r->sync->home[number];
	u16 next;

	if (!h->used || h->owner != node)
		return;
	h->owner = NOBODY;
	h->broken = broken;
	if (!h->waiting)
		return;
	next = h->q[h->first];
	h->first = (h->first + 1) % PD_NODES;
	h->waiting--;
	h->queued &= ~(1ull << next);
	home_grant(r, number, next);
}

/* A dead node no longer waits for a lock. */
static void home_forget(struct home_lock *h, u16 node)
{
	u32 i, n = h->waiting;

	if (!(h->queued >> node & 1))
		return;
	h->queued &= ~(1ull << node);
	h->waiting = 0;
	for (i = 0; i < n; i++) {
		u8 at = h->q[(h->first + i) % PD_NODES];

		if (at != node)
			h->q[(h->first + h->waiting++) % PD_NODES] = at;
	}
}

static void want_lock(struct dsm_region *r, u32 number)
{
	r->sync->own[number].asked = true;
	if (dsm_is_home(r))
		home_lock(r, number, r->c.self);
	else
		say(r, r->c.home, PD_T_LOCK, number, 0);
}

/**
 * dsm_lock() - take a lock of a region
 * @r:      region
 * @number: which, below POPCORN_SYNC_MAX
 *
 * Return: 0; -EOWNERDEAD: it is the caller's, but a node died that had it;
 * -EHOSTDOWN: the region is over; -EINVAL.
 */
int dsm_lock(struct dsm_region *r, u32 number)
{
	struct dsm_wait w = { 0 };
	struct own_lock *l;
	struct dsm_sync *s;

	if (number >= POPCORN_SYNC_MAX)
		return -EINVAL;
	s = enter(r);
	if (r->dead) {
		leave(r);
		return -EHOSTDOWN;
	}
	l = &s->own[number];
	queue(&l->first, &l->last, &w);
	if (!l->held && !l->asked)
		want_lock(r, number);
	leave(r);
	return dsm_wait(r->d, &w, 0);
}

/* Return: 0; -EPERM: this node hasn't got it; -EINVAL, -EHOSTDOWN. */
int dsm_unlock(struct dsm_region *r, u32 number)
{
	struct own_lock *l;
	struct dsm_sync *s;
	int e = 0;

	if (number >= POPCORN_SYNC_MAX)
		return -EINVAL;
	s = enter(r);
	l = &s->own[number];
	if (r->dead) {
		e = -EHOSTDOWN;
	} else if (!l->held) {
		e = -EPERM;
	} else {
		l->held = false;
		if (dsm_is_home(r))
			home_unlock(r, number, r->c.self, false);
		else
			say(r, r->c.home, PD_T_UNLOCK, number, 0);
		if (l->first)
			want_lock(r, number);
	}
	leave(r);
	return e;
}

/* ---------------------------------------------------------------- barriers */

static struct bar *bar_get(struct dsm_sync *s, u32 number)
{
	struct bar *b = s->bar[number];

	if (!b) {
		b = malloc(sizeof(*b));
		if (!b)
			return NULL;
		pd_bar_init(&b->b, number);
		b->first = NULL;
		b->next = s->bars;
		s->bars = s->bar[number] = b;
	}
	return b;
}

/* Threads of this node may go. */
static void bar_go(struct dsm_sync *s, struct bar *b, const struct pd_go *go)
{
	u32 i;

	for (i = 0; i < go->n && pop(s, &b->first, i < go->failed ? -EOWNERDEAD : 0); i++)
		;
}

/* What is to be said of barriers. Return: whether something must be tried again. */
static bool bars_say(struct dsm_region *r)
{
	struct dsm_sync *s = r->sync;
	struct pd_say say;
	struct bar *b;
	int e;

	while (!r->dead && pd_tree_next(&s->tree, dsm_now(), &say)) {
		say.m.region = cpu_to_le32(r->id);
		say.m.gen = cpu_to_le32(r->gen);
		e = popcorn_send(r->d->n, say.to, PW_URGENT, say.type, &say.m, say.len,
				 POPCORN_NOWAIT);
		if (!e)
			continue;
		b = say.type == PD_T_BARRIER ? s->bar[le32_to_cpu(say.m.page)] : NULL;
		pd_tree_unsent(&s->tree, b ? &b->b : NULL, &say, e != -EAGAIN);
		if (e == -EAGAIN)
			return true;
	}
	return false;
}

/* Something has happened. */
static void bars_flush(struct dsm_region *r)
{
	struct dsm_sync *s = r->sync;

	if (!s->tree.todo && !s->tree.untold)
		return;
	if (bars_say(r))
		dsm_due(r, dsm_now());
	else if (s->tree.due)
		dsm_due(r, s->tree.due);
}

/**
 * dsm_barrier() - wait until as many threads have come
 * @r:      region
 * @number: which, below POPCORN_SYNC_MAX
 * @count:  how many, in all, this one included
 *
 * Return: 0; -EOWNERDEAD: a node died that was there last time, or while others waited;
 * -EHOSTDOWN: the region is over; -EINVAL, -ENOMEM.
 */
int dsm_barrier(struct dsm_region *r, u32 number, u32 count)
{
	struct dsm_wait w = { 0 };
	struct pd_go go = { 0 };
	struct dsm_sync *s;
	struct bar *b;

	if (number >= POPCORN_SYNC_MAX || !count || count > 0xffff)
		return -EINVAL;
	s = enter(r);
	b = bar_get(s, number);
	if (r->dead || !b) {
		leave(r);
		return r->dead ? -EHOSTDOWN : -ENOMEM;
	}
	queue(&b->first, &b->last, &w);
	pd_bar_come(&s->tree, &b->b, count, dsm_now(), &go);
	bar_go(s, b, &go);
	bars_flush(r);
	leave(r);
	return dsm_wait(r->d, &w, 0);
}

/**
 * dsm_sync_work() - send what could not be sent, or was kept
 * @r: region
 *
 * No lock held. Return: whether something could not be sent.
 */
bool dsm_sync_work(struct dsm_region *r)
{
	struct dsm_sync *s = enter(r);
	u32 i, left;
	u64 due;

	for (i = 0; i < s->nout && !send_now(r, &s->out[i]); i++)
		;
	left = s->nout - i;
	if (i && left)
		memmove(s->out, s->out + i, left * sizeof(*s->out));
	s->nout = left;
	left |= bars_say(r);
	due = s->tree.due;
	leave(r);
	if (due)
		dsm_due(r, due);
	return left;
}

/* ------------------------------------------------------- receiving, the end */

/* None of these messages is a request. */
static void through(struct dsm_region *r, struct popcorn_msg *m)
{
	if (m->request)
		popcorn_answer(m, -EPROTO, NULL, 0);
	else
		popcorn_msg_done(m);
	if (r)
		dsm_region_put(r);
}

static void receive(struct popcorn_msg *m)
{
	struct dsm *d = m->node->o.above;
	const struct pd_msg *pm = m->data;
	struct dsm_region *r = NULL;
	u32 number;
	bool home;

	if (m->len == sizeof(*pm))
		r = dsm_region_get(d, le32_to_cpu(pm->region));
	if (!r)
		goto out;
	number = le32_to_cpu(pm->page);
	home = dsm_is_home(r);
	if (le32_to_cpu(pm->gen) != r->gen || number >= POPCORN_SYNC_MAX || r->dead ||
	    (home ? m->from >= PD_NODES || !(atomic_load(&r->members) >> m->from & 1) :
	     m->from != r->c.home))
		goto out;
	enter(r);
	if (m->type == PD_T_LOCK && home)
		home_lock(r, number, m->from);
	else if (m->type == PD_T_LOCK)
		granted(r, number, pm->flags & PD_F_FAIL);
	else if (m->type == PD_T_UNLOCK && home)
		home_unlock(r, number, m->from, false);
	leave(r);
out:
	through(r, m);
}

void dsm_on_lock(struct popcorn_msg *m)
{
	receive(m);
}

void dsm_on_unlock(struct popcorn_msg *m)
{
	receive(m);
}

static void bars_again(struct dsm_sync *s, bool all)
{
	struct bar *b;

	for (b = s->bars; b; b = b->next)
		pd_bar_again(&s->tree, &b->b, all);
}

/* This node and another member can't reach each other any more. */
void dsm_sync_cut(struct dsm_region *r)
{
	bars_again(enter(r), true);
	bars_flush(r);
	leave(r);
}

/* BARRIER or TREE, from whatever node: see barrier.h. */
static void barrier_msg(struct dsm_region *r, struct popcorn_msg *m)
{
	struct dsm_sync *s = enter(r);
	struct pd_go go = { 0 };
	struct bar *b;

	if (m->type == PD_T_TREE) {
		if (pd_tree_msg(&s->tree, m->data, m->len))
			bars_again(s, false);
	} else {
		b = bar_get(s, le32_to_cpu(((const struct pd_msg *)m->data)->page));
		if (b) {
			pd_bar_msg(&s->tree, &b->b, m->from, m->data, m->len, dsm_now(), &go);
			bar_go(s, b, &go);
		}
		s->failed |= !b;
	}
	bars_flush(r);
	leave(r);
}

void dsm_on_barrier(struct popcorn_msg *m)
{
	struct dsm *d = m->node->o.above;
	const struct pd_msg *pm = m->data;
	struct dsm_region *r = NULL;

	if (m->len >= sizeof(*pm) && m->len <= PW_PAYLOAD && m->from < PD_NODES)
		r = dsm_region_get(d, le32_to_cpu(pm->region));
	if (r && le32_to_cpu(pm->gen) == r->gen && le32_to_cpu(pm->page) < POPCORN_SYNC_MAX &&
	    !r->dead && (!dsm_is_home(r) || atomic_load(&r->members) >> m->from & 1))
		barrier_msg(r, m);
	through(r, m);
}

/* Home: a node has gone, or is @dead: then nobody waits for it at a barrier. What it held goes on. */
void dsm_sync_gone(struct dsm_region *r, u16 node, bool dead)
{
	struct dsm_sync *s = enter(r);
	struct bar *b;
	u32 i;

	for (i = 0; i < POPCORN_SYNC_MAX; i++) {
		if (!s->home[i].used)
			continue;
		home_forget(&s->home[i], node);
		home_unlock(r, i, node, true);
	}
	for (b = s->bars; b; b = b->next) {
		struct pd_go go = { 0 };

		pd_bar_gone(&s->tree, &b->b, node, dead, &go);
		bar_go(s, b, &go);
	}
	pd_tree_gone(&s->tree, node);
	bars_flush(r);
	leave(r);
}

/* The region is over: nobody waits any more. */
void dsm_sync_end(struct dsm_region *r)
{
	struct dsm_sync *s = enter(r);
	struct bar *b;
	u32 i;

	s->failed = false;
	for (i = 0; i < POPCORN_SYNC_MAX; i++)
		while (pop(s, &s->own[i].first, -EHOSTDOWN))
			;
	for (b = s->bars; b; b = b->next)
		while (pop(s, &b->first, -EHOSTDOWN))
			;
	leave(r);
}
