// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What a node of user mode asks the home for, a page that a thread needs or several ahead
 * of need, and that it has got them.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "dsm.h"

/* ---------------------------------------------------------------------- done */

/* Under @r's done_lock. */
static void done_add(struct dsm_region *r, u32 page, u32 req, u8 flags)
{
	struct dsm_page *dp = &r->page[page];

	dp->done_req = req;
	dp->done_flags = flags;
	if (dp->unsaid)
		return;		/* by a home that answers twice */
	dp->unsaid = true;
	dp->done_next = r->undone;
	r->undone = page + 1;
	atomic_fetch_add(&r->unsaid, 1);
}

/**
 * dsm_done() - PD_SEND_DONE: is sent with others, after who waits for the page
 * @r:     region
 * @page:  page, its lock held
 * @req:   the request that is over
 * @flags: PD_F_FAIL or 0
 */
void dsm_done(struct dsm_region *r, u32 page, u32 req, u8 flags)
{
	ue_lock(&r->done_lock);
	done_add(r, page, req, flags);
	ue_unlock(&r->done_lock);
	dsm_due(r, 0);
}

/* Does a page's fit before what @m says? Most often: that came next. */
static bool joins(struct pd_msg *m, u32 page, const struct dsm_page *dp)
{
	if (m->flags != dp->done_flags || m->pages == PD_BATCH ||
	    le32_to_cpu(m->page) != page + 1 || le32_to_cpu(m->req) != dp->done_req + 1)
		return false;
	m->page = cpu_to_le32(page);
	m->req = cpu_to_le32(dp->done_req);
	m->pages++;
	return true;
}

/* What is to be sent now, in at most DSM_DONES of @m. Return: how many. */
static u32 done_take(struct dsm_region *r, struct pd_msg *m)
{
	struct dsm_page *dp;
	u32 n = 0, page;

	if (!atomic_load_explicit(&r->unsaid, memory_order_relaxed))
		return 0;
	ue_lock(&r->done_lock);
	for (; r->undone; r->undone = dp->done_next) {
		page = r->undone - 1;
		dp = &r->page[page];
		if (!n || !joins(&m[n - 1], page, dp)) {
			if (n == DSM_DONES)
				break;
			dsm_msg_fill(r, &m[n++], page, dp->done_req, 0, dp->done_flags);
		}
		dp->unsaid = false;
	}
	ue_unlock(&r->done_lock);
	return n;
}

/* They were sent, or (@e) are to be tried again, unless the home is dead. */
static void done_sent(struct dsm_region *r, const struct pd_msg *m, u32 n, int e)
{
	u32 i, page;

	if (!n)
		return;
	ue_lock(&r->done_lock);
	for (; n; n--, m++) {
		page = le32_to_cpu(m->page);
		for (i = m->pages; i-- && e == -EAGAIN;)
			done_add(r, page + i, le32_to_cpu(m->req) + i, m->flags);
		atomic_fetch_sub(&r->unsaid, m->pages);
	}
	ue_unlock(&r->done_lock);
	if (e == -EAGAIN)
		dsm_due(r, dsm_now() + DSM_RETRY_NS);
}

/* Sends what no ASK has taken along. No lock held. */
void dsm_done_send(struct dsm_region *r)
{
	struct pd_msg m[DSM_DONES];
	u32 n;
	int e = 0;

	while (e != -EAGAIN && (n = done_take(r, m))) {
		e = popcorn_send(r->d->n, r->c.home, PW_SYNC, PD_T_DONE, m, n * sizeof(*m),
				 POPCORN_NOWAIT);
		done_sent(r, m, n, e);
	}
}

/* -------------------------------------------------------------------- asking */

static struct dsm_ask *ask_get(struct dsm_region *r, u32 page, u32 req, bool ahead)
{
	struct dsm *d = r->d;
	struct dsm_ask **list = ahead ? &d->ahead_free : &d->ask_free, *k;
	struct popcorn_frame *f = popcorn_frame_alloc(d->n);

	ue_lock(&d->ask_lock);
	k = f ? *list : NULL;
	if (k)
		*list = k->next;
	ue_unlock(&d->ask_lock);
	if (!k) {
		popcorn_frame_free(d->n, f);
		return NULL;
	}
	k->a.frame = f;
	k->r = r;
	k->page = page;
	k->req = req;
	atomic_fetch_add(&r->refs, 1);
	atomic_fetch_add(ahead ? &d->aheads : &d->asks, 1);
	return k;
}

