// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks and barriers of a region: queued at its home and handed over by message, without
 * touching a page.
 *
 * All are one-way, so that who waits occupies no request slot that a fault may need:
 *   LOCK     node to home: @page is the lock, @req the node's number for its wish
 *            home to node: it is yours; PD_F_FAIL: who had it died
 *   UNLOCK   node to home; PD_F_FAIL: it was never given back by who had it
 *   BARRIER  node to home: come; @zero: how many are awaited. PD_F_FAIL: gone again, or
 *            (@zero is 0) a process has ended that didn't leave
 *            home to node: all have come; PD_F_FAIL: but one died
 *   either   home to node with PD_F_IDLE: the home has no memory for another lock
 * A wish is one piece of memory, which is also the message that ends it.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dsm.h"

/**
 * struct dsm_wish - a thread's wish for a lock or barrier, or its place in the home's queue
 * @list:  one of the region's lists, or the queue
 * @file:  node: attachment
 * @m:     what is to be said
 * @type:  PD_T_LOCK, _UNLOCK or _BARRIER
 * @peer:  home: whose; else to whom it is to be said
 * @told:  node: it has ended
 * @status: how, 0 or -errno
 * @gone:  node: nobody waits any more
 */
struct dsm_wish {
	struct list_head list;
	struct file *file;
	struct pd_msg m;
	u16 type;
	u16 peer;
	bool told;
	bool gone;
	int status;
};

/**
 * struct dsm_sync - a lock or barrier at the home; all are kept until the region ends
 * @list:  all with such numbers
 * @queue: who waits
 * @number: its own, of locks or of barriers
 * @barrier: which of them it is
 * @held:  somebody has the lock
 * @dead:  who had it last has died
 * @holder: whose it is
 * @token: and of which wish
 * @n:     threads that have come to the barrier
 * @all:   how many it was opened for last
 * @nodes: of which nodes
 * @broken: who says that so many are awaited doesn't wait, since
 * @lost:  these nodes died that had part in it
 */
struct dsm_sync {
	struct list_head list;
	struct list_head queue;
	u32 number;
	bool barrier;
	bool held;
	bool dead;
	u16 holder;
	u32 token;
	u32 n;
	u32 all;
	u32 broken;
	u64 nodes;
	u64 lost;
};

static void say(struct dsm_wish *w, struct dsm_region *r, u16 to, u16 type, u8 flags)
{
	w->peer = to;
	w->type = type;
	w->m.region = cpu_to_le32(r->id);
	w->m.gen = cpu_to_le32(r->gen);
	w->m.flags = flags;
	w->m.pages = 1;
	list_add_tail(&w->list, &r->sync_out);
}

static u32 number_of(const struct dsm_wish *w)
{
	return le32_to_cpu(w->m.page);
}

/* ---------------------------------------------------------------- a node */

/* The home has answered a wish; @r->lock held. */
static void node_told(struct dsm_region *r, u16 type, u32 number, u32 token, u8 flags)
{
	struct dsm_wish *w;

	list_for_each_entry(w, &r->sync_waits, list) {
		if (w->type != type || number_of(w) != number || le32_to_cpu(w->m.req) != token)
			continue;
		list_del_init(&w->list);
		if (w->gone) {
			if (type == PD_T_LOCK && !(flags & PD_F_IDLE))
				say(w, r, r->cfg.home, PD_T_UNLOCK, flags & PD_F_FAIL);
			else
				kfree(w);
			return;
		}
		w->status = flags & PD_F_IDLE ? -ENOMEM : flags & PD_F_FAIL ? -EOWNERDEAD : 0;
		w->told = true;
		wake_up_all(&r->sync_wait);
		return;
	}
}

/* ---------------------------------------------------------------- the home */

static struct dsm_sync *sync_get(struct dsm_region *r, u32 number, bool barrier)
{
	struct list_head *head = &r->syncs[number % ARRAY_SIZE(r->syncs)];
	struct dsm_sync *s;

	list_for_each_entry(s, head, list)
		if (s->number == number && s->barrier == barrier)
			return s;
	s = kzalloc(sizeof(*s), DSM_NOWAIT);
	if (s) {
		s->number = number;
		s->barrier = barrier;
		INIT_LIST_HEAD(&s->queue);
		list_add(&s->list, head);
	}
	return s;
}

