// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: messages about pages, from the wire to the protocol's core, and the
 * works that go on with what couldn't be done at once.
 */
#include <linux/highmem.h>
#include <linux/slab.h>

#include "dsm.h"

/* ------------------------------------------------------------- a requester */

/* The ASK has ended: @status as its answer; the frame holds the page if that is 0. */
void dsm_ask_over(struct dsm_req *req, int status)
{
	struct dsm_region *r = req->r;
	struct dsm_group *g = dsm_group(req);
	struct popcorn_frame *f = NULL;
	struct dsm_run run DSM_UNINIT;
	bool data = !status;
	int e = -ESTALE;
	u64 now;

	if (data) {
		f = req->a.frame;
		req->a.frame = NULL;
	}
	if (status == -EXDEV)
		status = 0;
	if (req->batch)
		atomic_dec(&req->batch->left);
	dsm_run_begin(&run, r, dsm_page(r, req->index), req->index);
	spin_lock_bh(dsm_lock(r, req->index));
	req->status = status;
	if (run.pg->req == req) {
		/* What nobody waits for yet counts from when it is mapped. */
		now = run.pg->p.flags & PD_P_AHEAD ? 0 : dsm_now();
		e = pd_granted(&r->cfg, &run.pg->p, req->req, status, data, now, &run.out);
		if (!e && f && !run.pg->frame) {
			dsm_frame_set(r, run.pg, req->index, f, r->cfg.home);
			f = NULL;
		}
		dsm_take(&run, 0);
	}
	spin_unlock_bh(dsm_lock(r, req->index));
	dsm_frame_free(f);
	if (!e)
		dsm_run(&run);
	if (status == -ESTALE || status == -ESHUTDOWN || status == -EHOSTDOWN)
		dsm_region_over(r, status);
	if (g && atomic_dec_and_test(&g->left))
		wake_up_all(&g->wait);
	dsm_req_put(req);
}

/* The ASK has been answered. */
void dsm_ask_done(struct popcorn_done *d)
{
	struct dsm_req *req = container_of(d, struct dsm_req, a.done);

	dsm_ask_over(req, d->status);
}

/* Does @req's DONE fit before what @m says? Most often: that came next, in a batch. */
static bool done_before(struct pd_msg *m, const struct dsm_req *req)
{
	if (m->flags != req->flags || m->pages == PD_BATCH ||
	    le32_to_cpu(m->page) != req->index + 1 || le32_to_cpu(m->req) != req->req + 1)
		return false;
	m->page = cpu_to_le32(req->index);
	m->req = cpu_to_le32(req->req);
	m->pages++;
	return true;
}

/* They are due as before; meanwhile @r->timer may have found nothing to be done. */
static void dones_back(struct dsm_region *r, struct llist_node *first)
{
	struct llist_node *last = first;

	while (last->next)
		last = last->next;
	llist_add_batch(first, last, &r->dones);
	dsm_due(r, dsm_now() + DSM_RETRY_NS);
}

/* DONE of requests, up to @max pd_msg, into @m; these are taken. Return: how many pd_msg. */
static u32 dones_take(struct dsm_region *r, struct pd_msg *m, u32 max, struct llist_node **taken)
{
	struct llist_node **at = taken;
	struct dsm_req *req;
	u32 n = 0;

	*taken = llist_empty(&r->dones) ? NULL : llist_del_all(&r->dones);
	for (; *at; at = &(*at)->next) {
		req = llist_entry(*at, struct dsm_req, done);
		if (n && done_before(&m[n - 1], req))
			continue;
		if (n == max) {
			dones_back(r, *at);
			*at = NULL;
			break;
		}
		dsm_head(r, req->index, req->req, &m[n]);
		m[n++].flags = req->flags;
	}
	return n;
}

/* They are on their way; or, if not @sent, due as before. */
static void dones_taken(struct dsm_region *r, struct llist_node *taken, bool sent)
{
	struct dsm_req *req, *next;

	if (!sent)
		dones_back(r, taken);
	else
		llist_for_each_entry_safe(req, next, taken, done)
			dsm_req_put(req);
}

