// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Messages of the user engine on their way out: one-way messages, and requests.
 */
#define _GNU_SOURCE
#include "engine.h"

/**
 * ue_fill() - put a payload into an entry's frames
 * @tx:    the core's, of the entry
 * @entry: UE_ENTRY bytes
 * @buf:   payload
 * @len:   bytes, at most PW_MSG_MAX
 */
void ue_fill(struct pt_tx *tx, u8 *entry, const void *buf, u32 len)
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

	if (ul->pt.dead || flags & POPCORN_NOWAIT || ue_handling) {
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
	ue_fill(&e->tx, e->buf, buf, len);
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
	ue_fill(&s->tx, slot_entry(ln, s), req, len);
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

	if (unlikely(ue_handling))
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

	if (unlikely(ue_handling))
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
