// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the layers above call (msg.h): requests, answers, one-ways, handlers,
 * and the thread that runs these.
 */
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>

#include "engine.h"
#include "trace.h"

DEFINE_STATIC_SRCU(handlers_srcu);
static const struct popcorn_msg_ops __rcu *handlers[POPCORN_TYPES];
static DEFINE_MUTEX(handlers_mutex);
static struct popcorn_type_stats __percpu *stats;	/* POPCORN_TYPES of them */
static BLOCKING_NOTIFIER_HEAD(events);

/* ----------------------------------------------------------------- events */

/**
 * popcorn_events_register - be told of peers that come and go
 * @nb: called with enum popcorn_event_what and struct popcorn_event, in process
 *      context; must not wait for another node
 */
int popcorn_events_register(struct notifier_block *nb)
{
	return blocking_notifier_chain_register(&events, nb);
}
EXPORT_SYMBOL_GPL(popcorn_events_register);

void popcorn_events_unregister(struct notifier_block *nb)
{
	blocking_notifier_chain_unregister(&events, nb);
}
EXPORT_SYMBOL_GPL(popcorn_events_unregister);

void popcorn_event(enum popcorn_event_what what, struct popcorn_node *node, u16 peer, u64 inc)
{
	struct popcorn_event ev = { .node = node, .peer = peer, .incarnation = inc };

	blocking_notifier_call_chain(&events, what, &ev);
}

/**
 * popcorn_peer_lease_ok - may what a peer granted still be used?
 * @node: node
 * @peer: the peer's id
 *
 * Any context.
 */
bool popcorn_peer_lease_ok(struct popcorn_node *node, u16 peer)
{
	struct popcorn_link *l = xa_load(&node->links, peer);

	return l && pt_link_lease_ok(&l->pt, popcorn_now());
}
EXPORT_SYMBOL_GPL(popcorn_peer_lease_ok);

/* ------------------------------------------------------------- statistics */

void popcorn_msg_count_tx(u16 type, u32 len)
{
	if (type < POPCORN_TYPES) {
		struct popcorn_type_stats *s = get_cpu_ptr(stats) + type;

		s->tx++;
		s->tx_bytes += len;
		put_cpu_ptr(stats);
	}
}

void popcorn_msg_count_rx(u16 type, u32 len)
{
	if (type < POPCORN_TYPES) {
		struct popcorn_type_stats *s = get_cpu_ptr(stats) + type;

		s->rx++;
		s->rx_bytes += len;
		put_cpu_ptr(stats);
	}
}

void popcorn_msg_type_stats(u16 type, struct popcorn_type_stats *sum)
{
	int cpu;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		const struct popcorn_type_stats *s = per_cpu_ptr(stats, cpu) + type;

		sum->tx += s->tx;
		sum->tx_bytes += s->tx_bytes;
		sum->rx += s->rx;
		sum->rx_bytes += s->rx_bytes;
	}
}

const char *popcorn_msg_type_name(u16 type, char *buf, size_t len)
{
	const struct popcorn_msg_ops *ops;
	int idx = srcu_read_lock(&handlers_srcu);

	ops = type < POPCORN_TYPES ? srcu_dereference(handlers[type], &handlers_srcu) : NULL;
	strscpy(buf, type == PW_T_KEYS ? "keys" : ops ? ops->name : "-", len);
	srcu_read_unlock(&handlers_srcu, idx);
	return buf;
}

/* -------------------------------------------------------------- receiving */

/**
 * popcorn_msg_register - handle a message type
 * @type: PW_T_USER up to POPCORN_TYPES - 1
 * @ops:  handler; stays until popcorn_msg_unregister()
 *
 * Process context. Return: 0, -EINVAL, -EEXIST.
 */
int popcorn_msg_register(u16 type, const struct popcorn_msg_ops *ops)
{
	int r = -EEXIST;

	if (type < PW_T_USER || type >= POPCORN_TYPES)
		return -EINVAL;
	mutex_lock(&handlers_mutex);
	if (!rcu_access_pointer(handlers[type])) {
		rcu_assign_pointer(handlers[type], ops);
		r = 0;
	}
	mutex_unlock(&handlers_mutex);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_msg_register);

