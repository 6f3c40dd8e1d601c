// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Messages of the user engine: sending, requests and their answers, and what
 * becomes of a frame that has come.
 */
#define _GNU_SOURCE
#include "engine.h"

#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

static const struct popcorn_msg_ops *types[POPCORN_TYPES];

/* This thread runs a handler or a completion: it must not wait. */
static __thread bool handling;

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
	bool outer = handling;

	handling = true;
	d->fn(d);
	handling = outer;
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

/* ---------------------------------------------------------------- sending */

/* Puts a payload into an entry's frames. */
static void fill(struct pt_tx *tx, u8 *entry, const void *buf, u32 len)
{
	void **fv = (void **)(entry + PW_FRAMES_MAX * PW_FRAME);
	const u8 *from = buf;
	u32 n;

	if (likely(len <= PW_PAYLOAD)) {
		tx->one = entry;
		tx->fv = &tx->one;
		if (len)
			memcpy(entry + PW_HDR, buf, len);
		return;
	}
	tx->fv = fv;
	for (; len; len -= n, from += n, entry += PW_FRAME) {
		n = len < PW_PAYLOAD ? len : PW_PAYLOAD;
		*fv++ = entry;
		memcpy(entry + PW_HDR, from, n);
	}
}

static int check(const void *buf, u32 len, u8 class, u16 type)
{
	if (class >= PW_CLASSES || type < PW_T_USER || type >= POPCORN_TYPES || (len && !buf))
		return -EINVAL;
	return len > PW_MSG_MAX ? -EMSGSIZE : 0;
}

static void want(struct ue_link *ul)
{
	if (unlikely(ul->pt.state == PT_LINK_IDLE))
		pt_link_want(&ul->pt, ue_now(ul->node));
}

static u32 free_now(const struct ue_lane *ln, enum ue_kind kind)
{
	u32 serves = ln->la->peer_slots, have = ln->ul->node->pt.cfg.slots, used;

	if (kind == UE_TX)
		return ln->tx_nfree;
	used = ln->la->slots_used;
	have = serves < have ? serves : have;
	return used < have ? have - used : 0;
}

/*
 * Who has waited goes first: with more askers than slots, completions that ask again
 * at once would else leave nothing to those that wait.
 */
static bool may_take(struct ue_lane *ln, enum ue_kind kind, const struct ue_waiter *w)
{
	if (likely(!(ln->wait_q[kind] || ln->promised[kind])) || w->promised)
		return true;
	return !ln->wait_q[kind] && free_now(ln, kind) > ln->promised[kind];
}

/*
 * Waits, unlocked, until a slot or an entry may be free. @w is the caller's, on its
 * stack. Return: 0: locked, try again; or -errno, unlocked.
 */
static int wait_free(struct ue_lane *ln, enum ue_kind kind, struct ue_waiter *w, u64 deadline,
		     unsigned int flags)
{
	struct ue_link *ul = ln->ul;
	struct ue_waiter **p = &ln->wait_q[kind];
	bool again = w->promised;
	int r;

	if (ul->pt.dead || flags & POPCORN_NOWAIT || handling) {
		r = ul->pt.dead ? -EHOSTDOWN : flags & POPCORN_NOWAIT ? -EAGAIN : -EDEADLK;
		ue_link_finish(ul, ln);
		return r;
	}
	memset(w, 0, sizeof(*w));
	while (*p && !again)
		p = &(*p)->next;
	w->next = *p;
	*p = w;
	ue_link_finish(ul, ln);
	r = ue_wait(ul->node, w, deadline);
	ue_lock(&ul->lock);
	if (r == -ETIMEDOUT) {
		for (p = &ln->wait_q[kind]; *p && *p != w; p = &(*p)->next)
			;
		if (*p) {
			*p = w->next;
			ue_unlock(&ul->lock);
			return r;
		}
		/* It is being completed just now. */
		ue_unlock(&ul->lock);
		while (atomic_load(&w->state) != UE_DONE)
			ue_relax();
		ue_lock(&ul->lock);
	}
	if (w->promised)
		ln->promised[kind]--;
	w->promised = true;
	return 0;
}

/**
 * popcorn_send() - send a one-way message
 * @n:     node
 * @dst:   peer's id
 * @class: enum pw_class
 * @type:  message type
 * @buf:   payload, copied
 * @len:   bytes, at most PW_MSG_MAX
 * @flags: POPCORN_NOWAIT, else it waits for a free entry, at most dead_ms
 *
 * Return: 0: it will arrive, once, unless the peer dies; -EAGAIN, -ETIMEDOUT:
 * the peer takes nothing more now; -EHOSTDOWN: it is dead; -EDEADLK: a handler
 * must not wait; -EMSGSIZE, -EINVAL, -ENOENT, -ENOMEM.
 */
