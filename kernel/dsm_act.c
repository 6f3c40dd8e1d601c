// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: what the protocol's core returns is collected by dsm_take(), locked,
 * and carried out by dsm_run(), unlocked. A message to the own node is a call, whose
 * actions come after those that are there already.
 */
#include <linux/highmem.h>
#include <linux/mempool.h>
#include <linux/slab.h>

#include "dsm.h"
#include "trace.h"

#define RESERVE		64		/* objects that are there when memory is short */

static mempool_t *txn_pool, *op_pool, *inv_pool;

/* ---------------------------------------------------------------- objects */

void dsm_txn_put(struct dsm_txn *t)
{
	struct dsm_region *r = t->r;

	if (!refcount_dec_and_test(&t->ref))
		return;
	if (!t->batch)
		mempool_free(t, txn_pool);
	else if (refcount_dec_and_test(&t->batch->ref))
		kfree(t->batch);
	dsm_region_put(r);
}

/* A transaction of zeroes; @msg: the ASK, or NULL. */
void dsm_txn_init(struct dsm_txn *t, struct dsm_region *r, u32 index, struct popcorn_msg *msg)
{
	refcount_set(&t->ref, 1);
	t->r = r;
	t->index = index;
	t->x.cookie = t;
	t->item.kind = DSM_ITEM_FWD;
	if (msg) {
		const struct pd_msg *m = msg->data;

		t->msg = msg;
		t->at = index - le32_to_cpu(m->page);
		t->x.node = msg->from;
		t->x.req = le32_to_cpu(m->req) + t->at;
		t->x.flags = m->flags & (PD_F_WRITE | PD_F_HOLDS | PD_F_IDLE);
	}
	dsm_region_get(r);
}

struct dsm_txn *dsm_txn_new(struct dsm_region *r, u32 index, struct popcorn_msg *msg, gfp_t gfp)
{
	struct dsm_txn *t;

	/* mempool_alloc() waits for ever where it may wait. */
	t = gfpflags_allow_blocking(gfp) ? kmalloc(sizeof(*t), gfp) : mempool_alloc(txn_pool, gfp);
	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	dsm_txn_init(t, r, index, msg);
	return t;
}

/* Its ASK, if there is one that hasn't been answered, is answered by a status. */
void dsm_txn_answer(struct dsm_txn *t, int status)
{
	struct popcorn_frame *none = NULL;
	struct popcorn_done *nobody = NULL;
	struct popcorn_msg *msg = xchg(&t->msg, NULL);

	if (!msg)
		return;
	if (msg->pages > 1)
		popcorn_answer_some(msg, t->at, 1, &none, &nobody);
	else
		popcorn_answer(msg, status, NULL, 0);
}

static struct dsm_txn *txn_of(struct pd_txn *x)
{
	return x ? container_of(x, struct dsm_txn, x) : NULL;
}

void dsm_op_free(struct dsm_op *op)
{
	struct dsm_region *r = op->send.r;

	mempool_free(op, op_pool);
	dsm_region_put(r);
}

struct dsm_op *dsm_op_new(struct dsm_region *r, u32 index, struct popcorn_msg *msg)
{
	struct dsm_op *op = mempool_alloc(op_pool, DSM_NOWAIT);

	if (!op)
		return NULL;
	memset(op, 0, sizeof(*op));
	op->msg = msg;
	op->send.r = r;
	op->send.index = index;
	dsm_region_get(r);
	return op;
}

void dsm_req_put(struct dsm_req *req)
{
	struct dsm_region *r = req->r;

	if (!refcount_dec_and_test(&req->ref))
		return;
	popcorn_frame_free(req->a.frame);
	if (req->txn)
		dsm_txn_put(req->txn);
	if (!req->batch)
		kfree(req);
	else if (refcount_dec_and_test(&req->batch->ref))
		kfree(req->batch);
	dsm_region_put(r);
}

/**
 * dsm_req_init - begin to use a request
 * @req:   zeroes
 * @r:     region
 * @index: page
 * @gfp:   for its frame: may it wait, and others be dropped?
 *
 * Process context. Return: it has a frame; false: it hasn't, as there was no memory.
 * dsm_req_put() in any case.
 */
bool dsm_req_init(struct dsm_req *req, struct dsm_region *r, u32 index, gfp_t gfp)
{
	refcount_set(&req->ref, 1);
	init_waitqueue_head(&req->wait);
	req->r = r;
	req->index = index;
	req->a.done.fn = dsm_ask_done;
	dsm_region_get(r);
	req->a.frame = dsm_frame_alloc(r, gfp);
	return req->a.frame;
}

