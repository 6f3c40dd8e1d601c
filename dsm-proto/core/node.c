// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A node's half of page coherence: what it asks for, and what it does when the home
 * or another node wants its copy.
 */
#include "dsm.h"
#include "act.h"

static void ask(const struct pd_cfg *c, struct pd_page *p, u8 want, u8 flags,
		struct pd_acts *out)
{
	p->want = want;
	p->req++;
	p->flags &= ~(PD_P_DATA | PD_P_GRANT | PD_P_AHEAD);
	if (flags & PD_F_HOLDS)
		p->flags |= PD_P_DATA;
	if (flags & PD_F_IDLE)
		p->flags |= PD_P_AHEAD;
	pd_act(out, (struct pd_act){ .what = PD_SEND_ASK, .to = c->home, .node = c->self,
				     .req = p->req, .flags = flags });
}

int pd_fault(const struct pd_cfg *c, struct pd_page *p, bool write, struct pd_acts *out)
{
	u8 flags = write ? PD_F_WRITE : 0;

	if (pd_may(p, write))
		return 0;
	if (p->flags & PD_P_LOST)
		return -EIO;
	p->flags &= ~PD_P_AHEAD;
	if (p->doing == PD_IDLE && !p->want)
		ask(c, p, write ? PD_M : PD_S, flags | (p->state == PD_S ? PD_F_HOLDS : 0), out);
	return -EINPROGRESS;
}

int pd_ahead(const struct pd_cfg *c, struct pd_page *p, bool write, struct pd_acts *out)
{
	u8 right = write ? PD_M : PD_S;

	if (p->state >= right || p->want || p->doing != PD_IDLE || (p->flags & PD_P_LOST))
		return -EBUSY;
	ask(c, p, right, PD_F_IDLE | (write ? PD_F_WRITE : 0) | (p->state ? PD_F_HOLDS : 0), out);
	return 0;
}

void pd_mapped(struct pd_page *p, u64 now)
{
	if (p->flags & PD_P_MAPPED)
		return;
	p->flags |= PD_P_MAPPED;
	p->since = now;
}

/* The request is over; @state is what it left. */
static void end(const struct pd_cfg *c, struct pd_page *p, u8 flags, bool tell,
		struct pd_acts *out)
{
	p->want = PD_I;
	p->flags &= ~(PD_P_DATA | PD_P_GRANT | PD_P_AHEAD);
	if (tell)
		pd_act(out, (struct pd_act){ .what = PD_SEND_DONE, .to = c->home, .node = c->self,
					     .req = p->req, .flags = flags });
	pd_act(out, (struct pd_act){ .what = PD_DO_WAKE });
}

static void arrived(const struct pd_cfg *c, struct pd_page *p, u64 now, struct pd_acts *out)
{
	if ((p->flags & (PD_P_DATA | PD_P_GRANT)) != (PD_P_DATA | PD_P_GRANT))
		return;
	p->state = p->want;
	p->since = p->flags & PD_P_AHEAD ? 0 : now;
	p->flags &= ~PD_P_MAPPED;
	if (p->state == PD_M)
		p->flags |= PD_P_OWNER;
	end(c, p, 0, true, out);
}

int pd_granted(const struct pd_cfg *c, struct pd_page *p, u32 req, int status, bool data,
	       u64 now, struct pd_acts *out)
{
	if (!p->want || req != p->req || (p->flags & PD_P_GRANT))
		return -ESTALE;
	if (status) {
		if (status == -EIO)
			p->flags |= PD_P_LOST;
		/* The supplier sent, and died; its page came before the answer. */
		if ((p->flags & PD_P_DATA) && p->state == PD_I)
			pd_act(out, (struct pd_act){ .what = PD_DO_FREE });
		/* Only the loss of a page is said within a transaction. */
		end(c, p, PD_F_FAIL, status == -EIO, out);
		return 0;
	}
	p->flags |= PD_P_GRANT;
	if (data)
		p->flags |= PD_P_DATA;
	arrived(c, p, now, out);
	return 0;
}

int pd_data(const struct pd_cfg *c, struct pd_page *p, u32 req, u64 now, struct pd_acts *out)
{
	if (!p->want || req != p->req || (p->flags & PD_P_DATA))
		return -ESTALE;
	p->flags |= PD_P_DATA;
	arrived(c, p, now, out);
	return 0;
}

