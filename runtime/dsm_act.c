// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What the core says is to be done with a page in user mode, carried out: messages sent,
 * mappings changed, and what those cause at the core in turn.
 */
#define _GNU_SOURCE
#include "dsm.h"

/* -------------------------------------------------------------- transactions */

static struct dsm_txn *txn(struct pd_txn *x)
{
	return (struct dsm_txn *)x;
}

/* For a request about @page at the home. Return: NULL: none is free now. */
struct dsm_txn *dsm_txn_get(struct dsm_region *r, u32 page)
{
	struct dsm_txn *x;

	ue_lock(&r->txn_lock);
	x = r->txn_free;
	if (x)
		r->txn_free = x->next;
	ue_unlock(&r->txn_lock);
	if (!x)
		return NULL;
	x->page = page;
	x->give = NULL;
	x->ended = false;
	x->todo = 0;
	return x;
}

/* Back to the free list once the core and all messages are done with it. Page lock held. */
static void txn_put(struct dsm_txn *x)
{
	struct dsm_region *r = x->r;

	if (!x->ended || x->calls)
		return;
	ue_lock(&r->txn_lock);
	x->next = r->txn_free;
	r->txn_free = x;
	ue_unlock(&r->txn_lock);
}

/* A page of an ASK is answered: by @data, or by @error. Page lock held. */
static void answer(struct dsm_txn *x, struct popcorn_msg *m, u32 page, const void *data, int error)
{
	struct popcorn_done *none = NULL;

	if (x && x->give)
		*x->give = (struct dsm_answer){ .known = true, .page = data, .error = error };
	else if (m->pages > 1)
		popcorn_answer_some(m, page - le32_to_cpu(((const struct pd_msg *)m->data)->page),
				    1, &data, &none, &error);
	else if (data)
		popcorn_answer_page(m, data, NULL);
	else
		popcorn_answer(m, error, NULL, 0);
}

/* The core has ended them. Page lock held. */
void dsm_txns_ended(struct pd_txn *x)
{
	struct pd_txn *next;

	for (; x; x = next) {
		next = x->next;
		if (x->cookie)
			answer(txn(x), x->cookie, txn(x)->page, NULL, -ESTALE);
		x->cookie = NULL;
		txn(x)->ended = true;
		txn_put(txn(x));
	}
}

/* ------------------------------------------------- what the home asks of others */

static struct dsm_call *call_of(struct popcorn_done *done)
{
	return container_of(done, struct dsm_call, a.done);
}

/* An answer has come. Return: whether its transaction is still under way. */
static bool call_begin(struct dsm_run *run, const struct dsm_call *c, struct pd_home *h)
{
	struct dsm_txn *x = c->x;

	dsm_begin(run, x->r, x->page);
	*h = dsm_home_of(x->r, x->page);
	return !x->ended && *h->now == &x->x;
}

static void call_end(struct dsm_run *run, struct dsm_call *c)
{
	dsm_act(run);
	c->x->calls--;
	txn_put(c->x);
	dsm_end(run);
	dsm_region_put(run->r);
}

static void inv_done(struct popcorn_done *done)
{
	struct dsm_call *c = call_of(done);
	struct dsm_run run;
	struct pd_home h;

	if (call_begin(&run, c, &h) && !done->status)
		dsm_txns_ended(pd_home_ack(&run.r->c, &h, c->node, &run.out));
	call_end(&run, c);
}

static void fwd_done(struct popcorn_done *done)
{
	struct dsm_call *c = call_of(done);
	struct popcorn_frame *f = c->a.frame;
	int status = done->status;
	struct dsm_run run;
	struct pd_home h;

	if (call_begin(&run, c, &h) && status != -EHOSTDOWN && status != -ESHUTDOWN) {
		if (!status && f && !pd_data(&run.r->c, run.p, c->x->x.req, dsm_now(), &run.out))
			dsm_page_in(run.r, run.page, f->data, c->node);
		dsm_take(&run);
		dsm_txns_ended(pd_home_sent(&run.r->c, &h, c->node, status ? -ENODATA : 0,
					    &run.out));
	}
	if (!status)
		popcorn_frame_free(run.r->d->n, f);
	call_end(&run, c);
}

