// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the layers above send (msg.h): one-way messages and requests, and the
 * waits for room and for answers.
 */
#include <linux/completion.h>
#include <linux/sched/signal.h>

#include "engine.h"
#include "trace.h"

/* Payload into an entry's only frame, or the frames it was copied to before. */
void popcorn_tx_load(struct pt_tx *tx, void *buf, void **big, const void *data, u32 len)
{
	if (big) {
		tx->fv = big;
	} else if (len) {
		memcpy(buf + PW_HDR, data, len);
		tx->one = buf;
		tx->fv = &tx->one;
	} else {
		tx->one = &tx->hdr;
		tx->fv = &tx->one;
	}
}

/* How long somebody waits for room: as long as a silent peer may take to die. */
static long room_timeout(const struct popcorn_node *node)
{
	return msecs_to_jiffies(node->pt.cfg.dead_ms + node->pt.cfg.connect_ms);
}

/*
 * Wait until @take has got what it wants under the link's lock, which is held
 * again when this returns. Return: 0, -EINTR, -ETIMEDOUT, -EHOSTDOWN, -ESHUTDOWN.
 */
static int wait_room(struct popcorn_link *l, wait_queue_head_t *wq, u8 class, u16 type,
		     long left, bool (*take)(struct popcorn_link *l, void *arg), void *arg)
	__acquires(&l->lock)
{
	struct popcorn_waiter who = {
		.since = popcorn_now(), .pid = current->pid, .type = type, .class = class,
	};
	DEFINE_WAIT(wait);
	bool got = false;
	int r = 0;

	spin_lock_bh(&l->lock);
	list_add_tail(&who.list, &l->waiters);
	spin_unlock_bh(&l->lock);

	while (!got && !r) {
		prepare_to_wait_exclusive(wq, &wait, TASK_KILLABLE);
		spin_lock_bh(&l->lock);
		if (l->node->gone)
			r = -ESHUTDOWN;
		else if (l->pt.dead)
			r = -EHOSTDOWN;
		else
			got = take(l, arg);
		spin_unlock_bh(&l->lock);
		if (got || r)
			break;
		if (fatal_signal_pending(current))
			r = -EINTR;
		else if (!left)
			r = -ETIMEDOUT;
		else
			left = schedule_timeout(left);
	}
	finish_wait(wq, &wait);
	if (r)
		wake_up(wq); /* for the place that we may have been woken for */
	spin_lock_bh(&l->lock);
	list_del(&who.list);
	return r;
}

struct tx_want {
	u8 class;
	struct popcorn_tx *tx;
};

static bool tx_take(struct popcorn_link *l, void *arg)
{
	struct tx_want *w = arg;
	struct popcorn_lane *la = &l->lane[w->class];

	w->tx = la->tx_free;
	if (w->tx)
		la->tx_free = w->tx->next;
	return w->tx;
}

/**
 * popcorn_send - one-way message
 * @node:  from
 * @dst:   to that peer
 * @class: priority
 * @type:  message type
 * @buf:   payload, copied
 * @len:   its bytes, at most PW_MSG_MAX
 * @flags: POPCORN_NOWAIT or 0
 *
 * Delivered exactly once, unless the peer (or this node) dies. Process context;
 * waits, killable and bounded, while too many are on their way, and for memory if it is
 * longer than PW_PAYLOAD: not with POPCORN_NOWAIT.
 * Return: 0: queued. -EAGAIN (NOWAIT), -EINTR, -ETIMEDOUT, -EHOSTDOWN (peer is
 * dead), -EMSGSIZE, -EINVAL (no such peer), -ENOMEM, -ESHUTDOWN.
 */
