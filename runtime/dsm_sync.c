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
 *   BARRIER  to the home: @zero threads more have come, @req are awaited; from the home: @req
 *            threads of the node may go (PD_F_FAIL: a node died)
 *
 * A node's threads are told of together: as many as went last time are waited for before the
 * home hears of them, though not for long, since another time it may be fewer.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "dsm.h"

#define NOBODY		0xff
#define TOGETHER_NS	200000	/* that a thread's arrival waits for those of others */

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

/**
 * struct home_barrier - a barrier at the home
 * @come:    threads, @of each node
 * @awaited: how many, as who came last said
 * @nodes:   that had part when it was opened last
 * @broken:  who says that so many are awaited doesn't wait, since
 * @lost:    these nodes died that had part in it
 */
struct home_barrier {
	u32 come;
	u32 awaited;
	u32 broken;
	u64 nodes;
	u64 lost;
	u16 of[PD_NODES];
};

/* At every node. */
struct own_lock {
	bool held;
	bool asked;
	struct dsm_wait *first;
	struct dsm_wait **last;
};

/**
 * struct own_barrier - a barrier at a node that isn't the home
 * @first, @last: who waits
 * @come:    of them, those that the home hasn't heard of
 * @awaited: as they say
 * @usual:   how many went last time
 * @due:     ns: when the home is told, whoever has come
 */
struct own_barrier {
	struct dsm_wait *first;
	struct dsm_wait **last;
	u32 come;
	u32 awaited;
	u32 usual;
	u64 due;
};

struct message {
	u16 to;
	u16 type;
	u32 number;
	u32 count;
	u32 come;
	u8 flags;
};

/**
 * struct dsm_sync - a region's locks and barriers
 * @lock: guards all
 * @out:  messages that could not be sent yet, @nout of them, room for @max
 * @together: some barrier has threads that the home hasn't heard of
 * @wake: waits that are over, told when the lock is dropped
 */
struct dsm_sync {
	pthread_mutex_t lock;
	struct home_lock home[POPCORN_SYNC_MAX];
	struct home_barrier home_bar[POPCORN_SYNC_MAX];
	struct own_lock own[POPCORN_SYNC_MAX];
	struct own_barrier bar[POPCORN_SYNC_MAX];
	struct message *out;
	u32 nout;
	u32 max;
	bool failed;
	bool together;
	struct dsm_wait *wake;
};

int dsm_sync_make(struct dsm_region *r)
{
	struct dsm_sync *s = ue_map(sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	r->sync = s;
	return 0;
}

void dsm_sync_free(struct dsm_region *r)
{
	if (!r->sync)
		return;
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

	dsm_msg_fill(r, &m, o->number, o->count, 0, o->flags);
	m.zero = cpu_to_le32(o->come);
	return popcorn_send(r->d->n, o->to, PW_URGENT, o->type, &m, sizeof(m), POPCORN_NOWAIT) ==
	       -EAGAIN;
}

static void say_message(struct dsm_region *r, const struct message *o)
{
	struct dsm_sync *s = r->sync;
	struct message *more;

	if (!s->nout && !send_now(r, o))
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
	s->out[s->nout++] = *o;
	dsm_due(r, dsm_now());
}

static void say(struct dsm_region *r, u16 to, u16 type, u32 number, u32 count, u8 flags)
{
	say_message(r, &(struct message){ .to = to, .type = type, .number = number,
					  .count = count, .flags = flags });
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
		say(r, node, PD_T_LOCK, number, 0, broken ? PD_F_FAIL : 0);
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
		say(r, r->c.home, PD_T_LOCK, number, 0, 0);
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
			say(r, r->c.home, PD_T_UNLOCK, number, 0, 0);
		if (l->first)
			want_lock(r, number);
	}
	leave(r);
	return e;
}

/* ---------------------------------------------------------------- barriers */

/* The first @n that wait here may go. */
static void released(struct dsm_region *r, u32 number, u32 n, int status)
{
	struct dsm_sync *s = r->sync;

	while (n-- && pop(s, &s->bar[number].first, status))
		;
}

/* @n threads of a node may go. */
static void home_tell(struct dsm_region *r, u32 number, u16 node, u32 n, bool broken)
{
	if (node == r->c.self)
		released(r, number, n, broken ? -EOWNERDEAD : 0);
	else
		say(r, node, PD_T_BARRIER, number, n, broken ? PD_F_FAIL : 0);
}

static void home_release(struct dsm_region *r, u32 number, bool broken)
{
	struct home_barrier *b = &r->sync->home_bar[number];
	u16 i;

	b->nodes = 0;
	for (i = 0; i < PD_NODES; i++) {
		if (!b->of[i])
			continue;
		b->nodes |= 1ull << i;
		home_tell(r, number, i, b->of[i], broken);
		b->of[i] = 0;
	}
	b->come = 0;
}

static void home_come(struct dsm_region *r, u32 number, u16 node, u32 come, u32 awaited)
{
	struct home_barrier *b = &r->sync->home_bar[number];

	if (b->lost >> node & 1)
		b->broken = b->lost = 0;	/* it is back */
	if (awaited == b->broken) {
		home_tell(r, number, node, come, true);
		return;
	}
	b->of[node] += come;
	b->come += come;
	b->awaited = awaited;
	if (b->come >= awaited)
		home_release(r, number, false);
}

/* A node died: who waits is told, and who comes later for as many. */
static void home_break(struct dsm_region *r, u32 number, u16 node)
{
	struct home_barrier *b = &r->sync->home_bar[number];
	bool had = b->nodes >> node & 1;

	if (!b->come && !had)
		return;
	home_release(r, number, true);
	b->broken = b->awaited;
	b->lost |= 1ull << node;
}

