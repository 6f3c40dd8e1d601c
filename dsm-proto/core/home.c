// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The home's half of page coherence: one transaction for a page at a time.
 *
 * A transaction is over when its requester has said DONE or died, and whoever was
 * asked for something has answered or died. The directory is changed as copies
 * vanish (ack, sent) and at DONE, when one has come: it lists too many, never too few.
 */
#include "dsm.h"
#include "act.h"

static inline u64 bit(u16 node)
{
	return 1ull << node;
}

static u16 lowest(u64 mask)
{
	return __builtin_ctzll(mask);
}

void pd_home_first(const struct pd_cfg *c, struct pd_dir *d, struct pd_page *own)
{
	d->state = PD_M;
	d->owner = c->home;
	d->sharers = bit(c->home);
	own->state = PD_M;
}

/* The owner has no copy any more: another one that is listed may have. */
static void elect(const struct pd_cfg *c, struct pd_dir *d)
{
	d->flags &= ~PD_D_DOUBT;
	if (d->sharers & bit(c->home)) {
		d->owner = c->home;
	} else if (d->sharers) {
		d->owner = lowest(d->sharers);
		d->flags |= PD_D_DOUBT;
	}
}

/* Who is to give the page? The home if it has one, else whom it counts on. */
static bool supplier(const struct pd_cfg *c, struct pd_dir *d, u16 *from)
{
	if (!(d->sharers & bit(d->owner)))
		elect(c, d);
	*from = d->sharers & bit(c->home) ? c->home : d->owner;
	return d->sharers;
}

static void grant(struct pd_txn *x, int status, struct pd_acts *out)
{
	x->steps |= PD_X_GRANTED;
	pd_act(out, (struct pd_act){ .what = PD_SEND_GRANT, .to = x->node, .node = x->node,
				     .req = x->req, .status = status, .cookie = x->cookie });
}

static void forward(struct pd_txn *x, struct pd_acts *out)
{
	x->steps = (x->steps | PD_X_FWD) & ~PD_X_SENT;
	pd_act(out, (struct pd_act){ .what = PD_SEND_FWD, .to = x->from, .node = x->node,
				     .req = x->req, .flags = x->flags & PD_F_WRITE });
}

static void nodata(struct pd_txn *x, struct pd_acts *out)
{
	pd_act(out, (struct pd_act){ .what = PD_SEND_NODATA, .to = x->node, .node = x->node,
				     .req = x->req });
}

/* There are no data: the requester's DONE, with PD_F_FAIL, follows. */
static void lost(struct pd_dir *d, struct pd_txn *x, struct pd_acts *out)
{
	d->flags |= PD_D_LOST;
	x->steps &= ~PD_X_NEEDS;
	if (x->steps & PD_X_OVER)
		return;
	if (x->steps & PD_X_GRANTED)
		nodata(x, out);
	else
		grant(x, -EIO, out);
}

/* Who has to drop a copy that isn't sent: the one who gives drops it, too. */
static u64 others(const struct pd_dir *d, const struct pd_txn *x)
{
	return d->sharers & ~bit(x->node) & ~(x->steps & PD_X_NEEDS ? bit(x->from) : 0);
}

static void invalidate(struct pd_dir *d, struct pd_txn *x, struct pd_acts *out)
{
	x->steps |= PD_X_INVS;
	x->acks = others(d, x);
	if (x->acks)
		pd_act(out, (struct pd_act){ .what = PD_SEND_INV, .mask = x->acks,
					     .node = x->node, .req = x->req });
}

/* What can be done now for the transaction under way? */
static void step(const struct pd_cfg *c, struct pd_dir *d, struct pd_txn *x,
		 struct pd_acts *out)
{
	bool write = x->flags & PD_F_WRITE, needs = x->steps & PD_X_NEEDS;

	if ((x->steps & PD_X_OVER) || (d->flags & PD_D_LOST))
		return;
	/*
	 * Before the page is known to be on its way nobody else is told to drop a copy. In doubt
	 * another one may have sent it before it died: then this one must have dropped its own.
	 */
	if (write && !(x->steps & PD_X_INVS) &&
	    (!needs || x->from == c->home || (x->steps & PD_X_SENT) ||
	     (!others(d, x) && !(d->flags & PD_D_DOUBT))))
		invalidate(d, x, out);
	if (needs && !(x->steps & PD_X_FWD)) {
		/* The home's page is data and right in one: after all acks. */
		if (x->from != c->home || x->node == c->home || !x->acks)
			forward(x, out);
	}
	if ((x->steps & PD_X_GRANTED) || x->acks || (needs && x->from == c->home))
		return;
	if (write && !(x->steps & PD_X_INVS))
		return;
	grant(x, 0, out);
	if (x->steps & PD_X_GONE)
		nodata(x, out);
}

/*
 * @x's supplier died when it had sent: whether the page arrives, only the requester
 * will know. It ignores NODATA if it has it. An ASK is answered by the right first.
 */
static void in_doubt(struct pd_txn *x, struct pd_acts *out)
{
	if (x->steps & PD_X_GRANTED)
		nodata(x, out);
	else
		x->steps |= PD_X_GONE;
}

static void begin(const struct pd_cfg *c, struct pd_dir *d, struct pd_txn *x,
		  struct pd_acts *out)
{
	if (!(x->flags & PD_F_HOLDS) || !(d->sharers & bit(x->node))) {
		x->steps |= PD_X_NEEDS;
		d->sharers &= ~bit(x->node); /* it dropped its copy */
		if ((d->flags & PD_D_LOST) || !supplier(c, d, &x->from)) {
			lost(d, x, out);
			return;
		}
	}
	step(c, d, x, out);
}