/**
 * popcorn_msg_unregister - handle it no more
 * @type: type
 *
 * Process context. When it returns the handler isn't running. Messages that it
 * kept are still to be finished.
 */
void popcorn_msg_unregister(u16 type)
{
	mutex_lock(&handlers_mutex);
	rcu_assign_pointer(handlers[type], NULL);
	mutex_unlock(&handlers_mutex);
	synchronize_srcu(&handlers_srcu);
}
EXPORT_SYMBOL_GPL(popcorn_msg_unregister);

/* A complete message, from a driver's context: to the node's thread with it. */
void popcorn_msg_received(struct popcorn_msg *m)
{
	struct popcorn_node *node = m->node;

	trace_popcorn_recv(node->pt.id, m->from, m->class, m->request ? PW_REQ : PW_MSG, m->type,
			   m->len);
	popcorn_msg_count_rx(m->type, m->len);
	spin_lock_bh(&node->rx_lock);
	*node->rx[m->class].tail = m;
	node->rx[m->class].tail = &m->next;
	spin_unlock_bh(&node->rx_lock);
	wake_up_process(node->worker[m->class == PW_BULK].thread);
}

static struct popcorn_msg *msg_next(struct popcorn_worker *w)
{
	struct popcorn_node *node = w->node;
	struct popcorn_msg *m = NULL;
	u8 c;

	spin_lock_bh(&node->rx_lock);
	for (c = w->first; c <= w->last && !m; c++) {
		m = node->rx[c].head;
		if (m) {
			node->rx[c].head = m->next;
			if (!m->next)
				node->rx[c].tail = &node->rx[c].head;
		}
	}
	spin_unlock_bh(&node->rx_lock);
	return m;
}

static void keys_received(struct popcorn_msg *m);

static void msg_handle(struct popcorn_msg *m)
{
	const struct popcorn_msg_ops *ops = NULL;
	int idx;

	if (m->type == PW_T_KEYS) {
		keys_received(m);
		return;
	}
	idx = srcu_read_lock(&handlers_srcu);
	if (m->type < POPCORN_TYPES)
		ops = srcu_dereference(handlers[m->type], &handlers_srcu);
	if (likely(ops)) {
		ops->handle(m);
	} else {
		pr_warn_ratelimited("node %u: node %u sent a message of type %u, which nobody here handles; load the module that does\n",
				    m->node->pt.id, m->from, m->type);
		if (m->request)
			popcorn_answer(m, -EOPNOTSUPP, NULL, 0);
		else
			popcorn_msg_done(m);
	}
	srcu_read_unlock(&handlers_srcu, idx);
}