/**
 * dsm_req_new - memory for a request
 * @r:     region
 * @index: page
 *
 * Process context. Return: it, with one reference, or NULL.
 */
struct dsm_req *dsm_req_new(struct dsm_region *r, u32 index)
{
	struct dsm_req *req = kzalloc(sizeof(*req), GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY);
	bool ok;

	if (!req)
		return NULL;
	ok = dsm_req_init(req, r, index, GFP_KERNEL);
	if (ok && dsm_home(r)) {
		req->txn = dsm_txn_new(r, index, NULL, GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY);
		ok = req->txn;
	}
	if (!ok) {
		dsm_req_put(req);
		return NULL;
	}
	return req;
}

void dsm_inv_free(struct dsm_inv *inv)
{
	mempool_free(inv, inv_pool);
}

void dsm_act_exit(void)
{
	mempool_destroy(txn_pool);
	mempool_destroy(op_pool);
	mempool_destroy(inv_pool);
}

int dsm_act_init(void)
{
	txn_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_txn));
	op_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_op));
	inv_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_inv));
	if (txn_pool && op_pool && inv_pool)
		return 0;
	dsm_act_exit();
	return -ENOMEM;
}

/* ------------------------------------------------------- frames and pages */

/* A page that came from a node becomes the region's; nobody can see it yet. Locked. */
void dsm_frame_set(struct dsm_region *r, struct dsm_page *pg, u32 index, struct popcorn_frame *f,
		   u16 from)
{
	if (from != r->cfg.self)
		trace_popcorn_dsm_data(r, index, from);
	f->page->mapping = r->inode->i_mapping;
	f->page->index = index;
	pg->frame = f;
	dsm_resident(r, 1);
}

/*
 * Its frame leaves the page; locked. Return: it, or NULL if what is being sent keeps it:
 * then the last send_end() frees it, and page->index counts those to come.
 */
static struct popcorn_frame *frame_clear(struct dsm_region *r, struct dsm_page *pg)
{
	struct popcorn_frame *f = pg->frame;
	bool sent = pg->sends;

	if (!f)
		return NULL;
	f->page->mapping = NULL;
	f->page->index = pg->sends;
	pg->frame = NULL;
	pg->sends = 0;
	dsm_resident(r, -1);
	return sent ? NULL : f;
}

/* A page is to be sent: its frame stays until send_end(). Locked. */
static void send_begin(struct dsm_send *s, struct dsm_page *pg)
{
	s->f = pg->frame;
	get_page(s->f->page);
	pg->sends++;
}

static void send_end(struct dsm_send *s)
{
	struct dsm_page *pg = dsm_page(s->r, s->index);
	struct popcorn_frame *f = s->f;
	bool last = false;

	s->f = NULL;
	spin_lock_bh(dsm_lock(s->r, s->index));
	put_page(f->page);
	if (pg->frame == f)
		pg->sends--;
	else
		last = !--f->page->index;
	spin_unlock_bh(dsm_lock(s->r, s->index));
	if (last)
		dsm_frame_free(f);
}

/**
 * dsm_first - the home's first use of a page: zeroes
 * @r:     region
 * @pg:    page, locked
 * @dir:   its entry
 * @index: its number
 * @f:     a frame of zeroes
 *
 * Return: the page has been used, and @f wasn't needed.
 */
bool dsm_first(struct dsm_region *r, struct dsm_page *pg, struct dsm_dir *dir, u32 index,
	       struct popcorn_frame *f)
{
	if (dir->d.state != PD_I)
		return true;
	dsm_frame_set(r, pg, index, f, r->cfg.self);
	pd_home_first(&r->cfg, &dir->d, &pg->p);
	return false;
}

/* ------------------------------------------------------------ what is due */

/* Something is to be done for a page at @until. Locked or not. */
static void pending_add(struct dsm_region *r, struct dsm_page *pg, u32 index, u64 until)
{
	spin_lock_bh(&r->lock);
	if (!pg->next) {
		pg->next = r->pending ?: U32_MAX;
		r->pending = index + 1;
	}
	if (!r->due || until < r->due) {
		r->due = until;
		hrtimer_start(&r->timer, ns_to_ktime(until), HRTIMER_MODE_ABS_SOFT);
	}
	spin_unlock_bh(&r->lock);
}

