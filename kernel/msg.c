// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the layers above call (msg.h): handlers and the threads that run them,
 * answers, events, statistics. How messages are sent is in request.c.
 */
#include <linux/kthread.h>
#include <linux/percpu.h>
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

static void msg_handle(struct popcorn_msg *m)
{
	const struct popcorn_msg_ops *ops = NULL;
	int idx;

	if (m->type == PW_T_KEYS) {
		popcorn_keys_received(m);
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

/* -------------------------------------------------------------- answering */

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
		popcorn_tx_load(&a->tx, la->ans[slot].buf, big, buf, len);
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
 * popcorn_answer_some - answer a request for some of the pages that it wants
 * @msg:   request with @pages above 0; not to be looked at any more when all of them
 *         have been answered, each once
 * @first: of these pages
 * @n:     how many
 * @f:     @n pages, as popcorn_answer_page(); NULL: its requester gets no page, but a status
 * @d:     as many; NULL where @f is
 * @error: as many, -errno, where @f is NULL; NULL: -EAGAIN
 *
 * Process context; never waits for the peer. Several threads may answer parts of one
 * request. Return: 0 or -EINVAL.
 */
int popcorn_answer_some(struct popcorn_msg *msg, u32 first, u32 n, struct popcorn_frame **f,
			struct popcorn_done **d, const int *error)
{
	struct popcorn_done *late = NULL;
	struct popcorn_link *l = msg->link;
	u8 class = msg->class;
	struct pt_lane *la = &l->pt.lane[class];
	bool over;
	u16 slot;
	u32 i;

	if (!msg->request || !n || first >= msg->pages || n > msg->pages - first)
		return -EINVAL;
	spin_lock_bh(&l->lock);
	for (i = 0; i < n; i++) {
		struct pt_ans *a = ans_get(msg, first + i, &slot);

		if (a && f[i]) {
			l->lane[class].ans[slot].done = d[i];
			a->tx.notify = true;
			pt_ans_send_page(la, a, f[i]);
			popcorn_msg_count_tx(msg->type, PAGE_SIZE);
		} else if (a) {
			pt_ans_send(la, a, error ? error[i] : -EAGAIN, 0);
		} else if (f[i]) {
			d[i]->status = -ECANCELED;
			d[i]->next = late;
			late = d[i];
		}
	}
	msg->left -= n;
	over = !msg->left;
	if (over)
		msg_release(msg);
	popcorn_link_unlock(l, true);
	while (late) {
		struct popcorn_done *next = late->next;

		late->fn(late);
		late = next;
	}
	if (over)
		popcorn_node_put(l->node);
	return 0;
}
EXPORT_SYMBOL_GPL(popcorn_answer_some);

/**
 * popcorn_answer_pages - answer a request for several pages
 * @msg: as popcorn_answer_some(), of which nothing has been answered yet
 * @f:   msg->pages pages
 * @d:   as many
 *
 * Process context; never waits for the peer. Return: 0 or -EINVAL.
 */
int popcorn_answer_pages(struct popcorn_msg *msg, struct popcorn_frame **f,
			 struct popcorn_done **d)
{
	return popcorn_answer_some(msg, 0, msg->pages, f, d, NULL);
}
EXPORT_SYMBOL_GPL(popcorn_answer_pages);

int popcorn_msg_init(void)
{
	stats = __alloc_percpu(POPCORN_TYPES * sizeof(*stats), __alignof__(*stats));
	return stats ? 0 : -ENOMEM;
}

void popcorn_msg_exit(void)
{
	free_percpu(stats);
}
