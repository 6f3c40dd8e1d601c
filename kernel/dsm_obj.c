// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: what the engine counts and lends out: transactions, operations, requests,
 * and the frames of pages.
 */
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

/* Its ASK, if there is one that hasn't been answered, is answered by a status; with @all or not. */
void dsm_txn_answer(struct dsm_txn *t, int status, struct dsm_answers *all)
{
	struct popcorn_frame *none = NULL;
	struct popcorn_done *nobody = NULL;
	struct popcorn_msg *msg = xchg(&t->msg, NULL);

	if (!msg)
		return;
	if (msg->pages > 1 && all)
		dsm_answers_add(all, msg, t->at, NULL, NULL, status);
	else if (msg->pages > 1)
		popcorn_answer_some(msg, t->at, 1, &none, &nobody, &status);
	else
		popcorn_answer(msg, status, NULL, 0);
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

/* Zeroes, or NULL. Any context. */
struct dsm_inv *dsm_inv_new(void)
{
	struct dsm_inv *inv = mempool_alloc(inv_pool, DSM_NOWAIT);

	if (inv)
		memset(inv, 0, sizeof(*inv));
	return inv;
}

void dsm_inv_free(struct dsm_inv *inv)
{
	mempool_free(inv, inv_pool);
}

void dsm_obj_exit(void)
{
	mempool_destroy(txn_pool);
	mempool_destroy(op_pool);
	mempool_destroy(inv_pool);
}

int dsm_obj_init(void)
{
	txn_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_txn));
	op_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_op));
	inv_pool = mempool_create_kmalloc_pool(RESERVE, sizeof(struct dsm_inv));
	if (txn_pool && op_pool && inv_pool)
		return 0;
	dsm_obj_exit();
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
 * then the last dsm_send_end() frees it, and page->index counts those to come.
 */
struct popcorn_frame *dsm_frame_clear(struct dsm_region *r, struct dsm_page *pg)
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

/* A page is to be sent: its frame stays until dsm_send_end(). Locked. */
void dsm_send_begin(struct dsm_send *s, struct dsm_page *pg)
{
	s->f = pg->frame;
	get_page(s->f->page);
	pg->sends++;
}

void dsm_send_end(struct dsm_send *s)
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