void dsm_due(struct dsm_region *r, u64 until)
{
	spin_lock_bh(&r->lock);
	if (!r->due || until < r->due) {
		r->due = until;
		hrtimer_start(&r->timer, ns_to_ktime(until), HRTIMER_MODE_ABS_SOFT);
	}
	spin_unlock_bh(&r->lock);
}

enum hrtimer_restart dsm_timer(struct hrtimer *t)
{
	struct dsm_region *r = container_of(t, struct dsm_region, timer);
	bool idle;

	spin_lock(&r->lock);
	idle = !r->pending && !r->later && !r->unsent && !r->dones && list_empty(&r->sync_out);
	if (idle)
		r->due = 0;
	spin_unlock(&r->lock);
	if (!idle)
		kthread_queue_work(dsm_worker, &r->fast);
	return HRTIMER_NORESTART;
}

/* No memory now: the message is tried again. */
void dsm_later(struct dsm_region *r, struct popcorn_msg *msg)
{
	spin_lock_bh(&r->lock);
	msg->next = r->later;
	r->later = msg;
	spin_unlock_bh(&r->lock);
	dsm_due(r, dsm_now() + DSM_RETRY_MAX_NS);
}

/* The message needs memory that can't be waited for here. */
void dsm_to_slow(struct dsm_region *r, struct popcorn_msg *msg)
{
	spin_lock_bh(&r->lock);
	msg->next = r->slow_msgs;
	r->slow_msgs = msg;
	spin_unlock_bh(&r->lock);
	queue_work(dsm_wq, &r->slow);
}

void dsm_refuse(struct popcorn_msg *msg, int status)
{
	if (msg->request)
		popcorn_answer(msg, status, NULL, 0);
	else
		popcorn_msg_done(msg);
}

/* ------------------------------------------------- what the core returned */

void dsm_run_begin(struct dsm_run *run, struct dsm_region *r, struct dsm_page *pg, u32 index)
{
	run->r = r;
	run->pg = pg;
	run->dir = dsm_dir(r, index);
	run->index = index;
	run->head = run->tail = 0;
	run->own_head = run->own_tail = 0;
	run->ended = NULL;
	run->answers = NULL;
	run->out.n = 0;
}

struct dsm_txn *dsm_txn_now(struct dsm_run *run)
{
	return txn_of(run->dir->now);
}

/* The op that an answer belongs to; only an answer's last act takes it. */
struct dsm_op *dsm_op_take(struct dsm_page *pg)
{
	struct dsm_op *op = pg->op;

	pg->op = NULL;
	return op;
}

struct pd_home dsm_home_of(struct dsm_run *run)
{
	return (struct pd_home){ .dir = &run->dir->d, .now = &run->dir->now };
}

/* For the own node, so for the home: the core is called for it at once. */
static bool is_own(const struct dsm_region *r, const struct pd_act *a)
{
	return dsm_home(r) && a->to == r->cfg.self &&
	       a->what != PD_SEND_INV && a->what < PD_DO_UNMAP && a->what != PD_SEND_DATA;
}

static void own_add(struct dsm_run *run, const struct pd_act *a)
{
	if (!WARN_ON_ONCE(run->own_tail - run->own_head == PD_ACTS))
		run->own[run->own_tail++ % PD_ACTS] = *a;
}