static void dones_send(struct dsm_region *r)
{
	struct pd_msg m[DSM_DONES] DSM_UNINIT;
	struct llist_node *taken;
	u32 n;
	int e = 0;

	while (e != -EAGAIN && (n = dones_take(r, m, DSM_DONES, &taken))) {
		e = popcorn_send(r->node, r->cfg.home, PW_SYNC, PD_T_DONE, m, n * sizeof(*m),
				 POPCORN_NOWAIT);
		dones_taken(r, taken, e != -EAGAIN);
	}
}

/**
 * dsm_ask_send - send ASK, and DONE of earlier requests with it
 * @r:     region
 * @req:   requests for consecutive pages, with numbers that count on, in an array; each
 *         counted for its answer
 * @n:     how many, 1 to PD_BATCH
 * @flags: POPCORN_NOWAIT, or 0: wait for room, killable
 *
 * Process context. Return: 0, or -errno as popcorn_request_pages(): nothing was sent.
 */
int dsm_ask_send(struct dsm_region *r, struct dsm_req *req, u32 n, unsigned int flags)
{
	/* Rights alone are a few bytes: nobody waits for them in the queue. */
	u8 class = (req->flags & (PD_F_IDLE | PD_F_HOLDS)) == PD_F_IDLE ? PW_BULK : PW_SYNC;
	struct pd_msg m[1 + DSM_DONES] DSM_UNINIT;
	struct popcorn_async *a[PD_BATCH] DSM_UNINIT;
	struct llist_node *dones;
	u32 i, len;
	int e;

	dsm_head(r, req->index, req->req, m);
	m->flags = req->flags;
	m->pages = n;
	len = (1 + dones_take(r, m + 1, DSM_DONES, &dones)) * sizeof(*m);
	if (n == 1) {
		e = popcorn_request_async(r->node, r->cfg.home, class, PD_T_ASK, m, len, NULL, 0,
					  DSM_FOREVER_MS, flags, &req->a);
	} else {
		for (i = 0; i < n; i++)
			a[i] = &req[i].a;
		e = popcorn_request_pages(r->node, r->cfg.home, class, PD_T_ASK, m, len,
					  DSM_FOREVER_MS, flags, a, n);
	}
	if (dones)
		dones_taken(r, dones, !e);
	return e;
}

/**
 * dsm_req_send - send a node's request
 * @req:   request
 * @flags: POPCORN_NOWAIT: if there is no room now, @req->unsent says so; 0: wait,
 *         killable
 *
 * Process context. If it fails otherwise the request ends.
 */
void dsm_req_send(struct dsm_req *req, unsigned int flags)
{
	int e;

	refcount_inc(&req->ref);
	e = dsm_ask_send(req->r, req, 1, flags);
	if (!e)
		return;
	if (e == -EAGAIN && (flags & POPCORN_NOWAIT)) {
		WRITE_ONCE(req->unsent, true);
		dsm_req_put(req);
		return;
	}
	dsm_ask_over(req, e);
}

/* A request that @unsent says couldn't be sent, and that nobody needs, ends. */
void dsm_req_cancel(struct dsm_req *req)
{
	refcount_inc(&req->ref);
	dsm_ask_over(req, -EAGAIN);
}

/* --------------------------------------------------------------- messages */

/* There was no memory: may it be waited for? */
static void no_memory(struct dsm_region *r, struct popcorn_msg *msg, bool may_sleep)
{
	if (may_sleep)
		dsm_refuse(msg, -ENOMEM);
	else
		dsm_to_slow(r, msg);
}

