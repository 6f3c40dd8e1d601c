// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks and barriers of a region: queued at its home and handed over by message, without
 * touching a page. Barriers are dsm-proto/core/barrier.c's.
 *
 * All are one-way, so that who waits occupies no request slot that a fault may need:
 *   LOCK     node to home: @page is the lock, @req the node's number for its wish
 *            home to node: it is yours; PD_F_FAIL: who had it died; PD_F_IDLE: no memory
 *            for another lock
 *   UNLOCK   node to home; PD_F_FAIL: it was never given back by who had it
 *   BARRIER, TREE  as the core says; BARRIER with PD_F_FAIL and no words to the home:
 *            a process has ended that didn't leave
 * A wish for a lock is one piece of memory, which is also the message that ends it.
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
 * struct dsm_sync - a lock at the home; all are kept until the region ends
 * @list:  all with such numbers
 * @queue: who waits
 * @number: its own
 * @held:  somebody has it
 * @dead:  who had it last has died
 * @holder: whose it is
 * @token: and of which wish
 */
struct dsm_sync {
	struct list_head list;
	struct list_head queue;
	u32 number;
	bool held;
	bool dead;
	u16 holder;
	u32 token;
};

/* A barrier at a node; so are these. */
struct dsm_bar {
	struct list_head list;
	struct pd_bar b;
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

static struct dsm_sync *sync_get(struct dsm_region *r, u32 number)
{
	struct list_head *head = &r->syncs[number % ARRAY_SIZE(r->syncs)];
	struct dsm_sync *s;