/* What the core has just returned is kept, with what it is about. Locked. */
static void collect(struct dsm_run *run, u8 todo)
{
	struct dsm_region *r = run->r;
	struct dsm_page *pg = run->pg;
	u64 self = 1ull << r->cfg.self;
	u32 i;

	for (i = 0; i < run->out.n; i++) {
		struct dsm_act *e = &run->act[run->tail % DSM_RUN_ACTS];

		if (is_own(r, &run->out.a[i])) {
			own_add(run, &run->out.a[i]);
			continue;
		}
		if (WARN_ON_ONCE(run->tail - run->head == DSM_RUN_ACTS))
			break;
		e->a = run->out.a[i];
		e->f = NULL;
		e->p = NULL;
		switch (e->a.what) {
		case PD_SEND_ASK:
		case PD_SEND_DONE:
			if (!pg->req)	/* the region has just ended */
				continue;
			e->p = pg->req;
			refcount_inc(&pg->req->ref);
			break;
		case PD_SEND_GRANT:
			e->p = e->a.cookie;
			refcount_inc(&((struct dsm_txn *)e->p)->ref);
			break;
		case PD_SEND_INV:
			if (e->a.mask & self) {
				own_add(run, &e->a);
				e->a.mask &= ~self;
				if (!e->a.mask)
					continue;
			}
			fallthrough;
		case PD_SEND_FWD:
		case PD_SEND_NODATA:
			e->p = dsm_txn_now(run);
			refcount_inc(&dsm_txn_now(run)->ref);
			break;
		case PD_SEND_DATA:
			if (dsm_home(r) ? !dsm_txn_now(run) : !pg->op)
				continue;	/* the region has just ended */
			if (dsm_home(r)) {
				struct dsm_txn *t = dsm_txn_now(run);

				e->p = t;
				refcount_inc(&t->ref);
				send_begin(&t->send, pg);
			} else {
				pg->op->to = e->a.to;
				pg->op->req = e->a.req;
				e->p = pg->op;
				send_begin(&pg->op->send, pg);
			}
			atomic64_inc(&r->stat.supplied);
			break;
		case PD_SEND_ACK:
		case PD_SEND_SENT:
			e->p = dsm_op_take(pg);
			/* Answered by its page: it is op_sent()'s, perhaps before we come to it. */
			if (e->p && ((struct dsm_op *)e->p)->fetch && !e->a.status)
				e->p = NULL;
			break;
		case PD_DO_FREE:
			e->f = frame_clear(r, pg);
			if (!dsm_home(r) && !pg->p.since) {
				spin_lock(&r->lock);
				pd_stream_unused(&r->stream, run->index);
				spin_unlock(&r->lock);
			}
			break;
		case PD_DO_WAKE:
			if (pg->req && pg->p.want == PD_I) {
				e->p = pg->req;
				pg->req = NULL;
			}
			break;
		case PD_DO_DEFER:
			pg->todo |= todo;
			pending_add(r, pg, run->index, e->a.until);
			continue;
		}
		run->tail++;
	}
	run->out.n = 0;
}

/* The home tells itself something: the core is called. Return: what is to be done if it defers. */
static u8 own(struct dsm_run *run, const struct pd_act *a)
{
	const struct pd_cfg *c = &run->r->cfg;
	struct pd_home h = dsm_home_of(run);
	struct dsm_page *pg = run->pg;
	struct dsm_txn *t;
	struct pd_txn *x = NULL;
	u8 todo = 0;

	switch (a->what) {
	case PD_SEND_ASK:
		if (!pg->req)	/* the region has just ended */
			break;
		t = pg->req->txn;
		pg->req->txn = NULL;
		pg->req->req = a->req;
		t->x.node = c->self;
		t->x.req = a->req;
		t->x.flags = a->flags;
		pd_home_ask(c, &h, &t->x, &run->out);
		break;
	case PD_SEND_FWD:
		todo = DSM_TODO_FWD;
		pg->todo &= ~todo;
		pd_fwd(c, &pg->p, a->node, a->req, a->flags, dsm_now(), &run->out);
		break;
	case PD_SEND_INV:
		todo = DSM_TODO_INV;
		pg->todo &= ~todo;
		pd_inv(c, &pg->p, dsm_now(), &run->out);
		break;
	case PD_SEND_GRANT:
		pd_granted(c, &pg->p, a->req, a->status, false, dsm_now(), &run->out);
		break;
	case PD_SEND_NODATA:
		pd_nodata(c, &pg->p, a->req, &run->out);
		break;
	case PD_SEND_ACK:
		atomic64_inc(&run->r->stat.invalidated);
		x = pd_home_ack(c, &h, c->self, &run->out);
		break;
	case PD_SEND_SENT:
		x = pd_home_sent(c, &h, c->self, a->status, &run->out);
		break;
	case PD_SEND_DONE:
		x = pd_home_done(c, &h, c->self, a->req, a->flags, &run->out);
		break;
	}
	if (x) {
		x->next = run->ended;
		run->ended = x;
	}
	return todo;
}

/**
 * dsm_take - keep what the core has just returned, with what it is about
 * @run:  run->out is taken
 * @todo: what is to be done again if the core defers it
 *
 * With the page's lock, which the core was called under. What the home tells itself is
 * dealt with here; dsm_run() does the rest.
 */