/* The lock is free: whose is it next? */
static void lock_next(struct dsm_region *r, struct dsm_sync *s)
{
	struct dsm_wish *w = list_first_entry_or_null(&s->queue, struct dsm_wish, list);

	s->held = w;
	if (!w)
		return;
	list_del(&w->list);
	s->holder = w->peer;
	s->token = le32_to_cpu(w->m.req);
	say(w, r, w->peer, PD_T_LOCK, s->dead ? PD_F_FAIL : 0);
	s->dead = false;
}

static void barrier_open(struct dsm_region *r, struct dsm_sync *s, u8 flags)
{
	struct dsm_wish *w, *next;

	s->nodes = 0;
	list_for_each_entry_safe(w, next, &s->queue, list) {
		s->all = le32_to_cpu(w->m.zero);
		s->nodes |= 1ull << w->peer;
		list_del(&w->list);
		say(w, r, w->peer, PD_T_BARRIER, flags);
	}
	s->n = 0;
}

/* A thread of @w's node has come. */
static void barrier_come(struct dsm_region *r, struct dsm_sync *s, struct dsm_wish *w)
{
	u32 awaited = le32_to_cpu(w->m.zero);

	if (s->lost & (1ull << w->peer))
		s->broken = s->lost = 0;	/* it is back */
	if (awaited == s->broken) {
		say(w, r, w->peer, PD_T_BARRIER, PD_F_FAIL);
		return;
	}
	list_add_tail(&w->list, &s->queue);
	if (++s->n >= awaited)
		barrier_open(r, s, 0);
}

/* Who waits is told that one has ended; who comes later, too, if its node is @dead. */
static void barrier_break(struct dsm_region *r, struct dsm_sync *s, u16 node, bool dead)
{
	bool waits = !list_empty(&s->queue), had = s->nodes & (1ull << node);

	if (waits)
		barrier_open(r, s, PD_F_FAIL);
	if (dead && (waits || had)) {
		s->broken = s->all;
		s->lost |= 1ull << node;
	}
}

static void forget(struct dsm_sync *s, u16 node)
{
	struct dsm_wish *w, *next;

	list_for_each_entry_safe(w, next, &s->queue, list)
		if (w->peer == node) {
			list_del(&w->list);
			kfree(w);
			s->n -= s->barrier;
		}
}

/* @all of a node, or one of its processes, has ended: @dead, or it has left. Locked. */
static void node_gone(struct dsm_region *r, u16 node, bool all, bool dead)
{
	struct dsm_sync *s;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(r->syncs); i++)
		list_for_each_entry(s, &r->syncs[i], list) {
			if (s->barrier && dead)
				barrier_break(r, s, node, all);
			if (!all)
				continue;
			forget(s, node);
			if (!s->barrier && s->held && s->holder == node) {
				s->dead = true;
				lock_next(r, s);
			}
		}
}

static struct dsm_wish *queued(struct dsm_sync *s, u16 node, u32 token)
{
	struct dsm_wish *w;

	list_for_each_entry(w, &s->queue, list)
		if (w->peer == node && le32_to_cpu(w->m.req) == token)
			return w;
	return NULL;
}

/*
 * A message of @node, which may be the own one, at the home; @r->lock held. Return: 0, or
 * -ENOMEM: it is to be tried again.
 */
static int home_told(struct dsm_region *r, u16 type, u16 node, const struct pd_msg *m)
{
	u32 number = le32_to_cpu(m->page), token = le32_to_cpu(m->req);
	struct dsm_sync *s;
	struct dsm_wish *w;

	if (type == PD_T_BARRIER && !m->zero) {
		node_gone(r, node, false, true);
		return 0;
	}
	s = sync_get(r, number, type == PD_T_BARRIER);
	if (type == PD_T_UNLOCK) {
		if (s && s->held && s->holder == node && s->token == token) {
			s->dead = m->flags & PD_F_FAIL;
			lock_next(r, s);
		}
		return 0;
	}
	if (type == PD_T_BARRIER && (m->flags & PD_F_FAIL)) {
		w = s ? queued(s, node, token) : NULL;
		if (w) {
			list_del(&w->list);
			kfree(w);
			s->n--;
		}
		return 0;
	}
	w = kzalloc(sizeof(*w), DSM_NOWAIT);
	if (!w)
		return -ENOMEM;
	w->m = *m;
	w->peer = node;
	if (!s) {
		say(w, r, node, type, PD_F_IDLE);
		return 0;
	}
	if (type == PD_T_BARRIER) {
		barrier_come(r, s, w);
		return 0;
	}
	list_add_tail(&w->list, &s->queue);
	if (!s->held)
		lock_next(r, s);
	return 0;
}

