/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What nodes say to each other about pages of a region, above the message layer.
 * Little-endian, fixed size, the same on every ISA.
 */
#ifndef POPCORN_DSM_WIRE_H
#define POPCORN_DSM_WIRE_H

#include <popcorn/wire.h>

#define PD_NODES	64		/* nodes of one region; ids are below that */
#define PD_PAGES_MAX	(1u << 28)	/* of one region: 1 TiB */

/**
 * enum pd_type - message types
 * @PD_T_ASK:    requester to home, a request that names a frame. Answered by the
 *               page (data and right in one), or by a status: -EXDEV: the right, the
 *               data were kept or come from another node; -EIO: the page is lost;
 *               -EAGAIN: not idle (PD_F_IDLE); -ESTALE: no such region.
 *               With PD_F_IDLE it may be for several pages, one after the other, and
 *               names a frame for each: each is answered by itself, and in any order.
 *               (Who holds a page names one for it, too: it may need it after all.)
 * @PD_T_FWD:    home to supplier, a request: give @req's node the page. The answer:
 *               0: done or under way; -ENODATA: has none
 * @PD_T_FETCH:  the same if the home itself wants the page: the request names a
 *               frame, the answer is the page or -ENODATA
 * @PD_T_INV:    home to sharer, a request: drop the page. Answered when it is dropped.
 *               With @mask it is for several, and answered at once by a mask (__le32) of
 *               those that are dropped: the home asks for each of the rest by itself
 * @PD_T_DATA:   supplier to requester, one-way: a page behind the header
 * @PD_T_DONE:   requester to home, one-way: it is in place (or, PD_F_FAIL, it never came).
 *               A DONE or ASK may be followed by further pd_msg, each a DONE. One may
 *               be for several pages, of which each request has the next number
 * @PD_T_NODATA: home to requester, one-way: the supplier died
 * @PD_T_PUT:    to home, one-way: wants to give up the copy that the home counts on;
 *               from the home: it has no room for it now
 * @PD_T_ATTACH: member to home, a request with struct pd_attach; the answer is one
 * @PD_T_DETACH: member to home, a request: has given everything back
 * @PD_T_LOCK:   one-way: to the home: wants it; from the home: has it (PD_F_FAIL: its
 *               holder's node died)
 * @PD_T_UNLOCK: one-way, to the home
 * @PD_T_BARRIER: one-way, struct pd_bar_msg: for the home: so many threads of nodes have
 *               come; with PD_F_DOWN from it: so many may go (to it: couldn't be passed
 *               on). With PD_F_FAIL, and no words: a process of the sender's has ended that
 *               didn't leave
 * @PD_T_TREE:   one-way, struct pd_tree_msg: the way of BARRIER has changed
 */
enum pd_type {
	PD_T_ASK = PW_T_USER,
	PD_T_FWD,
	PD_T_FETCH,
	PD_T_INV,
	PD_T_DATA,
	PD_T_DONE,
	PD_T_NODATA,
	PD_T_PUT,
	PD_T_ATTACH,
	PD_T_DETACH,
	PD_T_LOCK,
	PD_T_UNLOCK,
	PD_T_BARRIER,
	PD_T_TREE,
	PD_T_END
};

#define PD_BATCH	32	/* pages of one message, at most */

#define PD_F_WRITE	0x01	/* ASK, FWD, FETCH: to write; the supplier drops its copy */
#define PD_F_HOLDS	0x02	/* ASK: a copy is there, only the right is missing */
#define PD_F_IDLE	0x04	/* ASK: only if nobody else uses the page; ahead of need */
#define PD_F_FAIL	0x08	/* DONE */
#define PD_F_DOWN	0x10	/* BARRIER: the home's words */

/**
 * struct pd_msg - header of all messages about pages
 * @region: id of the region
 * @gen:    generation: tells it from earlier ones with the same id
 * @page:   number in the region; the first one of an ASK or DONE for several
 * @req:    the requester's number for its request, which DATA, GRANT and DONE repeat;
 *          of all its requests for a page each has another
 * @node:   requester (FWD, FETCH); else zero
 * @flags:  PD_F_*
 * @pages:  how many from @page on: ASK, as many as it names frames; DONE, 1 to PD_BATCH;
 *          else 1. Their requests are @req, @req + 1, …
 * @mask:   INV: which pages, bit i is page @page + i; there may be holes, where this
 *          sharer is not to drop a page. 0: @page alone
 */
struct pd_msg {
	__le32 region;
	__le32 gen;
	__le32 page;
	__le32 req;
	__le16 node;
	__u8 flags;
	__u8 pages;
	__le32 mask;
};
_Static_assert(sizeof(struct pd_msg) == 24, "wire format");

/**
 * struct pd_word - of one node at a barrier
 * @node: which
 * @born: which of its lives; 0: it doesn't know yet
 * @seq:  up: counts its words
 * @come: up: threads that have come, but for those that gave up. Down: up to this one
 *        of those that went, somebody had died
 * @went: that may go: down, or up, as far as it has heard
 * @awaited: up: how many in all
 */
struct pd_word {
	__le16 node;
	__le16 zero;
	__le32 born;
	__le32 seq;
	__le32 come;
	__le32 went;
	__le32 awaited;
};
_Static_assert(sizeof(struct pd_word) == 24, "wire format");

/**
 * struct pd_bar_msg - BARRIER
 * @h:    @h.page: which; @h.req: the sender's tree; @h.pages: words
 * @word: they
 */
struct pd_bar_msg {
	struct pd_msg h;
	struct pd_word word[];
};

/**
 * struct pd_tree_msg - TREE
 * @h:       @h.req: counts trees
 * @members: bit n: node n
 * @gone:    which of them was the first without somebody who had been in it
 * @born:    which of the receiver's lives; 0: it knows
 */
struct pd_tree_msg {
	struct pd_msg h;
	__le64 members;
	__le32 gone;
	__le32 born;
};
_Static_assert(sizeof(struct pd_tree_msg) == 40, "wire format");

/**
 * struct pd_attach - what both sides of a region must agree on
 * @pages:     size of the region, pages
 * @page_size: bytes
 * @mode:      1: kernel, 2: user
 * @uid:       owner of the region, and who wants to attach
 * @perm:      mode bits as of a file
 */
struct pd_attach {
	__le32 region;
	__le32 gen;
	__le32 pages;
	__le32 page_size;
	__le32 uid;
	__le16 perm;
	__u8 mode;
	__u8 zero;
	__le32 hold_us;
	__le32 zero2;
};
_Static_assert(sizeof(struct pd_attach) == 32, "wire format");

#endif