/* ASK at the home. */
static void ask_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index, bool may_sleep)
{
	struct dsm_page *pg = may_sleep ? dsm_page_make(r, index) : dsm_page(r, index);
	struct dsm_run run DSM_UNINIT;
	struct dsm_txn *t;
	int e;

	if (!pg) {
		no_memory(r, msg, may_sleep);
		return;
	}
	t = dsm_txn_new(r, index, msg, DSM_NOWAIT);
	if (!t) {
		dsm_later(r, msg);
		return;
	}
	dsm_run_begin(&run, r, pg, index);
	e = dsm_run_ask(&run, t, may_sleep ? GFP_KERNEL : DSM_NOWAIT);
	if (e == -ENOMEM)
		no_memory(r, msg, may_sleep);
	else if (e)
		dsm_refuse(msg, e);
}

/* INV, FWD or FETCH at a node that isn't the home. */
static void page_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index)
{
	const struct pd_msg *m = msg->data;
	struct dsm_page *pg = dsm_page(r, index);
	bool inv = msg->type == PD_T_INV;
	struct dsm_run run DSM_UNINIT;
	struct dsm_op *op;
	bool put;

	if (!pg) {	/* never used here */
		dsm_refuse(msg, inv ? 0 : -ENODATA);
		return;
	}
	op = dsm_op_new(r, index, msg);
	if (!op) {
		dsm_later(r, msg);
		return;
	}
	op->fetch = msg->type == PD_T_FETCH;
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	if (pg->op || r->over) {
		spin_unlock_bh(dsm_lock(r, index));
		dsm_op_free(op);
		if (r->over)
			dsm_refuse(msg, inv ? 0 : -ENODATA);
		else
			dsm_later(r, msg);
		return;
	}
	pg->op = op;
	put = op->fetch && (pg->p.flags & PD_P_PUT);
	if (inv)
		pd_inv(&r->cfg, &pg->p, dsm_now(), &run.out);
	else
		pd_fwd(&r->cfg, &pg->p, le16_to_cpu(m->node), le32_to_cpu(m->req), m->flags,
		       dsm_now(), &run.out);
	dsm_take(&run, inv ? DSM_TODO_INV : DSM_TODO_FWD);
	spin_unlock_bh(dsm_lock(r, index));
	dsm_run(&run);
	if (put)	/* now the home has it */
		dsm_drop(r, index, 1, false);
}

/* The request for @pg that is under way, counted, if it has that number. */
static struct dsm_req *req_get(struct dsm_region *r, struct dsm_page *pg, u32 index, u32 number)
{
	struct dsm_req *req;

	spin_lock_bh(dsm_lock(r, index));
	req = pg->req && pg->req->req == number ? pg->req : NULL;
	if (req)
		refcount_inc(&req->ref);
	spin_unlock_bh(dsm_lock(r, index));
	return req;
}

/* DATA from a third node: copied. Return: 0, or -ENOMEM: once more, later. */
static int data_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index, bool may_sleep)
{
	u32 number = le32_to_cpu(((const struct pd_msg *)msg->data)->req);
	struct dsm_page *pg = dsm_page(r, index);
	struct popcorn_frame *f;
	struct dsm_req *req;
	struct dsm_run run DSM_UNINIT;
	int e;

	if (!pg || msg->len != sizeof(struct pd_msg) + PAGE_SIZE)
		return 0;
	req = req_get(r, pg, index, number);
	if (!req)
		return 0;
	/* The limit was looked at when it was asked for. */
	f = popcorn_frame_alloc(may_sleep ? GFP_KERNEL : DSM_NOWAIT);
	if (!f) {
		dsm_req_put(req);
		return -ENOMEM;
	}
	popcorn_msg_copy(msg, sizeof(struct pd_msg), popcorn_frame_data(f), PAGE_SIZE);
	flush_dcache_page(f->page);
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	e = pg->req != req || pg->frame ? -ESTALE :
	    pd_data(&r->cfg, &pg->p, number, dsm_now(), &run.out);
	if (!e) {
		dsm_frame_set(r, pg, index, f, msg->from);
		f = NULL;
		dsm_take(&run, 0);
	}
	spin_unlock_bh(dsm_lock(r, index));
	dsm_frame_free(f);
	dsm_req_put(req);
	if (!e)
		dsm_run(&run);
	return 0;
}

