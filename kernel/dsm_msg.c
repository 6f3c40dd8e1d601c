// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: between messages and the protocol's core. What the core returns is
 * collected by dsm_take(), locked, and carried out by dsm_run(), unlocked; a message
 * to the own node is a call, whose actions come after those that are there already.
 */
#include <linux/highmem.h>
#include <linux/mempool.h>
#include <linux/slab.h>

#include "dsm.h"

#define FOREVER_MS	U32_MAX		/* death ends a request, nothing else */
#define RESERVE		64		/* objects that are there when memory is short */

static mempool_t *txn_pool, *op_pool, *inv_pool;

static const gfp_t NOWAIT = GFP_NOWAIT | __GFP_NOWARN;

/* ---------------------------------------------------------------- objects */

static void txn_put(struct dsm_txn *t)
{
	struct dsm_region *r = t->r;

	if (!refcount_dec_and_test(&t->ref))
		return;
	mempool_free(t, txn_pool);
	dsm_region_put(r);
}

static struct dsm_txn *txn_new(struct dsm_region *r, u32 index, gfp_t gfp)
{
	struct dsm_txn *t = mempool_alloc(txn_pool, gfp);

	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	refcount_set(&t->ref, 1);
	t->r = r;
	t->index = index;
	t->x.cookie = t;
	t->item.kind = DSM_ITEM_FWD;
	dsm_region_get(r);
	return t;
}

static struct dsm_txn *txn_of(struct pd_txn *x)
{
	return x ? container_of(x, struct dsm_txn, x) : NULL;
}

static void op_free(struct dsm_op *op)
{
	struct dsm_region *r = op->send.r;

	mempool_free(op, op_pool);
	dsm_region_put(r);
}

static struct dsm_op *op_new(struct dsm_region *r, u32 index, struct popcorn_msg *msg)
{
	struct dsm_op *op = mempool_alloc(op_pool, NOWAIT);

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
	popcorn_frame_free(req->spare);
	if (req->txn)
		txn_put(req->txn);
	kfree(req);
	dsm_region_put(r);
}

static void ask_done(struct popcorn_done *d);

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

	if (!req)
		return NULL;
	refcount_set(&req->ref, 1);
	init_waitqueue_head(&req->wait);
	req->r = r;
	req->index = index;
	req->a.done.fn = ask_done;
	dsm_region_get(r);
	req->a.frame = dsm_frame_alloc(GFP_KERNEL);
	req->spare = req->a.frame ? dsm_frame_alloc(GFP_KERNEL) : NULL;
	if (req->spare && dsm_home(r))
		req->txn = txn_new(r, index, GFP_KERNEL);
	if (!req->spare || (dsm_home(r) && !req->txn)) {
		dsm_req_put(req);
		return NULL;
	}
	return req;
}

/* ------------------------------------------------------- frames and pages */

/* A page becomes the region's; nobody can see it yet. Locked. */
static void frame_set(struct dsm_region *r, struct dsm_page *pg, u32 index,
		      struct popcorn_frame *f)
{
	f->page->mapping = r->inode->i_mapping;
	f->page->index = index;
	pg->frame = f;
	dsm_resident(r, 1);
}

/* Its frame leaves the page; locked. Return: it, or NULL if what is being sent keeps it. */
static struct popcorn_frame *frame_clear(struct dsm_region *r, struct dsm_page *pg)
{
	struct popcorn_frame *f = pg->frame;
	bool sent = pg->sends;

	f->page->mapping = NULL;
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
	bool last;

	s->f = NULL;
	spin_lock_bh(dsm_lock(s->r, s->index));
	last = page_ref_dec_return(f->page) == 1;
	if (pg->frame == f) {
		pg->sends--;
		last = false;
	}
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
 * @f:     a frame of zeroes, or NULL to look only
 *
 * Return: the page has been used, and @f if given has been taken or wasn't needed.
 */
bool dsm_first(struct dsm_region *r, struct dsm_page *pg, struct dsm_dir *dir, u32 index,
	       struct popcorn_frame *f)
{
	if (dir->d.state != PD_I)
		return true;
	if (!f)
		return false;
	frame_set(r, pg, index, f);
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

static void due_at(struct dsm_region *r, u64 until)
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

