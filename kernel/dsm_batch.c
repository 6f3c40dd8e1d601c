// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: requests for several pages that go in one message, ahead of need.
 */
#include <linux/slab.h>

#include "dsm.h"

#define GFP_AHEAD	(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY)

/* ------------------------------------------------------------- a requester */

/* Is the page here as @state says, and not on its way? Not for sure, without its lock. */
static bool is_just(const struct dsm_page *pg, u8 state)
{
	return pg && READ_ONCE(pg->p.state) == state && !READ_ONCE(pg->req);
}

/* The least number from which on none of the pages has had its own. */
static u32 number(struct dsm_region *r, u32 first, u32 n)
{
	u32 base = 0, i;

	for (i = 0; i < n; i++) {
		u32 least = READ_ONCE(dsm_page(r, first + i)->p.req) + 1 - i;

		if (!i || (s32)(least - base) > 0)
			base = least;
	}
	return base;
}

/* Begin the request for a page. Return: it is to be sent, and counted for its answer. */
static bool begin(struct dsm_region *r, struct dsm_req *req, u32 number, bool write)
{
	struct dsm_page *pg = dsm_page(r, req->index);
	struct pd_acts out DSM_UNINIT;
	bool ok;

	out.n = 0;
	spin_lock_bh(dsm_lock(r, req->index));
	ok = !r->over && !r->paused && !pg->req && pd_number(&pg->p, number) &&
	     !pd_ahead(&r->cfg, &pg->p, write, &out);
	if (ok) {
		req->req = out.a[0].req;
		req->flags = out.a[0].flags;
		pg->req = req;
		refcount_inc(&req->ref);
	}
	spin_unlock_bh(dsm_lock(r, req->index));
	return ok;
}

/* Pages from @first on, @n at most. Return: how many were asked for, or -errno. */
static int ask(struct dsm_region *r, u32 first, u32 n, bool write, bool wait)
{
	struct dsm_reqs *all = kzalloc(struct_size(all, req, n), GFP_AHEAD);
	u32 base = number(r, first, n), i, k;
	int e = 0;

	if (!all)
		return -ENOMEM;
	refcount_set(&all->ref, 1);
	for (i = 0; i < ARRAY_SIZE(all->group); i++)
		init_waitqueue_head(&all->group[i].wait);
	for (k = 0; k < n; k++) {
		struct dsm_req *req = &all->req[k];

		req->batch = all;
		refcount_inc(&all->ref);
		if (!dsm_req_init(req, r, first + k, wait ? GFP_KERNEL : GFP_AHEAD))
			e = -ENOMEM;
		if (e || !begin(r, req, base + k, write)) {
			dsm_req_put(req);
			break;
		}
	}
	atomic_set(&all->left, k);
	for (i = 0; i * DSM_GROUP < k; i++)
		atomic_set(&all->group[i].left, min(k - i * DSM_GROUP, (u32)DSM_GROUP));
	if (k) {
		atomic64_add(k, &r->stat.ahead);
		e = dsm_ask_send(r, all->req, k, wait ? 0 : POPCORN_NOWAIT);
		for (i = 0; e && i < k; i++)
			dsm_ask_over(&all->req[i], e == -EAGAIN || e == -EINTR ? -EAGAIN : e);
	}
	if (refcount_dec_and_test(&all->ref))
		kfree(all);
	return e ?: k;
}

/* The home's own: what others have is fetched one by one, or dropped there together. */
static int ahead_home(struct dsm_region *r, u32 first, u32 n, bool write, bool wait)
{
	struct dsm_invs invs DSM_UNINIT;
	int e = 0;

	invs.n = 0;
	for (; n && !e && !r->over; first++, n--) {
		if (write && !is_just(dsm_page(r, first), PD_S))
			continue;
		e = dsm_ahead(r, first, write, wait, write ? &invs : NULL);
		if (invs.n == PD_BATCH || (invs.n && invs.t[0]->index + PD_BATCH - 1 == first))
			dsm_invs_send(r, &invs);
	}
	dsm_invs_send(r, &invs);
	return e;
}

/**
 * dsm_ahead_pages - ask for pages before they are needed
 * @r:     region
 * @first: from that page on
 * @n:     how many; those that are here already, too
 * @write: to write; at the home: pages of which it has a copy
 * @wait:  for room to send, killable; for the pages nobody waits
 *
 * Process context. Return: 0: they are here, or come, or aren't to be had now; -EAGAIN: no
 * room; -EINTR; -ENOMEM.
 */
