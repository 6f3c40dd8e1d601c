// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: pages that are taken away together. What an ASK for several makes the home
 * ask of a sharer goes in one message, which is carried out with one walk of page tables and
 * answered at once. Pages that can't go at once, as somebody uses them or they are kept for a
 * while, are asked for again, each by itself.
 */
#include <linux/slab.h>

#include "dsm.h"

/**
 * struct invs_sent - an INV for several pages under way
 * @a:     the request
 * @item:  it is answered
 * @gone:  the answer: those that are dropped
 * @first: page that bit 0 is
 * @to:    sharer
 * @n:     transactions
 * @t:     they, each counted
 */
struct invs_sent {
	struct popcorn_async a;
	struct dsm_item item;
	__le32 gone;
	u32 first;
	u16 to;
	u16 n;
	struct dsm_txn *t[];
};

/* ------------------------------------------------------- taking them away */

/* Has the page's turn come, and is it mapped? Not for sure, without its lock. */
static bool may_hide(struct dsm_region *r, u32 index, u64 now)
{
	struct dsm_page *pg = dsm_page(r, index);

	return pg && READ_ONCE(pg->p.state) != PD_I && (READ_ONCE(pg->p.flags) & PD_P_MAPPED) &&
	       (s64)(now - READ_ONCE(pg->p.since)) >= r->cfg.hold_ns;
}

/**
 * dsm_hide - take pages from all mappings that are about to be taken away
 * @r:     region
 * @first: page
 * @mask:  which, bit 0 is @first
 *
 * Process context. They can be mapped again at once: each is still taken away by itself,
 * which costs little if it is mapped nowhere any more.
 */
void dsm_hide(struct dsm_region *r, u32 first, u32 mask)
{
	u64 now = dsm_now();
	u32 i, n;

	for (i = 0; i < PD_BATCH; i += n + 1) {
		for (n = 0; i + n < PD_BATCH && (mask >> (i + n) & 1); n++)
			if (!may_hide(r, first + i + n, now))
				break;
		if (n > 1)
			unmap_mapping_pages(r->inode->i_mapping, first + i, n, false);
	}
}

/**
 * dsm_invs_msg - INV for several pages
 * @r:   region, not at its home
 * @msg: from the home; all of the pages are the region's
 *
 * Process context.
 */
void dsm_invs_msg(struct dsm_region *r, struct popcorn_msg *msg)
{
	const struct pd_msg *m = msg->data;
	u32 first = le32_to_cpu(m->page), mask = le32_to_cpu(m->mask), gone = 0, i;
	struct dsm_run run DSM_UNINIT;
	struct dsm_page *pg;
	__le32 answer;

	dsm_hide(r, first, mask);
	dsm_run_init(&run, r);
	for (i = 0; i < PD_BATCH; i++) {
		pg = mask >> i & 1 ? dsm_page(r, first + i) : NULL;
		if (!pg) {
			gone |= mask & 1u << i;	/* never used here */
			continue;
		}
		dsm_run_page(&run, pg, first + i);
		spin_lock_bh(dsm_lock(r, first + i));
		if (!pg->op && !r->over) {
			pd_inv(&r->cfg, &pg->p, dsm_run_now(&run), &run.out);
			if (run.out.a[0].what == PD_DO_DEFER)
				run.out.n = 0;
			dsm_take(&run, 0);
		}
		spin_unlock_bh(dsm_lock(r, first + i));
		dsm_run(&run);
		if (READ_ONCE(pg->p.state) == PD_I)
			gone |= 1u << i;
	}
	answer = cpu_to_le32(gone);
	if (popcorn_answer(msg, 0, &answer, sizeof(answer)))
		popcorn_answer(msg, -EINVAL, NULL, 0);
}

/* ---------------------------------------------------------------- the home */

/**
 * dsm_invs_add - one more page that others have to drop
 * @all:  so far; consecutive pages
 * @t:    its transaction, counted; taken
 * @mask: nodes
 */
void dsm_invs_add(struct dsm_invs *all, struct dsm_txn *t, u64 mask)
{
	all->to[all->n] = mask;
	all->t[all->n++] = t;
}

static void invs_done(struct popcorn_done *d)
{
	struct invs_sent *s = container_of(d, struct invs_sent, a.done);

	dsm_item_add(s->t[0]->r, &s->item);
}