int popcorn_send(struct popcorn_node *node, u16 dst, u8 class, u16 type,
		 const void *buf, u32 len, unsigned int flags)
{
	struct popcorn_link *l = popcorn_link_get(node, dst, true);
	struct tx_want w = { .class = class };
	void **big = NULL;
	int r;

	if (IS_ERR(l))
		return PTR_ERR(l);
	if (class >= PW_CLASSES)
		return -EINVAL;
	if (len > PW_MSG_MAX)
		return -EMSGSIZE;
	if (len > PW_PAYLOAD) {
		big = popcorn_big_alloc(len, buf, flags & POPCORN_NOWAIT ?
					GFP_NOWAIT | __GFP_NOWARN : GFP_KERNEL);
		if (!big)
			return -ENOMEM;
	}
	spin_lock_bh(&l->lock);
	r = node->gone ? -ESHUTDOWN : 0;
	if (!r && !tx_take(l, &w))
		r = -EAGAIN;
	if (r == -EAGAIN && !(flags & POPCORN_NOWAIT)) {
		spin_unlock_bh(&l->lock);
		r = wait_room(l, &l->lane[class].tx_wait, class, type, room_timeout(node),
			      tx_take, &w);
	}
	if (r) {
		spin_unlock_bh(&l->lock);
		goto free;
	}
	popcorn_tx_load(&w.tx->pt, w.tx->buf, big, buf, len);
	w.tx->pt.notify = true;
	r = pt_send(&l->pt.lane[class], &w.tx->pt, type, len);
	if (r) {
		w.tx->next = l->lane[class].tx_free;
		l->lane[class].tx_free = w.tx;
	} else {
		w.tx->big = big;
		big = NULL;
	}
	popcorn_link_unlock(l, true);
	if (!r) {
		trace_popcorn_send(node->pt.id, dst, class, PW_MSG, type, len);
		popcorn_msg_count_tx(type, len);
	}
free:
	popcorn_big_free(big);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_send);

struct slot_want {
	u8 class;
	u32 ans_max;
	struct pt_slot *slot;
};

static bool slot_take(struct popcorn_link *l, void *arg)
{
	struct slot_want *w = arg;

	w->slot = pt_slot_get(&l->pt.lane[w->class], w->ans_max);
	return w->slot;
}

/* Put a request on its way; *@slot may end at any moment from then on. */
static int request_start(struct popcorn_node *node, struct popcorn_link *l, u8 class, u16 type,
			 const void *req, u32 len, void *ans, u32 ans_max, u32 timeout_ms,
			 unsigned int flags, struct popcorn_async *a, struct pt_slot **slot)
{
	struct slot_want w = { .class = class, .ans_max = a->frame ? 0 : ans_max };
	struct popcorn_slot *ps;
	void **big = NULL;
	struct pt_slot *s;
	u64 now;
	int r;

	if (class >= PW_CLASSES)
		return -EINVAL;
	if (len > PW_MSG_MAX || ans_max > PW_MSG_MAX)
		return -EMSGSIZE;
	if (len > PW_PAYLOAD) {
		big = popcorn_big_alloc(len, req, GFP_KERNEL);
		if (!big)
			return -ENOMEM;
	}
	spin_lock_bh(&l->lock);
	r = node->gone ? -ESHUTDOWN : 0;
	if (!r && !slot_take(l, &w))
		r = -EAGAIN;
	if (r == -EAGAIN && !(flags & POPCORN_NOWAIT)) {
		spin_unlock_bh(&l->lock);
		r = wait_room(l, &l->lane[class].slot_wait, class, type,
			      msecs_to_jiffies(timeout_ms), slot_take, &w);
	}
	if (unlikely(r)) {
		spin_unlock_bh(&l->lock);
		goto free;
	}
	s = w.slot;
	now = popcorn_now();
	popcorn_tx_load(&s->tx, l->lane[class].slot[s->index].buf, big, req, len);
	s->ans = ans;
	if (a->frame) {
		s->frame = a->frame->id;
		s->page = a->frame;
	}
	ps = &l->lane[class].slot[s->index];
	ps->async = a;
	ps->since = now;
	ps->pid = current->pid;
	ps->type = type;
	if (slot)
		*slot = s;
	r = pt_slot_send(&l->pt.lane[class], s, type, len, now + timeout_ms);
	if (unlikely(r)) {
		s->page = NULL; /* stays the caller's */
		popcorn_slot_put(l, s);
	} else {
		ps->big = big;
		big = NULL;
	}
	popcorn_link_unlock(l, true);
	if (!r) {
		trace_popcorn_send(node->pt.id, l->peer, class, PW_REQ, type, len);
		popcorn_msg_count_tx(type, len);
	}
free:
	popcorn_big_free(big);
	return r;
}

struct waiter {
	struct popcorn_async a;
	struct completion c;
};

static void waiter_wake(struct popcorn_done *d)
{
	complete(&container_of(d, struct waiter, a.done)->c);
}