int popcorn_send(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *buf, u32 len,
		 unsigned int flags)
{
	struct ue_waiter w;
	struct ue_link *ul;
	struct ue_lane *ln;
	struct ue_tx *e;
	u64 deadline = 0;
	int r;

	r = check(buf, len, class, type) ?: ue_link_get(n, dst, &ul);
	if (unlikely(r))
		return r;
	ln = &ul->lane[class];
	ue_lock(&ul->lock);
	want(ul);
	w.promised = false;
	while (unlikely(!may_take(ln, UE_TX, &w) || !ln->tx_free)) {
		deadline = deadline ?: ue_clock_ms() + n->pt.cfg.dead_ms;
		r = wait_free(ln, UE_TX, &w, deadline, flags);
		if (r)
			return r;
	}
	e = ln->tx_free;
	fill(&e->tx, e->buf, buf, len);
	e->tx.notify = true;
	r = pt_send(ln->la, &e->tx, type, len);
	if (likely(!r)) {
		ln->tx_free = e->next;
		ln->tx_nfree--;
	}
	ue_link_finish(ul, ln);
	return r;
}

static u8 *slot_entry(struct ue_lane *ln, const struct pt_slot *s)
{
	return ln->slot_buf + (size_t)s->index * UE_ENTRY;
}

/* Who is told of the answer, and where its page goes. Lock held. */
static void slot_set(struct ue_lane *ln, struct pt_slot *s, struct popcorn_frame *f,
		     u32 timeout_ms, struct ue_waiter *w, struct popcorn_async *a)
{
	if (f) {
		s->frame = f->id;
		s->page = f;
	}
	if (a)
		w = &ln->waiter[s->index];
	w->state = UE_WAITING;
	w->async = a;
	s->ctx = w;
	ln->timeout[s->index] = timeout_ms;
}

/* What all requests do until the answer is waited for. */
static int ask(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req, u32 len,
	       void *ans, u32 ans_max, struct popcorn_frame *f, u32 timeout_ms,
	       unsigned int flags, struct ue_waiter *w, struct popcorn_async *a)
{
	struct ue_link *ul;
	struct ue_lane *ln;
	struct pt_slot *s;
	u64 deadline = 0;
	int r;

	r = check(req, len, class, type);
	if (unlikely(r || ans_max > PW_MSG_MAX || (ans_max && !ans)))
		return r ?: ans_max > PW_MSG_MAX ? -EMSGSIZE : -EINVAL;
	r = ue_link_get(n, dst, &ul);
	if (unlikely(r))
		return r;
	ln = &ul->lane[class];
	ue_lock(&ul->lock);
	want(ul);
	w->promised = false;
	while (unlikely(!may_take(ln, UE_SLOT, w) || !(s = pt_slot_get(ln->la, ans_max)))) {
		deadline = deadline ?: ue_clock_ms() + timeout_ms;
		r = wait_free(ln, UE_SLOT, w, deadline, flags);
		if (r)
			return r;
	}
	fill(&s->tx, slot_entry(ln, s), req, len);
	s->ans = ans;
	slot_set(ln, s, f, timeout_ms, w, a);
	r = pt_slot_send(ln->la, s, type, len, UE_LATER);
	if (unlikely(r))
		pt_slot_put(ln->la, s);
	ue_link_finish(ul, ln);
	return r;
}

/**
 * popcorn_request() - ask and wait for the answer
 * @n:          node
 * @dst:        peer's id
 * @class:      enum pw_class, of the request and the answer
 * @type:       message type
 * @req:        payload, copied
 * @len:        bytes, at most PW_MSG_MAX
 * @ans:        answer
 * @ans_max:    room there, bytes, at most PW_MSG_MAX
 * @timeout_ms: for all of it
 *
 * Return: bytes of the answer, or -errno: what the handler gave, -ETIMEDOUT,
 * -EHOSTDOWN if the peer dies, -EHOSTUNREACH if it is never met, -EOPNOTSUPP if
 * it doesn't know @type, -EDEADLK in a handler, -EMSGSIZE, -EINVAL, -ENOENT,
 * -ENOMEM.
 */
int popcorn_request(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req, u32 len,
		    void *ans, u32 ans_max, u32 timeout_ms)
{
	struct ue_waiter w;
	int r;

	if (unlikely(handling))
		return -EDEADLK;
	r = ask(n, dst, class, type, req, len, ans, ans_max, NULL, timeout_ms, 0, &w, NULL);
	return r ?: ue_wait(n, &w, 0);
}