static void ask_put(struct dsm_ask *k)
{
	struct dsm_region *r = k->r;
	struct dsm *d = r->d;
	struct dsm_ask **list = k->ahead ? &d->ahead_free : &d->ask_free;

	popcorn_frame_free(d->n, k->a.frame);
	atomic_fetch_sub(k->ahead ? &d->aheads : &d->asks, 1);
	ue_lock(&d->ask_lock);
	k->next = *list;
	*list = k;
	ue_unlock(&d->ask_lock);
	dsm_region_put(r);
}

/* The answer to an ASK. @data: NULL if none came with it. */
static void granted(struct dsm_ask *k, int status, const void *data)
{
	struct dsm_region *r = k->r;
	struct dsm_run run;

	dsm_begin(&run, r, k->page);
	if (data && run.p->want && run.p->req == k->req && run.p->state == PD_I)
		dsm_page_in(r, k->page, data, r->c.home);
	run.quiet = run.p->flags & PD_P_AHEAD;
	pd_granted(&r->c, run.p, k->req, status, data, dsm_now(), &run.out);
	dsm_end(&run);
}

static void asked(struct popcorn_done *done)
{
	struct dsm_ask *k = container_of(done, struct dsm_ask, a.done);
	int status = done->status;

	if (status == -ESTALE)
		dsm_region_end(k->r, NULL);
	/* The home's death is an event of its own: nothing is granted any more. */
	if (status != -EHOSTDOWN && status != -ESHUTDOWN && status != -ESTALE)
		granted(k, status == -EXDEV ? 0 : status, status ? NULL : k->a.frame->data);
	if (k->ahead && (!status || status == -EXDEV))
		dsm_count(&k->r->stat.ahead);
	ask_put(k);
}

/* Asks the home, elsewhere. */
static void ask_remote(struct dsm_run *run, u32 req, u8 flags)
{
	struct dsm_region *r = run->r;
	struct dsm_ask *k = ask_get(r, run->page, req, false);
	struct pd_msg m[1 + DSM_DONES];
	int e = -EAGAIN;
	u32 dones;

	r->page[run->page].ask_flags = flags;
	if (k) {
		k->a.done.fn = asked;
		dsm_msg_fill(r, &m[0], run->page, req, 0, flags);
		dones = done_take(r, m + 1);
		e = popcorn_request_async(r->d->n, r->c.home, PW_SYNC, PD_T_ASK, m,
					  (1 + dones) * sizeof(*m), NULL, 0, DSM_FOREVER,
					  POPCORN_NOWAIT, &k->a);
		done_sent(r, m + 1, dones, e);
	}
	if (e && k)
		ask_put(k);
	if (e == -EAGAIN)
		dsm_retry(r, run->page, DSM_TODO_ASK);
}

/* The home asks itself. */
static void ask_home(struct dsm_run *run, u32 req, u8 flags)
{
	struct dsm_region *r = run->r;
	struct dsm_txn *x = dsm_txn_get(r, run->page);
	struct pd_home h = dsm_home_of(r, run->page);

	r->page[run->page].ask_flags = flags;
	if (!x) {
		dsm_retry(r, run->page, DSM_TODO_ASK);
		return;
	}
	x->x = (struct pd_txn){ .node = r->c.self, .req = req, .flags = flags };
	pd_home_ask(&r->c, &h, &x->x, &run->out);
}

/**
 * dsm_ask() - PD_SEND_ASK
 * @run:  page, its lock held
 * @req:  the request's number
 * @flags: PD_F_*
 */
void dsm_ask(struct dsm_run *run, u32 req, u8 flags)
{
	if (dsm_is_home(run->r))
		ask_home(run, req, flags);
	else
		ask_remote(run, req, flags);
}

/* ------------------------------------------------------------- ahead of need */

/* The home's own come one by one, from where they are. */
static void ahead_home(struct dsm_region *r, u32 page, bool write)
{
	struct dsm_run run;

	dsm_begin(&run, r, page);
	dsm_first(&run);
	if (!r->suspended && !r->dead && (!write || run.p->state == PD_S))
		pd_ahead(&r->c, run.p, write, &run.out);
	dsm_end(&run);
}