static void nodata_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index)
{
	struct dsm_page *pg = dsm_page(r, index);
	struct dsm_run run DSM_UNINIT;

	if (!pg)
		return;
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	pd_nodata(&r->cfg, &pg->p, le32_to_cpu(((const struct pd_msg *)msg->data)->req), &run.out);
	dsm_take(&run, 0);
	spin_unlock_bh(dsm_lock(r, index));
	dsm_run(&run);
}

static void done_msg(struct dsm_region *r, u16 from, const struct pd_msg *m)
{
	u32 index = le32_to_cpu(m->page), req = le32_to_cpu(m->req), i;
	struct dsm_run run DSM_UNINIT;
	struct dsm_page *pg;

	dsm_run_init(&run, r);
	for (i = 0; i < m->pages && index < r->pages; i++, index++) {
		pg = dsm_page(r, index);
		if (!pg)
			continue;
		dsm_run_page(&run, pg, index);
		dsm_run_done(&run, from, req + i, m->flags);
		dsm_run(&run);
	}
}

/* PUT at the home, who says so if it has no room: the member waits for that. */
static void put_msg(struct dsm_region *r, u16 from, u32 index)
{
	struct pd_msg m;

	if (dsm_ahead(r, index, false, true, NULL) != -ENOMEM)
		return;
	dsm_head(r, index, 0, &m);
	popcorn_send(r->node, from, PW_BULK, PD_T_PUT, &m, sizeof(m), POPCORN_NOWAIT);
}

/* Deal with a message, which is answered or done at some time. */
static void message(struct dsm_region *r, struct popcorn_msg *msg, bool may_sleep)
{
	const struct pd_msg *m = msg->data;
	u32 index = le32_to_cpu(m->page);
	bool home = dsm_home(r), from_home = msg->from == r->cfg.home;

	switch (msg->type) {
	case PD_T_ASK:
		if (!home)
			dsm_refuse(msg, -ESTALE);
		else if (msg->pages > 1)
			dsm_batch_msg(r, msg, index, may_sleep);
		else
			ask_msg(r, msg, index, may_sleep);
		return;
	case PD_T_FWD:
	case PD_T_FETCH:
	case PD_T_INV:
		if (home || !from_home)
			dsm_refuse(msg, -ESTALE);
		else if (msg->type == PD_T_INV && m->mask)
			dsm_invs_msg(r, msg);
		else
			page_msg(r, msg, index);
		return;
	case PD_T_PUT:
		if (from_home && !home)
			dsm_room_refused(r);
		if (!home)
			break;
		if (!may_sleep) {
			dsm_to_slow(r, msg);
			return;
		}
		put_msg(r, msg->from, index);
		break;
	case PD_T_DONE:
		if (home)
			done_msg(r, msg->from, m);
		break;
	case PD_T_LOCK:
	case PD_T_UNLOCK:
	case PD_T_BARRIER:
	case PD_T_TREE:
		if (dsm_sync_msg(r, msg)) {
			dsm_later(r, msg);
			return;
		}
		break;
	case PD_T_DATA:
		if (!data_msg(r, msg, index, may_sleep))
			break;
		if (may_sleep)
			dsm_later(r, msg);
		else
			dsm_to_slow(r, msg);
		return;
	case PD_T_NODATA:
		if (from_home)
			nodata_msg(r, msg, index);
		break;
	}
	dsm_refuse(msg, -EINVAL);
}

/* Does it name as many frames as it is for? */
static bool pages_ok(const struct popcorn_msg *msg)
{
	const struct pd_msg *m = msg->data;

	if (msg->type != PD_T_ASK)
		return msg->pages == (msg->type == PD_T_FETCH);
	return msg->pages && msg->pages == m->pages &&
	       (msg->pages == 1 || (msg->pages <= PD_BATCH && (m->flags & PD_F_IDLE)));
}