/**
 * popcorn_request_page() - ask for a page
 * @n, @dst, @class, @type, @req, @len, @timeout_ms: see popcorn_request()
 * @frame: where the page goes. With an error that isn't -EINVAL, -ENOENT or
 *         -EMSGSIZE the engine keeps it until nothing can be written there any
 *         more, then frees it: it is NULL then
 *
 * Return: 0 or -errno as popcorn_request().
 */
int popcorn_request_page(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req,
			 u32 len, struct popcorn_frame **frame, u32 timeout_ms)
{
	struct ue_waiter w;
	int r;

	if (unlikely(handling))
		return -EDEADLK;
	r = ask(n, dst, class, type, req, len, NULL, 0, *frame, timeout_ms, 0, &w, NULL);
	if (unlikely(r))
		return r;
	r = ue_wait(n, &w, 0);
	if (unlikely(r < 0))
		*frame = NULL;
	return r;
}

/**
 * popcorn_request_async() - ask, and be told of the answer
 * @n, @dst, @class, @type, @req, @len, @ans, @ans_max, @timeout_ms: see
 *         popcorn_request(); @ans must stay until it is done
 * @flags: POPCORN_NOWAIT, else it waits for a free slot
 * @a:     told when it is over; with a frame, a page is wanted
 *
 * Return: 0: @a->done.fn will be called; else it won't, and -errno as
 * popcorn_request() or -EAGAIN.
 */
int popcorn_request_async(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req,
			  u32 len, void *ans, u32 ans_max, u32 timeout_ms, unsigned int flags,
			  struct popcorn_async *a)
{
	struct ue_waiter w;

	return ask(n, dst, class, type, req, len, a->frame ? NULL : ans, a->frame ? 0 : ans_max,
		   a->frame, timeout_ms, flags, &w, a);
}

/* Return: whether all @count slots could be had; else none is taken. */
static bool get_slots(struct ue_lane *ln, struct pt_slot **s, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		s[i] = pt_slot_get(ln->la, 0);
		if (!s[i])
			break;
	}
	if (i == count)
		return true;
	while (i--)
		pt_slot_put(ln->la, s[i]);
	return false;
}

/**
 * popcorn_request_pages() - ask for several pages with one message
 * @n, @dst, @class, @type, @timeout_ms, @flags: see popcorn_request_async()
 * @req:   payload, copied
 * @len:   bytes; with 8 for each page at most PW_PAYLOAD
 * @a:     @count of them, each with a frame, each told by itself
 * @count: pages, at most the slots of a lane and PW_WANTS_MAX
 *
 * Return: 0: each is told once; else none is, and -errno as
 * popcorn_request_async().
 */
int popcorn_request_pages(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req,
			  u32 len, u32 timeout_ms, unsigned int flags, struct popcorn_async **a,
			  u32 count)
{
	u32 head = count * sizeof(struct pw_want), i;
	struct pt_slot *s[PW_WANTS_MAX];
	struct ue_waiter w;
	struct ue_link *ul;
	struct ue_lane *ln;
	u64 deadline = 0;
	u8 *entry;
	int r;

	r = check(req, len, class, type);
	if (r)
		return r;
	if (!count || count > PW_WANTS_MAX || count > n->pt.cfg.slots)
		return -EINVAL;
	if (len > PW_PAYLOAD - head)
		return -EMSGSIZE;
	r = ue_link_get(n, dst, &ul);
	if (r)
		return r;
	ln = &ul->lane[class];
	ue_lock(&ul->lock);
	want(ul);
	w.promised = false;
	while (!may_take(ln, UE_SLOT, &w) || !get_slots(ln, s, count)) {
		deadline = deadline ?: ue_clock_ms() + timeout_ms;
		r = wait_free(ln, UE_SLOT, &w, deadline, flags);
		if (r)
			return r;
	}
	for (i = 0; i < count; i++)
		slot_set(ln, s[i], a[i]->frame, timeout_ms, NULL, a[i]);
	entry = slot_entry(ln, s[0]);
	s[0]->tx.one = entry;
	s[0]->tx.fv = &s[0]->tx.one;
	if (len)
		memcpy(entry + PW_HDR + head, req, len);
	r = pt_slots_send(ln->la, s, count, type, head + len, UE_LATER);
	for (i = 0; r && i < count; i++)
		pt_slot_put(ln->la, s[i]);
	ue_link_finish(ul, ln);
	return r;
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
		fill(&a->tx, ln->ans_buf + (size_t)slot * UE_ENTRY, buf, len);
		pt_ans_send(ln->la, a, status, len);
	} while (unlikely(++i < pm->pages));
	msg_end(ln, m);
	ue_link_finish(ul, ln);
	return 0;
}