/* End the transaction under way if nothing is awaited any more, and begin the next. */
static struct pd_txn *finish(const struct pd_cfg *c, struct pd_home *h, struct pd_acts *out)
{
	struct pd_txn *x = *h->now;

	if (!(x->steps & PD_X_OVER) || x->acks ||
	    (x->steps & (PD_X_FWD | PD_X_SENT)) == PD_X_FWD)
		return NULL;
	if (!h->dir->sharers)
		h->dir->flags |= PD_D_LOST;
	else if (!(h->dir->sharers & bit(h->dir->owner)))
		elect(c, h->dir);	/* it gave its copy to one who died */
	*h->now = x->next;
	x->next = NULL;
	if (*h->now)
		begin(c, h->dir, *h->now, out);
	return x;
}

/* Does nobody else use it, and is the page here, or where the right is asked for? */
static bool is_idle(const struct pd_cfg *c, const struct pd_home *h, const struct pd_txn *x)
{
	return !*h->now && !(h->dir->flags & PD_D_LOST) &&
	       (h->dir->sharers & bit(x->flags & PD_F_HOLDS ? x->node : c->home));
}

int pd_home_ask(const struct pd_cfg *c, struct pd_home *h, struct pd_txn *x, struct pd_acts *out)
{
	struct pd_txn **at = h->now;

	if ((x->flags & PD_F_IDLE) && x->node != c->home && !is_idle(c, h, x))
		return -EAGAIN;
	x->next = NULL;
	x->acks = 0;
	x->steps = 0;
	x->from = 0;
	while (*at)
		at = &(*at)->next;
	*at = x;
	if (at == h->now)
		begin(c, h->dir, x, out);
	return 0;
}

struct pd_txn *pd_home_ack(const struct pd_cfg *c, struct pd_home *h, u16 node,
			   struct pd_acts *out)
{
	struct pd_txn *x = *h->now;

	if (!x || !(x->acks & bit(node)))
		return NULL;
	x->acks &= ~bit(node);
	h->dir->sharers &= ~bit(node);
	step(c, h->dir, x, out);
	return finish(c, h, out);
}

/* @x's supplier has no page to give. */
static void missed(const struct pd_cfg *c, struct pd_dir *d, struct pd_txn *x,
		   struct pd_acts *out)
{
	d->sharers &= ~bit(x->from);
	x->steps |= PD_X_SENT;
	if (x->steps & PD_X_OVER)
		return;
	if (!supplier(c, d, &x->from)) {
		lost(d, x, out);
		return;
	}
	x->steps &= ~(PD_X_FWD | PD_X_SENT);
	step(c, d, x, out);
}

struct pd_txn *pd_home_sent(const struct pd_cfg *c, struct pd_home *h, u16 node, int status,
			    struct pd_acts *out)
{
	struct pd_txn *x = *h->now;

	if (!x || x->from != node || (x->steps & (PD_X_FWD | PD_X_SENT)) != PD_X_FWD)
		return NULL;
	if (status) {
		missed(c, h->dir, x, out);
	} else {
		x->steps |= PD_X_SENT;
		h->dir->flags &= ~PD_D_DOUBT;
		if (x->flags & PD_F_WRITE)
			h->dir->sharers &= ~bit(node);
		if (node == c->home) /* the right went with it */
			x->steps |= PD_X_GRANTED;
		step(c, h->dir, x, out);
	}
	return finish(c, h, out);
}

struct pd_txn *pd_home_done(const struct pd_cfg *c, struct pd_home *h, u16 node, u32 req,
			    u8 flags, struct pd_acts *out)
{
	struct pd_dir *d = h->dir;
	struct pd_txn *x = *h->now;

	if (!x || x->node != node || x->req != req || (x->steps & PD_X_OVER))
		return NULL;
	x->steps |= PD_X_OVER;
	if (!(flags & PD_F_FAIL)) {
		if (x->flags & PD_F_WRITE) {
			d->sharers = bit(node);
			d->state = PD_M;
			d->owner = node;
			d->flags &= ~PD_D_DOUBT;
		} else {
			d->sharers |= bit(node);
			d->state = PD_S;
			if (node == c->home) {
				d->owner = node;
				d->flags &= ~PD_D_DOUBT;
			}
		}
		d->flags &= ~PD_D_LOST;
	}
	return finish(c, h, out);
}

struct pd_txn *pd_home_dead(const struct pd_cfg *c, struct pd_home *h, u16 node,
			    struct pd_acts *out)
{
	struct pd_dir *d = h->dir;
	struct pd_txn *x = *h->now, *gone = NULL, *t, **at;
	bool had = d->sharers & bit(node);

	if (x) {
		for (at = &x->next; (t = *at);) {
			if (t->node != node) {
				at = &t->next;
				continue;
			}
			*at = t->next;
			t->next = gone;
			gone = t;
		}
	}
	d->sharers &= ~bit(node);
	if (had && d->owner == node)
		elect(c, d);
	if (!x) {
		if (had && !d->sharers)
			d->flags |= PD_D_LOST;
		return gone;
	}
	if (x->node == node)
		x->steps |= PD_X_OVER;
	x->acks &= ~bit(node);
	if (x->from == node && (x->steps & (PD_X_FWD | PD_X_SENT)) == PD_X_FWD) {
		missed(c, d, x, out);
	} else {
		if (x->from == node && (x->steps & PD_X_NEEDS) && !(x->steps & PD_X_OVER))
			in_doubt(x, out);
		step(c, d, x, out);
	}
	t = finish(c, h, out);
	if (t) {
		t->next = gone;
		gone = t;
	}
	return gone;
}