/* How many pages INV with a mask is about, with those between. */
static u32 inv_span(const struct popcorn_msg *msg)
{
	return msg->type == PD_T_INV ? fls(le32_to_cpu(((const struct pd_msg *)msg->data)->mask)) : 0;
}

static void handle(struct popcorn_msg *msg)
{
	const struct pd_msg *m = msg->data;
	bool dones = msg->type == PD_T_ASK || msg->type == PD_T_DONE; /* more of them follow */
	bool request = msg->type == PD_T_ASK || msg->type == PD_T_FWD ||
		       msg->type == PD_T_FETCH || msg->type == PD_T_INV;
	struct dsm_region *r;
	u32 max, i;

	if (msg->len < sizeof(*m) || (dones && msg->len > PW_PAYLOAD) || msg->request != request ||
	    !pages_ok(msg)) {
		dsm_refuse(msg, -EINVAL);
		return;
	}
	r = dsm_region_find(msg->node, le32_to_cpu(m->region), le32_to_cpu(m->gen));
	max = msg->type < PD_T_LOCK ? r ? r->pages : 0 : POPCORN_SYNC_MAX;
	if (!r || r->over || le32_to_cpu(m->page) >= max ||
	    max_t(u32, msg->pages, inv_span(msg)) > max - le32_to_cpu(m->page)) {
		dsm_refuse(msg, msg->type == PD_T_INV ? 0 : -ESTALE);
	} else {
		for (i = 1; dones && dsm_home(r) && i < msg->len / sizeof(*m); i++)
			done_msg(r, msg->from, &m[i]);
		message(r, msg, false);
	}
	if (r)
		dsm_region_put(r);
}

/* ---------------------------------------------------------------- workers */

void dsm_slow_work(struct work_struct *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, slow);
	struct popcorn_msg *msg, *next;
	u64 dead, left, mask;

	spin_lock_bh(&r->lock);
	msg = r->slow_msgs;
	r->slow_msgs = NULL;
	dead = r->dying;
	left = r->left;
	spin_unlock_bh(&r->lock);
	for (mask = dead; mask; mask &= mask - 1) {
		dsm_home_dead(r, __builtin_ctzll(mask));
		dsm_sync_dead(r, __builtin_ctzll(mask), !(left & mask & -mask));
	}
	spin_lock_bh(&r->lock);
	r->dying &= ~dead;
	r->left &= ~dead;
	spin_unlock_bh(&r->lock);
	for (; msg; msg = next) {
		next = msg->next;
		msg->next = NULL;
		if (r->over)
			dsm_refuse(msg, -ESTALE);
		else
			message(r, msg, true);
	}
}

/* INV has been answered. */
static void item_inv(struct dsm_inv *inv)
{
	struct dsm_txn *t = inv->t;
	int status = inv->a.done.status;
	struct dsm_region *r = t->r;
	struct dsm_run run DSM_UNINIT;

	dsm_run_begin(&run, r, dsm_page(r, t->index), t->index);
	/* When it is dead, dsm_home_dead() says so for all pages. */
	if (status != -EHOSTDOWN && status != -ESHUTDOWN && run.dir->now == &t->x)
		dsm_run_ack(&run, inv->to);
	dsm_inv_free(inv);
	dsm_txn_put(t);
	dsm_run(&run);
}

