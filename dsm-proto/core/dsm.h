/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Page coherence: the protocol, without I/O, locks, clock or memory of its own.
 *
 * A region is an array of pages, shared by up to PD_NODES nodes. One of them is its
 * home. Each node has a struct pd_page for a page (node.c); the home also has a struct
 * pd_dir, the directory entry (home.c). A page is I (invalid), S (shared: may be
 * read, as by others) or M (modified: this node alone has it).
 *
 * The home runs one transaction for a page at a time; other requests queue. A
 * transaction ends with the requester's DONE, so what the home says about a page
 * never meets a grant that is still under way, whatever order messages arrive in.
 *
 *   read    requester --ASK--> home --FWD--> supplier --DATA--> requester --DONE--> home
 *           home --GRANT--> requester; when the home is the supplier both are one message
 *   write   the same, and home --INV--> every other sharer --ACK--> home before the GRANT
 *   upgrade a write whose requester has a copy that the home lists: no FWD, no DATA
 *
 * Invariants:
 *   I1  one node is in M and all others in I, or none is in M
 *   I2  a node that isn't in I is listed in the directory, or is the requester of the
 *       transaction under way. (The reverse isn't true: S copies are dropped silently.)
 *   I3  the supplier (dir->owner) has a copy, unless it died or a MISS says otherwise:
 *       a node that the home may count on never drops it silently, but by PUT
 *   I4  the requester uses DATA only with GRANT, for a write that is after all acks
 *   I5  a node has one request for a page at most, and keeps the copy that the
 *       request says it holds until it is answered or invalidated
 *
 * Context. The caller serialises calls about one page of a region at one node (a page's
 * lock), carries out the actions that a call returns in their order, and calls back
 * as they say. A message to the own node is carried out by calling its receiver, at once
 * or after the rest of the actions. What a PUT asks of the home is pd_ahead() there: the
 * home's copy takes the place of the one that is to go. A request's frame that no page came
 * into is the caller's again when the request ends.
 * Nothing here blocks or allocates; what has to wait waits in memory that the caller
 * gave with the request.
 */
#ifndef PD_DSM_H
#define PD_DSM_H

#include <transport/core/compat.h>
#include <popcorn/dsm_wire.h>

enum pd_state { PD_I, PD_S, PD_M };

/**
 * enum pd_what - what the caller is to do
 * Messages:
 * @PD_SEND_ASK:   to the home: PD_T_ASK with @req and @flags, naming a frame. Its end is
 *                 told by pd_granted(), also in pieces (data first, by pd_data())
 * @PD_SEND_FWD:   to @to: PD_T_FWD for @node's request @req, with @flags. If @node is the
 *                 home, which runs this: PD_T_FETCH, the page is pd_data()'s. pd_home_sent()
 *                 tells how it ended
 * @PD_SEND_INV:   to every node of @mask: PD_T_INV. pd_home_ack() for each
 * @PD_SEND_GRANT: to @node: answer its ASK, @cookie, with @status, 0: only the right
 * @PD_SEND_DATA:  to @node: this node's page, for its request @req. Where the home sends
 *                 to whose ASK is @cookie: answer with the page, data and right in one.
 *                 The page's bytes don't change until it has arrived
 * @PD_SEND_ACK:   answer the INV
 * @PD_SEND_SENT:  answer the FWD (or fetch): @status 0 or -ENODATA
 * @PD_SEND_DONE:  to the home: PD_T_DONE with @req and @flags; not urgent
 * @PD_SEND_NODATA: to @node: PD_T_NODATA for @req
 * @PD_SEND_PUT:   to the home: PD_T_PUT
 * The own page:
 * @PD_DO_UNMAP:   take the page from all mappings, then pd_unmapped(). Nobody may reach
 *                 it any more by then, nor may a device
 * @PD_DO_PROTECT: make all mappings read-only and clean, then pd_unmapped()
 * @PD_DO_FREE:    the frame isn't needed any more (after what was sent before it)
 * @PD_DO_WAKE:    look again: who waits for the page
 * @PD_DO_DEFER:   nothing changed: call again with the same message at @until
 */
enum pd_what {
	PD_SEND_ASK = 1,
	PD_SEND_FWD,
	PD_SEND_INV,
	PD_SEND_GRANT,
	PD_SEND_DATA,
	PD_SEND_ACK,
	PD_SEND_SENT,
	PD_SEND_DONE,
	PD_SEND_NODATA,
	PD_SEND_PUT,
	PD_DO_UNMAP,
	PD_DO_PROTECT,
	PD_DO_FREE,
	PD_DO_WAKE,
	PD_DO_DEFER,
};

#define PD_ACTS	8	/* the most that one call returns */

/**
 * struct pd_act - one action
 * @what:   enum pd_what
 * @flags:  PD_F_*
 * @to:     node that gets the message
 * @node:   node whose request it is about
 * @req:    that request
 * @status: 0 or -errno
 * @mask:   INV: nodes, bit n is node n
 * @until:  DEFER: time, as @now
 * @cookie: GRANT: the caller's, of the ASK that is answered
 */
struct pd_act {
	u8 what;
	u8 flags;
	u16 to;
	u16 node;
	u32 req;
	s32 status;
	union {
		u64 mask;
		u64 until;
		void *cookie;
	};
};

/**
 * struct pd_acts - what a call returns; begin with n = 0
 */
struct pd_acts {
	u32 n;
	struct pd_act a[PD_ACTS];
};

/**
 * struct pd_cfg - of a region
 * @self:    this node
 * @home:    the region's home
 * @hold_ns: how long a grant is kept at least, from when it is mapped
 */
struct pd_cfg {
	u16 self;
	u16 home;
	u32 hold_ns;
};

/* ------------------------------------------------------------------- a node */

/**
 * struct pd_page - a page at one node; zero is I
 * @state:  enum pd_state; what may be mapped now
 * @want:   PD_I: no request under way; PD_S, PD_M: for that
 * @flags:  below
 * @doing:  unmapping or protecting for a message: which answer is due
 * @req:    number of the request under way, else the last one
 * @to, @to_req: for whom that message wants the data
 * @since:  when the last grant came, or was mapped; 0: never
 */
struct pd_page {
	u8 state;
	u8 want;
	u8 flags;
	u8 doing;
	u32 req;
	u16 to;
	u32 to_req;
	u64 since;
};

#define PD_P_DATA	0x01	/* request: the data are here (or never left) */
#define PD_P_GRANT	0x02	/* request: the right is here */
#define PD_P_OWNER	0x04	/* the home counts on this copy: drop it by PUT only */
#define PD_P_PUT	0x08	/* PUT was sent */
#define PD_P_MAPPED	0x10	/* @since is when it was mapped */
#define PD_P_AHEAD	0x20	/* request: nobody waits for it yet */
#define PD_P_LOST	0x40	/* the home says that the only copy died */

/**
 * enum pd_doing - what follows when the mapping is gone or read-only
 */
enum pd_doing { PD_IDLE, PD_INVALIDATES, PD_GIVES, PD_SHARES, PD_DROPS, PD_MISSES };

/**
 * pd_fault - a thread needs the page
 * Return: 0: it may be mapped with what pd_may() says. -EINPROGRESS: wait for
 * PD_DO_WAKE, then call again. -EIO: the page is lost.
 */
int pd_fault(const struct pd_cfg *c, struct pd_page *p, bool write, struct pd_acts *out);

/**
 * pd_ahead - ask for a page, or for the right to write to it, before it is needed
 * Return: 0: PD_SEND_ASK is in @out; -EBUSY: here already, or under way.
 */
int pd_ahead(const struct pd_cfg *c, struct pd_page *p, bool write, struct pd_acts *out);

/*
 * The next request for the page is to have number @req: those of one message count on from
 * page to page. Return: false: one is under way, or may have had that number before.
 */
static inline bool pd_number(struct pd_page *p, u32 req)
{
	if (p->want || (s32)(req - p->req) <= 0)
		return false;
	p->req = req - 1;
	return true;
}

/* May it be mapped so, now? Not while the mapping is being taken away. */
static inline bool pd_may(const struct pd_page *p, bool write)
{
	return p->state >= (write ? PD_M : PD_S) &&
	       (p->doing == PD_IDLE || (p->doing == PD_SHARES && !write && p->state == PD_S));
}

/* It is mapped: the grant is kept at least hold_ns from now. */
void pd_mapped(struct pd_page *p, u64 now);

/**
 * pd_granted - the answer to the ASK of request @req
 * @status: as PD_T_ASK says
 * @data:   the page came with it: the frame is the page's if this returns 0
 * A status that is an error ends the request: who waits finds out from the caller.
 * Return: 0, or -ESTALE: not the request under way, nothing changed.
 */
int pd_granted(const struct pd_cfg *c, struct pd_page *p, u32 req, int status, bool data,
	       u64 now, struct pd_acts *out);

/**
 * pd_data - DATA of request @req came from the supplier
 * Return: 0: the frame is the page's from now on; -ESTALE: not wanted, drop the frame.
 */
int pd_data(const struct pd_cfg *c, struct pd_page *p, u32 req, u64 now, struct pd_acts *out);

/* NODATA of request @req: the supplier died. */
void pd_nodata(const struct pd_cfg *c, struct pd_page *p, u32 req, struct pd_acts *out);

/* INV. PD_DO_DEFER: keep the message. */
void pd_inv(const struct pd_cfg *c, struct pd_page *p, u64 now, struct pd_acts *out);

/* FWD or FETCH of request @req of @node. PD_DO_DEFER: keep the message. */
void pd_fwd(const struct pd_cfg *c, struct pd_page *p, u16 node, u32 req, u8 flags, u64 now,
	    struct pd_acts *out);

/* What PD_DO_UNMAP or PD_DO_PROTECT asked for has been done. */
void pd_unmapped(const struct pd_cfg *c, struct pd_page *p, struct pd_acts *out);

/**
 * pd_drop - memory is short: give this copy up
 * @again: by PUT even if there was one already: the home may have had no room then
 * Return: 0: actions follow (PD_DO_UNMAP, then the frame is freed; or PUT: try
 * again later); -EBUSY: not now.
 */
int pd_drop(const struct pd_cfg *c, struct pd_page *p, bool again, struct pd_acts *out);

/* The PUT couldn't be sent: another time. */
static inline void pd_unput(struct pd_page *p)
{
	p->flags &= ~PD_P_PUT;
}

/* ----------------------------------------------------------------- the home */

/**
 * struct pd_txn - a request at the home, queued or under way; given by the caller
 * @next:   queue
 * @cookie: the caller's: the ASK to be answered; NULL for the home's own
 * @acks:   nodes whose ack is awaited
 * @node:   requester
 * @req:    its number for it
 * @flags:  PD_F_*
 * @steps:  below
 * @from:   supplier
 */
struct pd_txn {
	struct pd_txn *next;
	void *cookie;
	u64 acks;
	u16 node;
	u16 from;
	u32 req;
	u8 flags;
	u8 steps;
};

#define PD_X_FWD	0x01	/* the supplier was asked */
#define PD_X_SENT	0x02	/* and has sent, or sends */
#define PD_X_GRANTED	0x04	/* the right was sent */
#define PD_X_NEEDS	0x08	/* the requester needs data */
#define PD_X_INVS	0x10	/* invalidations were sent */
#define PD_X_OVER	0x20	/* the requester is done or dead: ends with the last answer */
#define PD_X_GONE	0x40	/* the supplier died when it had sent: the data may not come */

/**
 * struct pd_dir - directory entry. All zero: never used, the home has a page of zeroes
 * @sharers: nodes that may have a copy
 * @owner:   supplier, one of them
 * @state:   PD_S or PD_M; PD_I: never used
 * @flags:   PD_D_*
 *
 * The transaction under way and those queued are kept by the caller beside it, since
 * most pages have none: see struct pd_home.
 */
struct pd_dir {
	u64 sharers;
	u8 owner;
	u8 state;
	u8 flags;
};

#define PD_D_LOST	0x01	/* the only copy died */
#define PD_D_DOUBT	0x02	/* the owner died, this one is only listed: ask it first */

/**
 * struct pd_home - directory entry with what is under way
 * @dir: the entry
 * @now: first: under way, the rest: queued; NULL: the page is idle. The caller keeps it
 *       as long as it isn't NULL
 */
struct pd_home {
	struct pd_dir *dir;
	struct pd_txn **now;
};

/* The home's first use of a page: its own copy, zeroes, is the only one. */
void pd_home_first(const struct pd_cfg *c, struct pd_dir *d, struct pd_page *own);

/**
 * pd_home_ask - an ASK came (or the home's own)
 * @x: filled in: cookie, node, req, flags. The core's until pd_home_ended() names it
 * Return: 0, or -EAGAIN (PD_F_IDLE): answer so, @x is the caller's.
 */
int pd_home_ask(const struct pd_cfg *c, struct pd_home *h, struct pd_txn *x, struct pd_acts *out);

/* INV of @node was answered. Return as pd_home_done(). */
struct pd_txn *pd_home_ack(const struct pd_cfg *c, struct pd_home *h, u16 node, struct pd_acts *out);

/* FWD or FETCH to @node was answered, 0 or -errno. Return as pd_home_done(). */
struct pd_txn *pd_home_sent(const struct pd_cfg *c, struct pd_home *h, u16 node, int status,
			    struct pd_acts *out);

/**
 * pd_home_done - DONE of @node's request @req
 * Return: the transaction that ended, the caller's again, or NULL. The next one has begun.
 */
struct pd_txn *pd_home_done(const struct pd_cfg *c, struct pd_home *h, u16 node, u32 req,
			    u8 flags, struct pd_acts *out);

/**
 * pd_home_dead - @node is dead, or has left
 * To be called for every page. Queued transactions of it are taken out. A page that is idle
 * and PD_D_DOUBT afterwards should be fetched by pd_ahead(): who has the last copy doesn't
 * know it, and may drop it.
 * Return: the transactions that ended, chained, the caller's again. Their cookies are
 * answered by nobody.
 */
struct pd_txn *pd_home_dead(const struct pd_cfg *c, struct pd_home *h, u16 node,
			    struct pd_acts *out);

#endif
