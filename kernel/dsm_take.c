// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: what the protocol's core returns is collected, locked, with what it is
 * about. A message to the own node is a call, whose actions come after those that are
 * there already. dsm_run.c carries out the rest.
 */
#include "dsm.h"

/* A run for pages of @r, one after the other: dsm_run_page(). */
void dsm_run_init(struct dsm_run *run, struct dsm_region *r)
{
	run->r = r;
	run->now = 0;
	run->head = run->tail = 0;
	run->own_head = run->own_tail = 0;
	run->ended = NULL;
	run->answers = NULL;
	run->invs = NULL;
	run->out.n = 0;
}

/* The op that an answer belongs to; only an answer's last act takes it. */
struct dsm_op *dsm_op_take(struct dsm_page *pg)
{
	struct dsm_op *op = pg->op;

	pg->op = NULL;
	return op;
}

/* Of these the core is called at once if they are for the own node, which is then the home. */
#define CALLS	(BIT(PD_SEND_ASK) | BIT(PD_SEND_FWD) | BIT(PD_SEND_GRANT) | BIT(PD_SEND_ACK) | \
		 BIT(PD_SEND_SENT) | BIT(PD_SEND_DONE) | BIT(PD_SEND_NODATA))

static bool is_own(const struct dsm_region *r, const struct pd_act *a)
{
	return CALLS & BIT(a->what) && a->to == r->cfg.self && dsm_home(r);
}

static void own_add(struct dsm_run *run, const struct pd_act *a)
{
	if (!WARN_ON_ONCE(run->own_tail - run->own_head == PD_ACTS))
		run->own[run->own_tail++ % PD_ACTS] = *a;
}

/* Was it asked for ahead of need, for others only? Then look less far ahead. */
static void taken_unused(struct dsm_region *r, const struct dsm_page *pg, u32 index)
{
	if (pg->p.since)
		return;
	spin_lock(&r->lock);
	pd_stream_unused(&r->stream, index);
	pd_stream_unused(&r->writes, index);
	spin_unlock(&r->lock);
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
				dsm_send_begin(&t->send, pg);
			} else {
				pg->op->to = e->a.to;
				pg->op->req = e->a.req;
				e->p = pg->op;
				dsm_send_begin(&pg->op->send, pg);
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
			e->p = dsm_frame_clear(r, pg);
			taken_unused(r, pg, run->index);
			break;
		case PD_DO_PROTECT:
			taken_unused(r, pg, run->index);
			break;
		case PD_DO_WAKE:
			if (pg->req && pg->p.want == PD_I) {
				e->p = pg->req;
				pg->req = NULL;
			}
			break;
		case PD_DO_DEFER:
			pg->todo |= todo;
			dsm_pending(r, pg, run->index, e->a.until);
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
		pd_fwd(c, &pg->p, a->node, a->req, a->flags, dsm_run_now(run), &run->out);
		break;
	case PD_SEND_INV:
		todo = DSM_TODO_INV;
		pg->todo &= ~todo;
		pd_inv(c, &pg->p, dsm_run_now(run), &run->out);
		break;
	case PD_SEND_GRANT:
		pd_granted(c, &pg->p, a->req, a->status, false, dsm_run_now(run), &run->out);
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

/* dsm_take(), if there is anything to keep. */
void dsm_take_acts(struct dsm_run *run, u8 todo)
{
	struct dsm_page *pg = run->pg;
	struct pd_act a;

	for (;;) {
		collect(run, todo);
		if (run->own_head == run->own_tail)
			break;
		a = run->own[run->own_head++ % PD_ACTS];
		todo = own(run, &a);
	}
	/* Data came for a request that has ended without the right. */
	if (pg->frame && pg->p.state == PD_I && !pg->p.want && pg->p.doing == PD_IDLE &&
	    !WARN_ON_ONCE(run->tail - run->head == DSM_RUN_ACTS))
		run->act[run->tail++ % DSM_RUN_ACTS] = (struct dsm_act){
			.a.what = PD_DO_FREE, .p = dsm_frame_clear(run->r, pg),
		};
}