/* Return: whether it is to be tried again. */
static bool call(struct dsm_txn *x, struct dsm_call *c, u16 to, u16 type,
		 void (*fn)(struct popcorn_done *), u8 flags)
{
	struct dsm_region *r = x->r;
	struct dsm *d = r->d;
	struct pd_msg m;
	int e;

	c->x = x;
	c->node = to;
	c->a.done.fn = fn;
	c->a.frame = NULL;
	if (type == PD_T_FETCH) {
		c->a.frame = popcorn_frame_alloc(d->n);
		if (!c->a.frame)
			return true;
	}
	dsm_msg_fill(r, &m, x->page, x->x.req, x->x.node, flags);
	atomic_fetch_add(&r->refs, 1);
	x->calls++;
	e = popcorn_request_async(d->n, to, type == PD_T_FETCH ? PW_SYNC : PW_URGENT, type, &m,
				  sizeof(m), NULL, 0, DSM_FOREVER, POPCORN_NOWAIT, &c->a);
	if (!e)
		return false;
	popcorn_frame_free(d->n, c->a.frame);
	x->calls--;
	atomic_fetch_sub(&r->refs, 1);
	return e == -EAGAIN;
}

static void send_inv(struct dsm_region *r, u32 page)
{
	struct dsm_txn *x = txn(r->now[page]);
	u64 left = x->todo;
	u16 to;

	x->todo = 0;
	for (; left; left &= left - 1) {
		to = __builtin_ctzll(left);
		if (call(x, &x->inv[to], to, PD_T_INV, inv_done, 0))
			x->todo |= 1ull << to;
	}
	if (x->todo)
		dsm_retry(r, page, DSM_TODO_INV);
}

static void send_fwd(struct dsm_region *r, u32 page)
{
	struct dsm_txn *x = txn(r->now[page]);
	u16 type = x->x.node == r->c.home ? PD_T_FETCH : PD_T_FWD;

	if (call(x, &x->fwd, x->x.from, type, fwd_done, x->x.flags & PD_F_WRITE))
		dsm_retry(r, page, DSM_TODO_FWD);
}

/* ---------------------------------------------- what the home asks of this node */

/* Serves the page's INV, FWD or FETCH, now or again. Page lock held. */
static void serve(struct dsm_run *run)
{
	struct dsm_page *dp = &run->r->page[run->page];
	struct pd_cfg *c = &run->r->c;

	if (dp->serves == PD_T_INV)
		pd_inv(c, run->p, dsm_now(), &run->out);
	else
		pd_fwd(c, run->p, dp->fwd_node, dp->fwd_req, dp->fwd_flags, dsm_now(), &run->out);
	if (!run->out.n || run->out.a[0].what != PD_DO_DEFER)
		dp->todo &= ~DSM_TODO_LATER;
}

/**
 * dsm_serve() - INV, FWD or FETCH has come for a page
 * @run:  page, its lock held
 * @type: which
 * @msg:  NULL if it comes from this node
 * @node: for whom
 * @req:  that node's number
 * @flags: PD_F_WRITE or 0
 */
void dsm_serve(struct dsm_run *run, u8 type, struct popcorn_msg *msg, u16 node, u32 req, u8 flags)
{
	struct dsm_page *dp = &run->r->page[run->page];

	/* The home has one at a time; of one that doesn't, the second gets an error. */
	if (dp->serves) {
		if (msg)
			popcorn_answer(msg, -EBUSY, NULL, 0);
		return;
	}
	dp->serves = type;
	dp->msg = msg;
	dp->fwd_node = node;
	dp->fwd_req = req;
	dp->fwd_flags = flags;
	serve(run);
}

static void served(struct dsm_page *dp, int status)
{
	if (dp->msg)
		popcorn_answer(dp->msg, status, NULL, 0);
	dp->msg = NULL;
	dp->serves = 0;
}

/* Three hops: to who isn't the home, from who isn't, either. */
static void send_data(struct dsm_region *r, u32 page)
{
	struct dsm_page *dp = &r->page[page];
	struct {
		struct pd_msg m;
		u8 data[UE_PAGE];
	} b;

	dsm_msg_fill(r, &b.m, page, dp->to_req, 0, 0);
	memcpy(b.data, dsm_alias(r, page), UE_PAGE);
	if (popcorn_send(r->d->n, dp->to, PW_SYNC, PD_T_DATA, &b, sizeof(b), POPCORN_NOWAIT) ==
	    -EAGAIN)
		dsm_retry(r, page, DSM_TODO_DATA);
}

/* ------------------------------------------------------------------- actions */

