// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Messages of the user engine that have come: handled, kept and answered; and who waits for an
 * answer is told.
 */
#define _GNU_SOURCE
#include "engine.h"

static const struct popcorn_msg_ops *types[POPCORN_TYPES];

/* This thread runs a handler or a completion: it must not wait. */
__thread bool ue_handling;

/**
 * popcorn_msg_register() - take the messages of a type
 * @type: from PW_T_USER on, below POPCORN_TYPES
 * @ops:  must stay
 *
 * For all nodes of this process. Return: 0, -EINVAL, or -EBUSY if it is taken.
 */
int popcorn_msg_register(u16 type, const struct popcorn_msg_ops *ops)
{
	const struct popcorn_msg_ops *none = NULL;

	if (type < PW_T_USER || type >= POPCORN_TYPES)
		return -EINVAL;
	return __atomic_compare_exchange_n(&types[type], &none, ops, false, __ATOMIC_RELEASE,
					   __ATOMIC_RELAXED) ? 0 : -EBUSY;
}

/**
 * popcorn_msg_unregister() - take no more messages of a type
 * @type: as registered
 *
 * Nodes that are polled meanwhile may still be in the handler.
 */
void popcorn_msg_unregister(u16 type)
{
	__atomic_store_n(&types[type], NULL, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------- completing */

void ue_call_done(struct popcorn_done *d)
{
	bool outer = ue_handling;

	ue_handling = true;
	d->fn(d);
	ue_handling = outer;
}

/**
 * ue_complete() - tell whoever waits that it is over
 * @w: waiter with its status set. It may be gone on return
 *
 * No lock is held.
 */
void ue_complete(struct ue_waiter *w)
{
	if (w->async) {
		struct popcorn_async *a = w->async;

		a->done.status = w->status < 0 ? w->status : 0;
		a->len = w->status < 0 ? 0 : w->status;
		ue_call_done(&a->done);
		return;
	}
	if (likely(ue_waits_here(w)))
		atomic_store_explicit(&w->state, UE_DONE, memory_order_relaxed);
	else if (atomic_exchange_explicit(&w->state, UE_DONE, memory_order_acq_rel) ==
		 UE_SLEEPING)
		ue_futex_wake(&w->state, false);
}

/* -------------------------------------------------------------- answering */

/* Another thread may end a message while its handler returns. */
static void set_state(struct ue_msg *m, u8 state)
{
	atomic_store_explicit(&m->state, state, memory_order_relaxed);
}

static u8 get_state(const struct ue_msg *m)
{
	return atomic_load_explicit(&m->state, memory_order_relaxed);
}

/* The handler's part is over. Lock held. */
static void msg_end(struct ue_lane *ln, struct ue_msg *m)
{
	pt_consume(ln->la, m->frames, m->life);
	set_state(m, UE_MSG_FREE);
	m->next = ln->msg_free;
	ln->msg_free = m;
}

/**
 * popcorn_msg_keep() - let a message outlive its handler
 * @pm: message
 *
 * Before another thread may see it. Handler only. Its data may move.
 */
void popcorn_msg_keep(struct popcorn_msg *pm)
{
	struct ue_msg *m = container_of(pm, struct ue_msg, msg);

	if (get_state(m) != UE_MSG_INSIDE)
		return;
	if (pm->data != (u8 *)m->buf + m->skip) {
		memcpy(m->buf, (const u8 *)pm->data - m->skip, m->skip + pm->len);
		pm->data = (u8 *)m->buf + m->skip;
	}
	set_state(m, UE_MSG_KEPT);
}

/**
 * popcorn_msg_done() - a message is no longer needed
 * @pm: message; a request without an answer is answered -EIO
 *
 * Any thread.
 */
void popcorn_msg_done(struct popcorn_msg *pm)
{
	struct ue_msg *m = container_of(pm, struct ue_msg, msg);
	struct ue_link *ul = m->ul;
	struct ue_lane *ln = &ul->lane[pm->class];

	if (pm->request) {
		popcorn_answer(pm, -EIO, NULL, 0);
		return;
	}
	ue_lock(&ul->lock);
	msg_end(ln, m);
	ue_link_finish(ul, ln);
}

/* Names of the answers to a request for several pages. */
static const struct pw_want *wants(const struct ue_msg *m)
{
	return (const struct pw_want *)((const u8 *)m->msg.data - m->skip);
}

/* The answer to the @i-th page of a request, or to all of it. Lock held. */
static struct pt_ans *answer_get(struct ue_lane *ln, const struct ue_msg *m, u32 i, u16 *slot)
{
	u16 gen = m->gen;

	*slot = m->slot;
	if (m->skip) {
		*slot = le16_to_cpu(wants(m)[i].slot);
		gen = le16_to_cpu(wants(m)[i].gen);
	}
	return pt_ans_get(ln->la, *slot, gen, m->life);
}

/**
 * popcorn_answer() - answer a request; ends the message
 * @pm:     request
 * @status: 0 or -errno
 * @buf:    payload, copied; none with an error
 * @len:    bytes, at most what the requester has room for
 *
 * Any thread. A request for several pages is answered with an error only, for all
 * of them. Return: 0, also if nobody waits any more; -EMSGSIZE, -EINVAL: it is still
 * to be answered.
 */
int popcorn_answer(struct popcorn_msg *pm, int status, const void *buf, u32 len)
{
	struct ue_msg *m = container_of(pm, struct ue_msg, msg);
	struct ue_link *ul = m->ul;
	struct ue_lane *ln = &ul->lane[pm->class];
	struct pt_ans *a;
	u32 i = 0;
	u16 slot;

	if (unlikely(!pm->request || status > 0 || (status && len) || (len && !buf) ||
		     (m->skip && !status)))
		return -EINVAL;
	if (unlikely(len > pm->max))
		return -EMSGSIZE;
	ue_lock(&ul->lock);
	do {
		a = answer_get(ln, m, i, &slot);
		if (unlikely(!a))
			continue;
		ue_fill(&a->tx, ln->ans_buf + (size_t)slot * UE_ENTRY, buf, len);
		pt_ans_send(ln->la, a, status, len);
	} while (unlikely(++i < pm->pages));
	msg_end(ln, m);
	ue_link_finish(ul, ln);
	return 0;
}

/**
 * popcorn_answer_some() - answer a request for some of the pages that it wants
 * @pm:    request with @pages above 0; ends when all of them have been answered, each once
 * @first: of these pages
 * @n:     how many
 * @page:  @n pages, which must not change until @d is told; NULL: its requester gets no page,
 *         but a status
 * @d:     as many: told when the peer has the page (status 0) or never will (-errno);
 *         NULL where the page never changes. Not told where @page is NULL
 * @error: as many, -errno, where @page is NULL; NULL: -EAGAIN
 *
 * Any thread; of a message that is kept several may, each for others of the pages. Return: 0,
 * or -EINVAL: it doesn't want these, and is still to be answered.
 */
int popcorn_answer_some(struct popcorn_msg *pm, u32 first, u32 n, const void **page,
			struct popcorn_done **d, const int *error)
{
	struct ue_msg *m = container_of(pm, struct ue_msg, msg);
	struct popcorn_done *late = NULL, *next;
	struct ue_link *ul = m->ul;
	struct ue_lane *ln = &ul->lane[pm->class];
	struct pt_ans *a;
	u32 i;
	u16 slot;

	if (unlikely(!n || first >= pm->pages || n > pm->pages - first))
		return -EINVAL;
	ue_lock(&ul->lock);
	for (i = 0; i < n; i++) {
		a = answer_get(ln, m, first + i, &slot);
		if (likely(a && page[i])) {
			a->tx.notify = d[i];
			ln->pgdone[slot] = d[i];
			pt_ans_send_page(ln->la, a, (void *)page[i]);
		} else if (a) {
			pt_ans_send(ln->la, a, error ? error[i] : -EAGAIN, 0);
		} else if (page[i] && d[i]) {
			d[i]->status = -ECANCELED;
			d[i]->next = late;
			late = d[i];
		}
	}
	m->left -= n;
	if (likely(!m->left))
		msg_end(ln, m);
	ue_link_finish(ul, ln);
	for (; unlikely(late); late = next) {
		next = late->next;
		ue_call_done(late);
	}
	return 0;
}

/**
 * popcorn_answer_pages() - answer a request for pages; ends the message
 * @pm:   as popcorn_answer_some(), of which nothing has been answered yet
 * @page: pm->pages pages
 * @d:    as many
 *
 * Any thread. Return: 0 or -EINVAL.
 */
int popcorn_answer_pages(struct popcorn_msg *pm, const void **page, struct popcorn_done **d)
{
	return popcorn_answer_some(pm, 0, pm->pages, page, d, NULL);
}

/**
 * popcorn_answer_page() - answer a request for one page; ends the message
 * @pm:   request with @pages 1
 * @page: see popcorn_answer_pages()
 * @d:    likewise
 *
 * Any thread. Return: 0 or -EINVAL.
 */
int popcorn_answer_page(struct popcorn_msg *pm, const void *page, struct popcorn_done *d)
{
	return pm->pages == 1 ? popcorn_answer_pages(pm, &page, &d) : -EINVAL;
}

/* -------------------------------------------------------------- receiving */

static void unknown(struct ue_msg *m)
{
	ue_log(m->msg.node, "node %u sent a message of type %u, which nobody here takes",
	       m->msg.from, m->msg.type);
	if (m->msg.request)
		popcorn_answer(&m->msg, -EOPNOTSUPP, NULL, 0);
	else
		popcorn_msg_done(&m->msg);
}

static void handle(struct ue_msg *m)
{
	u16 type = m->msg.type;
	const struct popcorn_msg_ops *ops =
		likely(type < POPCORN_TYPES) ? __atomic_load_n(&types[type], __ATOMIC_ACQUIRE)
					     : NULL;

	set_state(m, UE_MSG_INSIDE);
	if (unlikely(!ops)) {
		unknown(m);
		return;
	}
	ue_handling = true;
	ops->handle(&m->msg);
	ue_handling = false;
	if (unlikely(get_state(m) == UE_MSG_INSIDE))
		popcorn_msg_keep(&m->msg);
}

/* A message, or part of one, goes into an entry. Return: NULL if none is free. */
static struct ue_msg *take(struct ue_lane *ln)
{
	struct ue_msg *m = ln->msg_free;

	if (likely(m))
		ln->msg_free = m->next;
	return m;
}

static struct ue_msg *message(struct ue_lane *ln, const struct pt_event *ev, const void *payload,
			      u32 len)
{
	struct ue_msg *m = ln->open;

	if (likely(!m)) {
		m = take(ln);
		m->msg.data = payload;
	} else {
		memcpy((u8 *)m->buf + ev->total - len, payload, len);
		ln->open = NULL;
	}
	m->skip = ev->wants * sizeof(struct pw_want);
	m->msg.type = ev->type;
	m->msg.data = (const u8 *)m->msg.data + m->skip;
	m->msg.len = ev->total - m->skip;
	m->msg.request = ev->what == PT_EV_REQ;
	m->msg.pages = ev->wants ?: m->msg.request && ev->frame != PW_NOFRAME;
	m->msg.max = m->msg.request ? ln->la->ans[ev->aslot].max : 0;
	m->left = m->msg.pages;
	m->frames = ev->frames;
	m->slot = ev->aslot;
	m->gen = ev->gen;
	m->life = ev->life;
	return m;
}

static void fragment(struct ue_lane *ln, const struct pw_hdr *h, const void *payload, u32 len)
{
	if (!ln->open) {
		ln->open = take(ln);
		ln->open->msg.data = ln->open->buf;
	}
	memcpy((u8 *)ln->open->buf + le16_to_cpu(h->frag) * PW_PAYLOAD, payload, len);
}

static int bad_frame(struct ue_lane *ln, int error)
{
	struct ue_link *ul = ln->ul;

	/* What still comes from a session that is being closed is nobody's fault. */
	if (ul->pt.state == PT_LINK_UP)
		ue_log(ul->node, "node %u: %s; closing the session", ul->pt.peer,
		       error == -EPROTO ? "sent a frame that breaks the protocol" :
		       "handlers here keep too many messages");
	pt_link_fault(&ul->pt, error, ue_now(ul->node));
	ue_link_finish(ul, ln);
	return error;
}

/**
 * ue_deliver() - a frame has come
 * @ln:      lane
 * @h:       header
 * @payload: payload, stable until this returns; of a page, already in its frame
 * @len:     bytes
 *
 * Poller only, no lock held. Runs the handler or completes the waiter.
 * Return: 0 or -errno: the session is over.
 */
int ue_deliver(struct ue_lane *ln, const struct pw_hdr *h, const void *payload, u32 len)
{
	struct ue_link *ul = ln->ul;
	struct ue_waiter *w = NULL, *wake = NULL, copy;
	struct ue_msg *m = NULL;
	struct pt_event ev;
	struct pt_slot *s;
	int r;

	ue_lock(&ul->lock);
	if (unlikely(!ln->msg_free && !ln->open))
		return bad_frame(ln, -ENOBUFS);
	r = pt_lane_rx(ln->la, h, payload, len, &ev);
	if (unlikely(r))
		return bad_frame(ln, r);
	switch (ev.what) {
	case PT_EV_FRAG:
		fragment(ln, h, payload, len);
		break;
	case PT_EV_MSG:
	case PT_EV_REQ:
		m = message(ln, &ev, payload, len);
		break;
	case PT_EV_DONE:
		s = ev.slot;
		w = s->ctx;
		w->status = s->status ? s->status : (int)s->ans_len;
		if (w->async) {
			if (unlikely(s->status))
				w->async->frame = NULL;
			copy = *w;
			w = &copy;
		}
		if (unlikely(s->status))
			popcorn_frame_free(ul->node, s->page);
		pt_slot_put(ln->la, s);
		wake = ue_lane_free(ln, UE_SLOT);
		break;
	case PT_EV_ZOMBIE:
		popcorn_frame_free(ul->node, ev.slot->page);
		pt_slot_put(ln->la, ev.slot);
		wake = ue_lane_free(ln, UE_SLOT);
		break;
	}
	ue_link_finish(ul, ln);
	if (w)
		ue_complete(w);
	else if (m)
		handle(m);
	if (unlikely(wake))
		ue_complete(wake);
	return 0;
}