void dsm_take(struct dsm_run *run, u8 todo)
{
	struct dsm_page *pg = run->pg;

	collect(run, todo);
	while (run->own_head != run->own_tail) {
		struct pd_act a = run->own[run->own_head++ % PD_ACTS];

		collect(run, own(run, &a));
	}
	/* Data came for a request that has ended without the right. */
	if (pg->frame && pg->p.state == PD_I && !pg->p.want && pg->p.doing == PD_IDLE &&
	    !WARN_ON_ONCE(run->tail - run->head == DSM_RUN_ACTS))
		run->act[run->tail++ % DSM_RUN_ACTS] = (struct dsm_act){
			.a.what = PD_DO_FREE, .f = frame_clear(run->r, pg),
		};
}

void dsm_head(const struct dsm_region *r, u32 index, u32 req, struct pd_msg *m)
{
	*m = (struct pd_msg){
		.region = cpu_to_le32(r->id), .gen = cpu_to_le32(r->gen),
		.page = cpu_to_le32(index), .req = cpu_to_le32(req), .pages = 1,
	};
}

/* Transactions that have ended. */
void dsm_ended(struct pd_txn *x)
{
	while (x) {
		struct dsm_txn *t = txn_of(x);

		x = x->next;
		dsm_txn_answer(t, -EHOSTDOWN);
		dsm_txn_put(t);
	}
}

void dsm_run_ack(struct dsm_run *run, u16 node)
{
	struct pd_home h = dsm_home_of(run);
	struct pd_txn *x;

	spin_lock_bh(dsm_lock(run->r, run->index));
	x = pd_home_ack(&run->r->cfg, &h, node, &run->out);
	dsm_take(run, 0);
	spin_unlock_bh(dsm_lock(run->r, run->index));
	dsm_ended(x);
}

void dsm_run_sent(struct dsm_run *run, u16 node, int status)
{
	struct pd_home h = dsm_home_of(run);
	struct pd_txn *x;

	spin_lock_bh(dsm_lock(run->r, run->index));
	x = pd_home_sent(&run->r->cfg, &h, node, status, &run->out);
	dsm_take(run, 0);
	spin_unlock_bh(dsm_lock(run->r, run->index));
	dsm_ended(x);
}

void dsm_run_done(struct dsm_run *run, u16 node, u32 req, u8 flags)
{
	struct pd_home h = dsm_home_of(run);
	struct pd_txn *x;

	spin_lock_bh(dsm_lock(run->r, run->index));
	x = pd_home_done(&run->r->cfg, &h, node, req, flags, &run->out);
	dsm_take(run, 0);
	spin_unlock_bh(dsm_lock(run->r, run->index));
	dsm_ended(x);
}

static void run_inv(struct dsm_run *run)
{
	spin_lock_bh(dsm_lock(run->r, run->index));
	run->pg->todo &= ~DSM_TODO_INV;
	pd_inv(&run->r->cfg, &run->pg->p, dsm_now(), &run->out);
	dsm_take(run, DSM_TODO_INV);
	spin_unlock_bh(dsm_lock(run->r, run->index));
}

static void run_fwd(struct dsm_run *run, u16 node, u32 req, u8 flags)
{
	spin_lock_bh(dsm_lock(run->r, run->index));
	run->pg->todo &= ~DSM_TODO_FWD;
	pd_fwd(&run->r->cfg, &run->pg->p, node, req, flags, dsm_now(), &run->out);
	dsm_take(run, DSM_TODO_FWD);
	spin_unlock_bh(dsm_lock(run->r, run->index));
}

/* The deferred message of a page once more. */
void dsm_run_again(struct dsm_run *run, u8 todo)
{
	const struct pd_msg *m;
	struct dsm_txn *t;
	bool fwd = false;
	u16 node = 0;
	u32 req = 0;
	u8 flags = 0;

	if (todo & DSM_TODO_INV) {
		run_inv(run);
		return;
	}
	/* Both are somebody else's once the lock is dropped: the region may end. */
	spin_lock_bh(dsm_lock(run->r, run->index));
	if (run->pg->op && run->pg->op->msg) {
		m = run->pg->op->msg->data;
		node = le16_to_cpu(m->node);
		req = le32_to_cpu(m->req);
		flags = m->flags;
		fwd = true;
	} else if (dsm_home(run->r)) {
		t = dsm_txn_now(run);
		if (t) {
			node = t->x.node;
			req = t->x.req;
			flags = t->x.flags & PD_F_WRITE;
			fwd = true;
		}
	}
	spin_unlock_bh(dsm_lock(run->r, run->index));
	if (fwd)
		run_fwd(run, node, req, flags);
}