/* Say what is to be said; what can't be now is left. */
static void flush(struct dsm_region *r)
{
	struct dsm_wish *w;
	LIST_HEAD(again);
	int e;

	spin_lock_bh(&r->lock);
	while ((w = list_first_entry_or_null(&r->sync_out, struct dsm_wish, list))) {
		list_del(&w->list);
		if (w->peer == r->cfg.self) {
			/* Those two need no memory there. */
			if (w->type == PD_T_UNLOCK || w->gone)
				home_told(r, w->type, r->cfg.self, &w->m);
			else
				node_told(r, w->type, number_of(w), le32_to_cpu(w->m.req),
					  w->m.flags);
			kfree(w);
			continue;
		}
		spin_unlock_bh(&r->lock);
		e = popcorn_send(r->node, w->peer, PW_SYNC, w->type, &w->m, sizeof(w->m),
				 POPCORN_NOWAIT);
		spin_lock_bh(&r->lock);
		if (e == -EAGAIN)
			list_add_tail(&w->list, &again);
		else
			kfree(w);
	}
	list_splice(&again, &r->sync_out);
	e = list_empty(&r->sync_out);
	spin_unlock_bh(&r->lock);
	if (!e)
		dsm_due(r, dsm_now() + DSM_RETRY_NS);
}

void dsm_sync_flush(struct dsm_region *r)
{
	if (!list_empty_careful(&r->sync_out))
		flush(r);
}

/**
 * dsm_sync_msg - LOCK, UNLOCK or BARRIER
 * @r:   region
 * @msg: message, the caller's
 *
 * Return: 0 or -ENOMEM: try again.
 */
int dsm_sync_msg(struct dsm_region *r, struct popcorn_msg *msg)
{
	const struct pd_msg *m = msg->data;
	int e = 0;

	spin_lock_bh(&r->lock);
	if (r->over) {
		;
	} else if (dsm_home(r)) {
		if (r->members & (1ull << msg->from))
			e = home_told(r, msg->type, msg->from, m);
	} else if (msg->from == r->cfg.home) {
		node_told(r, msg->type, le32_to_cpu(m->page), le32_to_cpu(m->req), m->flags);
	}
	spin_unlock_bh(&r->lock);
	flush(r);
	return e;
}

/**
 * dsm_sync_dead - a member has died or left: what it held passes on
 * @r:    region, at its home
 * @node: the member's id
 * @dead: it died: who waits at a barrier, with it or for it, is told
 *
 * Process context; waits for nobody.
 */
void dsm_sync_dead(struct dsm_region *r, u16 node, bool dead)
{
	spin_lock_bh(&r->lock);
	node_gone(r, node, true, dead);
	spin_unlock_bh(&r->lock);
	flush(r);
}

/* ------------------------------------------------------------ what is asked */

static struct dsm_wish *wish_new(struct dsm_region *r, struct file *file, u16 type,
				 const struct popcorn_ioc_sync *u)
{
	struct dsm_wish *w = kzalloc(sizeof(*w), GFP_KERNEL);

	if (!w)
		return NULL;
	w->file = file;
	w->type = type;
	w->m.region = cpu_to_le32(r->id);
	w->m.gen = cpu_to_le32(r->gen);
	w->m.page = cpu_to_le32(u->number);
	w->m.pages = 1;
	w->m.zero = cpu_to_le32(u->count);
	return w;
}

/* Tell the home; the wish is in sync_waits. */
static int wish_send(struct dsm_region *r, u16 type, const struct pd_msg *m)
{
	int e = 0;

	if (dsm_home(r)) {
		spin_lock_bh(&r->lock);
		e = home_told(r, type, r->cfg.self, m);
		spin_unlock_bh(&r->lock);
		flush(r);
	} else {
		e = popcorn_send(r->node, r->cfg.home, PW_SYNC, type, m, sizeof(*m), 0);
	}
	return e;
}

/**
 * dsm_sync_wait - POPCORN_IOC_LOCK, _BARRIER
 * @r:    region
 * @file: attachment
 * @type: PD_T_LOCK or PD_T_BARRIER
 * @u:    arguments
 *
 * Process context; killable. Return: 0 or -errno.
 */