	kthread_queue_work(dsm_worker, &r->fast);
	return HRTIMER_NORESTART;
}

/* No memory now: the message is tried again. */
static void later(struct dsm_region *r, struct popcorn_msg *msg)
{
	spin_lock_bh(&r->lock);
	msg->next = r->later;
	r->later = msg;
	spin_unlock_bh(&r->lock);
	due_at(r, dsm_now() + DSM_RETRY_MAX_NS);
}

/* The message needs memory that can't be waited for here. */
static void to_slow(struct dsm_region *r, struct popcorn_msg *msg)
{
	spin_lock_bh(&r->lock);
	msg->next = r->slow_msgs;
	r->slow_msgs = msg;
	spin_unlock_bh(&r->lock);
	queue_work(dsm_wq, &r->slow);
}

static void refuse(struct popcorn_msg *msg, int status)
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
	run->out.n = 0;
}

static struct dsm_txn *txn_now(struct dsm_run *run)
{
	return txn_of(run->dir->now);
}

/* The op that an answer belongs to; only an answer's last act takes it. */
static struct dsm_op *op_take(struct dsm_page *pg)
{
	struct dsm_op *op = pg->op;

	pg->op = NULL;
	return op;
}

/**
 * dsm_take - keep what the core has just returned, with what it is about
 * @run:  run->out is taken
 * @todo: what is to be done again if the core defers it
 *
 * With the page's lock, which the core was called under.
 */
