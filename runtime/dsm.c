// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A page in user mode: the core's actions are carried out, and messages about pages
 * are brought to the core.
 */
#define _GNU_SOURCE
#include <time.h>

#include "dsm.h"

#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

#define AHEAD_FIRST	4	/* pages fetched ahead when a stream is seen first */
#define RETRY_NS	20000	/* until what could not be sent is tried again */

/* Actions to be carried out: what a call returns, and what follows from them. */
struct queue {
	u32 at;
	u32 n;
	struct pd_act a[8 * PD_ACTS];
};

/* Long chains end at other nodes; a home's own page has one request at most. */
static void add(struct queue *q, const struct pd_acts *out)
{
	u32 i;

	for (i = 0; i < out->n && q->n < sizeof(q->a) / sizeof(*q->a); i++)
		q->a[q->n++] = out->a[i];
}

u64 dsm_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void lock(struct dsm_region *r, u32 page)
{
	pthread_mutex_lock(&r->lock[dsm_bucket(page)]);
}

static void unlock(struct dsm_region *r, u32 page)
{
	pthread_mutex_unlock(&r->lock[dsm_bucket(page)]);
}

static void count(__u64 *what)
{
	__atomic_fetch_add(what, 1, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------- what is left to do */

/**
 * dsm_due() - something of a region is to be looked at again
 * @r:    region
 * @when: ns
 */
void dsm_due(struct dsm_region *r, u64 when)
{
	u64 was = atomic_load(&r->due);

	while (when < was && !atomic_compare_exchange_weak(&r->due, &was, when))
		;
	was = atomic_load(&r->d->due);
	while (when < was && !atomic_compare_exchange_weak(&r->d->due, &was, when))
		;
}

/* Page lock held. */
static void later(struct dsm_region *r, u32 page, u8 todo, u64 when)
{
	struct dsm_page *dp = &r->page[page];

	dp->todo |= todo;
	if (!dp->listed) {
		dp->listed = true;
		ue_lock(&r->work_lock);
		dp->next = r->work;
		r->work = page + 1;
		ue_unlock(&r->work_lock);
	}
	dsm_due(r, when);
}

static void retry(struct dsm_region *r, u32 page, u8 todo)
{
	later(r, page, todo, dsm_now() + RETRY_NS);
}

/* ----------------------------------------------------------------- messages */

void dsm_msg_fill(const struct dsm_region *r, struct pd_msg *m, u32 page, u32 req, u16 node,
		  u8 flags)
{
	*m = (struct pd_msg){
		.region = cpu_to_le32(r->id), .gen = cpu_to_le32(r->gen),
		.page = cpu_to_le32(page), .req = cpu_to_le32(req),
		.node = cpu_to_le16(node), .flags = flags, .pages = 1,
	};
}

/* Return: whether it is to be tried again; who is dead needs no message. */
static bool tell(struct dsm_region *r, u16 to, u16 type, u32 page, u32 req, u8 flags)
{
	struct pd_msg m;

	dsm_msg_fill(r, &m, page, req, 0, flags);
	return popcorn_send(r->d->n, to, PW_URGENT, type, &m, sizeof(m), POPCORN_NOWAIT) ==
	       -EAGAIN;
}

static void run(struct dsm_region *r, u32 page, struct queue *q);

static struct pd_home home_of(struct dsm_region *r, u32 page)
{
	return (struct pd_home){ .dir = &r->dir[page], .now = &r->now[page] };
}

static struct dsm_txn *txn(struct pd_txn *x)
{
	return (struct dsm_txn *)x;
}

static struct dsm_txn *txn_get(struct dsm_region *r, u32 page)
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
	x->ended = false;
	x->todo = 0;
	return x;
}

/* Back to the free list once the core and all messages are done with it. Page lock held. */
void dsm_txn_put(struct dsm_txn *x)
{
	struct dsm_region *r = x->r;

	if (!x->ended || x->calls)
		return;
	ue_lock(&r->txn_lock);
	x->next = r->txn_free;
	r->txn_free = x;
	ue_unlock(&r->txn_lock);
}

/* The core has ended them. */
static void txns_ended(struct pd_txn *x)
{
	struct pd_txn *next;

	for (; x; x = next) {
		next = x->next;
		if (x->cookie)
			popcorn_answer(x->cookie, -ESTALE, NULL, 0);
		x->cookie = NULL;
		txn(x)->ended = true;
		dsm_txn_put(txn(x));
	}
}

/* ----------------------------------------------------------------------- ask */

static struct dsm_ask *ask_get(struct dsm *d, bool ahead)
{
	struct dsm_ask **list = ahead ? &d->ahead_free : &d->ask_free, *k;

	ue_lock(&d->ask_lock);
	k = *list;
	if (k)
		*list = k->next;
	ue_unlock(&d->ask_lock);
	return k;
}

static void ask_put(struct dsm *d, struct dsm_ask *k)
{
	struct dsm_ask **list = k->ahead ? &d->ahead_free : &d->ask_free;

	ue_lock(&d->ask_lock);
	k->next = *list;
	*list = k;
	ue_unlock(&d->ask_lock);
}

static void page_in(struct dsm_region *r, u32 page, const void *data, u16 from)
{
	dsm_prof(r, page, DSM_PROF_DATA, from);
	memcpy(dsm_alias(r, page), data, UE_PAGE);
}

static void asked(struct popcorn_done *done)
{
	struct dsm_ask *k = container_of(done, struct dsm_ask, a.done);
	struct popcorn_frame *f = k->a.frame;
	struct dsm_region *r = k->r;
	struct dsm *d = r->d;
	struct dsm_page *dp = &r->page[k->page];
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	int status = done->status;
	bool data = !status;

	if (status == -EXDEV)
		status = 0;
	if (status == -ESTALE)
		dsm_region_end(r, NULL);
	/* The home's death is an event of its own: nothing is granted any more. */
	if (status == -EHOSTDOWN || status == -ESHUTDOWN || status == -ESTALE)
		goto out;
	lock(r, k->page);
	if (data && dp->p.want && dp->p.req == k->req && dp->p.state == PD_I)
		page_in(r, k->page, f->data, r->c.home);
	pd_granted(&r->c, &dp->p, k->req, status, data, dsm_now(), &out);
	add(&q, &out);
	run(r, k->page, &q);
	unlock(r, k->page);
	if (k->ahead && !status)
		count(&r->stat.ahead);
out:
	if (data)
		popcorn_frame_free(d->n, f);
	ask_put(d, k);
	atomic_fetch_sub(&d->asks, 1);
	dsm_region_put(r);
}

/* Asks the home, elsewhere. */
static void ask_remote(struct dsm_region *r, u32 page, u32 req, u8 flags)
{
	bool ahead = flags & PD_F_IDLE;
	struct dsm *d = r->d;
	struct dsm_ask *k = ask_get(d, ahead);
	struct pd_msg m;
	int e = -EAGAIN;

	r->page[page].ask_flags = flags;
	if (!k) {
		retry(r, page, DSM_TODO_ASK);
		return;
	}
	k->r = r;
	k->page = page;
	k->req = req;
	k->a.done.fn = asked;
	k->a.frame = popcorn_frame_alloc(d->n);
	dsm_msg_fill(r, &m, page, req, 0, flags);
	atomic_fetch_add(&r->refs, 1);
	atomic_fetch_add(&d->asks, 1);
	if (k->a.frame)
		e = popcorn_request_async(d->n, r->c.home, ahead ? PW_BULK : PW_SYNC, PD_T_ASK, &m,
					  sizeof(m), NULL, 0, DSM_FOREVER, POPCORN_NOWAIT, &k->a);
	if (!e)
		return;
	popcorn_frame_free(d->n, k->a.frame);
	ask_put(d, k);
	atomic_fetch_sub(&d->asks, 1);
	atomic_fetch_sub(&r->refs, 1);	/* the caller has one */
	if (e == -EAGAIN)
		retry(r, page, DSM_TODO_ASK);
}

/* The home asks itself. */
static void ask_home(struct dsm_region *r, u32 page, u32 req, u8 flags, struct queue *q)
{
	struct dsm_txn *x = txn_get(r, page);
	struct pd_home h = home_of(r, page);
	struct pd_acts out = { 0 };

	r->page[page].ask_flags = flags;
	if (!x) {
		retry(r, page, DSM_TODO_ASK);
		return;
	}
	x->x = (struct pd_txn){ .node = r->c.self, .req = req, .flags = flags };
	pd_home_ask(&r->c, &h, &x->x, &out);
	add(q, &out);
}

/* ------------------------------------------------- what the home asks of others */

static void call_over(struct dsm_call *c, struct queue *q)
{
	struct dsm_region *r = c->x->r;
	u32 page = c->x->page;

	run(r, page, q);
	c->x->calls--;
	dsm_txn_put(c->x);
	unlock(r, page);
	dsm_region_put(r);
}

static void inv_done(struct popcorn_done *done)
{
	struct dsm_call *c = container_of(done, struct dsm_call, a.done);
	struct dsm_txn *x = c->x;
	struct dsm_region *r = x->r;
	struct pd_home h = home_of(r, x->page);
	struct pd_acts out = { 0 };
	struct queue q = { 0 };

	lock(r, x->page);
	if (!x->ended && *h.now == &x->x && !done->status)
		txns_ended(pd_home_ack(&r->c, &h, c->node, &out));
	add(&q, &out);
	call_over(c, &q);
}

static void fwd_done(struct popcorn_done *done)
{
	struct dsm_call *c = container_of(done, struct dsm_call, a.done);
	struct dsm_txn *x = c->x;
	struct dsm_region *r = x->r;
	struct dsm_page *dp = &r->page[x->page];
	struct pd_home h = home_of(r, x->page);
	struct pd_acts out = { 0 }, then = { 0 };
	struct popcorn_frame *f = c->a.frame;
	struct queue q = { 0 };
	int status = done->status;

	lock(r, x->page);
	if (x->ended || *h.now != &x->x || status == -EHOSTDOWN || status == -ESHUTDOWN)
		goto out;
	if (!status && f && !pd_data(&r->c, &dp->p, x->x.req, dsm_now(), &out))
		page_in(r, x->page, f->data, c->node);
	txns_ended(pd_home_sent(&r->c, &h, c->node, status ? -ENODATA : 0, &then));
	add(&q, &out);
	add(&q, &then);
out:
	if (!status)
		popcorn_frame_free(r->d->n, f);
	call_over(c, &q);
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

static void send_inv(struct dsm_region *r, u32 page, struct dsm_txn *x)
{
	u64 left = x->todo;
	u16 to;

	x->todo = 0;
	for (; left; left &= left - 1) {
		to = __builtin_ctzll(left);
		if (call(x, &x->inv[to], to, PD_T_INV, inv_done, 0))
			x->todo |= 1ull << to;
	}
	if (x->todo)
		retry(r, page, DSM_TODO_INV);
}

static void send_fwd(struct dsm_region *r, u32 page, struct dsm_txn *x)
{
	u16 type = x->x.node == r->c.home ? PD_T_FETCH : PD_T_FWD;

	if (call(x, &x->fwd, x->x.from, type, fwd_done, x->x.flags & PD_F_WRITE))
		retry(r, page, DSM_TODO_FWD);
}

/* ---------------------------------------------- what the home asks of this node */

/* Serves the page's INV, FWD or FETCH, now or again. Page lock held. */
static void serve(struct dsm_region *r, u32 page, struct queue *q)
{
	struct dsm_page *dp = &r->page[page];
	struct pd_acts out = { 0 };

	if (dp->serves == PD_T_INV)
		pd_inv(&r->c, &dp->p, dsm_now(), &out);
	else
		pd_fwd(&r->c, &dp->p, dp->fwd_node, dp->fwd_req, dp->fwd_flags, dsm_now(), &out);
	if (!out.n || out.a[0].what != PD_DO_DEFER)
		dp->todo &= ~DSM_TODO_LATER;
	add(q, &out);
}

/* @msg: NULL if it comes from this node */
static void serve_new(struct dsm_region *r, u32 page, u8 type, struct popcorn_msg *msg, u16 node,
		      u32 req, u8 flags, struct queue *q)
{
	struct dsm_page *dp = &r->page[page];

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
	serve(r, page, q);
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
		retry(r, page, DSM_TODO_DATA);
}

static void do_data(struct dsm_region *r, u32 page, const struct pd_act *a)
{
	struct dsm_page *dp = &r->page[page];
	struct pd_txn *x;

	count(&r->stat.supplied);
	if (dsm_is_home(r)) {
		x = r->now[page];
		if (x && x->node == a->to && x->req == a->req && x->cookie) {
			popcorn_answer_page(x->cookie, dsm_alias(r, page), NULL);
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

/* ------------------------------------------------------------------- actions */

static void do_grant(struct dsm_region *r, u32 page, const struct pd_act *a, struct queue *q)
{
	struct pd_acts out = { 0 };
	struct pd_txn *x = r->now[page];

	if (a->to == r->c.self) {
		pd_granted(&r->c, &r->page[page].p, a->req, a->status, false, dsm_now(), &out);
		add(q, &out);
		return;
	}
	if (!a->cookie)
		return;
	if (x && x->cookie == a->cookie)
		x->cookie = NULL;
	popcorn_answer(a->cookie, a->status ?: -EXDEV, NULL, 0);
}

static void do_inv(struct dsm_region *r, u32 page, const struct pd_act *a, struct queue *q)
{
	u64 self = 1ull << r->c.self;
	struct dsm_txn *x = txn(r->now[page]);

	x->todo |= a->mask & ~self;
	send_inv(r, page, x);
	if (a->mask & self)
		serve_new(r, page, PD_T_INV, NULL, 0, 0, 0, q);
}

static void do_ack(struct dsm_region *r, u32 page, struct queue *q)
{
	struct pd_home h = home_of(r, page);
	struct pd_acts out = { 0 };

	served(&r->page[page], 0);
	count(&r->stat.invalidated);
	if (dsm_is_home(r))
		txns_ended(pd_home_ack(&r->c, &h, r->c.self, &out));
	add(q, &out);
}

static void do_sent(struct dsm_region *r, u32 page, int status, struct queue *q)
{
	struct pd_home h = home_of(r, page);
	struct pd_acts out = { 0 };

	served(&r->page[page], status);
	if (dsm_is_home(r))
		txns_ended(pd_home_sent(&r->c, &h, r->c.self, status, &out));
	add(q, &out);
}

static void do_done(struct dsm_region *r, u32 page, u32 req, u8 flags, struct queue *q)
{
	struct dsm_page *dp = &r->page[page];
	struct pd_home h = home_of(r, page);
	struct pd_acts out = { 0 };

	if (dsm_is_home(r)) {
		txns_ended(pd_home_done(&r->c, &h, r->c.self, req, flags, &out));
		add(q, &out);
	} else {
		/* Nobody waits for it here: after who waits for the page, and the next ASK. */
		dp->done_req = req;
		dp->done_flags = flags;
		later(r, page, DSM_TODO_DONE, 0);
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

static void act(struct dsm_region *r, u32 page, const struct pd_act *a, struct queue *q)
{
	struct dsm_page *dp = &r->page[page];
	struct pd_acts out = { 0 };

	switch (a->what) {
	case PD_SEND_ASK:
		if (dsm_is_home(r))
			ask_home(r, page, a->req, a->flags, q);
		else
			ask_remote(r, page, a->req, a->flags);
		return;
	case PD_SEND_FWD:
		if (a->to == r->c.self)
			serve_new(r, page, PD_T_FWD, NULL, a->node, a->req, a->flags, q);
		else
			send_fwd(r, page, txn(r->now[page]));
		return;
	case PD_SEND_INV:
		do_inv(r, page, a, q);
		return;
	case PD_SEND_GRANT:
		do_grant(r, page, a, q);
		return;
	case PD_SEND_DATA:
		do_data(r, page, a);
		return;
	case PD_SEND_ACK:
		do_ack(r, page, q);
		return;
	case PD_SEND_SENT:
		do_sent(r, page, a->status, q);
		return;
	case PD_SEND_DONE:
		do_done(r, page, a->req, a->flags, q);
		return;
	case PD_SEND_NODATA:
		if (a->to == r->c.self) {
			pd_nodata(&r->c, &dp->p, a->req, &out);
		} else if (tell(r, a->to, PD_T_NODATA, page, a->req, 0)) {
			dp->to = a->to;
			dp->to_req = a->req;
			retry(r, page, DSM_TODO_NODATA);
		}
		break;
	case PD_SEND_PUT:
		if (tell(r, r->c.home, PD_T_PUT, page, 0, 0))
			retry(r, page, DSM_TODO_PUT);
		return;
	case PD_DO_UNMAP:
		dsm_map_none(r, page);
		dsm_prof(r, page, DSM_PROF_GONE, 0);
		pd_unmapped(&r->c, &dp->p, &out);
		break;
	case PD_DO_PROTECT:
		dsm_map_clean(r, page);
		dsm_prof(r, page, DSM_PROF_SHARED, 0);
		pd_unmapped(&r->c, &dp->p, &out);
		break;
	case PD_DO_FREE:
		/* The memfd's page stays: its bytes may still be on their way. */
		break;
	case PD_DO_WAKE:
		do_wake(r, page);
		return;
	case PD_DO_DEFER:
		if (dp->msg)
			popcorn_msg_keep(dp->msg);
		dp->until = a->until;
		later(r, page, DSM_TODO_LATER, a->until);
		return;
	}
	add(q, &out);
}

/* Page lock held. */
static void run(struct dsm_region *r, u32 page, struct queue *q)
{
	while (q->at < q->n)
		act(r, page, &q->a[q->at++], q);
}

/* ------------------------------------------------------------ the page's events */

/* The home's first use of a page. */
static void first(struct dsm_region *r, u32 page)
{
	if (dsm_is_home(r) && r->dir[page].state == PD_I)
		pd_home_first(&r->c, &r->dir[page], &r->page[page].p);
}

/* A remote read fault: does it continue a stream? Return: pages to fetch ahead. */
static u32 stream(struct dsm_region *r, u32 page)
{
	u32 from = r->next_fault, ahead;

	if (r->advice == POPCORN_ADVISE_RANDOM)
		return 0;
	if (r->advice == POPCORN_ADVISE_SEQUENTIAL)
		r->window = DSM_AHEAD;
	else if (page != from)
		r->window = 0;
	else
		r->window = r->window ? r->window * 2 : AHEAD_FIRST;
	if (r->window > DSM_AHEAD)
		r->window = DSM_AHEAD;
	ahead = r->window;
	r->next_fault = page + 1 + ahead;
	return ahead;
}

/**
 * dsm_page_fault() - a thread needs a page
 * @r:     region
 * @page:  page
 * @write: to write
 * @stale: the mapping has nothing there, whatever was thought
 * @waits: a thread does; else it is fetched for the home, which takes it over
 *
 * Return: 0: it is mapped, -EINPROGRESS: it will be, -EIO: it is lost.
 */
int dsm_page_fault(struct dsm_region *r, u32 page, bool write, bool stale, bool waits)
{
	struct dsm_page *dp = &r->page[page];
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	u32 ahead = 0;
	int e;

	lock(r, page);
	if (r->suspended || r->dead) {
		unlock(r, page);
		return r->dead ? -EIO : -EINPROGRESS;
	}
	first(r, page);
	e = pd_fault(&r->c, &dp->p, write, &out);
	if (!e && waits) {
		dsm_map_page(r, page, stale);
		count(&r->stat.faults_local);
	} else if (out.n && waits) {
		count(!write ? &r->stat.faults_read : dp->p.state == PD_S ?
		      &r->stat.faults_upgrade : &r->stat.faults_write);
		if (!write)
			ahead = stream(r, page);
	}
	add(&q, &out);
	run(r, page, &q);
	unlock(r, page);
	if (ahead)
		dsm_page_ahead(r, page + 1, ahead);
	return e;
}

/* Fetch pages before they are needed, as far as they are idle. No lock held. */
void dsm_page_ahead(struct dsm_region *r, u32 page, u32 n)
{
	for (; n && page < r->pages; n--, page++) {
		struct pd_acts out = { 0 };
		struct queue q = { 0 };

		lock(r, page);
		first(r, page);
		if (!r->suspended && !r->dead)
			pd_ahead(&r->c, &r->page[page].p, &out);
		add(&q, &out);
		run(r, page, &q);
		unlock(r, page);
	}
}

/* Is there a copy, a request, or something still to be said of the page? */
bool dsm_page_busy(struct dsm_region *r, u32 page)
{
	struct dsm_page *dp = &r->page[page];
	bool busy;

	/* The state changes before what follows from it is sent: look when that has been. */
	lock(r, page);
	busy = dp->p.state || dp->p.want || dp->serves || dp->listed;
	unlock(r, page);
	return busy;
}

/* Return: 0: something was begun; -EBUSY: there is nothing to drop, or not now. */
int dsm_page_drop(struct dsm_region *r, u32 page)
{
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	int e;

	lock(r, page);
	e = pd_drop(&r->c, &r->page[page].p, &out);
	if (!e)
		count(&r->stat.dropped);
	add(&q, &out);
	run(r, page, &q);
	unlock(r, page);
	return e;
}

/* Home: @node is dead, or has left. Return: whether the page is lost by that. */
bool dsm_page_dead(struct dsm_region *r, u32 page, u16 node)
{
	struct pd_home h = home_of(r, page);
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	bool lost;

	if (r->dir[page].state == PD_I)
		return false;
	lock(r, page);
	if (*h.now)
		txn(*h.now)->todo &= ~(1ull << node);
	lost = h.dir->flags & PD_D_LOST;
	txns_ended(pd_home_dead(&r->c, &h, node, &out));
	lost = !lost && (h.dir->flags & PD_D_LOST);
	if (lost)
		count(&r->stat.lost);
	add(&q, &out);
	run(r, page, &q);
	/* The last copy's node doesn't know that it is: take one before it is dropped. */
	if (!lost && !*h.now && (h.dir->flags & PD_D_DOUBT)) {
		struct pd_acts more = { 0 };
		struct queue then = { 0 };

		if (!pd_ahead(&r->c, &r->page[page].p, &more))
			add(&then, &more);
		run(r, page, &then);
	}
	unlock(r, page);
	return lost;
}

/* Page lock held. */
static void work_page(struct dsm_region *r, u32 page, u64 now)
{
	struct dsm_page *dp = &r->page[page];
	u8 todo = dp->todo & ~DSM_TODO_LATER;
	struct queue q = { 0 };

	dp->listed = false;
	dp->todo &= DSM_TODO_LATER;
	if ((todo & DSM_TODO_ASK) && dp->p.want) {
		if (dsm_is_home(r))
			ask_home(r, page, dp->p.req, dp->ask_flags, &q);
		else
			ask_remote(r, page, dp->p.req, dp->ask_flags);
	}
	if ((todo & DSM_TODO_DONE) &&
	    tell(r, r->c.home, PD_T_DONE, page, dp->done_req, dp->done_flags))
		retry(r, page, DSM_TODO_DONE);
	if (todo & DSM_TODO_DATA)
		send_data(r, page);
	if ((todo & DSM_TODO_PUT) && tell(r, r->c.home, PD_T_PUT, page, 0, 0))
		retry(r, page, DSM_TODO_PUT);
	if ((todo & DSM_TODO_NODATA) && tell(r, dp->to, PD_T_NODATA, page, dp->to_req, 0))
		retry(r, page, DSM_TODO_NODATA);
	if ((todo & DSM_TODO_INV) && r->now[page])
		send_inv(r, page, txn(r->now[page]));
	if ((todo & DSM_TODO_FWD) && r->now[page])
		send_fwd(r, page, txn(r->now[page]));
	if (dp->todo & DSM_TODO_LATER) {
		if (dp->until <= now)
			serve(r, page, &q);
		else
			later(r, page, DSM_TODO_LATER, dp->until);
	}
	run(r, page, &q);
}

static void work_region(struct dsm_region *r, u64 now)
{
	u32 page, next;

	atomic_store(&r->due, ~0ull);
	ue_lock(&r->work_lock);
	page = r->work;
	r->work = 0;
	ue_unlock(&r->work_lock);
	for (; page; page = next) {
		next = r->page[page - 1].next;
		lock(r, page - 1);
		work_page(r, page - 1, now);
		unlock(r, page - 1);
	}
	if (dsm_sync_work(r))
		dsm_due(r, now + RETRY_NS);
}

/**
 * dsm_work() - do what is due: what could not be sent, what was to be kept until now
 * @d: node
 *
 * No lock held.
 */
void dsm_work(struct dsm *d)
{
	struct dsm_region *r;
	u64 now, due;
	u32 i;

	if (likely(atomic_load_explicit(&d->due, memory_order_relaxed) == ~0ull))
		return;
	now = dsm_now();
	if (atomic_load(&d->due) > now)
		return;
	atomic_store(&d->due, ~0ull);
	for (i = 0; i < DSM_REGIONS; i++) {
		ue_lock(&d->map);
		r = d->region[i];
		if (r)
			atomic_fetch_add(&r->refs, 1);
		ue_unlock(&d->map);
		if (!r)
			continue;
		due = atomic_load(&r->due);
		if (due <= now)
			work_region(r, now);
		due = atomic_load(&r->due);
		if (due != ~0ull)
			dsm_due(r, due);
		dsm_region_put(r);
	}
}

/* ------------------------------------------------------------------ receiving */

/* Return: the message's region, with a reference, and its page; or NULL. */
static struct dsm_region *region_of(struct popcorn_msg *m, const struct pd_msg **pm, u32 len)
{
	struct dsm *d = m->node->o.above;
	struct dsm_region *r;

	*pm = m->data;
	if (m->len != len)
		return NULL;
	r = dsm_region_get(d, le32_to_cpu((*pm)->region));
	if (!r)
		return NULL;
	if (le32_to_cpu((*pm)->gen) == r->gen && le32_to_cpu((*pm)->page) < r->pages &&
	    le16_to_cpu((*pm)->node) < PD_NODES && !r->dead)
		return r;
	dsm_region_put(r);
	return NULL;
}

/* Says so to who asks about a region that isn't. */
static void refuse(struct popcorn_msg *m, int error)
{
	if (m->request)
		popcorn_answer(m, error, NULL, 0);
	else
		popcorn_msg_done(m);
}

static bool is_member(const struct dsm_region *r, u16 node)
{
	return node < PD_NODES && (atomic_load(&r->members) >> node & 1);
}

static void on_ask(struct popcorn_msg *m)
{
	const struct pd_msg *pm;
	struct dsm_region *r = region_of(m, &pm, sizeof(*pm));
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	struct dsm_txn *x;
	struct pd_home h;
	u32 page;
	int e;

	if (!r || !m->request || m->pages != 1 || !dsm_is_home(r) || !is_member(r, m->from)) {
		refuse(m, -ESTALE);
		goto out;
	}
	page = le32_to_cpu(pm->page);
	h = home_of(r, page);
	lock(r, page);
	first(r, page);
	x = txn_get(r, page);
	if (!x) {
		unlock(r, page);
		refuse(m, -EAGAIN);
		goto out;
	}
	x->x = (struct pd_txn){ .cookie = m, .node = m->from, .req = le32_to_cpu(pm->req),
				.flags = pm->flags & (PD_F_WRITE | PD_F_HOLDS | PD_F_IDLE) };
	/* Whoever gets the page's lock next may answer it, also before this returns. */
	if (r->now[page])
		popcorn_msg_keep(m);
	e = pd_home_ask(&r->c, &h, &x->x, &out);
	if (e) {
		x->ended = true;
		dsm_txn_put(x);
		refuse(m, e);
	}
	add(&q, &out);
	run(r, page, &q);
	if (r->now[page] && r->now[page]->cookie == m)
		popcorn_msg_keep(m);
	unlock(r, page);
out:
	if (r)
		dsm_region_put(r);
}

static void on_serve(struct popcorn_msg *m)
{
	const struct pd_msg *pm;
	struct dsm_region *r = region_of(m, &pm, sizeof(*pm));
	struct queue q = { 0 };
	u32 page;

	if (!r || !m->request || m->from != r->c.home || (m->type == PD_T_FETCH && m->pages != 1)) {
		/* Who has left has no copy: that is an answer to both. */
		refuse(m, m->type == PD_T_INV ? 0 : -ENODATA);
	} else {
		page = le32_to_cpu(pm->page);
		lock(r, page);
		serve_new(r, page, m->type, m, m->type == PD_T_FETCH ? r->c.home :
			  le16_to_cpu(pm->node), le32_to_cpu(pm->req), pm->flags & PD_F_WRITE, &q);
		run(r, page, &q);
		unlock(r, page);
	}
	if (r)
		dsm_region_put(r);
}

static void on_data(struct popcorn_msg *m)
{
	const struct pd_msg *pm;
	struct dsm_region *r = region_of(m, &pm, sizeof(*pm) + UE_PAGE);
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	u32 page;

	if (r && !m->request && !dsm_is_home(r)) {
		page = le32_to_cpu(pm->page);
		lock(r, page);
		if (!pd_data(&r->c, &r->page[page].p, le32_to_cpu(pm->req), dsm_now(), &out))
			page_in(r, page, pm + 1, m->from);
		add(&q, &out);
		run(r, page, &q);
		unlock(r, page);
	}
	refuse(m, -EINVAL);
	if (r)
		dsm_region_put(r);
}

static void on_nodata(struct popcorn_msg *m)
{
	const struct pd_msg *pm;
	struct dsm_region *r = region_of(m, &pm, sizeof(*pm));
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	u32 page;

	if (r && !m->request && m->from == r->c.home) {
		page = le32_to_cpu(pm->page);
		lock(r, page);
		pd_nodata(&r->c, &r->page[page].p, le32_to_cpu(pm->req), &out);
		add(&q, &out);
		run(r, page, &q);
		unlock(r, page);
	}
	refuse(m, -EINVAL);
	if (r)
		dsm_region_put(r);
}

/* DONE and PUT, to the home. */
static void on_home(struct popcorn_msg *m)
{
	const struct pd_msg *pm;
	struct dsm_region *r = region_of(m, &pm, sizeof(*pm));
	struct pd_acts out = { 0 };
	struct queue q = { 0 };
	struct pd_home h;
	bool take = false;
	u32 page;

	if (r && !m->request && dsm_is_home(r) && is_member(r, m->from)) {
		page = le32_to_cpu(pm->page);
		h = home_of(r, page);
		lock(r, page);
		first(r, page);
		if (m->type == PD_T_DONE)
			txns_ended(pd_home_done(&r->c, &h, m->from, le32_to_cpu(pm->req),
						pm->flags & PD_F_FAIL, &out));
		else /* the DONE by which it became the owner may come later */
			take = h.dir->owner == m->from ||
				(*h.now && (*h.now)->node == m->from);
		add(&q, &out);
		run(r, page, &q);
		unlock(r, page);
		if (take)
			dsm_page_fault(r, page, false, false, false);
	}
	refuse(m, -EINVAL);
	if (r)
		dsm_region_put(r);
}

/**
 * dsm_types_register() - take the messages about pages
 *
 * Return: 0 or -EBUSY: another layer of this program has them.
 */
int dsm_types_register(void)
{
	static const struct popcorn_msg_ops ops[PD_T_END - PD_T_ASK] = {
		[PD_T_ASK - PD_T_ASK] = { "ask", on_ask },
		[PD_T_FWD - PD_T_ASK] = { "fwd", on_serve },
		[PD_T_FETCH - PD_T_ASK] = { "fetch", on_serve },
		[PD_T_INV - PD_T_ASK] = { "inv", on_serve },
		[PD_T_DATA - PD_T_ASK] = { "data", on_data },
		[PD_T_DONE - PD_T_ASK] = { "done", on_home },
		[PD_T_NODATA - PD_T_ASK] = { "nodata", on_nodata },
		[PD_T_PUT - PD_T_ASK] = { "put", on_home },
		[PD_T_ATTACH - PD_T_ASK] = { "attach", dsm_on_attach },
		[PD_T_DETACH - PD_T_ASK] = { "detach", dsm_on_detach },
		[PD_T_LOCK - PD_T_ASK] = { "lock", dsm_on_lock },
		[PD_T_UNLOCK - PD_T_ASK] = { "unlock", dsm_on_unlock },
		[PD_T_BARRIER - PD_T_ASK] = { "barrier", dsm_on_barrier },
	};
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	static bool done;
	int r = 0;
	u16 t;

	pthread_mutex_lock(&once);
	for (t = PD_T_ASK; !done && !r && t < PD_T_END; t++)
		r = popcorn_msg_register(t, &ops[t - PD_T_ASK]);
	done |= !r;
	pthread_mutex_unlock(&once);
	return r;
}