int dsm_sync_wait(struct dsm_region *r, struct file *file, u16 type,
		  const struct popcorn_ioc_sync *u)
{
	long left = u->timeout_ms ? msecs_to_jiffies(u->timeout_ms) : MAX_SCHEDULE_TIMEOUT;
	struct dsm_wish *w;
	struct pd_msg m;
	bool sent;
	int e;

	if (u->number >= POPCORN_SYNC_MAX || u->zero || (type == PD_T_BARRIER && !u->count))
		return -EINVAL;
	w = wish_new(r, file, type, u);
	if (!w)
		return -ENOMEM;
	spin_lock_bh(&r->lock);
	w->m.req = cpu_to_le32(++r->sync_token);
	m = w->m;
	list_add_tail(&w->list, &r->sync_waits);
	spin_unlock_bh(&r->lock);
	e = wish_send(r, type, &m);
	sent = !e;
	if (sent) {
		left = wait_event_killable_timeout(r->sync_wait,
						   READ_ONCE(w->told) || READ_ONCE(r->over), left);
		e = left < 0 ? -EINTR : !left ? -ETIMEDOUT : 0;
	}

	spin_lock_bh(&r->lock);
	if (w->told) {
		e = w->status;
		if (type == PD_T_LOCK && (!e || e == -EOWNERDEAD))
			list_add(&w->list, &r->sync_held);
		else
			kfree(w);
		spin_unlock_bh(&r->lock);
		return e;
	}
	if (r->over) {
		e = r->over == -ESHUTDOWN ? -ESHUTDOWN : -EHOSTDOWN;
		list_del(&w->list);
		kfree(w);
		spin_unlock_bh(&r->lock);
		return e;
	}
	if (!sent) {
		list_del(&w->list);
		kfree(w);
		spin_unlock_bh(&r->lock);
		return e;
	}
	w->gone = true;		/* a lock that comes yet is given back */
	if (type == PD_T_BARRIER) {
		list_del(&w->list);
		w->m.flags = PD_F_FAIL;
		say(w, r, r->cfg.home, type, PD_F_FAIL);
	}
	spin_unlock_bh(&r->lock);
	flush(r);
	return e;
}

/**
 * dsm_sync_unlock - POPCORN_IOC_UNLOCK
 * @r:    region
 * @file: attachment that has the lock
 * @u:    arguments
 *
 * Process context; waits for nobody. Return: 0 or -EPERM.
 */
int dsm_sync_unlock(struct dsm_region *r, struct file *file, const struct popcorn_ioc_sync *u)
{
	struct dsm_wish *w;
	int e = -EPERM;

	spin_lock_bh(&r->lock);
	list_for_each_entry(w, &r->sync_held, list)
		if (w->file == file && number_of(w) == u->number) {
			list_del(&w->list);
			say(w, r, r->cfg.home, PD_T_UNLOCK, 0);
			e = 0;
			break;
		}
	spin_unlock_bh(&r->lock);
	flush(r);
	return e;
}

/* An attachment goes, perhaps with locks in its hands, or awaited, with its process. */
void dsm_sync_close(struct dsm_region *r, struct file *file)
{
	struct dsm_wish *w, *next, *ended = NULL;

	if (current->flags & PF_EXITING)
		ended = kzalloc(sizeof(*ended), GFP_KERNEL | __GFP_NOFAIL);
	spin_lock_bh(&r->lock);
	list_for_each_entry_safe(w, next, &r->sync_held, list)
		if (w->file == file) {
			list_del(&w->list);
			say(w, r, r->cfg.home, PD_T_UNLOCK, PD_F_FAIL);
		}
	if (ended) {
		ended->gone = true;
		say(ended, r, r->cfg.home, PD_T_BARRIER, PD_F_FAIL);
	}
	spin_unlock_bh(&r->lock);
	flush(r);
}

/* The region is over: nobody is told anything any more, but those who wait here. */
void dsm_sync_free(struct dsm_region *r)
{
	struct list_head *lists[] = { &r->sync_out, &r->sync_held, &r->sync_waits };
	struct dsm_sync *s, *snext;
	struct dsm_wish *w, *next;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		list_for_each_entry_safe(w, next, lists[i], list)
			kfree(w);
	for (i = 0; i < ARRAY_SIZE(r->syncs); i++)
		list_for_each_entry_safe(s, snext, &r->syncs[i], list) {
			list_for_each_entry_safe(w, next, &s->queue, list)
				kfree(w);
			kfree(s);
		}
}

void dsm_sync_init(struct dsm_region *r)
{
	unsigned int i;

	init_waitqueue_head(&r->sync_wait);
	INIT_LIST_HEAD(&r->sync_waits);
	INIT_LIST_HEAD(&r->sync_held);
	INIT_LIST_HEAD(&r->sync_out);
	for (i = 0; i < ARRAY_SIZE(r->syncs); i++)
		INIT_LIST_HEAD(&r->syncs[i]);
}