static void do_data(struct dsm_region *r, u32 page, const struct pd_act *a)
{
	struct dsm_page *dp = &r->page[page];
	struct pd_txn *x;

	dsm_count(&r->stat.supplied);
	if (dsm_is_home(r)) {
		x = r->now[page];
		if (x && x->node == a->to && x->req == a->req && x->cookie) {
			answer(txn(x), x->cookie, page, dsm_alias(r, page), 0);
			x->cookie = NULL;
		}
	} else if (a->to == r->c.home) {
		if (dp->serves == PD_T_FETCH && dp->msg)
			popcorn_answer_page(dp->msg, dsm_alias(r, page), NULL);
		dp->msg = NULL;
	} else {
		dp->to = a->to;
		dp->to_req = a->req;
		send_data(r, page);
	}
}

static void do_grant(struct dsm_run *run, const struct pd_act *a)
{
	struct dsm_region *r = run->r;
	struct pd_txn *x = r->now[run->page];

	if (a->to == r->c.self) {
		pd_granted(&r->c, run->p, a->req, a->status, false, dsm_now(), &run->out);
		return;
	}
	if (!a->cookie)
		return;
	if (!x || x->cookie != a->cookie)
		x = NULL;
	answer(x ? txn(x) : NULL, a->cookie, run->page, NULL, a->status ?: -EXDEV);
	if (x)
		x->cookie = NULL;
}

static void do_inv(struct dsm_run *run, const struct pd_act *a)
{
	struct dsm_region *r = run->r;
	u64 self = 1ull << r->c.self;

	txn(r->now[run->page])->todo |= a->mask & ~self;
	send_inv(r, run->page);
	if (a->mask & self)
		dsm_serve(run, PD_T_INV, NULL, 0, 0, 0);
}

static void do_fwd(struct dsm_run *run, const struct pd_act *a)
{
	if (a->to == run->r->c.self)
		dsm_serve(run, PD_T_FWD, NULL, a->node, a->req, a->flags);
	else
		send_fwd(run->r, run->page);
}

/* The INV was served, or the FWD or FETCH. */
static void do_ack(struct dsm_run *run)
{
	struct dsm_region *r = run->r;
	struct pd_home h = dsm_home_of(r, run->page);

	served(&r->page[run->page], 0);
	dsm_count(&r->stat.invalidated);
	if (dsm_is_home(r))
		dsm_txns_ended(pd_home_ack(&r->c, &h, r->c.self, &run->out));
}

static void do_sent(struct dsm_run *run, int status)
{
	struct dsm_region *r = run->r;
	struct pd_home h = dsm_home_of(r, run->page);

	served(&r->page[run->page], status);
	if (dsm_is_home(r))
		dsm_txns_ended(pd_home_sent(&r->c, &h, r->c.self, status, &run->out));
}

static void do_done(struct dsm_run *run, u32 req, u8 flags)
{
	struct dsm_region *r = run->r;
	struct pd_home h = dsm_home_of(r, run->page);

	if (dsm_is_home(r))
		dsm_txns_ended(pd_home_done(&r->c, &h, r->c.self, req, flags, &run->out));
	else
		dsm_done(r, run->page, req, flags);
}

static void do_nodata(struct dsm_run *run, const struct pd_act *a)
{
	struct dsm_region *r = run->r;
	struct dsm_page *dp = &r->page[run->page];

	if (a->to == r->c.self) {
		pd_nodata(&r->c, run->p, a->req, &run->out);
	} else if (dsm_tell(r, a->to, PD_T_NODATA, run->page, a->req, 0)) {
		dp->to = a->to;
		dp->to_req = a->req;
		dsm_retry(r, run->page, DSM_TODO_NODATA);
	}
}

static void do_wake(struct dsm_region *r, u32 page)
{
	dsm_map_page(r, page, false);
	dsm_prof(r, page, DSM_PROF_HERE, 0);
	atomic_fetch_add(&r->seq[dsm_bucket(page)], 1);
	if (atomic_load(&r->sleepers))
		ue_futex_wake(&r->seq[dsm_bucket(page)], false);
}

/* The mapping is what the core wanted. */
static void unmapped(struct dsm_run *run)
{
	pd_unmapped(&run->r->c, run->p, &run->out);
	/* PD_DO_WAKE, the last: nobody saw it change and waits for that, its lock was held. */
	run->out.n--;
}