static void item_add(struct dsm_region *r, struct dsm_item *item)
{
	llist_add(&item->node, &r->items);
	kthread_queue_work(dsm_worker, &r->fast);
}

static void fwd_done(struct popcorn_done *d)
{
	struct dsm_txn *t = container_of(d, struct dsm_txn, fwd.done);

	item_add(t->r, &t->item);
}

static void inv_done(struct popcorn_done *d)
{
	struct dsm_inv *inv = container_of(d, struct dsm_inv, a.done);

	item_add(inv->t->r, &inv->item);
}

/* May the FWD that is due go now? Then what it needs is @t's, with a reference. */
static bool fwd_begin(struct dsm_run *run, struct dsm_txn *t)
{
	struct dsm_region *r = run->r;
	struct dsm_req *req;
	bool begun = false;

	spin_lock_bh(dsm_lock(r, run->index));
	if (t->fwd_due && !t->fwd_busy && run->dir->now == &t->x) {
		t->fwd_to = t->x.from;
		t->fwd.done.fn = fwd_done;
		t->fwd.frame = NULL;
		begun = true;
		req = run->pg->req;
		if (t->x.node == r->cfg.home) {
			if (req)
				swap(t->fwd.frame, req->a.frame);
			if (!t->fwd.frame)
				t->fwd.frame = dsm_frame_alloc(r, DSM_NOWAIT);
			begun = t->fwd.frame;
		}
	}
	if (begun) {
		t->fwd_busy = true;
		t->fwd_due = false;
		refcount_inc(&t->ref);
	} else if (run->dir->now != &t->x) {
		t->fwd_due = false;
	}
	spin_unlock_bh(dsm_lock(r, run->index));
	return begun;
}

/* The transaction's messages that aren't on their way yet. Only for the one under way. */
void dsm_txn_send(struct dsm_run *run, struct dsm_txn *t)
{
	struct dsm_region *r = run->r;
	struct pd_msg m;
	bool again;
	u64 mask;
	int e;

	spin_lock_bh(dsm_lock(r, run->index));
	mask = t->inv_due;
	t->inv_due = 0;
	spin_unlock_bh(dsm_lock(r, run->index));
	dsm_head(r, t->index, t->x.req, &m);
	m.node = cpu_to_le16(t->x.node);
	for (; mask; mask &= mask - 1) {
		u16 to = __builtin_ctzll(mask);
		struct dsm_inv *inv = mempool_alloc(inv_pool, DSM_NOWAIT);

		e = -EAGAIN;
		if (inv) {
			memset(inv, 0, sizeof(*inv));
			inv->a.done.fn = inv_done;
			inv->item.kind = DSM_ITEM_INV;
			inv->t = t;
			inv->to = to;
			refcount_inc(&t->ref);
			e = popcorn_request_async(r->node, to, PW_URGENT, PD_T_INV, &m, sizeof(m),
						  NULL, 0, DSM_FOREVER_MS, POPCORN_NOWAIT, &inv->a);
		}
		if (e && inv) {
			if (e != -EAGAIN) { /* its death, or ours, follows */
				inv->a.done.status = e;
				item_add(r, &inv->item);
				continue;
			}
			mempool_free(inv, inv_pool);
			dsm_txn_put(t);
		}
		if (e) {
			spin_lock_bh(dsm_lock(r, run->index));
			t->inv_due |= 1ull << to;
			spin_unlock_bh(dsm_lock(r, run->index));
		}
	}

	if (t->nodata_due)
		t->nodata_due = popcorn_send(r->node, t->x.node, PW_SYNC, PD_T_NODATA, &m,
					     sizeof(m), POPCORN_NOWAIT) == -EAGAIN;
	if (fwd_begin(run, t)) {
		m.flags = t->x.flags & PD_F_WRITE;
		e = popcorn_request_async(r->node, t->fwd_to, PW_SYNC,
					  t->fwd.frame ? PD_T_FETCH : PD_T_FWD, &m, sizeof(m), NULL,
					  0, DSM_FOREVER_MS, POPCORN_NOWAIT, &t->fwd);
		if (e) {
			popcorn_frame_free(t->fwd.frame);
			t->fwd.frame = NULL;
		}
		if (e == -EAGAIN) {
			spin_lock_bh(dsm_lock(r, run->index));
			t->fwd_busy = false;
			t->fwd_due = true;
			spin_unlock_bh(dsm_lock(r, run->index));
			dsm_txn_put(t);
		} else if (e) {
			t->fwd.done.status = e;
			item_add(r, &t->item);
		}
	}
	spin_lock_bh(dsm_lock(r, run->index));
	again = t->inv_due || t->fwd_due || t->nodata_due;
	if (again) {
		run->pg->todo |= DSM_TODO_SEND;
		pending_add(r, run->pg, run->index, dsm_now() + DSM_RETRY_NS);
	}
	spin_unlock_bh(dsm_lock(r, run->index));
}

