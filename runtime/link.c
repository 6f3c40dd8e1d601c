// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Links of the user engine: their memory, and what follows a call into the core
 * (reap, send, leave the rest to the poller).
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine.h"

/* The holder may have lost its CPU: after a while let it run. */
void ue_lock_slow(ue_lock_t *l)
{
	u32 i = 0;

	do {
		while (atomic_load_explicit(l, memory_order_relaxed)) {
			if (++i < 200)
				ue_relax();
			else
				sched_yield();
		}
	} while (atomic_exchange_explicit(l, 1, memory_order_acquire));
}

/* Hands out parts of one allocation. */
static void *part(u8 **p, size_t size)
{
	void *at = *p;

	*p += (size + 63) & ~(size_t)63;
	return at;
}

/* Room for the messages of an earlier life that handlers still keep, too. */
static u32 msgs(const struct popcorn_node *n)
{
	return 2 * n->pt.cfg.window;
}

static void lane_make(struct ue_link *ul, u8 class, u8 **small, u8 **big)
{
	struct popcorn_node *n = ul->node;
	struct ue_lane *ln = &ul->lane[class];
	u32 i, slots = n->pt.cfg.slots;

	ln->la = &ul->pt.lane[class];
	ln->ul = ul;
	ln->waiter = part(small, slots * sizeof(*ln->waiter));
	ln->timeout = part(small, slots * sizeof(*ln->timeout));
	ln->pgdone = part(small, slots * sizeof(*ln->pgdone));
	ln->msgs = part(small, msgs(n) * sizeof(*ln->msgs));
	ln->txs = part(small, n->o.backlog * sizeof(*ln->txs));
	ln->slot_buf = part(big, (size_t)slots * UE_ENTRY);
	ln->ans_buf = part(big, (size_t)slots * UE_ENTRY);
	for (i = msgs(n); i--;) {
		ln->msgs[i].ul = ul;
		ln->msgs[i].msg.node = n;
		ln->msgs[i].msg.from = ul->pt.peer;
		ln->msgs[i].msg.class = class;
		ln->msgs[i].next = ln->msg_free;
		ln->msg_free = &ln->msgs[i];
	}
	for (i = 0; i < msgs(n); i++)
		ln->msgs[i].buf = part(big, PW_MSG_MAX + 64);
	ln->tx_nfree = n->o.backlog;
	for (i = n->o.backlog; i--;) {
		ln->txs[i].next = ln->tx_free;
		ln->tx_free = &ln->txs[i];
	}
	for (i = 0; i < n->o.backlog; i++)
		ln->txs[i].buf = part(big, UE_ENTRY);
}

static int link_make(struct popcorn_node *n, u16 peer, struct ue_link **out)
{
	const u32 slots = n->pt.cfg.slots, all = PW_CLASSES * slots;
	size_t small = sizeof(struct ue_link) + all * (sizeof(struct pt_slot) +
		sizeof(struct pt_ans) + sizeof(struct ue_waiter) + sizeof(void *) + sizeof(u32)) +
		PW_CLASSES * (msgs(n) * sizeof(struct ue_msg) +
			      n->o.backlog * sizeof(struct ue_tx)) + 64 * 32;
	size_t big = (size_t)PW_CLASSES * (2 * slots + n->o.backlog) * UE_ENTRY +
		(size_t)PW_CLASSES * msgs(n) * (PW_MSG_MAX + 64);
	struct ue_link *ul;
	u8 *p, *q, c;

	p = ue_alloc(small);
	if (!p)
		return -ENOMEM;
	ul = part(&p, sizeof(*ul));
	ul->arena_size = big;
	ul->arena = q = ue_map(big);
	if (!q) {
		free(ul);
		return -ENOMEM;
	}
	ul->node = n;
	if (n->o.single)
		ul->lock = UE_UNSHARED;
	ul->slots = part(&p, all * sizeof(*ul->slots));
	ul->ans = part(&p, all * sizeof(*ul->ans));
	pt_link_init(&ul->pt, &n->pt, peer, ul->slots, ul->ans);
	for (c = 0; c < PW_CLASSES; c++)
		lane_make(ul, c, &p, &q);
	*out = ul;
	return 0;
}