int popcorn_node_worker(void *arg)
{
	struct popcorn_worker *w = arg;
	struct popcorn_msg *m;

	for (;;) {
		m = msg_next(w);
		if (m) {
			__set_current_state(TASK_RUNNING);
			msg_handle(m);
			cond_resched();
		} else if (kthread_should_stop()) {
			break;
		} else if (get_current_state() == TASK_IDLE) {
			schedule();
		} else {
			set_current_state(TASK_IDLE); /* then look again */
		}
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* The message's buffers go back to the lane. Locked. */
static void msg_release(struct popcorn_msg *m)
{
	struct popcorn_link *l = m->link;
	struct popcorn_lane *la = &l->lane[m->class];
	struct popcorn_rxbuf *b, *next;

	for (b = m->bufs; b; b = next) {
		next = b->next;
		b->next = la->rx_free;
		la->rx_free = b;
	}
	pt_consume(&l->pt.lane[m->class], m->frames, m->life);
}

/**
 * popcorn_msg_done - a one-way message was dealt with
 * @msg: message; not to be looked at afterwards
 *
 * Process context.
 */
void popcorn_msg_done(struct popcorn_msg *msg)
{
	struct popcorn_link *l = msg->link;

	spin_lock_bh(&l->lock);
	msg_release(msg);
	popcorn_link_unlock(l, true);
	popcorn_node_put(l->node);
}
EXPORT_SYMBOL_GPL(popcorn_msg_done);

/**
 * popcorn_msg_copy - payload of a message of any length
 * @msg: message
 * @off: from that byte on
 * @buf: copied to here
 * @len: at most so many bytes
 *
 * Return: bytes copied.
 */
u32 popcorn_msg_copy(const struct popcorn_msg *msg, u32 off, void *buf, u32 len)
{
	const struct popcorn_rxbuf *b = msg->bufs;
	u32 i, done = 0;

	if (off >= msg->len)
		return 0;
	len = min(len, msg->len - off);
	off += msg->skip;
	for (i = off / PW_PAYLOAD; i; i--)
		b = b->next;
	off %= PW_PAYLOAD;
	for (; done < len; b = b->next) {
		u32 part = min_t(u32, len - done, PW_PAYLOAD - off);

		memcpy(buf + done, b->data + PW_HDR + off, part);
		done += part;
		off = 0;
	}
	return done;
}
EXPORT_SYMBOL_GPL(popcorn_msg_copy);

/* ---------------------------------------------------------------- sending */

/* Payload into an entry's only frame, or the frames it was copied to before. */
static void tx_load(struct pt_tx *tx, void *buf, void **big, const void *data, u32 len)
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

/* The answer to the @i-th page of a request, or to all of it. Locked. */
static struct pt_ans *ans_get(const struct popcorn_msg *m, u32 i, u16 *slot)
{
	const struct pw_want *w = m->bufs->data + PW_HDR;
	u16 gen = m->gen;

	*slot = m->slot;
	if (m->skip) {
		*slot = le16_to_cpu(w[i].slot);
		gen = le16_to_cpu(w[i].gen);
	}
	return pt_ans_get(&m->link->pt.lane[m->class], *slot, gen, m->life);
}

/**
 * popcorn_answer - answer a request
 * @msg:    request; not to be looked at afterwards, unless an error is returned
 * @status: 0 or -errno; a request for several pages is answered with an error
 *          only, for all of them
 * @buf:    answer; only with status 0
 * @len:    its bytes, at most msg->max
 *
 * Process context; never waits for the peer. That nobody waits for the answer
 * any more is no error. Return: 0; -EINVAL (one-way, several pages), -EMSGSIZE,
 * -ENOMEM (only if longer than PW_PAYLOAD): the request is still to be answered.
 */
int popcorn_answer(struct popcorn_msg *msg, int status, const void *buf, u32 len)
{
	struct popcorn_link *l = msg->link;
	struct popcorn_lane *la = &l->lane[msg->class];
	void **big = NULL;
	struct pt_ans *a;
	u32 i = 0;
	u16 slot;

	if (!msg->request || (msg->skip && !status))
		return -EINVAL;
	if (status)
		len = 0;
	if (len > msg->max)
		return -EMSGSIZE;
	if (len > PW_PAYLOAD) {
		big = popcorn_big_alloc(len, buf, GFP_KERNEL);
		if (!big)
			return -ENOMEM;
	}
	trace_popcorn_send(l->node->pt.id, l->peer, msg->class, PW_ANS, msg->type, len);
	spin_lock_bh(&l->lock);
	do {
		a = ans_get(msg, i, &slot);
		if (!a)
			continue;
		tx_load(&a->tx, la->ans[slot].buf, big, buf, len);
		a->tx.notify = !!big;
		la->ans[slot].big = big;
		big = NULL;
		pt_ans_send(&l->pt.lane[msg->class], a, status, len);
		popcorn_msg_count_tx(msg->type, len);
	} while (unlikely(++i < msg->pages));
	msg_release(msg);
	popcorn_link_unlock(l, true);
	popcorn_big_free(big);
	popcorn_node_put(l->node);
	return 0;
}
EXPORT_SYMBOL_GPL(popcorn_answer);

/**
 * popcorn_answer_page - answer a page request with a page
 * @msg: request with @page set; not to be looked at afterwards, unless an error
 *       is returned
 * @f:   the page; must not change until @d is told
 * @d:   told when the peer has the page (status 0) or never will
 *
 * Process context; never waits for the peer. Return: 0; -EINVAL if no page was
 * asked for: the request is still to be answered and @d not told.
 */
int popcorn_answer_page(struct popcorn_msg *msg, struct popcorn_frame *f, struct popcorn_done *d)
{
	struct popcorn_link *l = msg->link;
	u8 class = msg->class;
	struct pt_lane *la = &l->pt.lane[class];
	struct pt_ans *a;

	if (!msg->request || msg->pages != 1 || msg->skip)
		return -EINVAL;
	trace_popcorn_send(l->node->pt.id, l->peer, class, PW_PAGE, msg->type, PAGE_SIZE);
	popcorn_msg_count_tx(msg->type, PAGE_SIZE);
	spin_lock_bh(&l->lock);
	a = pt_ans_get(la, msg->slot, msg->gen, msg->life);
	if (a) {
		l->lane[class].ans[msg->slot].done = d;
		a->tx.notify = true;
		pt_ans_send_page(la, a, f);
	}
	msg_release(msg);
	popcorn_link_unlock(l, true);
	if (!a) {
		d->status = -ECANCELED;
		d->fn(d);
	}
	popcorn_node_put(l->node);
	return 0;
}
EXPORT_SYMBOL_GPL(popcorn_answer_page);

/**
 * popcorn_answer_pages - answer a request for several pages
 * @msg: request with @pages above 0; not to be looked at afterwards, unless an
 *       error is returned
 * @f:   msg->pages pages, as popcorn_answer_page(); NULL: not to be had now, its
 *       requester gets -EAGAIN
 * @d:   as many; NULL where @f is
 *
 * Process context; never waits for the peer. Return: 0 or -EINVAL.
 */
int popcorn_answer_pages(struct popcorn_msg *msg, struct popcorn_frame **f,
			 struct popcorn_done **d)
{
	struct popcorn_done *late = NULL;
	struct popcorn_link *l = msg->link;
	u8 class = msg->class;
	struct pt_lane *la = &l->pt.lane[class];
	u32 i, n = msg->pages;
	u16 slot;

	if (!msg->request || !n)
		return -EINVAL;
	spin_lock_bh(&l->lock);
	for (i = 0; i < n; i++) {
		struct pt_ans *a = ans_get(msg, i, &slot);

		if (a && f[i]) {
			l->lane[class].ans[slot].done = d[i];
			a->tx.notify = true;
			pt_ans_send_page(la, a, f[i]);
			popcorn_msg_count_tx(msg->type, PAGE_SIZE);
		} else if (a) {
			pt_ans_send(la, a, -EAGAIN, 0);
		} else if (f[i]) {
			d[i]->status = -ECANCELED;
			d[i]->next = late;
			late = d[i];
		}
	}
	msg_release(msg);
	popcorn_link_unlock(l, true);
	while (late) {
		struct popcorn_done *next = late->next;

		late->fn(late);
		late = next;
	}
	popcorn_node_put(l->node);
	return 0;
}
EXPORT_SYMBOL_GPL(popcorn_answer_pages);

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
 * waits, killable and bounded, while too many are on their way.
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
		big = popcorn_big_alloc(len, buf, GFP_KERNEL);
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
	tx_load(&w.tx->pt, w.tx->buf, big, buf, len);
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
	tx_load(&s->tx, l->lane[class].slot[s->index].buf, big, req, len);
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

/* ------------------------------------------------------------ remote keys */

/*
 * PW_T_KEYS tells the peer the remote keys of our chunks. They hold for one
 * session, and a message may be replayed in the next: each names its session.
 */
#define KEYS_MAX (PW_MSG_MAX / sizeof(struct pw_key))

static void keys_received(struct popcorn_msg *m)
{
	struct popcorn_link *l = m->link;
	struct popcorn_conn *c[PW_CLASSES] = { NULL };
	struct pw_key *k = kvmalloc(m->len, GFP_KERNEL);
	u32 i, n = m->len / sizeof(*k);

	if (!k || !n || m->request)
		goto done;
	popcorn_msg_copy(m, 0, k, m->len);
	spin_lock_bh(&l->lock);
	if (le32_to_cpu(k->session) == (u32)l->pt.session)
		for (i = 0; i < PW_CLASSES; i++) {
			c[i] = l->conn[i];
			if (c[i])
				popcorn_conn_get(c[i]);
		}
	spin_unlock_bh(&l->lock);
	for (i = 0; i < PW_CLASSES; i++) {
		if (!c[i])
			continue;
		if (c[i]->driver->keys_received)
			c[i]->driver->keys_received(c[i], k, n);
		spin_lock_bh(&l->lock);
		l->pt.actions |= PT_ACT_TX(i);
		popcorn_link_unlock(l, true);
		popcorn_conn_put(c[i]);
	}
done:
	kvfree(k);
	if (m->request)
		popcorn_answer(m, -EINVAL, NULL, 0);
	else
		popcorn_msg_done(m);
}

/* Tell the peer what it doesn't know yet; the link's work. */
void popcorn_keys_send(struct popcorn_link *l)
{
	struct popcorn_tx *tx = l->keys.tx;
	struct popcorn_conn *c = NULL;
	struct pw_key *k = NULL;
	void **big = NULL;
	u32 i, n = 0;

	spin_lock_bh(&l->lock);
	l->keys.due = l->keys.sent;
	if (l->up && !l->keys.sent) {
		c = l->conn[PW_URGENT];
		if (c && c->driver->keys)
			popcorn_conn_get(c);
		else
			c = NULL;
	}
	if (c && l->keys.session != l->pt.session) {
		l->keys.session = l->pt.session;
		l->keys.next = 0;
	}
	spin_unlock_bh(&l->lock);
	if (!c)
		return;

	if (!l->keys.next)
		l->keys.generation = popcorn_pool_generation();
	k = kvcalloc(KEYS_MAX, sizeof(*k), GFP_KERNEL);
	if (k)
		n = c->driver->keys(c, k, KEYS_MAX, &l->keys.next);
	for (i = 0; i < n; i++)
		k[i].session = cpu_to_le32(l->keys.session);
	if (n)
		big = popcorn_big_alloc(n * sizeof(*k), k, GFP_KERNEL);
	spin_lock_bh(&l->lock);
	if (big && !l->keys.sent && !l->node->gone) {
		tx_load(&tx->pt, NULL, big, NULL, 0);
		tx->pt.notify = true;
		if (!pt_send(&l->pt.lane[PW_URGENT], &tx->pt, PW_T_KEYS, n * sizeof(*k))) {
			tx->big = big;
			big = NULL;
			l->keys.sent = l->keys.due = true; /* go on when it is acknowledged */
			popcorn_msg_count_tx(PW_T_KEYS, n * sizeof(*k));
		}
	} else if (k && !n) {
		l->keys.next = 0;
		if (l->keys.generation != popcorn_pool_generation())
			popcorn_link_later(l, POPCORN_TODO_KEYS);
	} else if (!l->node->gone) {
		popcorn_link_fault(l, -ENOMEM); /* the next session tries again */
	}
	popcorn_link_unlock(l, true);
	popcorn_big_free(big);
	kvfree(k);
	popcorn_conn_put(c);
}

static void keys_work(struct work_struct *work)
{
	struct popcorn_node *node;
	struct popcorn_link *l;
	unsigned long i;

	mutex_lock(&popcorn_nodes_mutex);
	list_for_each_entry(node, &popcorn_nodes, list)
		xa_for_each(&node->links, i, l) {
			spin_lock_bh(&l->lock);
			if (l->up) {
				l->keys.next = 0;
				popcorn_link_later(l, POPCORN_TODO_KEYS);
			}
			popcorn_link_unlock(l, true);
		}
	mutex_unlock(&popcorn_nodes_mutex);
}
static DECLARE_WORK(keys_changed, keys_work);

/**
 * popcorn_keys_changed - a device came, or a chunk: tell the peers
 *
 * Any context.
 */
void popcorn_keys_changed(void)
{
	queue_work(system_wq, &keys_changed);
}
EXPORT_SYMBOL_GPL(popcorn_keys_changed);

int popcorn_msg_init(void)
{
	stats = __alloc_percpu(POPCORN_TYPES * sizeof(*stats), __alignof__(*stats));
	return stats ? 0 : -ENOMEM;
}

void popcorn_msg_exit(void)
{
	cancel_work_sync(&keys_changed);
	free_percpu(stats);
}