/* To be asked for as number @req? Return: what keeps its answer, or NULL. */
static struct dsm_ask *ahead_one(struct dsm_region *r, u32 page, u32 req, bool write)
{
	struct pd_page *p = &r->page[page].p;
	struct dsm_ask *k = NULL;
	struct dsm_run run;
	bool asks;

	if (__atomic_load_n(&p->state, __ATOMIC_RELAXED) < (write ? PD_M : PD_S))
		k = ask_get(r, page, req, true);
	if (!k)
		return NULL;
	dsm_begin(&run, r, page);
	asks = !r->suspended && !r->dead && pd_number(run.p, req) &&
		!pd_ahead(&r->c, run.p, write, &run.out);
	k->flags = run.out.a[0].flags;
	run.out.n = 0;		/* it is said for all of them together */
	dsm_end(&run);
	if (asks)
		return k;
	ask_put(k);
	return NULL;
}

static void ahead_send(struct dsm_region *r, struct dsm_ask **k, u32 n)
{
	struct popcorn_async *a[PD_BATCH];
	struct pd_msg m[1 + DSM_DONES];
	u32 i, dones, page;
	int e;

	if (!n)
		return;
	page = k[0]->page;
	for (i = 0; i < n; i++) {
		a[i] = &k[i]->a;
		a[i]->done.fn = asked;
	}
	dsm_msg_fill(r, &m[0], page, k[0]->req, 0, k[0]->flags);
	m[0].pages = n;
	dones = done_take(r, m + 1);
	e = popcorn_request_pages(r->d->n, r->c.home, PW_BULK, PD_T_ASK, m,
				  (1 + dones) * sizeof(*m), DSM_FOREVER, POPCORN_NOWAIT, a, n);
	done_sent(r, m + 1, dones, e);
	/* Memory for all at once, while they are on their way. */
	if (!e && !__atomic_load_n(&r->page[page].backed, __ATOMIC_RELAXED))
		madvise(dsm_alias(r, page), (size_t)n << UE_PAGE_SHIFT, MADV_POPULATE_WRITE);
	/* Not now: who waits for one of them asks again. */
	for (i = 0; e && i < n; i++) {
		granted(k[i], -EAGAIN, NULL);
		ask_put(k[i]);
	}
}

/**
 * dsm_page_ahead() - fetch pages before they are needed, as far as they are idle
 * @r:    region
 * @page: the first one
 * @n:    how many
 * @write: to write; at the home: pages of which it has a copy
 *
 * No lock held; waits for nothing.
 */
void dsm_page_ahead(struct dsm_region *r, u32 page, u32 n, bool write)
{
	struct dsm_ask *k[PD_BATCH], *next;
	u32 req = 0, have = 0;

	for (; n && page < r->pages; n--, page++) {
		if (dsm_is_home(r)) {
			ahead_home(r, page, write);
			continue;
		}
		if (have == PD_BATCH) {
			ahead_send(r, k, have);
			have = 0;
		}
		/* Numbers count on from a round one, which fits pages that were asked for less often. */
		if (!have)
			req = (__atomic_load_n(&r->page[page].p.req, __ATOMIC_RELAXED) | 255) + 1;
		next = ahead_one(r, page, req + have, write);
		/* Pages, and rights to pages that are here, are asked for each with their own. */
		if (have && (!next || next->flags != k[0]->flags)) {
			ahead_send(r, k, have);
			have = 0;
		}
		if (next)
			k[have++] = next;
	}
	ahead_send(r, k, have);
}

/**
 * dsm_page_need() - fetch all of some pages, as dsm_page_ahead()
 * @r:    region
 * @page: the first one
 * @n:    how many, however many
 * @write: to write
 *
 * No lock held; waits for room to ask, not for the last pages.
 */
void dsm_page_need(struct dsm_region *r, u32 page, u32 n, bool write)
{
	struct dsm *d = r->d;
	u32 some;

	for (; n && !r->dead; n -= some, page += some) {
		some = n < PD_BATCH ? n : PD_BATCH;
		while (atomic_load(&d->aheads) + some > DSM_AHEAD && !r->dead)
			if (dsm_step(d) <= 0)
				usleep(10);
		dsm_page_ahead(r, page, some, write);
	}
}