void dsm_take(struct dsm_run *run, u8 todo)
{
	struct dsm_region *r = run->r;
	struct dsm_page *pg = run->pg;
	bool home = dsm_home(r);
	u32 i;

	for (i = 0; i < run->out.n; i++) {
		struct dsm_act *e = &run->act[run->tail % DSM_RUN_ACTS];

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
		case PD_SEND_FWD:
		case PD_SEND_INV:
		case PD_SEND_NODATA:
			e->p = txn_now(run);
			refcount_inc(&txn_now(run)->ref);
			break;
		case PD_SEND_DATA:
			if (home) {
				struct dsm_txn *t = txn_now(run);

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
			if (!home)
				e->p = op_take(pg);
			break;
		case PD_DO_FREE:
			e->f = frame_clear(r, pg);
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
	/* Data came for a request that has ended without the right. */
	if (pg->frame && pg->p.state == PD_I && !pg->p.want && pg->p.doing == PD_IDLE &&
	    !WARN_ON_ONCE(run->tail - run->head == DSM_RUN_ACTS))
		run->act[run->tail++ % DSM_RUN_ACTS] = (struct dsm_act){
			.a.what = PD_DO_FREE, .f = frame_clear(r, pg),
		};
}

static void head(const struct dsm_region *r, u32 index, u32 req, struct pd_msg *m)
{
	*m = (struct pd_msg){
		.region = cpu_to_le32(r->id), .gen = cpu_to_le32(r->gen),
		.page = cpu_to_le32(index), .req = cpu_to_le32(req), .pages = 1,
	};
}

/* Transactions that have ended. */
static void ended(struct pd_txn *x)
{
	while (x) {
		struct dsm_txn *t = txn_of(x);

		x = x->next;
		if (t->msg)
			popcorn_answer(t->msg, -EHOSTDOWN, NULL, 0);
		t->msg = NULL;
		txn_put(t);
	}
}

static struct pd_home home_of(struct dsm_run *run)
{
	return (struct pd_home){ .dir = &run->dir->d, .now = &run->dir->now };
}

static void run_home_ack(struct dsm_run *run, u16 node)
{
	struct pd_home h = home_of(run);
	struct pd_txn *x;

	spin_lock_bh(dsm_lock(run->r, run->index));
	x = pd_home_ack(&run->r->cfg, &h, node, &run->out);
	dsm_take(run, 0);
	spin_unlock_bh(dsm_lock(run->r, run->index));
	ended(x);
}

static void run_home_sent(struct dsm_run *run, u16 node, int status)
{
	struct pd_home h = home_of(run);
	struct pd_txn *x;

	spin_lock_bh(dsm_lock(run->r, run->index));
	x = pd_home_sent(&run->r->cfg, &h, node, status, &run->out);
	dsm_take(run, 0);
	spin_unlock_bh(dsm_lock(run->r, run->index));
	ended(x);
}

static void run_home_done(struct dsm_run *run, u16 node, u32 req, u8 flags)
{
	struct pd_home h = home_of(run);
	struct pd_txn *x;

	spin_lock_bh(dsm_lock(run->r, run->index));
	x = pd_home_done(&run->r->cfg, &h, node, req, flags, &run->out);
	dsm_take(run, 0);
	spin_unlock_bh(dsm_lock(run->r, run->index));
	ended(x);
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
static void run_again(struct dsm_run *run, u8 todo)
{
	struct dsm_op *op = run->pg->op;
	struct dsm_txn *t;

	if (todo & DSM_TODO_INV) {
		run_inv(run);
	} else if (op && op->msg) {
		const struct pd_msg *m = op->msg->data;

		run_fwd(run, le16_to_cpu(m->node), le32_to_cpu(m->req), m->flags);
	} else if (dsm_home(run->r)) {
		spin_lock_bh(dsm_lock(run->r, run->index));
		t = txn_now(run);
		if (t)
			refcount_inc(&t->ref);
		spin_unlock_bh(dsm_lock(run->r, run->index));
		if (t) {
			run_fwd(run, t->x.node, t->x.req, t->x.flags & PD_F_WRITE);
			txn_put(t);
		}
	}
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
			if (req) {
				swap(t->fwd.frame, req->a.frame);
				if (!t->fwd.frame)
					swap(t->fwd.frame, req->spare);
			}
			if (!t->fwd.frame)
				t->fwd.frame = dsm_frame_alloc(NOWAIT);
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
static void txn_send(struct dsm_run *run, struct dsm_txn *t)
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
	head(r, t->index, t->x.req, &m);
	m.node = cpu_to_le16(t->x.node);
	for (; mask; mask &= mask - 1) {
		u16 to = __builtin_ctzll(mask);
		struct dsm_inv *inv = mempool_alloc(inv_pool, NOWAIT);

		e = -EAGAIN;
		if (inv) {
			memset(inv, 0, sizeof(*inv));
			inv->a.done.fn = inv_done;
			inv->item.kind = DSM_ITEM_INV;
			inv->t = t;
			inv->to = to;
			refcount_inc(&t->ref);
			e = popcorn_request_async(r->node, to, PW_URGENT, PD_T_INV, &m, sizeof(m),
						  NULL, 0, FOREVER_MS, POPCORN_NOWAIT, &inv->a);
		}
		if (e && inv) {
			if (e != -EAGAIN) { /* its death, or ours, follows */
				inv->a.done.status = e;
				item_add(r, &inv->item);
				continue;
			}
			mempool_free(inv, inv_pool);
			txn_put(t);
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
					  0, FOREVER_MS, POPCORN_NOWAIT, &t->fwd);
		if (e) {
			popcorn_frame_free(t->fwd.frame);
			t->fwd.frame = NULL;
		}
		if (e == -EAGAIN) {
			spin_lock_bh(dsm_lock(r, run->index));
			t->fwd_busy = false;
			t->fwd_due = true;
			spin_unlock_bh(dsm_lock(r, run->index));
			txn_put(t);
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
static int data_send(struct dsm_op *op)
{
	struct dsm_region *r = op->send.r;
	int e;

	mutex_lock(&r->data_mutex);
	head(r, op->send.index, op->req, r->data);
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
	op_free(op);
}

static void txn_sent(struct popcorn_done *d)
{
	struct dsm_txn *t = container_of(d, struct dsm_txn, send.d);

	send_end(&t->send);
	txn_put(t);
}

/* The page goes out; @e->p is the op or transaction that it answers. */
static void act_data(struct dsm_run *run, struct dsm_act *e)
{
	if (dsm_home(run->r)) {
		struct dsm_txn *t = e->p;
		struct popcorn_msg *msg = t->msg;

		t->msg = NULL;
		t->send.r = run->r;
		t->send.index = run->index;
		t->send.d.fn = txn_sent;
		if (!msg || popcorn_answer_page(msg, t->send.f, &t->send.d)) {
			if (msg)
				popcorn_answer(msg, -EINVAL, NULL, 0);
			txn_sent(&t->send.d);
		}
	} else {
		struct dsm_op *op = e->p;
		struct popcorn_msg *msg = op->msg;

		if (!op->fetch) {
			op->unsent = data_send(op);
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

	if (!op || (op->fetch && !status))
		return; /* it is op_sent()'s */
	if (op->msg)
		popcorn_answer(op->msg, status, NULL, 0);
	op->msg = NULL;
	if (!op->unsent) {
		op_free(op);
		return;
	}
	spin_lock_bh(&r->lock);
	op->next = r->unsent;
	r->unsent = op;
	spin_unlock_bh(&r->lock);
	due_at(r, dsm_now() + DSM_RETRY_NS);
}

static void act_grant(struct dsm_run *run, struct dsm_act *e)
{
	struct dsm_txn *t = e->p;
	struct dsm_region *r = run->r;

	if (e->a.to == r->cfg.self) {
		spin_lock_bh(dsm_lock(r, run->index));
		pd_granted(&r->cfg, &run->pg->p, e->a.req, e->a.status, false, dsm_now(), &run->out);
		dsm_take(run, 0);
		spin_unlock_bh(dsm_lock(r, run->index));
	} else if (t->msg) {
		popcorn_answer(t->msg, e->a.status ?: -EXDEV, NULL, 0);
		t->msg = NULL;
	}
	txn_put(t);
}

static void act_ask(struct dsm_run *run, struct dsm_act *e)
{
	struct dsm_req *req = e->p;
	struct dsm_region *r = run->r;

	req->req = e->a.req;
	req->flags = e->a.flags;
	if (e->a.to == r->cfg.self) {
		struct pd_home h = home_of(run);
		struct dsm_txn *t = req->txn;

		req->txn = NULL;
		t->x.node = r->cfg.self;
		t->x.req = e->a.req;
		t->x.flags = e->a.flags;
		spin_lock_bh(dsm_lock(r, run->index));
		pd_home_ask(&r->cfg, &h, &t->x, &run->out);
		dsm_take(run, 0);
		spin_unlock_bh(dsm_lock(r, run->index));
		dsm_req_put(req);
	} else {
		dsm_req_send(req, POPCORN_NOWAIT);
		dsm_req_put(req);
	}
}

static void act_done(struct dsm_run *run, struct dsm_act *e)
{
	struct dsm_req *req = e->p;
	struct dsm_region *r = run->r;

	if (e->a.to == r->cfg.self) {
		run_home_done(run, r->cfg.self, e->a.req, e->a.flags);
		dsm_req_put(req);
		return;
	}
	req->flags = e->a.flags;
	llist_add(&req->done, &r->done_list); /* the reference with it */
	queue_delayed_work(dsm_wq, &r->dones, 0);
}

static void act_wake(struct dsm_run *run, struct dsm_req *req)
{
	if (req) {
		WRITE_ONCE(req->over, true);
		wake_up_all(&req->wait);
		dsm_req_put(req);
	}
	if (wq_has_sleeper(&run->r->wait))
		wake_up_all(&run->r->wait);
}

static void act_unmap(struct dsm_run *run)
{
	struct dsm_region *r = run->r;
	bool gone = dsm_take_away(r, run->pg, run->index);

	spin_lock_bh(dsm_lock(r, run->index));
	if (gone) {
		run->pg->todo &= ~DSM_TODO_UNMAP;
		pd_unmapped(&r->cfg, &run->pg->p, &run->out);
		dsm_take(run, 0);
	} else {
		run->pg->todo |= DSM_TODO_UNMAP;
		pending_add(r, run->pg, run->index, dsm_now() + DSM_RETRY_NS);
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
			act_ask(run, &e);
			break;
		case PD_SEND_FWD:
			t = e.p;
			if (e.a.to == r->cfg.self) {
				run_fwd(run, e.a.node, e.a.req, e.a.flags);
			} else {
				spin_lock_bh(dsm_lock(r, run->index));
				t->fwd_due = true;
				spin_unlock_bh(dsm_lock(r, run->index));
				txn_send(run, t);
			}
			txn_put(t);
			break;
		case PD_SEND_INV:
			t = e.p;
			if (e.a.mask & (1ull << r->cfg.self))
				run_inv(run);
			spin_lock_bh(dsm_lock(r, run->index));
			t->inv_due |= e.a.mask & ~(1ull << r->cfg.self);
			spin_unlock_bh(dsm_lock(r, run->index));
			if (t->inv_due)
				txn_send(run, t);
			txn_put(t);
			break;
		case PD_SEND_NODATA:
			t = e.p;
			if (e.a.to == r->cfg.self) {
				spin_lock_bh(dsm_lock(r, run->index));
				pd_nodata(&r->cfg, &run->pg->p, e.a.req, &run->out);
				dsm_take(run, 0);
				spin_unlock_bh(dsm_lock(r, run->index));
			} else {
				t->nodata_due = true;
				txn_send(run, t);
			}
			txn_put(t);
			break;
		case PD_SEND_GRANT:
			act_grant(run, &e);
			break;
		case PD_SEND_DATA:
			act_data(run, &e);
			break;
		case PD_SEND_ACK:
			atomic64_inc(&r->stat.invalidated);
			if (dsm_home(r)) {
				run_home_ack(run, r->cfg.self);
			} else if (e.p) {
				popcorn_answer(((struct dsm_op *)e.p)->msg, 0, NULL, 0);
				op_free(e.p);
			}
			break;
		case PD_SEND_SENT:
			if (dsm_home(r))
				run_home_sent(run, r->cfg.self, e.a.status);
			else
				act_sent(run, e.p, e.a.status);
			break;
		case PD_SEND_DONE:
			act_done(run, &e);
			break;
		case PD_SEND_PUT: {
			struct pd_msg m;

			head(r, run->index, 0, &m);
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
			act_unmap(run);
			break;
		case PD_DO_FREE:
			dsm_frame_free(e.f);
			break;
		case PD_DO_WAKE:
			act_wake(run, e.p);
			break;
		}
	}
}

/* ------------------------------------------------------------- a requester */

/* The ASK has ended: @status as its answer; the frame holds the page if that is 0. */
static void ask_over(struct dsm_req *req, int status)
{
	struct dsm_region *r = req->r;
	struct popcorn_frame *f = NULL;
	struct dsm_run run;
	bool data = !status;
	int e = -ESTALE;

	if (data) {
		f = req->a.frame;
		req->a.frame = NULL;
	}
	if (status == -EXDEV)
		status = 0;
	dsm_run_begin(&run, r, dsm_page(r, req->index), req->index);
	spin_lock_bh(dsm_lock(r, req->index));
	req->status = status;
	if (run.pg->req == req) {
		if (f && !run.pg->frame) {
			frame_set(r, run.pg, req->index, f);
			f = NULL;
		}
		e = pd_granted(&r->cfg, &run.pg->p, req->req, status, data, dsm_now(), &run.out);
		dsm_take(&run, 0);
	}
	spin_unlock_bh(dsm_lock(r, req->index));
	dsm_frame_free(f);
	if (!e)
		dsm_run(&run);
	if (status == -ESTALE || status == -ESHUTDOWN || status == -EHOSTDOWN)
		dsm_region_over(r, status);
	dsm_req_put(req);
}

static void ask_done(struct popcorn_done *d)
{
	struct dsm_req *req = container_of(d, struct dsm_req, a.done);

	ask_over(req, d->status);
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
	struct dsm_region *r = req->r;
	struct pd_msg m;
	int e;

	head(r, req->index, req->req, &m);
	m.flags = req->flags;
	refcount_inc(&req->ref);
	e = popcorn_request_async(r->node, r->cfg.home, PW_SYNC, PD_T_ASK, &m, sizeof(m), NULL, 0,
				  FOREVER_MS, flags, &req->a);
	if (!e)
		return;
	if (e == -EAGAIN && (flags & POPCORN_NOWAIT)) {
		WRITE_ONCE(req->unsent, true);
		dsm_req_put(req);
		return;
	}
	ask_over(req, e);
}

/* --------------------------------------------------------------- messages */

/* ASK, or PUT, at the home. */
static void ask_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index, bool may_sleep)
{
	const struct pd_msg *m = msg->data;
	struct popcorn_frame *f = NULL;
	struct dsm_page *pg;
	struct dsm_run run;
	struct pd_home h;
	struct dsm_txn *t;
	bool used;
	int e;

	pg = may_sleep ? dsm_page_make(r, index) : dsm_page(r, index);
	if (!pg) {
		if (may_sleep)
			refuse(msg, -ENOMEM);
		else
			to_slow(r, msg);
		return;
	}
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	used = dsm_first(r, pg, run.dir, index, NULL);
	spin_unlock_bh(dsm_lock(r, index));
	if (!used) {
		f = dsm_frame_alloc(may_sleep ? GFP_KERNEL : NOWAIT);
		if (!f) {
			if (may_sleep)
				refuse(msg, -ENOMEM);
			else
				to_slow(r, msg);
			return;
		}
		clear_page(popcorn_frame_data(f));
	}
	t = txn_new(r, index, NOWAIT);
	if (!t) {
		dsm_frame_free(f);
		later(r, msg);
		return;
	}
	t->msg = msg;
	t->x.node = msg->from;
	t->x.req = le32_to_cpu(m->req);
	t->x.flags = m->flags & (PD_F_WRITE | PD_F_HOLDS | PD_F_IDLE);
	h = home_of(&run);
	e = -ESTALE;
	spin_lock_bh(dsm_lock(r, index));
	if (f && !dsm_first(r, pg, run.dir, index, f))
		f = NULL;
	if (!r->over && (r->members & (1ull << msg->from))) {
		e = pd_home_ask(&r->cfg, &h, &t->x, &run.out);
		dsm_take(&run, 0);
	}
	spin_unlock_bh(dsm_lock(r, index));
	dsm_frame_free(f);
	if (e) {
		t->msg = NULL;
		txn_put(t);
		refuse(msg, e);
		return;
	}
	dsm_run(&run);
}

/* INV, FWD or FETCH at a node that isn't the home. */
static void page_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index)
{
	const struct pd_msg *m = msg->data;
	struct dsm_page *pg = dsm_page(r, index);
	bool inv = msg->type == PD_T_INV;
	struct dsm_run run;
	struct dsm_op *op;

	if (!pg) {	/* never used here */
		refuse(msg, inv ? 0 : -ENODATA);
		return;
	}
	op = op_new(r, index, msg);
	if (!op) {
		later(r, msg);
		return;
	}
	op->fetch = msg->type == PD_T_FETCH;
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	if (pg->op || r->over) {
		spin_unlock_bh(dsm_lock(r, index));
		op_free(op);
		if (r->over)
			refuse(msg, inv ? 0 : -ENODATA);
		else
			later(r, msg);
		return;
	}
	pg->op = op;
	if (inv)
		pd_inv(&r->cfg, &pg->p, dsm_now(), &run.out);
	else
		pd_fwd(&r->cfg, &pg->p, le16_to_cpu(m->node), le32_to_cpu(m->req), m->flags,
		       dsm_now(), &run.out);
	dsm_take(&run, inv ? DSM_TODO_INV : DSM_TODO_FWD);
	spin_unlock_bh(dsm_lock(r, index));
	dsm_run(&run);
}

/* DATA from a third node: copied to the frame that came with the request. */
static void data_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index)
{
	u32 number = le32_to_cpu(((const struct pd_msg *)msg->data)->req);
	struct dsm_page *pg = dsm_page(r, index);
	struct popcorn_frame *f = NULL;
	struct dsm_req *req = NULL;
	struct dsm_run run;
	int e;

	if (!pg || msg->len != sizeof(struct pd_msg) + PAGE_SIZE)
		return;
	spin_lock_bh(dsm_lock(r, index));
	if (pg->req && pg->req->req == number && pg->req->spare) {
		req = pg->req;
		f = req->spare;
		req->spare = NULL;
		refcount_inc(&req->ref);
	}
	spin_unlock_bh(dsm_lock(r, index));
	if (!f)
		return;
	popcorn_msg_copy(msg, sizeof(struct pd_msg), popcorn_frame_data(f), PAGE_SIZE);
	flush_dcache_page(f->page);
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	e = pg->req != req || pg->frame ? -ESTALE :
	    pd_data(&r->cfg, &pg->p, number, dsm_now(), &run.out);
	if (!e) {
		frame_set(r, pg, index, f);
		f = NULL;
		dsm_take(&run, 0);
	}
	spin_unlock_bh(dsm_lock(r, index));
	dsm_frame_free(f);
	dsm_req_put(req);
	if (!e)
		dsm_run(&run);
}

static void nodata_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 index)
{
	struct dsm_page *pg = dsm_page(r, index);
	struct dsm_run run;

	if (!pg)
		return;
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	pd_nodata(&r->cfg, &pg->p, le32_to_cpu(((const struct pd_msg *)msg->data)->req), &run.out);
	dsm_take(&run, 0);
	spin_unlock_bh(dsm_lock(r, index));
	dsm_run(&run);
}

/* Deal with a message, which is answered or done at some time. */
static void message(struct dsm_region *r, struct popcorn_msg *msg, bool may_sleep)
{
	const struct pd_msg *m = msg->data;
	u32 index = le32_to_cpu(m->page);
	bool home = dsm_home(r), from_home = msg->from == r->cfg.home;
	struct dsm_page *pg;
	struct dsm_run run;

	switch (msg->type) {
	case PD_T_ASK:
		if (home)
			ask_msg(r, msg, index, may_sleep);
		else
			refuse(msg, -ESTALE);
		return;
	case PD_T_FWD:
	case PD_T_FETCH:
	case PD_T_INV:
		if (!home && from_home)
			page_msg(r, msg, index);
		else
			refuse(msg, -ESTALE);
		return;
	case PD_T_PUT:
		if (!home)
			break;
		if (!may_sleep) {
			to_slow(r, msg);
			return;
		}
		dsm_bring(r, index);
		break;
	case PD_T_DONE:
		pg = dsm_page(r, index);
		if (!home || !pg)
			break;
		dsm_run_begin(&run, r, pg, index);
		run_home_done(&run, msg->from, le32_to_cpu(m->req), m->flags);
		dsm_run(&run);
		break;
	case PD_T_DATA:
		data_msg(r, msg, index);
		break;
	case PD_T_NODATA:
		if (from_home)
			nodata_msg(r, msg, index);
		break;
	}
	refuse(msg, -EINVAL);
}

static void handle(struct popcorn_msg *msg)
{
	const struct pd_msg *m = msg->data;
	bool request = msg->type == PD_T_ASK || msg->type == PD_T_FWD ||
		       msg->type == PD_T_FETCH || msg->type == PD_T_INV;
	struct dsm_region *r;

	if (msg->len < sizeof(*m) || msg->request != request ||
	    msg->pages != (msg->type == PD_T_ASK || msg->type == PD_T_FETCH)) {
		refuse(msg, -EINVAL);
		return;
	}
	r = dsm_region_find(msg->node, le32_to_cpu(m->region), le32_to_cpu(m->gen));
	if (!r || r->over || le32_to_cpu(m->page) >= r->pages)
		refuse(msg, msg->type == PD_T_INV ? 0 : -ESTALE);
	else
		message(r, msg, false);
	if (r)
		dsm_region_put(r);
}

/* ---------------------------------------------------------------- workers */

void dsm_slow_work(struct work_struct *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, slow);
	struct popcorn_msg *msg, *next;
	u64 dead, mask;

	spin_lock_bh(&r->lock);
	msg = r->slow_msgs;
	r->slow_msgs = NULL;
	dead = r->dying;
	spin_unlock_bh(&r->lock);
	for (mask = dead; mask; mask &= mask - 1)
		dsm_home_dead(r, __builtin_ctzll(mask));
	spin_lock_bh(&r->lock);
	r->dying &= ~dead;
	spin_unlock_bh(&r->lock);
	for (; msg; msg = next) {
		next = msg->next;
		msg->next = NULL;
		if (r->over)
			refuse(msg, -ESTALE);
		else
			message(r, msg, true);
	}
}

void dsm_dones_work(struct work_struct *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, dones.work);
	struct llist_node *n = llist_reverse_order(llist_del_all(&r->done_list)), *next;
	struct dsm_req *req;
	struct pd_msg m;
	bool again = false;

	for (; n; n = next) {
		next = n->next;
		req = llist_entry(n, struct dsm_req, done);
		head(r, req->index, req->req, &m);
		m.flags = req->flags;
		if (popcorn_send(r->node, r->cfg.home, PW_SYNC, PD_T_DONE, &m, sizeof(m),
				 POPCORN_NOWAIT) == -EAGAIN) {
			llist_add(&req->done, &r->done_list);
			again = true;
		} else {
			dsm_req_put(req);
		}
	}
	if (again)
		queue_delayed_work(dsm_wq, &r->dones, 1);
}

/* INV has been answered. */
static void item_inv(struct dsm_inv *inv)
{
	struct dsm_txn *t = inv->t;
	int status = inv->a.done.status;
	struct dsm_region *r = t->r;
	struct dsm_run run;

	dsm_run_begin(&run, r, dsm_page(r, t->index), t->index);
	/* When it is dead, dsm_home_dead() says so for all pages. */
	if (status != -EHOSTDOWN && status != -ESHUTDOWN && run.dir->now == &t->x)
		run_home_ack(&run, inv->to);
	mempool_free(inv, inv_pool);
	txn_put(t);
	dsm_run(&run);
}

/* FWD or FETCH has been answered. */
static void item_fwd(struct dsm_txn *t)
{
	int status = t->fwd.done.status ? -ENODATA : 0;
	struct popcorn_frame *f = status ? NULL : t->fwd.frame;
	struct dsm_region *r = t->r;
	struct dsm_run run;

	dsm_run_begin(&run, r, dsm_page(r, t->index), t->index);
	spin_lock_bh(dsm_lock(r, t->index));
	t->fwd.frame = NULL;
	t->fwd_busy = false;
	if (f && run.dir->now == &t->x && !run.pg->frame &&
	    !pd_data(&r->cfg, &run.pg->p, t->x.req, dsm_now(), &run.out)) {
		frame_set(r, run.pg, t->index, f);
		f = NULL;
		dsm_take(&run, 0);
	}
	spin_unlock_bh(dsm_lock(r, t->index));
	dsm_frame_free(f);
	if (run.dir->now == &t->x)
		run_home_sent(&run, t->fwd_to, status);
	dsm_run(&run);
	if (t->fwd_due)
		txn_send(&run, t);
	txn_put(t);
}

static void page_due(struct dsm_region *r, struct dsm_page *pg, u32 index)
{
	struct dsm_txn *t = NULL;
	struct dsm_run run;
	u8 todo;

	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	todo = r->over ? 0 : pg->todo;
	pg->todo &= ~todo;
	if (todo & DSM_TODO_SEND) {
		t = txn_now(&run);
		if (t)
			refcount_inc(&t->ref);
	}
	spin_unlock_bh(dsm_lock(r, index));
	if (todo & DSM_TODO_UNMAP)
		act_unmap(&run);
	if (todo & (DSM_TODO_INV | DSM_TODO_FWD))
		run_again(&run, todo);
	if (t) {
		txn_send(&run, t);
		txn_put(t);
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
	for (; msg; msg = mnext) {
		mnext = msg->next;
		msg->next = NULL;
		if (r->over)
			refuse(msg, msg->type == PD_T_INV ? 0 : -ESTALE);
		else
			message(r, msg, false);
	}
	for (; op; op = onext) {
		onext = op->next;
		op->unsent = data_send(op);
		if (!op->unsent) {
			op_free(op);
			continue;
		}
		spin_lock_bh(&r->lock);
		op->next = r->unsent;
		r->unsent = op;
		spin_unlock_bh(&r->lock);
		due_at(r, dsm_now() + DSM_RETRY_NS);
	}
}

/* ------------------------------------------------------------- giving up */

/**
 * dsm_drop_all - give up this node's copies
 * @r: region, not at its home
 *
 * Process context. Return: pages that are still here, or on their way; for some
 * the home must be waited for.
 */
u32 dsm_drop_all(struct dsm_region *r)
{
	struct dsm_page *pg;
	struct dsm_run run;
	u32 i, left = 0;

	for (i = 0; i < r->pages; i++) {
		pg = dsm_page(r, i);
		if (!pg) {
			i |= DSM_CHUNK - 1;
			continue;
		}
		dsm_run_begin(&run, r, pg, i);
		spin_lock_bh(dsm_lock(r, i));
		if (!r->over && !pd_drop(&r->cfg, &pg->p, &run.out))
			dsm_take(&run, 0);
		spin_unlock_bh(dsm_lock(r, i));
		dsm_run(&run);
		left += pg->p.state != PD_I || pg->p.want || pg->p.doing != PD_IDLE;
		cond_resched();
	}
	return left;
}

/* ------------------------------------------------------------------ death */

static void home_page_dead(struct dsm_region *r, u32 index, u16 node)
{
	struct pd_txn *x;
	struct pd_home h;
	struct dsm_run run;

	dsm_run_begin(&run, r, dsm_page(r, index), index);
	h = home_of(&run);
	spin_lock_bh(dsm_lock(r, index));
	x = run.dir->d.state != PD_I ? pd_home_dead(&r->cfg, &h, node, &run.out) : NULL;
	dsm_take(&run, 0);
	spin_unlock_bh(dsm_lock(r, index));
	ended(x);
	dsm_run(&run);
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
		op = op_take(pg);
		req = pg->req;
		pg->req = NULL;
		pg->todo = 0;
		x = dir ? dir->now : NULL;
		if (dir)
			dir->now = NULL;
		spin_unlock_bh(dsm_lock(r, i));
		if (op) {
			if (op->msg)
				refuse(op->msg, op->msg->type == PD_T_INV ? 0 : -ENODATA);
			op_free(op);
		}
		if (req) {
			req->status = -EIO;
			WRITE_ONCE(req->over, true);
			wake_up_all(&req->wait);
			dsm_req_put(req);
		}
		ended(x);
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
};

static void pools_exit(void)
{
	mempool_destroy(txn_pool);
	mempool_destroy(op_pool);
	mempool_destroy(inv_pool);
}

int dsm_msg_init(void)
{
	u32 i;
	int e;

	txn_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_txn));
	op_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_op));
	inv_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_inv));
	if (!txn_pool || !op_pool || !inv_pool) {
		pools_exit();
		return -ENOMEM;
	}
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		e = popcorn_msg_register(PD_T_ASK + i, &ops[i]);
		if (e) {
			while (i--)
				popcorn_msg_unregister(PD_T_ASK + i);
			pools_exit();
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
	pools_exit();
}