/**
 * popcorn_answer_pages() - answer a request for pages; ends the message
 * @pm:   request with @pages above 0
 * @page: as many pages, which must not change until @d is told; NULL: not to be had
 *        now, its requester gets -EAGAIN
 * @d:    as many: told when the peer has the page (status 0) or never will (-errno);
 *        NULL where the page never changes. Not told where @page is NULL
 *
 * Any thread. Return: 0, or -EINVAL if no page was asked for: it is still to be
 * answered.
 */
int popcorn_answer_pages(struct popcorn_msg *pm, const void **page, struct popcorn_done **d)
{
	struct ue_msg *m = container_of(pm, struct ue_msg, msg);
	struct popcorn_done *late = NULL, *next;
	struct ue_link *ul = m->ul;
	struct ue_lane *ln = &ul->lane[pm->class];
	struct pt_ans *a;
	u32 i;
	u16 slot;

	if (unlikely(!pm->pages))
		return -EINVAL;
	ue_lock(&ul->lock);
	for (i = 0; i < pm->pages; i++) {
		a = answer_get(ln, m, i, &slot);
		if (likely(a && page[i])) {
			a->tx.notify = d[i];
			ln->pgdone[slot] = d[i];
			pt_ans_send_page(ln->la, a, (void *)page[i]);
		} else if (a) {
			pt_ans_send(ln->la, a, -EAGAIN, 0);
		} else if (page[i] && d[i]) {
			d[i]->status = -ECANCELED;
			d[i]->next = late;
			late = d[i];
		}
	}
	msg_end(ln, m);
	ue_link_finish(ul, ln);
	for (; unlikely(late); late = next) {
		next = late->next;
		ue_call_done(late);
	}
	return 0;
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
	handling = true;
	ops->handle(&m->msg);
	handling = false;
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

/* ----------------------------------------------------------------- peers */

/**
 * popcorn_peer() - how things stand with a peer
 * @n:   node
 * @id:  peer
 * @out: result
 *
 * Any thread. Return: 0, -EINVAL, -ENOENT, -ENOMEM.
 */
int popcorn_peer(struct popcorn_node *n, u16 id, struct popcorn_peer *out)
{
	struct ue_link *ul;
	int r = ue_link_get(n, id, &ul);
	u8 c;

	if (r)
		return r;
	ue_lock(&ul->lock);
	out->state = pt_link_state_str(&ul->pt);
	out->up = ul->pt.state == PT_LINK_UP;
	out->leased = pt_link_lease_ok(&ul->pt, ue_clock_ms());
	out->sessions = ul->pt.sessions;
	out->error = ul->pt.error;
	for (c = 0; c < PW_CLASSES; c++)
		out->stats[c] = ul->pt.lane[c].stats;
	ue_unlock(&ul->lock);
	return 0;
}

/**
 * popcorn_peer_lease_ok() - may what a peer granted still be used?
 * @n:  node
 * @id: peer
 *
 * Any thread. Return: false also for a node that was never met.
 */
bool popcorn_peer_lease_ok(struct popcorn_node *n, u16 id)
{
	struct popcorn_peer p;

	return !popcorn_peer(n, id, &p) && p.leased;
}

/**
 * popcorn_connect() - connect to a peer now rather than on first use
 * @n:          node
 * @id:         peer
 * @timeout_ms: bound on the wait; 0 only asks for it
 *
 * Return: 0, -ETIMEDOUT, -EDEADLK, -EINVAL, -ENOENT, -ENOMEM.
 */
int popcorn_connect(struct popcorn_node *n, u16 id, u32 timeout_ms)
{
	u64 end = ue_clock_ms() + timeout_ms;
	struct ue_link *ul;
	bool up;
	int r;

	if (handling && timeout_ms)
		return -EDEADLK;
	r = ue_link_get(n, id, &ul);
	if (r)
		return r;
	ue_lock(&ul->lock);
	pt_link_want(&ul->pt, ue_clock_ms());
	ue_link_finish(ul, NULL);
	do {
		ue_lock(&ul->lock);
		up = ul->pt.state == PT_LINK_UP;
		ue_unlock(&ul->lock);
		if (up || !timeout_ms)
			return 0;
		popcorn_poll(n, 1000);
	} while (ue_clock_ms() < end);
	return -ETIMEDOUT;
}