/* A page for a third node: header and page in one, copied. */
int dsm_data_send(struct dsm_op *op)
{
	struct dsm_region *r = op->send.r;
	int e;

	mutex_lock(&r->data_mutex);
	dsm_head(r, op->send.index, op->req, r->data);
	memcpy(r->data + sizeof(struct pd_msg), popcorn_frame_data(op->send.f), PAGE_SIZE);
	e = popcorn_send(r->node, op->to, PW_SYNC, PD_T_DATA, r->data,
			 sizeof(struct pd_msg) + PAGE_SIZE, POPCORN_NOWAIT);
	mutex_unlock(&r->data_mutex);
	if (e == -EAGAIN || e == -ENOMEM)
		return -EAGAIN;
	send_end(&op->send);	/* gone, or nobody is there to get it */
	return 0;
}

static void op_sent(struct popcorn_done *d)
{
	struct dsm_op *op = container_of(d, struct dsm_op, send.d);

	send_end(&op->send);
	dsm_op_free(op);
}

static void txn_sent(struct popcorn_done *d)
{
	struct dsm_txn *t = container_of(d, struct dsm_txn, send.d);

	send_end(&t->send);
	dsm_txn_put(t);
}

/* The page goes out; @e->p is the op or transaction that it answers. */
static void act_data(struct dsm_run *run, struct dsm_act *e)
{
	if (dsm_home(run->r)) {
		struct dsm_txn *t = e->p;
		struct popcorn_done *d = &t->send.d;
		struct popcorn_msg *msg = xchg(&t->msg, NULL);
		struct dsm_answers *all = run->answers;

		t->send.r = run->r;
		t->send.index = run->index;
		d->fn = txn_sent;
		if (!msg) {
			txn_sent(d);
		} else if (all) {
			all->f[all->n] = t->send.f;
			all->d[all->n++] = d;
		} else if (msg->pages > 1) {
			popcorn_answer_some(msg, t->at, 1, &t->send.f, &d);
		} else if (popcorn_answer_page(msg, t->send.f, d)) {
			popcorn_answer(msg, -EINVAL, NULL, 0);
			txn_sent(d);
		}
	} else {
		struct dsm_op *op = e->p;
		struct popcorn_msg *msg = op->msg;

		if (!op->fetch) {
			op->unsent = dsm_data_send(op);
			return;
		}
		op->msg = NULL;
		op->send.d.fn = op_sent;
		if (popcorn_answer_page(msg, op->send.f, &op->send.d)) {
			popcorn_answer(msg, -ENODATA, NULL, 0);
			op_sent(&op->send.d);
		}
	}
}

/* FWD or FETCH is answered; the page, if it was to be one, has been sent before. */
static void act_sent(struct dsm_run *run, struct dsm_op *op, int status)
{
	struct dsm_region *r = run->r;

	if (!op)
		return;
	if (op->msg)
		popcorn_answer(op->msg, status, NULL, 0);
	op->msg = NULL;
	if (!op->unsent) {
		dsm_op_free(op);
		return;
	}
	spin_lock_bh(&r->lock);
	op->next = r->unsent;
	r->unsent = op;
	spin_unlock_bh(&r->lock);
	dsm_due(r, dsm_now() + DSM_RETRY_NS);
}

static void act_ask(struct dsm_act *e)
{
	struct dsm_req *req = e->p;

	req->req = e->a.req;
	req->flags = e->a.flags;
	dsm_req_send(req, POPCORN_NOWAIT);
	dsm_req_put(req);
}

