// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Messages about pages, brought to the core in user mode.
 */
#define _GNU_SOURCE
#include "dsm.h"

#define MORE_DONES	(~0u)

void dsm_msg_fill(const struct dsm_region *r, struct pd_msg *m, u32 page, u32 req, u16 node,
		  u8 flags)
{
	*m = (struct pd_msg){
		.region = cpu_to_le32(r->id), .gen = cpu_to_le32(r->gen),
		.page = cpu_to_le32(page), .req = cpu_to_le32(req),
		.node = cpu_to_le16(node), .flags = flags, .pages = 1,
	};
}

/* A one-way message. Return: whether it is to be tried again; who is dead needs none. */
bool dsm_tell(struct dsm_region *r, u16 to, u16 type, u32 page, u32 req, u8 flags)
{
	struct pd_msg m;

	dsm_msg_fill(r, &m, page, req, 0, flags);
	return popcorn_send(r->d->n, to, PW_URGENT, type, &m, sizeof(m), POPCORN_NOWAIT) ==
	       -EAGAIN;
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

/* Is it one of the region's, about pages that there are? */
static bool fits(const struct dsm_region *r, const struct pd_msg *pm)
{
	return le32_to_cpu(pm->gen) == r->gen && le32_to_cpu(pm->region) == r->id &&
	       le32_to_cpu(pm->page) < r->pages && pm->pages <= PD_BATCH && pm->pages &&
	       pm->pages <= r->pages - le32_to_cpu(pm->page) &&
	       le16_to_cpu(pm->node) < PD_NODES && !r->dead;
}

/**
 * region_of() - the region that a message is about
 * @m:     message
 * @more:  bytes that it has behind its header; MORE_DONES: it may have several
 * @home:  for the home, from a member; else from the home, or (PD_T_DATA) from anybody
 *
 * Return: region, with a reference, or NULL: it isn't right.
 */
static struct dsm_region *region_of(struct popcorn_msg *m, u32 more, bool home)
{
	const struct pd_msg *pm = m->data;
	struct dsm_region *r;

	if (more == MORE_DONES ? m->len % sizeof(*pm) || !m->len ||
	    m->len / sizeof(*pm) > 1 + DSM_DONES : m->len != sizeof(*pm) + more)
		return NULL;
	r = dsm_region_get(m->node->o.above, le32_to_cpu(pm->region));
	if (!r)
		return NULL;
	if (fits(r, pm) && dsm_is_home(r) == home &&
	    (home ? is_member(r, m->from) : m->from == r->c.home || m->type == PD_T_DATA))
		return r;
	/* The home asks itself by calls: FETCH and the like come from elsewhere only. */
	dsm_region_put(r);
	return NULL;
}

/* ------------------------------------------------------------------ at the home */

/*
 * A page of an ASK. @give: where the page is to be put, of an ASK for several; NULL: @m is
 * answered. Return: 0: it is, or will be; -errno: the answer.
 */
static int ask_one(struct dsm_region *r, struct popcorn_msg *m, u32 page, u32 req, u8 flags,
		   struct dsm_answer *give)
{
	struct pd_home h = dsm_home_of(r, page);
	struct dsm_txn *x;
	struct dsm_run run;
	int e = -EAGAIN;

	dsm_begin(&run, r, page);
	dsm_first(&run);
	x = dsm_txn_get(r, page);
	if (!x)
		goto out;
	x->give = give;
	x->x = (struct pd_txn){ .cookie = m, .node = m->from, .req = req, .flags = flags };
	/* Whoever gets the page's lock next may answer it, also before this returns. */
	if (!give && r->now[page])
		popcorn_msg_keep(m);
	e = pd_home_ask(&r->c, &h, &x->x, &run.out);
	if (e) {
		x->x.cookie = NULL;
		dsm_txns_ended(&x->x);
		goto out;
	}
	dsm_act(&run);
	if (!give) {
		if (r->now[page] && r->now[page]->cookie == m)
			popcorn_msg_keep(m);
	} else if (give->known) {
		x->give = NULL;
	} else if (flags & PD_F_WRITE) {
		x->give = NULL;	/* when others have dropped it, by itself */
	} else {
		/* Its own thread uses it just now: the answer doesn't wait. */
		x->give = NULL;
		x->x.cookie = NULL;
		*give = (struct dsm_answer){ .known = true, .error = -EAGAIN };
		dsm_txns_ended(pd_home_done(&r->c, &h, m->from, req, PD_F_FAIL, &run.out));
	}
out:
	dsm_end(&run);
	return e;
}

/* Ahead of need: what is idle and here, or needs no page, is given, as far as it can be at once. */
static void ask_several(struct dsm_region *r, struct popcorn_msg *m, const struct pd_msg *pm)
{
	u8 flags = pm->flags & (PD_F_WRITE | PD_F_HOLDS | PD_F_IDLE);
	struct popcorn_done *none[PD_BATCH] = { NULL };
	u32 first = le32_to_cpu(pm->page), i, from, n;
	struct dsm_answer a[PD_BATCH] = { 0 };
	const void *page[PD_BATCH];
	int error[PD_BATCH], e;

	if (flags & PD_F_WRITE) {
		popcorn_msg_keep(m);	/* some may be answered later */
		dsm_map_hide(r, first, pm->pages);
	}
	for (i = 0; i < pm->pages; i++) {
		e = ask_one(r, m, first + i, le32_to_cpu(pm->req) + i, flags, &a[i]);
		if (e)
			a[i] = (struct dsm_answer){ .known = true, .error = e };
		page[i] = a[i].page;
		error[i] = a[i].error;
	}
	/* After the last one the message is nobody's. */
	for (from = 0; from < pm->pages; from += n + 1) {
		for (n = 0; from + n < pm->pages && a[from + n].known; n++)
			;
		if (n)
			popcorn_answer_some(m, from, n, page + from, none, error + from);
	}
}

static void done_one(struct dsm_region *r, u16 node, u32 page, u32 req, u8 flags)
{
	struct pd_home h = dsm_home_of(r, page);
	struct dsm_run run;

	dsm_begin(&run, r, page);
	dsm_txns_ended(pd_home_done(&r->c, &h, node, req, flags & PD_F_FAIL, &run.out));
	dsm_end(&run);
}

static void done_all(struct dsm_region *r, u16 node, const struct pd_msg *pm, u32 n)
{
	u32 i;

	for (; n; n--, pm++)
		for (i = 0; fits(r, pm) && i < pm->pages; i++)
			done_one(r, node, le32_to_cpu(pm->page) + i, le32_to_cpu(pm->req) + i,
				 pm->flags);
}

static void on_ask(struct popcorn_msg *m)
{
	struct dsm_region *r = region_of(m, MORE_DONES, true);
	struct pd_msg pm[1 + DSM_DONES];
	u32 n = m->len / sizeof(*pm);
	u16 from = m->from;
	int e = -ESTALE;

	if (!r || !m->request) {
		refuse(m, e);
		goto out;
	}
	memcpy(pm, m->data, m->len);	/* the message goes with its answer */
	if (m->pages == pm->pages && pm->pages > 1 && (pm->flags & PD_F_IDLE)) {
		ask_several(r, m, pm);
		e = 0;
	} else if (m->pages == 1 && pm->pages == 1) {
		e = ask_one(r, m, le32_to_cpu(pm->page), le32_to_cpu(pm->req),
			    pm->flags & (PD_F_WRITE | PD_F_HOLDS | PD_F_IDLE), NULL);
	}
	if (e)
		refuse(m, e);
	done_all(r, from, pm + 1, n - 1);
out:
	if (r)
		dsm_region_put(r);
}

static void on_done(struct popcorn_msg *m)
{
	struct dsm_region *r = region_of(m, MORE_DONES, true);

	if (r && !m->request)
		done_all(r, m->from, m->data, m->len / sizeof(struct pd_msg));
	refuse(m, -EINVAL);
	if (r)
		dsm_region_put(r);
}

static void on_put(struct popcorn_msg *m)
{
	struct dsm_region *r = region_of(m, 0, true);
	const struct pd_msg *pm = m->data;
	struct dsm_run run;
	struct pd_home h;
	bool take;

	if (r && !m->request) {
		dsm_begin(&run, r, le32_to_cpu(pm->page));
		h = dsm_home_of(r, run.page);
		/* The DONE by which it became the owner may come later. */
		take = h.dir->owner == m->from || (*h.now && (*h.now)->node == m->from);
		dsm_end(&run);
		if (take)
			dsm_page_fault(r, run.page, false, false, false);
	}
	refuse(m, -EINVAL);
	if (r)
		dsm_region_put(r);
}

/* --------------------------------------------------------------- from the home */

static void on_serve(struct popcorn_msg *m)
{
	struct dsm_region *r = region_of(m, 0, false);
	const struct pd_msg *pm = m->data;
	struct dsm_run run;

	if (!r || !m->request || (m->type == PD_T_FETCH && m->pages != 1)) {
		/* Who has left has no copy: that is an answer to both. */
		refuse(m, m->type == PD_T_INV ? 0 : -ENODATA);
	} else {
		dsm_begin(&run, r, le32_to_cpu(pm->page));
		dsm_serve(&run, m->type, m, m->type == PD_T_FETCH ? r->c.home :
			  le16_to_cpu(pm->node), le32_to_cpu(pm->req), pm->flags & PD_F_WRITE);
		dsm_end(&run);
	}
	if (r)
		dsm_region_put(r);
}

/* DATA, or that there are none. */
static void on_data(struct popcorn_msg *m)
{
	bool data = m->type == PD_T_DATA;
	struct dsm_region *r = region_of(m, data ? UE_PAGE : 0, false);
	const struct pd_msg *pm = m->data;
	struct dsm_run run;

	if (r && !m->request) {
		dsm_begin(&run, r, le32_to_cpu(pm->page));
		if (!data)
			pd_nodata(&r->c, run.p, le32_to_cpu(pm->req), &run.out);
		else if (!pd_data(&r->c, run.p, le32_to_cpu(pm->req), dsm_now(), &run.out))
			dsm_page_in(r, run.page, pm + 1, m->from);
		dsm_end(&run);
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
		[PD_T_DONE - PD_T_ASK] = { "done", on_done },
		[PD_T_NODATA - PD_T_ASK] = { "nodata", on_data },
		[PD_T_PUT - PD_T_ASK] = { "put", on_put },
		[PD_T_ATTACH - PD_T_ASK] = { "attach", dsm_on_attach },
		[PD_T_DETACH - PD_T_ASK] = { "detach", dsm_on_detach },
		[PD_T_LOCK - PD_T_ASK] = { "lock", dsm_on_lock },
		[PD_T_UNLOCK - PD_T_ASK] = { "unlock", dsm_on_unlock },
		[PD_T_BARRIER - PD_T_ASK] = { "barrier", dsm_on_barrier },
		[PD_T_TREE - PD_T_ASK] = { "tree", dsm_on_barrier },
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