int dsm_ahead_pages(struct dsm_region *r, u32 first, u32 n, bool write, bool wait)
{
	u32 most = min_t(u32, PD_BATCH, r->node->pt.cfg.slots), run;
	struct dsm_page *pg;
	int e;
	u8 has;

	if (dsm_home(r))
		return ahead_home(r, first, n, write, wait);
	for (; n && !r->over; first += run, n -= run) {
		has = write && is_just(dsm_page(r, first), PD_S) ? PD_S : PD_I;
		for (run = 0; run < min(n, most); run++) {
			pg = dsm_page(r, first + run) ?: dsm_page_make(r, first + run);
			if (!pg)
				return -ENOMEM;
			if (!is_just(pg, has))
				break;
		}
		if (run < 2) {
			run = 1;
			e = dsm_ahead(r, first, write, wait, NULL);
		} else {
			e = ask(r, first, run, write, wait);
			run = e > 0 ? e : 1;
		}
		if (e < 0)
			return e;
	}
	return 0;
}

/* ----------------------------------------------------------------- the home */

/**
 * dsm_answers_add - a page of a message can be answered
 * @all:   what is to be answered so far
 * @msg:   ASK for several pages
 * @at:    which of them
 * @f:     page, or NULL
 * @d:     told when it has arrived; NULL with @f
 * @error: without @f: -EXDEV: the right alone; -EAGAIN
 *
 * Process context. It goes out with those next to it, by dsm_answers_send() at the latest.
 */
void dsm_answers_add(struct dsm_answers *all, struct popcorn_msg *msg, u32 at,
		     struct popcorn_frame *f, struct popcorn_done *d, int error)
{
	if (all->n && (all->msg != msg || all->first + all->n != at))
		dsm_answers_send(all);
	if (!all->n) {
		all->msg = msg;
		all->first = at;
	}
	all->f[all->n] = f;
	all->d[all->n] = d;
	all->error[all->n++] = error;
}

void dsm_answers_send(struct dsm_answers *all)
{
	if (all->n)
		popcorn_answer_some(all->msg, all->first, all->n, all->f, all->d, all->error);
	all->n = 0;
}

/* The pages of an ASK: each one's transaction answers it, or it isn't to be had now. */
static noinline_for_stack void asked(struct dsm_region *r, struct popcorn_msg *msg, u32 first,
				     struct dsm_txns *ts, struct dsm_answers *all,
				     struct dsm_invs *invs)
{
	u32 n = msg->pages, i;	/* after the last answer @msg is nobody's */
	struct dsm_run run DSM_UNINIT;

	dsm_run_init(&run, r);
	run.answers = all;
	run.invs = invs;
	for (i = 0; i < n; i++) {
		ts->txn[i].batch = ts;
		dsm_txn_init(&ts->txn[i], r, first + i, msg);
		dsm_run_page(&run, dsm_page(r, first + i), first + i);
		if (dsm_run_ask(&run, &ts->txn[i], DSM_NOWAIT))
			dsm_answers_add(all, msg, i, NULL, NULL, -EAGAIN);
	}
}

/**
 * dsm_batch_msg - ASK for several pages, at the home
 * @r:     region
 * @msg:   the ASK
 * @first: first page; all of them are the region's
 * @may_sleep: for memory
 *
 * Process context. What can be answered at once goes out together.
 */
void dsm_batch_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 first, bool may_sleep)
{
	bool write = ((const struct pd_msg *)msg->data)->flags & PD_F_WRITE;
	struct dsm_answers all DSM_UNINIT;
	struct dsm_invs invs DSM_UNINIT;
	u32 n = msg->pages, i;
	struct dsm_txns *ts;

	for (i = first; i < first + n; i++) {
		if (dsm_page(r, i) || (may_sleep && dsm_page_make(r, i)))
			continue;
		if (may_sleep)
			dsm_refuse(msg, -ENOMEM);
		else
			dsm_to_slow(r, msg);
		return;
	}
	ts = kzalloc(struct_size(ts, txn, n), may_sleep ? GFP_AHEAD : DSM_NOWAIT);
	if (!ts) {
		dsm_refuse(msg, -EAGAIN);
		return;
	}
	refcount_set(&ts->ref, 1 + n);
	all.n = invs.n = 0;
	if (write)
		dsm_hide(r, first, ~0u >> (PD_BATCH - n));
	asked(r, msg, first, ts, &all, &invs);
	dsm_invs_send(r, &invs);
	dsm_answers_send(&all);
	if (refcount_dec_and_test(&ts->ref))
		kfree(ts);
}