	list_for_each_entry(s, head, list)
		if (s->number == number)
			return s;
	s = kzalloc(sizeof(*s), DSM_NOWAIT);
	if (s) {
		s->number = number;
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

/* All of a node has ended, or it has left. Locked. */
static void node_gone(struct dsm_region *r, u16 node)
{
	struct dsm_wish *w, *next;
	struct dsm_sync *s;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(r->syncs); i++)
		list_for_each_entry(s, &r->syncs[i], list) {
			list_for_each_entry_safe(w, next, &s->queue, list)
				if (w->peer == node) {
					list_del(&w->list);
					kfree(w);
				}
			if (s->held && s->holder == node) {
				s->dead = true;
				lock_next(r, s);
			}
		}
}

/*
 * LOCK or UNLOCK of @node, which may be the own one, at the home; @r->lock held. Return: 0,
 * or -ENOMEM: it is to be tried again.
 */
static int home_told(struct dsm_region *r, u16 type, u16 node, const struct pd_msg *m)
{
	u32 number = le32_to_cpu(m->page), token = le32_to_cpu(m->req);
	struct dsm_sync *s = sync_get(r, number);
	struct dsm_wish *w;

	if (type == PD_T_UNLOCK) {
		if (s && s->held && s->holder == node && s->token == token) {
			s->dead = m->flags & PD_F_FAIL;
			lock_next(r, s);
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
	list_add_tail(&w->list, &s->queue);
	if (!s->held)
		lock_next(r, s);
	return 0;
}

/* ---------------------------------------------------------------- barriers */

/* The region's barrier of that number; @new: to be used if there is none. Locked. */
static struct dsm_bar *bar_get(struct dsm_region *r, u32 number, struct dsm_bar **new)
{
	struct list_head *head = &r->bars[number % ARRAY_SIZE(r->bars)];
	struct dsm_bar *bar;

	list_for_each_entry(bar, head, list)
		if (bar->b.number == number)
			return bar;
	bar = *new;
	*new = NULL;
	if (bar) {
		pd_bar_init(&bar->b, number);
		list_add(&bar->list, head);
	}
	return bar;
}

/* Threads of this node may go. Locked. */
static void bar_go(struct dsm_region *r, u32 number, struct pd_go *go)
{
	struct dsm_wish *w, *next;

	if (!go->n)
		return;
	list_for_each_entry_safe(w, next, &r->sync_waits, list) {
		if (w->type != PD_T_BARRIER || number_of(w) != number)
			continue;
		list_del_init(&w->list);
		w->status = go->failed ? -EOWNERDEAD : 0;
		w->told = true;
		go->failed -= !!go->failed;
		if (!--go->n)
			break;
	}
	wake_up_all(&r->sync_wait);
}

enum bar_event { BAR_AGAIN, BAR_CUT, BAR_BREAK, BAR_LEFT, BAR_DIED };

/* Something that is about all barriers. Locked. */
static void bars(struct dsm_region *r, enum bar_event what, u16 node)
{
	struct dsm_bar *bar;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(r->bars); i++)
		list_for_each_entry(bar, &r->bars[i], list) {
			struct pd_go go = { 0 };

			if (what == BAR_AGAIN || what == BAR_CUT)
				pd_bar_again(&r->tree, &bar->b, what == BAR_CUT);
			else if (what == BAR_BREAK)
				pd_bar_break(&r->tree, &bar->b, &go);
			else
				pd_bar_gone(&r->tree, &bar->b, node, what == BAR_DIED, &go);
			bar_go(r, bar->b.number, &go);
		}
}

/* BARRIER or TREE came. Locked. Return: 0, or -ENOMEM: it is to be tried again. */
static int bar_told(struct dsm_region *r, struct popcorn_msg *msg)
{
	const struct pd_bar_msg *m = msg->data;
	u32 number = le32_to_cpu(m->h.page);
	struct pd_go go = { 0 };
	struct dsm_bar *bar, *new;

	if (msg->type == PD_T_TREE) {
		if (pd_tree_msg(&r->tree, msg->data, msg->len))
			bars(r, BAR_AGAIN, 0);
		return 0;
	}
	if (m->h.flags & PD_F_FAIL) {
		if (dsm_home(r))
			bars(r, BAR_BREAK, 0);
		return 0;
	}
	new = NULL;
	bar = bar_get(r, number, &new);
	if (!bar) {
		new = kzalloc(sizeof(*new), DSM_NOWAIT);
		if (!new)
			return -ENOMEM;
		bar = bar_get(r, number, &new);
	}
	pd_bar_msg(&r->tree, &bar->b, msg->from, m, msg->len, dsm_now(), &go);
	bar_go(r, number, &go);
	return 0;
}

/* What is to be said of barriers. Locked, but not while it is sent. Return: not all was. */
static bool bars_say(struct dsm_region *r)
{
	struct pd_bar *none = NULL;
	struct dsm_bar *bar;
	struct pd_say say;
	int e;

	while (!r->over && pd_tree_next(&r->tree, dsm_now(), &say)) {
		say.m.region = cpu_to_le32(r->id);
		say.m.gen = cpu_to_le32(r->gen);
		spin_unlock_bh(&r->lock);
		e = popcorn_send(r->node, say.to, PW_SYNC, say.type, &say.m, say.len,
				 POPCORN_NOWAIT);
		spin_lock_bh(&r->lock);
		if (!e)
			continue;
		bar = NULL;
		if (say.type == PD_T_BARRIER)
			bar = bar_get(r, le32_to_cpu(say.m.page), &bar);
		pd_tree_unsent(&r->tree, bar ? &bar->b : none, &say, e != -EAGAIN && e != -ENOMEM);
		if (e == -EAGAIN || e == -ENOMEM)
			return true;
	}
	return false;
}

/* Say what is to be said; what can't be now is left. */
static void flush(struct dsm_region *r)
{
	struct dsm_wish *w;
	LIST_HEAD(again);
	bool left;
	u64 due;
	int e;

	spin_lock_bh(&r->lock);
	while ((w = list_first_entry_or_null(&r->sync_out, struct dsm_wish, list))) {
		list_del(&w->list);
		if (w->peer == r->cfg.self) {
			/* It needs no memory there. */
			if (w->type == PD_T_BARRIER)
				bars(r, BAR_BREAK, 0);
			else if (w->type == PD_T_UNLOCK)
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
	left = bars_say(r) || !list_empty(&r->sync_out);
	due = r->tree.due;
	spin_unlock_bh(&r->lock);
	if (left)
		dsm_due(r, dsm_now() + DSM_RETRY_NS);
	else if (due)
		dsm_due(r, due);
}

void dsm_sync_flush(struct dsm_region *r)
{
	if (dsm_sync_due(r))
		flush(r);
}

/**
 * dsm_sync_msg - LOCK, UNLOCK, BARRIER or TREE
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
	if (r->over || msg->from >= PD_NODES ||
	    (dsm_home(r) && !(r->members & (1ull << msg->from)))) {
		;
	} else if (msg->type == PD_T_BARRIER || msg->type == PD_T_TREE) {
		e = bar_told(r, msg);
	} else if (dsm_home(r)) {
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
	bars(r, dead ? BAR_DIED : BAR_LEFT, node);
	pd_tree_gone(&r->tree, node);
	node_gone(r, node);
	spin_unlock_bh(&r->lock);
	flush(r);
}

/**
 * dsm_sync_cut - this node and another member can't reach each other any more
 * @r: region, not at its home
 *
 * Words that went between them may be lost. Any context that may take r->lock and send.
 */
void dsm_sync_cut(struct dsm_region *r)
{
	spin_lock_bh(&r->lock);
	bars(r, BAR_CUT, 0);
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
	return w;
}

/* Tell the home of a wish for a lock, which is in sync_waits. */
static int wish_send(struct dsm_region *r, const struct pd_msg *m)
{
	int e = 0;

	if (dsm_home(r)) {
		spin_lock_bh(&r->lock);
		e = home_told(r, PD_T_LOCK, r->cfg.self, m);
		spin_unlock_bh(&r->lock);
		flush(r);
	} else {
		e = popcorn_send(r->node, r->cfg.home, PW_SYNC, PD_T_LOCK, m, sizeof(*m), 0);
	}
	return e;
}

/* The region's barrier, made if there is none yet; or NULL. */
static struct dsm_bar *bar_make(struct dsm_region *r, u32 number)
{
	struct dsm_bar *new = NULL, *bar;

	spin_lock_bh(&r->lock);
	bar = bar_get(r, number, &new);
	spin_unlock_bh(&r->lock);
	if (bar)
		return bar;
	new = kzalloc(sizeof(*new), GFP_KERNEL);
	spin_lock_bh(&r->lock);
	bar = bar_get(r, number, &new);
	spin_unlock_bh(&r->lock);
	kfree(new);
	return bar;
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
	bool barrier = type == PD_T_BARRIER;
	struct pd_go go = { 0 };
	struct dsm_bar *bar = NULL;
	struct dsm_wish *w;
	struct pd_msg m;
	bool sent;
	int e = 0;

	if (u->number >= POPCORN_SYNC_MAX || u->zero ||
	    (barrier && (!u->count || u->count > DSM_AWAITED_MAX)))
		return -EINVAL;
	w = wish_new(r, file, type, u);
	if (w && barrier)
		bar = bar_make(r, u->number);
	if (!w || (barrier && !bar)) {
		kfree(w);
		return -ENOMEM;
	}
	spin_lock_bh(&r->lock);
	w->m.req = cpu_to_le32(++r->sync_token);
	m = w->m;
	list_add_tail(&w->list, &r->sync_waits);
	if (barrier) {
		pd_bar_come(&r->tree, &bar->b, u->count, dsm_now(), &go);
		bar_go(r, u->number, &go);
	}
	spin_unlock_bh(&r->lock);
	if (barrier)
		flush(r);
	else
		e = wish_send(r, &m);
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
	if (barrier) {
		list_del(&w->list);
		kfree(w);
		pd_bar_leave(&r->tree, &bar->b);
	} else {
		w->gone = true;		/* a lock that comes yet is given back */
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
		say(ended, r, r->cfg.home, PD_T_BARRIER, PD_F_FAIL);
		ended->m.pages = 0;
	}
	spin_unlock_bh(&r->lock);
	flush(r);
}

/* The region is over: nobody is told anything any more, but those who wait here. */
void dsm_sync_free(struct dsm_region *r)
{
	struct list_head *lists[] = { &r->sync_out, &r->sync_held, &r->sync_waits };
	struct dsm_sync *s, *snext;
	struct dsm_bar *bar, *bnext;
	struct dsm_wish *w, *next;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(r->bars); i++)
		list_for_each_entry_safe(bar, bnext, &r->bars[i], list)
			kfree(bar);
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
	for (i = 0; i < ARRAY_SIZE(r->bars); i++)
		INIT_LIST_HEAD(&r->bars[i]);
	pd_tree_init(&r->tree, r->cfg.self, r->cfg.home);
}