void pd_nodata(const struct pd_cfg *c, struct pd_page *p, u32 req, struct pd_acts *out)
{
	if (p->want && req == p->req && !(p->flags & PD_P_DATA))
		end(c, p, PD_F_FAIL, true, out);
}

/* Is the copy still to be kept? Then until when? */
static bool held(const struct pd_cfg *c, const struct pd_page *p, u64 now, struct pd_acts *out)
{
	/* It may have been mapped after the caller read the clock. */
	if (!p->since || (s64)(now - p->since) >= c->hold_ns)
		return false;
	pd_act(out, (struct pd_act){ .what = PD_DO_DEFER, .until = p->since + c->hold_ns });
	return true;
}

static void take_away(struct pd_page *p, u8 doing, u8 what, struct pd_acts *out)
{
	bool begun = p->doing != PD_IDLE; /* a drop: nothing is to be begun */

	p->doing = doing;
	if (!begun)
		pd_act(out, (struct pd_act){ .what = what });
}

void pd_inv(const struct pd_cfg *c, struct pd_page *p, u64 now, struct pd_acts *out)
{
	if (p->state == PD_I)
		pd_act(out, (struct pd_act){ .what = PD_SEND_ACK, .to = c->home });
	else if (!held(c, p, now, out))
		take_away(p, PD_INVALIDATES, PD_DO_UNMAP, out);
}

static void sent(const struct pd_cfg *c, struct pd_page *p, int status, struct pd_acts *out)
{
	if (!status)
		pd_act(out, (struct pd_act){ .what = PD_SEND_DATA, .to = p->to, .node = p->to,
					     .req = p->to_req });
	pd_act(out, (struct pd_act){ .what = PD_SEND_SENT, .to = c->home, .node = p->to,
				     .req = p->to_req, .status = status });
}

/* The home counts on its own copy when it has one, else on whom it has asked. */
static void shares(const struct pd_cfg *c, struct pd_page *p, u16 node)
{
	if (node == c->home)
		p->flags &= ~(PD_P_OWNER | PD_P_PUT);
	else
		p->flags |= PD_P_OWNER;
}

void pd_fwd(const struct pd_cfg *c, struct pd_page *p, u16 node, u32 req, u8 flags, u64 now,
	    struct pd_acts *out)
{
	bool write = flags & PD_F_WRITE;

	p->to = node;
	p->to_req = req;
	if (p->state == PD_I) {
		sent(c, p, -ENODATA, out);
	} else if (p->doing == PD_DROPS) {
		p->doing = PD_MISSES;
	} else if (p->state == PD_S && !write) {
		shares(c, p, node);
		sent(c, p, 0, out);
	} else if (held(c, p, now, out)) {
		return;
	} else if (!write) {
		p->state = PD_S;
		shares(c, p, node);
		take_away(p, PD_SHARES, PD_DO_PROTECT, out);
	} else {
		take_away(p, PD_GIVES, PD_DO_UNMAP, out);
	}
}

void pd_unmapped(const struct pd_cfg *c, struct pd_page *p, struct pd_acts *out)
{
	u8 doing = p->doing;

	p->doing = PD_IDLE;
	if (doing == PD_GIVES || doing == PD_SHARES || doing == PD_MISSES)
		sent(c, p, doing == PD_MISSES ? -ENODATA : 0, out);
	if (doing != PD_SHARES) {
		p->state = PD_I;
		p->flags &= ~(PD_P_OWNER | PD_P_PUT | PD_P_MAPPED | PD_P_DATA);
		pd_act(out, (struct pd_act){ .what = PD_DO_FREE });
	}
	if (doing == PD_INVALIDATES)
		pd_act(out, (struct pd_act){ .what = PD_SEND_ACK, .to = c->home });
	pd_act(out, (struct pd_act){ .what = PD_DO_WAKE });
}

int pd_drop(const struct pd_cfg *c, struct pd_page *p, bool again, struct pd_acts *out)
{
	if (c->self == c->home || p->state == PD_I || p->want || p->doing != PD_IDLE ||
	    (p->flags & PD_P_PUT && !again))
		return -EBUSY;
	if (p->flags & PD_P_OWNER) {
		p->flags |= PD_P_PUT;
		pd_act(out, (struct pd_act){ .what = PD_SEND_PUT, .to = c->home });
	} else {
		take_away(p, PD_DROPS, PD_DO_UNMAP, out);
	}
	return 0;
}