static void act_done(struct dsm_run *run, struct dsm_act *e)
{
	struct dsm_req *req = e->p;
	struct dsm_region *r = run->r;
	bool last;

	req->flags = e->a.flags;
	/* Those of a batch go together. */
	last = !req->batch || !atomic_read(&req->batch->left);
	spin_lock_bh(&r->lock);
	req->next = r->dones; /* the reference with it */
	r->dones = req;
	spin_unlock_bh(&r->lock);
	if (!req->next || last)
		dsm_due(r, dsm_now() + (last ? min_t(u64, r->cfg.hold_ns / 2, DSM_DONE_NS) :
					DSM_BATCH_NS));
}

static void act_wake(struct dsm_run *run, struct dsm_req *req)
{
	if (req) {
		trace_popcorn_dsm_end(run->r, run->index, req->status);
		WRITE_ONCE(req->over, true);
		wake_up_all(&req->wait);
		dsm_req_put(req);
	}
	if (wq_has_sleeper(&run->r->wait))
		wake_up_all(&run->r->wait);
}

void dsm_run_unmap(struct dsm_run *run)
{
	struct dsm_region *r = run->r;

	if (dsm_take_away(r, run->pg, run->index)) {
		run->pg->todo &= ~DSM_TODO_UNMAP;
		run->pg->tries = 0;
		trace_popcorn_dsm_inv(r, run->pg, run->index);
		pd_unmapped(&r->cfg, &run->pg->p, &run->out);
		dsm_take(run, 0);
	} else {
		run->pg->todo |= DSM_TODO_UNMAP;
		if (DSM_RETRY_NS << run->pg->tries < DSM_RETRY_MAX_NS)
			run->pg->tries++;
		pending_add(r, run->pg, run->index,
			    dsm_now() + (DSM_RETRY_NS << run->pg->tries));
	}
	spin_unlock_bh(dsm_lock(r, run->index));
}

/**
 * dsm_run - carry out what dsm_take() has kept
 * @run: run
 *
 * Process context; or, for what pd_granted() returns at a node that isn't the home,
 * any. Nothing locked, but mmap_lock may be.
 */
void dsm_run(struct dsm_run *run)
{
	struct dsm_region *r = run->r;
	struct dsm_txn *t;

	while (run->head != run->tail) {
		struct dsm_act *slot = &run->act[run->head % DSM_RUN_ACTS];
		struct dsm_act e = *slot;

		run->head++;
		switch (e.a.what) {
		case PD_SEND_ASK:
			act_ask(&e);
			break;
		case PD_SEND_FWD:
		case PD_SEND_INV:
			t = e.p;
			spin_lock_bh(dsm_lock(r, run->index));
			if (e.a.what == PD_SEND_FWD)
				t->fwd_due = true;
			else
				t->inv_due |= e.a.mask;
			spin_unlock_bh(dsm_lock(r, run->index));
			dsm_txn_send(run, t);
			dsm_txn_put(t);
			break;
		case PD_SEND_NODATA:
			t = e.p;
			t->nodata_due = true;
			dsm_txn_send(run, t);
			dsm_txn_put(t);
			break;
		case PD_SEND_GRANT:
			dsm_txn_answer(e.p, e.a.status ?: -EXDEV);
			dsm_txn_put(e.p);
			break;
		case PD_SEND_DATA:
			act_data(run, &e);
			break;
		case PD_SEND_ACK:
			atomic64_inc(&r->stat.invalidated);
			if (e.p) {
				popcorn_answer(((struct dsm_op *)e.p)->msg, 0, NULL, 0);
				dsm_op_free(e.p);
			}
			break;
		case PD_SEND_SENT:
			act_sent(run, e.p, e.a.status);
			break;
		case PD_SEND_DONE:
			act_done(run, &e);
			break;
		case PD_SEND_PUT: {
			struct pd_msg m;

			dsm_head(r, run->index, 0, &m);
			if (popcorn_send(r->node, r->cfg.home, PW_BULK, PD_T_PUT, &m, sizeof(m),
					 POPCORN_NOWAIT)) {
				spin_lock_bh(dsm_lock(r, run->index));
				run->pg->p.flags &= ~PD_P_PUT; /* another time */
				spin_unlock_bh(dsm_lock(r, run->index));
			}
			break;
		}
		case PD_DO_UNMAP:
		case PD_DO_PROTECT:
			dsm_run_unmap(run);
			break;
		case PD_DO_FREE:
			dsm_frame_free(e.f);
			break;
		case PD_DO_WAKE:
			act_wake(run, e.p);
			break;
		}
	}
	if (run->ended) {
		dsm_ended(run->ended);
		run->ended = NULL;
	}
}
