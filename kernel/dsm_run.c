// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: what dsm_take() has kept is carried out, unlocked: messages go out, pages
 * are unmapped, and those who wait are woken.
 */
#include "dsm.h"
#include "trace.h"

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
		struct dsm_txn *t = dsm_txn_of(x);

		x = x->next;
		if (READ_ONCE(t->msg))
			dsm_txn_answer(t, -EHOSTDOWN, NULL);
		dsm_txn_put(t);
	}
}

/**
 * dsm_run_ask - an ASK came to the home: its page, or its turn to come
 * @run: for its page; carried out
 * @t:   transaction of it, which is answered at some time; taken
 * @gfp: for a page that is used for the first time
 *
 * Context as dsm_run(). Return: 0; or the message hasn't been answered, and won't be:
 * -EAGAIN, -ENOMEM, or -ESTALE: the region is over, or who asks has left.
 */
int dsm_run_ask(struct dsm_run *run, struct dsm_txn *t, gfp_t gfp)
{
	struct popcorn_frame *f = NULL;
	struct dsm_region *r = run->r;
	struct pd_home h = dsm_home_of(run);
	u16 from = t->x.node;
	u32 index = run->index;
	int e = -ENOMEM;

	if (READ_ONCE(run->dir->d.state) == PD_I) {
		f = dsm_frame_alloc(r, gfp);
		if (!f)
			goto refused;
		clear_page(popcorn_frame_data(f));
	}
	e = -ESTALE;
	spin_lock_bh(dsm_lock(r, index));
	if (f && !dsm_first(r, run->pg, run->dir, index, f))
		f = NULL;
	if (!r->over && (r->members & (1ull << from))) {
		e = pd_home_ask(&r->cfg, &h, &t->x, &run->out);
		dsm_take(run, 0);
	}
	spin_unlock_bh(dsm_lock(r, index));
	dsm_frame_free(f);
	if (!e) {
		dsm_run(run);
		return 0;
	}
refused:
	t->msg = NULL;
	dsm_txn_put(t);
	return e;
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
	pd_inv(&run->r->cfg, &run->pg->p, dsm_run_now(run), &run->out);
	dsm_take(run, DSM_TODO_INV);
	spin_unlock_bh(dsm_lock(run->r, run->index));
}

static void run_fwd(struct dsm_run *run, u16 node, u32 req, u8 flags)
{
	spin_lock_bh(dsm_lock(run->r, run->index));
	run->pg->todo &= ~DSM_TODO_FWD;
	pd_fwd(&run->r->cfg, &run->pg->p, node, req, flags, dsm_run_now(run), &run->out);
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

void dsm_item_add(struct dsm_region *r, struct dsm_item *item)
{
	llist_add(&item->node, &r->items);
	kthread_queue_work(dsm_worker, &r->fast);
}

static void fwd_done(struct popcorn_done *d)
{
	struct dsm_txn *t = container_of(d, struct dsm_txn, fwd.done);

	dsm_item_add(t->r, &t->item);
}

static void inv_done(struct popcorn_done *d)
{
	struct dsm_inv *inv = container_of(d, struct dsm_inv, a.done);

	dsm_item_add(inv->t->r, &inv->item);
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
		struct dsm_inv *inv = dsm_inv_new();

		e = -EAGAIN;
		if (inv) {
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
				dsm_item_add(r, &inv->item);
				continue;
			}
			dsm_inv_free(inv);
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
			dsm_item_add(r, &t->item);
		}
	}
	spin_lock_bh(dsm_lock(r, run->index));
	again = t->inv_due || t->fwd_due || t->nodata_due;
	if (again) {
		run->pg->todo |= DSM_TODO_SEND;
		dsm_pending(r, run->pg, run->index, dsm_now() + DSM_RETRY_NS);
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
	if (e == -EAGAIN || e == -ENOMEM) /* the pool grows meanwhile */
		return -EAGAIN;
	dsm_send_end(&op->send);	/* gone, or nobody is there to get it */
	return 0;
}

static void op_sent(struct popcorn_done *d)
{
	struct dsm_op *op = container_of(d, struct dsm_op, send.d);

	dsm_send_end(&op->send);
	dsm_op_free(op);
}

static void txn_sent(struct popcorn_done *d)
{
	struct dsm_txn *t = container_of(d, struct dsm_txn, send.d);

	dsm_send_end(&t->send);
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
		} else if (all && msg->pages > 1) {
			dsm_answers_add(all, msg, t->at, t->send.f, d, 0);
		} else if (msg->pages > 1) {
			popcorn_answer_some(msg, t->at, 1, &t->send.f, &d, NULL);
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
	if (!op)
		return;
	if (op->msg)
		popcorn_answer(op->msg, status, NULL, 0);
	op->msg = NULL;
	if (op->unsent)
		dsm_unsent(run->r, op);
	else
		dsm_op_free(op);
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
	if (llist_add(&req->done, &r->dones) || last) /* the reference with it */
		dsm_due(r, dsm_now() + (last ? min_t(u64, r->cfg.hold_ns / 2, DSM_DONE_NS) :
					DSM_BATCH_NS));
}

static void act_wake(struct dsm_run *run, struct dsm_req *req)
{
	if (req) {
		trace_popcorn_dsm_end(run->r, run->index, req->status);
		WRITE_ONCE(req->over, true);
		if (wq_has_sleeper(&req->wait))
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
		trace_popcorn_dsm_inv(r, run->index, run->pg->p.doing);
		pd_unmapped(&r->cfg, &run->pg->p, &run->out);
		dsm_take(run, 0);
	} else {
		run->pg->todo |= DSM_TODO_UNMAP;
		if (DSM_RETRY_NS << run->pg->tries < DSM_RETRY_MAX_NS)
			run->pg->tries++;
		dsm_pending(r, run->pg, run->index,
			    dsm_now() + (DSM_RETRY_NS << run->pg->tries));
	}
	spin_unlock_bh(dsm_lock(r, run->index));
}

/* dsm_run(), if there is anything to do. */
void dsm_run_acts(struct dsm_run *run)
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
			if (run->invs && e.a.what == PD_SEND_INV) {
				dsm_invs_add(run->invs, t, e.a.mask);
				break;
			}
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
			dsm_txn_answer(e.p, e.a.status ?: -EXDEV, run->answers);
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
				pd_unput(&run->pg->p);
				spin_unlock_bh(dsm_lock(r, run->index));
			}
			break;
		}
		case PD_DO_UNMAP:
		case PD_DO_PROTECT:
			dsm_run_unmap(run);
			break;
		case PD_DO_FREE:
			dsm_frame_free(e.p);
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