/* FWD or FETCH has been answered. */
static void item_fwd(struct dsm_txn *t)
{
	int status = t->fwd.done.status ? -ENODATA : 0;
	struct popcorn_frame *f = status ? NULL : t->fwd.frame;
	struct dsm_region *r = t->r;
	struct dsm_run run DSM_UNINIT;

	dsm_run_begin(&run, r, dsm_page(r, t->index), t->index);
	spin_lock_bh(dsm_lock(r, t->index));
	t->fwd.frame = NULL;
	t->fwd_busy = false;
	if (f && run.dir->now == &t->x && !run.pg->frame &&
	    !pd_data(&r->cfg, &run.pg->p, t->x.req, dsm_now(), &run.out)) {
		dsm_frame_set(r, run.pg, t->index, f, t->fwd_to);
		f = NULL;
		dsm_take(&run, 0);
	}
	spin_unlock_bh(dsm_lock(r, t->index));
	dsm_frame_free(f);
	if (run.dir->now == &t->x)
		dsm_run_sent(&run, t->fwd_to, status);
	dsm_run(&run);
	if (t->fwd_due)
		dsm_txn_send(&run, t);
	dsm_txn_put(t);
}

static void page_due(struct dsm_region *r, struct dsm_page *pg, u32 index)
{
	struct dsm_txn *t = NULL;
	struct dsm_run run DSM_UNINIT;
	u8 todo;

	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	todo = r->over ? 0 : pg->todo;
	pg->todo &= ~todo;
	if (todo & DSM_TODO_SEND) {
		t = dsm_txn_now(&run);
		if (t)
			refcount_inc(&t->ref);
	}
	spin_unlock_bh(dsm_lock(r, index));
	if (todo & DSM_TODO_UNMAP)
		dsm_run_unmap(&run);
	if (todo & (DSM_TODO_INV | DSM_TODO_FWD))
		dsm_run_again(&run, todo);
	if (t) {
		dsm_txn_send(&run, t);
		dsm_txn_put(t);
	}
	dsm_run(&run);
}

void dsm_fast_work(struct kthread_work *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, fast);
	struct llist_node *n = llist_reverse_order(llist_del_all(&r->items)), *next;
	struct popcorn_msg *msg = NULL, *mnext;
	struct dsm_op *op = NULL, *onext;
	u32 index = 0;

	for (; n; n = next) {
		struct dsm_item *item = llist_entry(n, struct dsm_item, node);

		next = n->next;
		if (item->kind == DSM_ITEM_INV)
			item_inv(container_of(item, struct dsm_inv, item));
		else if (item->kind == DSM_ITEM_INVS)
			dsm_invs_item(item);
		else
			item_fwd(container_of(item, struct dsm_txn, item));
	}

	spin_lock_bh(&r->lock);
	if (r->due && r->due <= dsm_now()) {
		r->due = 0;
		index = r->pending;
		r->pending = 0;
		msg = r->later;
		r->later = NULL;
		op = r->unsent;
		r->unsent = NULL;
	}
	spin_unlock_bh(&r->lock);
	while (index && index != U32_MAX) {
		struct dsm_page *pg = dsm_page(r, index - 1);
		u32 this = index - 1;

		spin_lock_bh(&r->lock);
		index = pg->next;
		pg->next = 0;
		spin_unlock_bh(&r->lock);
		page_due(r, pg, this);
	}
	dones_send(r);
	dsm_sync_flush(r);
	for (; msg; msg = mnext) {
		mnext = msg->next;
		msg->next = NULL;
		if (r->over)
			dsm_refuse(msg, msg->type == PD_T_INV ? 0 : -ESTALE);
		else
			message(r, msg, false);
	}
	for (; op; op = onext) {
		onext = op->next;
		op->unsent = dsm_data_send(op);
		if (op->unsent)
			dsm_unsent(r, op);
		else
			dsm_op_free(op);
	}
}

/* ------------------------------------------------------------------ death */

static void home_page_dead(struct dsm_region *r, u32 index, u16 node)
{
	struct pd_txn *x;
	struct pd_home h;
	struct dsm_run run DSM_UNINIT;
	bool doubt;

	dsm_run_begin(&run, r, dsm_page(r, index), index);
	h = dsm_home_of(&run);
	spin_lock_bh(dsm_lock(r, index));
	x = run.dir->d.state != PD_I ? pd_home_dead(&r->cfg, &h, node, &run.out) : NULL;
	dsm_take(&run, 0);
	doubt = !run.dir->now && (run.dir->d.flags & PD_D_DOUBT);
	spin_unlock_bh(dsm_lock(r, index));
	dsm_ended(x);
	dsm_run(&run);
	/* Who has the last copy doesn't know it, and may drop it. */
	if (doubt)
		dsm_ahead(r, index, false, true, NULL);
}