/* The timeout is the core's: node_tick() ends what is overdue. */
static int request_wait(struct popcorn_node *node, u16 dst, u8 class, u16 type,
			const void *req, u32 len, void *ans, u32 ans_max, u32 timeout_ms,
			struct waiter *w)
{
	struct popcorn_link *l = popcorn_link_get(node, dst, true);
	u64 start = trace_popcorn_wait_enabled() ? ktime_get_ns() : 0;
	struct pt_slot *s;
	int r;

	if (IS_ERR(l))
		return PTR_ERR(l);
	init_completion(&w->c);
	w->a.done.fn = waiter_wake;
	r = request_start(node, l, class, type, req, len, ans, ans_max, timeout_ms, 0, &w->a, &s);
	if (r)
		return r;
	if (wait_for_completion_killable(&w->c)) {
		bool ours;

		spin_lock_bh(&l->lock);
		ours = l->lane[class].slot[s->index].async == &w->a;
		if (ours) {
			l->lane[class].slot[s->index].async = NULL;
			popcorn_slot_end(l, s, -EINTR);
		}
		popcorn_link_unlock(l, true);
		if (ours) {
			w->a.done.status = -EINTR;
			w->a.frame = NULL;
		} else {
			wait_for_completion(&w->c); /* it is being told now */
		}
	}
	trace_popcorn_wait(node->pt.id, dst, class, type, start ? ktime_get_ns() - start : 0,
			   w->a.done.status);
	return w->a.done.status;
}

/**
 * popcorn_request - ask a peer and wait for the answer
 * @node:       from
 * @dst:        to that peer
 * @class:      priority
 * @type:       message type
 * @req:        request, copied
 * @len:        its bytes, at most PW_MSG_MAX
 * @ans:        answer goes here; not touched any more after return
 * @ans_max:    room there, at most PW_MSG_MAX
 * @timeout_ms: bound on the wait for a slot and on that for the answer
 *
 * Process context; killable. Return: bytes of the answer, or -errno: the peer's
 * status, -ETIMEDOUT, -EINTR, -EHOSTDOWN (peer is dead), -EMSGSIZE, -EINVAL,
 * -ENOMEM, -ESHUTDOWN.
 */
int popcorn_request(struct popcorn_node *node, u16 dst, u8 class, u16 type,
		    const void *req, u32 len, void *ans, u32 ans_max, u32 timeout_ms)
{
	struct waiter w = { .a.frame = NULL };
	int r = request_wait(node, dst, class, type, req, len, ans, ans_max, timeout_ms, &w);

	return r ?: w.a.len;
}
EXPORT_SYMBOL_GPL(popcorn_request);

/**
 * popcorn_request_page - ask a peer for a page and wait for it
 * @node:       from
 * @dst:        to that peer
 * @class:      priority
 * @type:       message type
 * @req:        request, copied
 * @len:        its bytes
 * @frame:      the frame that received the page, the caller's
 * @timeout_ms: as popcorn_request()
 *
 * Process context; killable. Return: 0, or -errno as popcorn_request().
 */
int popcorn_request_page(struct popcorn_node *node, u16 dst, u8 class, u16 type,
			 const void *req, u32 len, struct popcorn_frame **frame,
			 u32 timeout_ms)
{
	struct popcorn_frame *f = popcorn_frame_alloc(GFP_KERNEL);
	struct waiter w = { .a.frame = f };
	int r;

	*frame = NULL;
	if (!f)
		return -ENOMEM;
	r = request_wait(node, dst, class, type, req, len, NULL, 0, timeout_ms, &w);
	if (!r)
		*frame = f;
	else
		popcorn_frame_free(w.a.frame); /* NULL unless it was never asked */
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_request_page);

/**
 * popcorn_request_async - ask a peer; be told
 * @node:       from
 * @dst:        to that peer
 * @class:      priority
 * @type:       message type
 * @req:        request, copied
 * @len:        its bytes
 * @ans:        answer goes here, until told
 * @ans_max:    room there
 * @timeout_ms: then it has failed
 * @flags:      POPCORN_NOWAIT or 0
 * @a:          see there; the engine's until told
 *
 * Process context; waits only for a slot, unless NOWAIT. Return: 0: @a is told
 * once; -EAGAIN (NOWAIT) or as popcorn_request(): it is not.
 */