/* What @to has to drop, if that is several. Return: false: nothing was sent. */
static bool send(struct dsm_region *r, struct dsm_invs *all, u16 to)
{
	struct invs_sent *s;
	struct pd_msg m;
	u32 mask = 0, i;

	s = kzalloc(struct_size(s, t, all->n), DSM_NOWAIT);
	if (!s)
		return false;
	for (i = 0; i < all->n; i++) {
		if (!(all->to[i] >> to & 1))
			continue;
		if (!s->n)
			s->first = all->t[i]->index;
		mask |= 1u << (all->t[i]->index - s->first);
		refcount_inc(&all->t[i]->ref);
		s->t[s->n++] = all->t[i];
	}
	s->to = to;
	s->item.kind = DSM_ITEM_INVS;
	s->a.done.fn = invs_done;
	dsm_head(r, s->first, 0, &m);
	m.mask = cpu_to_le32(mask);
	if (s->n > 1 &&
	    !popcorn_request_async(r->node, to, PW_URGENT, PD_T_INV, &m, sizeof(m), &s->gone,
				   sizeof(s->gone), DSM_FOREVER_MS, POPCORN_NOWAIT, &s->a))
		return true;
	for (i = 0; i < s->n; i++)
		dsm_txn_put(s->t[i]);
	kfree(s);
	return false;
}

/* The sharers @mask of @t's page are asked, each by itself. */
static noinline_for_stack void send_one(struct dsm_txn *t, u64 mask)
{
	struct dsm_region *r = t->r;
	struct dsm_run run DSM_UNINIT;

	dsm_run_begin(&run, r, dsm_page(r, t->index), t->index);
	spin_lock_bh(dsm_lock(r, t->index));
	if (run.dir->now != &t->x)
		mask = 0;
	t->inv_due |= mask;
	spin_unlock_bh(dsm_lock(r, t->index));
	if (mask)
		dsm_txn_send(&run, t);
}

/**
 * dsm_invs_send - ask others to drop pages
 * @r:   region, at its home
 * @all: which; emptied
 *
 * Process context; waits for nothing.
 */
void dsm_invs_send(struct dsm_region *r, struct dsm_invs *all)
{
	u64 mask = 0, bit;
	u32 i;

	for (i = 0; i < all->n; i++)
		mask |= all->to[i];
	for (; mask; mask &= mask - 1) {
		bit = mask & -mask;
		if (!send(r, all, __builtin_ctzll(mask)))
			continue;
		for (i = 0; i < all->n; i++)
			all->to[i] &= ~bit;
	}
	for (i = 0; i < all->n; i++) {
		if (all->to[i])
			send_one(all->t[i], all->to[i]);
		dsm_txn_put(all->t[i]);
	}
	all->n = 0;
}

/* @to has dropped @t's page. A frame of its own: with @all it would be a large one. */
static noinline_for_stack void acked(struct dsm_txn *t, u16 to, struct dsm_answers *all)
{
	struct dsm_run run DSM_UNINIT;

	dsm_run_begin(&run, t->r, dsm_page(t->r, t->index), t->index);
	run.answers = all;
	if (run.dir->now == &t->x)
		dsm_run_ack(&run, to);
	dsm_run(&run);
}

/**
 * dsm_invs_item - INV for several pages has been answered
 * @item: of it
 *
 * Process context, at the home. What is granted by that goes out together.
 */
void dsm_invs_item(struct dsm_item *item)
{
	struct invs_sent *s = container_of(item, struct invs_sent, item);
	struct dsm_region *r = s->t[0]->r;
	int status = s->a.done.status;
	/* No mask: it has no such region any more. An error: it couldn't say which. */
	u32 gone = status ? 0 : s->a.len == sizeof(s->gone) ? le32_to_cpu(s->gone) : ~0u, i;
	bool dead = status == -EHOSTDOWN || status == -ESHUTDOWN;
	struct dsm_answers all DSM_UNINIT;

	dsm_region_get(r);
	all.n = 0;
	for (i = 0; i < s->n && !dead; i++) { /* of a death dsm_home_dead() says so for all pages */
		struct dsm_txn *t = s->t[i];

		if (gone >> (t->index - s->first) & 1)
			acked(t, s->to, &all);
		else
			send_one(t, 1ull << s->to);
	}
	dsm_answers_send(&all);
	for (i = 0; i < s->n; i++)
		dsm_txn_put(s->t[i]);
	kfree(s);
	dsm_region_put(r);
}