void ue_link_free(struct ue_link *ul)
{
	munmap(ul->arena, ul->arena_size);
	free(ul);
}

/**
 * ue_link_get() - the link to a peer, made on first use
 * @n:    node
 * @peer: the peer's id
 * @out:  the link; lives as long as the node
 *
 * Return: 0, -EINVAL for the own id, -ENOENT for one that is not in the table,
 * -ENOMEM.
 */
int ue_link_get(struct popcorn_node *n, u16 peer, struct ue_link **out)
{
	int r = 0;

	if (unlikely(peer == n->pt.id))
		return -EINVAL;
	if (unlikely(peer >= popcorn_node_count(n)))
		return -ENOENT;
	*out = __atomic_load_n(&n->links[peer], __ATOMIC_ACQUIRE);
	if (likely(*out))
		return 0;
	pthread_mutex_lock(&n->grow);
	*out = n->links[peer];
	if (!*out)
		r = link_make(n, peer, out);
	if (!r && !n->links[peer]) {
		n->made[n->nmade] = *out;
		__atomic_store_n(&n->nmade, n->nmade + 1, __ATOMIC_RELEASE);
		__atomic_store_n(&n->links[peer], *out, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&n->grow);
	return r;
}

/* Messages that the core is done with. Return: waiters to be completed. */
static struct ue_waiter *reap(struct ue_lane *ln)
{
	struct ue_waiter *wake = NULL, *w;
	struct pt_tx *tx;

	while ((tx = pt_lane_reap(ln->la))) {
		if (tx->kind == PW_PAGE) {
			struct popcorn_done *d = ln->pgdone[tx->slot];

			ln->pgdone[tx->slot] = NULL;
			tx->notify = false;
			d->status = tx->status;
			d->next = ln->ul->done;
			ln->ul->done = d;
			ue_link_todo(ln->ul, UE_WORK_DONE);
			continue;
		}
		((struct ue_tx *)tx)->next = ln->tx_free;
		ln->tx_free = (struct ue_tx *)tx;
		ln->tx_nfree++;
		w = ue_lane_free(ln, UE_TX);
		if (w) {
			w->next = wake;
			wake = w;
		}
	}
	return wake;
}

/**
 * ue_lane_free() - a slot or an entry has become free
 * @ln:   lane, locked
 * @kind: which
 *
 * Return: who waited for it, to be completed once the lock is dropped, or NULL.
 */
struct ue_waiter *ue_lane_free(struct ue_lane *ln, enum ue_kind kind)
{
	struct ue_waiter *w = ln->wait_q[kind];

	if (unlikely(w)) {
		ln->wait_q[kind] = w->next;
		ln->promised[kind]++;
		w->promised = true;
		w->status = 0;
	}
	return w;
}

/**
 * ue_link_todo() - leave work to the poller
 * @ul:   link
 * @todo: PT_ACT_*, UE_WORK_*
 *
 * Any context.
 */
void ue_link_todo(struct ue_link *ul, u32 todo)
{
	atomic_fetch_or(&ul->todo, todo);
	atomic_store(&ul->node->work, true);
	if (atomic_load(&ul->node->asleep))
		ue_kick(ul->node);
}

/**
 * ue_lane_more() - the driver stopped sending before the lane was empty
 * @ln: lane, locked
 */
void ue_lane_more(struct ue_lane *ln)
{
	ln->tx_more = true;
	ue_link_todo(ln->ul, UE_WORK_TX);
}

/* Everything but frames to send is rare. */
static void __attribute__((noinline)) finish_rare(struct ue_link *ul, u32 acts,
						  struct ue_waiter **wake)
{
	u8 c, kind;

	for (c = 0; c < PW_CLASSES; c++) {
		struct ue_waiter **p = wake;

		while (*p)
			p = &(*p)->next;
		*p = reap(&ul->lane[c]);
		if (!(acts & PT_ACT_FAIL))
			continue;
		for (kind = 0; kind < UE_KINDS; kind++) {
			while (*p)
				p = &(*p)->next;
			*p = ul->lane[c].wait_q[kind];
			ul->lane[c].wait_q[kind] = NULL;
		}
	}
	ue_link_todo(ul, acts & ~PT_ACT_TX_ALL);
}

/**
 * ue_link_finish() - end of a call into the core: reap, send, unlock
 * @ul: link, locked; unlocked on return
 * @ln: the only lane whose messages may have ended, unless the link failed
 */
void ue_link_finish(struct ue_link *ul, struct ue_lane *ln)
{
	const struct ue_driver *drv = ul->node->drv;
	struct ue_waiter *wake = NULL;
	u32 acts;
	u8 c;

	if (ln && ln->la->done.head)
		wake = reap(ln);
	acts = pt_link_actions(&ul->pt);
	if (unlikely(acts & ~PT_ACT_TX_ALL))
		finish_rare(ul, acts, &wake);
	acts &= PT_ACT_TX_ALL;
	if (acts && ul->cork) {
		ul->corked |= acts;
	} else if (acts) {
		for (c = 0; c < PW_CLASSES; c++)
			if (acts & PT_ACT_TX(c))
				drv->tx(&ul->lane[c]);
	}
	ue_unlock(&ul->lock);
	while (unlikely(wake)) {
		struct ue_waiter *w = wake;

		wake = w->next;
		ue_complete(w);
	}
}

/**
 * ue_link_tick() - time has passed
 * @ul:  link
 * @now: ms
 *
 * Poller only.
 */
void ue_link_tick(struct ue_link *ul, u64 now)
{
	u32 i, slots = ul->node->pt.cfg.slots;
	u8 c;

	ue_lock(&ul->lock);
	for (c = 0; c < PW_CLASSES; c++) {
		struct ue_lane *ln = &ul->lane[c];

		for (i = 0; ln->la->slots_used && i < slots; i++)
			if (ln->la->slots[i].state == PT_SLOT_WAITING &&
			    ln->la->slots[i].deadline == UE_LATER)
				ln->la->slots[i].deadline = now + ln->timeout[i];
	}
	pt_link_tick(&ul->pt, now);
	ue_link_finish(ul, NULL);
}

/**
 * ue_link_cork() - hold frames back while more of the peer's are at hand
 * @ul: link
 * @on: false: send what was held back
 *
 * Poller only. Answers to a burst of requests go out together.
 */
void ue_link_cork(struct ue_link *ul, bool on)
{
	ue_lock(&ul->lock);
	ul->cork = on;
	if (!on) {
		/* Bulk has its turn after the next look at what is urgent. */
		if (ul->corked & PT_ACT_TX(PW_BULK))
			ue_lane_more(&ul->lane[PW_BULK]);
		ul->pt.actions |= ul->corked & ~PT_ACT_TX(PW_BULK);
		ul->corked = 0;
	}
	ue_link_finish(ul, NULL);
}

/* Completions of answered pages. */
static void run_done(struct ue_link *ul)
{
	struct popcorn_done *d, *next;

	ue_lock(&ul->lock);
	d = ul->done;
	ul->done = NULL;
	ue_unlock(&ul->lock);
	for (; d; d = next) {
		next = d->next;
		ue_call_done(d);
	}
}

/* A request ends with @status: the waiter to complete. Lock held. */
static struct ue_waiter *slot_end(struct pt_slot *s, int status)
{
	struct ue_waiter *w = s->ctx;

	if (!w)
		return NULL;
	w->status = status;
	if (w->async)
		w->async->frame = NULL;
	return w;
}

/* Unlocks around the completion, whose slot is put afterwards by the caller. */
static void timeouts(struct ue_link *ul)
{
	struct popcorn_node *n = ul->node;
	struct ue_waiter *w, copy, *wake;
	struct pt_slot *s;
	u8 c;

	for (c = 0; c < PW_CLASSES; c++) {
		struct ue_lane *ln = &ul->lane[c];

		for (;;) {
			ue_lock(&ul->lock);
			s = pt_lane_timeout_next(ln->la, ue_now(n));
			if (!s) {
				ue_link_finish(ul, ln);
				break;
			}
			w = slot_end(s, -ETIMEDOUT);
			if (w && w->async) {
				copy = *w;
				w = &copy;
			}
			wake = NULL;
			if (pt_slot_abandon(ln->la, s)) {
				popcorn_frame_free(n, s->page);
				pt_slot_put(ln->la, s);
				wake = ue_lane_free(ln, UE_SLOT);
			}
			ue_link_finish(ul, ln);
			if (w)
				ue_complete(w);
			if (wake)
				ue_complete(wake);
		}
	}
}

/* The peer is dead and drained: every request ends. */
static void failed(struct ue_link *ul)
{
	struct popcorn_node *n = ul->node;
	struct ue_waiter *w, copy;
	struct ue_lane *ln;
	struct pt_slot *s;

	for (;;) {
		ue_lock(&ul->lock);
		s = pt_link_fail_next(&ul->pt);
		if (!s) {
			ue_unlock(&ul->lock);
			return;
		}
		ln = &ul->lane[(s - ul->slots) / n->pt.cfg.slots];
		w = s->state == PT_SLOT_DONE ? slot_end(s, s->status) : NULL;
		if (w && w->async) {
			copy = *w;
			w = &copy;
		}
		popcorn_frame_free(n, s->page);
		pt_slot_put(ln->la, s);
		ue_link_finish(ul, ln);
		if (w)
			ue_complete(w);
	}
}

/* Messages that were coming in when the peer died will never be complete. */
static void forget_open(struct ue_link *ul)
{
	u8 c;

	ue_lock(&ul->lock);
	for (c = 0; c < PW_CLASSES; c++) {
		struct ue_lane *ln = &ul->lane[c];

		if (ln->open) {
			ln->open->next = ln->msg_free;
			ln->msg_free = ln->open;
			ln->open = NULL;
		}
	}
	ue_unlock(&ul->lock);
}

static void event(struct ue_link *ul, enum popcorn_event_what what, u64 incarnation)
{
	struct popcorn_event ev = {
		.node = ul->node, .what = what, .peer = ul->pt.peer, .incarnation = incarnation,
	};

	if (ul->node->o.event)
		ul->node->o.event(&ev);
}

static void tell(struct ue_link *ul, u32 todo)
{
	struct popcorn_node *n = ul->node;
	const struct pt_link *l = &ul->pt;

	if (todo & PT_ACT_LEASE_LOST) {
		event(ul, POPCORN_LEASE_LOST, l->peer_inc ?: l->dead_inc);
		if (l->state == PT_LINK_UP)
			ue_log(n, "node %u: not heard for too long, lease lost", l->peer);
	}
	if (todo & PT_ACT_DEAD) {
		event(ul, POPCORN_PEER_DEAD, l->dead_inc);
		if (l->fail_status != -ESHUTDOWN)
			ue_log(n, "node %u: gone; what waited for it has failed", l->peer);
	}
	if (todo & PT_ACT_UP) {
		event(ul, POPCORN_PEER_UP, l->peer_inc);
		ue_log(n, "node %u: up over %s", l->peer, n->drv->name);
	}
	if (todo & PT_ACT_LEASE_BACK)
		event(ul, POPCORN_LEASE_BACK, l->peer_inc);
}

/**
 * ue_link_work() - do what was left to the poller
 * @ul: link
 *
 * Poller only.
 */
void ue_link_work(struct ue_link *ul)
{
	u32 todo = atomic_exchange(&ul->todo, 0);
	u8 c;

	if (todo & UE_WORK_TX) {
		ue_lock(&ul->lock);
		for (c = 0; c < PW_CLASSES; c++) {
			if (!ul->lane[c].tx_more)
				continue;
			ul->lane[c].tx_more = false;
			ul->node->drv->tx(&ul->lane[c]);
		}
		ue_link_finish(ul, NULL);
		if (!(todo &= ~UE_WORK_TX))
			return;
	}
	if (todo & UE_WORK_FAULT) {
		ue_lock(&ul->lock);
		pt_link_fault(&ul->pt, ul->fault, ue_now(ul->node));
		ue_link_finish(ul, NULL);
	}
	if (todo & PT_ACT_CONNECT)
		ue_conn_open(ul);
	if (todo & PT_ACT_CLOSE)
		ue_conn_close_link(ul);
	if (todo & PT_ACT_TIMEOUT)
		timeouts(ul);
	if (todo & PT_ACT_FAIL) {
		forget_open(ul);
		failed(ul);
	}
	tell(ul, todo);
	run_done(ul);
}