/* At another node: @n threads of it may go. */
static void went(struct dsm_region *r, u32 number, u32 n, int status)
{
	r->sync->bar[number].usual = n;
	released(r, number, n, status);
}

/* The home is to hear of those who have come, now. */
static void own_come(struct dsm_region *r, u32 number)
{
	struct own_barrier *b = &r->sync->bar[number];

	say_message(r, &(struct message){ .to = r->c.home, .type = PD_T_BARRIER, .number = number,
					  .count = b->awaited, .come = b->come });
	b->come = 0;
}

/* Those that others were waited for with, long enough. Return: ns when to look again. */
static u64 own_due(struct dsm_region *r)
{
	struct dsm_sync *s = r->sync;
	u64 next = ~0ull, now;
	u32 i;

	if (!s->together)
		return next;
	now = dsm_now();
	for (i = 0, s->together = false; i < POPCORN_SYNC_MAX; i++) {
		if (s->bar[i].come && s->bar[i].due <= now)
			own_come(r, i);
		if (!s->bar[i].come)
			continue;
		s->together = true;
		next = s->bar[i].due < next ? s->bar[i].due : next;
	}
	return next;
}

static void come(struct dsm_region *r, u32 number, u32 count)
{
	struct own_barrier *b = &r->sync->bar[number];

	if (b->come && b->awaited != count)
		own_come(r, number);
	b->awaited = count;
	if (++b->come >= b->usual || b->come == count) {
		own_come(r, number);
	} else if (b->come == 1) {
		b->due = dsm_now() + TOGETHER_NS;
		r->sync->together = true;
		dsm_due(r, b->due);
	}
}

/**
 * dsm_barrier() - wait until as many threads have come
 * @r:      region
 * @number: which, below POPCORN_SYNC_MAX
 * @count:  how many, in all, this one included
 *
 * Return: 0; -EOWNERDEAD: a node died that was there last time, or while others waited;
 * -EHOSTDOWN: the region is over; -EINVAL.
 */
int dsm_barrier(struct dsm_region *r, u32 number, u32 count)
{
	struct dsm_wait w = { 0 };
	struct own_barrier *b;
	struct dsm_sync *s;

	if (number >= POPCORN_SYNC_MAX || !count || count > 0xffff)
		return -EINVAL;
	s = enter(r);
	if (r->dead) {
		leave(r);
		return -EHOSTDOWN;
	}
	b = &s->bar[number];
	queue(&b->first, &b->last, &w);
	if (dsm_is_home(r))
		home_come(r, number, r->c.self, 1, count);
	else
		come(r, number, count);
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
	u64 next;

	for (i = 0; i < s->nout && !send_now(r, &s->out[i]); i++)
		;
	left = s->nout - i;
	if (i && left)
		memmove(s->out, s->out + i, left * sizeof(*s->out));
	s->nout = left;
	next = own_due(r);
	left = s->nout;
	leave(r);
	if (next != ~0ull)
		dsm_due(r, next);
	return left;
}

/* ------------------------------------------------------- receiving, the end */

static void receive(struct popcorn_msg *m)
{
	struct dsm *d = m->node->o.above;
	const struct pd_msg *pm = m->data;
	struct dsm_region *r = NULL;
	u32 number, awaited, come;
	bool home;

	if (m->len == sizeof(*pm))
		r = dsm_region_get(d, le32_to_cpu(pm->region));
	if (!r)
		goto out;
	number = le32_to_cpu(pm->page);
	awaited = le32_to_cpu(pm->req);
	come = le32_to_cpu(pm->zero);
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
	else if (m->type == PD_T_BARRIER && home && come && come <= awaited && awaited <= 0xffff)
		home_come(r, number, m->from, come, awaited);
	else if (m->type == PD_T_BARRIER && !home)
		went(r, number, awaited, pm->flags & PD_F_FAIL ? -EOWNERDEAD : 0);
	leave(r);
out:
	if (m->request)
		popcorn_answer(m, -EPROTO, NULL, 0);
	else
		popcorn_msg_done(m);
	if (r)
		dsm_region_put(r);
}

void dsm_on_lock(struct popcorn_msg *m)
{
	receive(m);
}

void dsm_on_unlock(struct popcorn_msg *m)
{
	receive(m);
}

void dsm_on_barrier(struct popcorn_msg *m)
{
	receive(m);
}

/* Home: a node has gone, or is @dead: then nobody waits for it at a barrier. What it held goes on. */
void dsm_sync_gone(struct dsm_region *r, u16 node, bool dead)
{
	struct dsm_sync *s = enter(r);
	u32 i;

	for (i = 0; i < POPCORN_SYNC_MAX; i++) {
		if (!s->home[i].used)
			continue;
		home_forget(&s->home[i], node);
		home_unlock(r, i, node, true);
	}
	for (i = 0; i < POPCORN_SYNC_MAX; i++) {
		s->home_bar[i].come -= s->home_bar[i].of[node];
		s->home_bar[i].of[node] = 0;
		if (dead)
			home_break(r, i, node);
	}
	leave(r);
}

/* The region is over: nobody waits any more. */
void dsm_sync_end(struct dsm_region *r)
{
	struct dsm_sync *s = enter(r);
	u32 i;

	s->failed = false;
	for (i = 0; i < POPCORN_SYNC_MAX; i++) {
		while (pop(s, &s->own[i].first, -EHOSTDOWN))
			;
		while (pop(s, &s->bar[i].first, -EHOSTDOWN))
			;
	}
	leave(r);
}