/**
 * dsm_home_dead - a member is dead or has left
 * @r:    region, at its home
 * @node: the member's id
 *
 * Process context.
 */
void dsm_home_dead(struct dsm_region *r, u16 node)
{
	u32 i;

	for (i = 0; i < r->pages; i++) {
		if (!dsm_page(r, i)) {
			i |= DSM_CHUNK - 1;
			continue;
		}
		home_page_dead(r, i, node);
		if (!(i & 255))
			cond_resched();
	}
}

/**
 * dsm_end - a region is over: nothing is under way any more that could be ended here
 * @r: region with @over set
 *
 * Process context.
 */
void dsm_end(struct dsm_region *r)
{
	struct dsm_dir *dir;
	struct dsm_page *pg;
	struct dsm_req *req;
	struct dsm_op *op;
	struct pd_txn *x;
	u32 i;

	for (i = 0; i < r->pages; i++) {
		pg = dsm_page(r, i);
		if (!pg) {
			i |= DSM_CHUNK - 1;
			continue;
		}
		dir = dsm_dir(r, i);
		spin_lock_bh(dsm_lock(r, i));
		op = dsm_op_take(pg);
		req = pg->req;
		pg->req = NULL;
		pg->todo = 0;
		x = dir ? dir->now : NULL;
		if (dir)
			dir->now = NULL;
		spin_unlock_bh(dsm_lock(r, i));
		if (op) {
			if (op->msg)
				dsm_refuse(op->msg, op->msg->type == PD_T_INV ? 0 : -ENODATA);
			dsm_op_free(op);
		}
		if (req) {
			req->status = -EIO;
			WRITE_ONCE(req->over, true);
			wake_up_all(&req->wait);
			dsm_req_put(req);
		}
		dsm_ended(x);
		if (!(i & 255))
			cond_resched();
	}
}

/* ----------------------------------------------------------- init and exit */

static const struct popcorn_msg_ops ops[] = {
	[PD_T_ASK - PD_T_ASK] = { "dsm_ask", handle },
	[PD_T_FWD - PD_T_ASK] = { "dsm_fwd", handle },
	[PD_T_FETCH - PD_T_ASK] = { "dsm_fetch", handle },
	[PD_T_INV - PD_T_ASK] = { "dsm_inv", handle },
	[PD_T_DATA - PD_T_ASK] = { "dsm_data", handle },
	[PD_T_DONE - PD_T_ASK] = { "dsm_done", handle },
	[PD_T_NODATA - PD_T_ASK] = { "dsm_nodata", handle },
	[PD_T_PUT - PD_T_ASK] = { "dsm_put", handle },
	[PD_T_ATTACH - PD_T_ASK] = { "dsm_attach", dsm_attach_msg },
	[PD_T_DETACH - PD_T_ASK] = { "dsm_detach", dsm_detach_msg },
	[PD_T_LOCK - PD_T_ASK] = { "dsm_lock", handle },
	[PD_T_UNLOCK - PD_T_ASK] = { "dsm_unlock", handle },
	[PD_T_BARRIER - PD_T_ASK] = { "dsm_barrier", handle },
	[PD_T_TREE - PD_T_ASK] = { "dsm_tree", handle },
};

int dsm_msg_init(void)
{
	u32 i;
	int e;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		e = popcorn_msg_register(PD_T_ASK + i, &ops[i]);
		if (e) {
			while (i--)
				popcorn_msg_unregister(PD_T_ASK + i);
			return e;
		}
	}
	return 0;
}

void dsm_msg_exit(void)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		popcorn_msg_unregister(PD_T_ASK + i);
}