/* Was it asked for ahead of need, for others only? Then look less far ahead. */
static void taken_unused(const struct dsm_page *dp, struct dsm_region *r, u8 shown)
{
	if (dp->p.since || dp->mapped >= shown)
		return;
	ue_lock(&r->stream_lock);
	pd_stream_unused(&r->stream, dp - r->page);
	pd_stream_unused(&r->writes, dp - r->page);
	ue_unlock(&r->stream_lock);
}

static void act(struct dsm_run *run, const struct pd_act *a)
{
	struct dsm_region *r = run->r;
	u32 page = run->page;
	struct dsm_page *dp = &r->page[page];

	switch (a->what) {
	case PD_SEND_ASK:
		dsm_ask(run, a->req, a->flags);
		break;
	case PD_SEND_FWD:
		do_fwd(run, a);
		break;
	case PD_SEND_INV:
		do_inv(run, a);
		break;
	case PD_SEND_GRANT:
		do_grant(run, a);
		break;
	case PD_SEND_DATA:
		do_data(r, page, a);
		break;
	case PD_SEND_ACK:
		do_ack(run);
		break;
	case PD_SEND_SENT:
		do_sent(run, a->status);
		break;
	case PD_SEND_DONE:
		do_done(run, a->req, a->flags);
		break;
	case PD_SEND_NODATA:
		do_nodata(run, a);
		break;
	case PD_SEND_PUT:
		if (dsm_tell(r, r->c.home, PD_T_PUT, page, 0, 0))
			dsm_retry(r, page, DSM_TODO_PUT);
		break;
	case PD_DO_UNMAP:
		taken_unused(dp, r, DSM_READ);
		dsm_map_none(r, page);
		dsm_prof(r, page, DSM_PROF_GONE, 0);
		unmapped(run);
		break;
	case PD_DO_PROTECT:
		taken_unused(dp, r, DSM_WRITE);
		dsm_map_clean(r, page);
		dsm_prof(r, page, DSM_PROF_SHARED, 0);
		unmapped(run);
		break;
	case PD_DO_FREE:
		/* The memfd's page stays: its bytes may still be on their way. */
		break;
	case PD_DO_WAKE:
		if (!run->quiet)
			do_wake(r, page);
		break;
	case PD_DO_DEFER:
		if (dp->msg)
			popcorn_msg_keep(dp->msg);
		dp->until = a->until;
		dsm_later(r, page, DSM_TODO_LATER, a->until);
		break;
	}
}

/**
 * dsm_take() - queue what the core has returned, for dsm_act()
 * @run: page, its lock held
 *
 * Long chains end at other nodes, and a home's own page has one request at most: there is
 * room for all.
 */
void dsm_take(struct dsm_run *run)
{
	u32 i;

	for (i = 0; i < run->out.n && run->n < DSM_ACTS; i++)
		run->a[run->n++] = run->out.a[i];
	run->out.n = 0;
}

/* Do all that the core has said, and what follows from that. Page lock held. */
void dsm_act(struct dsm_run *run)
{
	for (dsm_take(run); run->at < run->n; dsm_take(run))
		act(run, &run->a[run->at++]);
}

/**
 * dsm_act_again() - what could not be done when the core said it
 * @run:  page, its lock held
 * @todo: DSM_TODO_*
 * @now:  ns
 */
void dsm_act_again(struct dsm_run *run, u8 todo, u64 now)
{
	struct dsm_region *r = run->r;
	u32 page = run->page;
	struct dsm_page *dp = &r->page[page];

	if (todo & DSM_TODO_DATA)
		send_data(r, page);
	if ((todo & DSM_TODO_PUT) && dsm_tell(r, r->c.home, PD_T_PUT, page, 0, 0))
		dsm_retry(r, page, DSM_TODO_PUT);
	if ((todo & DSM_TODO_NODATA) && dsm_tell(r, dp->to, PD_T_NODATA, page, dp->to_req, 0))
		dsm_retry(r, page, DSM_TODO_NODATA);
	if ((todo & DSM_TODO_INV) && r->now[page])
		send_inv(r, page);
	if ((todo & DSM_TODO_FWD) && r->now[page])
		send_fwd(r, page);
	if (!(dp->todo & DSM_TODO_LATER))
		return;
	if (dp->until <= now)
		serve(run);
	else
		dsm_later(r, page, DSM_TODO_LATER, dp->until);
}