int popcorn_request_async(struct popcorn_node *node, u16 dst, u8 class, u16 type,
			  const void *req, u32 len, void *ans, u32 ans_max, u32 timeout_ms,
			  unsigned int flags, struct popcorn_async *a)
{
	struct popcorn_link *l = popcorn_link_get(node, dst, true);

	if (IS_ERR(l))
		return PTR_ERR(l);
	return request_start(node, l, class, type, req, len, ans, ans_max, timeout_ms, flags, a,
			     NULL);
}
EXPORT_SYMBOL_GPL(popcorn_request_async);

/* Slots of one lane, all or none. */
struct slots_want {
	u8 class;
	u32 n;
	struct pt_slot *slot[PW_WANTS_MAX];
};

static bool slots_take(struct popcorn_link *l, void *arg)
{
	struct slots_want *w = arg;
	struct pt_lane *la = &l->pt.lane[w->class];
	u32 i;

	for (i = 0; i < w->n; i++) {
		w->slot[i] = pt_slot_get(la, 0);
		if (!w->slot[i])
			break;
	}
	if (i == w->n)
		return true;
	while (i--)
		pt_slot_put(la, w->slot[i]);
	return false;
}

/**
 * popcorn_request_pages - ask a peer for several pages with one message; be told
 * @node:       from
 * @dst:        to that peer
 * @class:      priority
 * @type:       message type
 * @req:        request, copied
 * @len:        its bytes; with 8 for each page at most PW_PAYLOAD
 * @timeout_ms: as popcorn_request_async(), for each page
 * @flags:      POPCORN_NOWAIT or 0
 * @a:          @n of them, each with a frame and told by itself
 * @n:          pages, at most the slots of a lane and PW_WANTS_MAX
 *
 * Process context; waits only for slots, unless NOWAIT. Return: 0: each is told
 * once; -errno as popcorn_request_async(): none is.
 */
int popcorn_request_pages(struct popcorn_node *node, u16 dst, u8 class, u16 type,
			  const void *req, u32 len, u32 timeout_ms, unsigned int flags,
			  struct popcorn_async **a, u32 n)
{
	struct popcorn_link *l = popcorn_link_get(node, dst, true);
	struct slots_want w = { .class = class, .n = n };
	u32 i, head = n * sizeof(struct pw_want);
	void *buf;
	u64 now;
	int r;

	if (IS_ERR(l))
		return PTR_ERR(l);
	if (class >= PW_CLASSES || !n || n > PW_WANTS_MAX || n > node->pt.cfg.slots)
		return -EINVAL;
	if (len > PW_PAYLOAD - head)
		return -EMSGSIZE;
	spin_lock_bh(&l->lock);
	r = node->gone ? -ESHUTDOWN : 0;
	if (!r && !slots_take(l, &w))
		r = -EAGAIN;
	if (r == -EAGAIN && !(flags & POPCORN_NOWAIT)) {
		spin_unlock_bh(&l->lock);
		r = wait_room(l, &l->lane[class].slot_wait, class, type,
			      msecs_to_jiffies(timeout_ms), slots_take, &w);
	}
	if (unlikely(r)) {
		spin_unlock_bh(&l->lock);
		return r;
	}
	now = popcorn_now();
	for (i = 0; i < n; i++) {
		struct popcorn_slot *ps = &l->lane[class].slot[w.slot[i]->index];

		w.slot[i]->frame = a[i]->frame->id;
		w.slot[i]->page = a[i]->frame;
		ps->async = a[i];
		ps->since = now;
		ps->pid = current->pid;
		ps->type = type;
	}
	buf = l->lane[class].slot[w.slot[0]->index].buf;
	memcpy(buf + PW_HDR + head, req, len);
	w.slot[0]->tx.one = buf;
	w.slot[0]->tx.fv = &w.slot[0]->tx.one;
	r = pt_slots_send(&l->pt.lane[class], w.slot, n, type, head + len, now + timeout_ms);
	if (unlikely(r))
		for (i = 0; i < n; i++) {
			w.slot[i]->page = NULL; /* stays the caller's */
			popcorn_slot_put(l, w.slot[i]);
		}
	popcorn_link_unlock(l, true);
	if (!r) {
		trace_popcorn_send(node->pt.id, l->peer, class, PW_REQ, type, len);
		popcorn_msg_count_tx(type, len);
	}
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_request_pages);
