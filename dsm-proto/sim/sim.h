/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Many nodes of the coherence protocol in one process, and all that happens to them from
 * one seed: the core is the real one, the engine below it, its threads and wires are not.
 *
 *   sim.c     time, chance and what happens next
 *   engine.c  what an engine does around the core: messages, frames, mappings
 *   load.c    threads that use the memory
 *   check.c   what must be true after every event, and at the end
 *   table.c   transitions that the core took, against those that are allowed
 *   lin.c     could the values that were read have been?
 */
#ifndef PD_SIM_H
#define PD_SIM_H

#include <setjmp.h>
#include <stdio.h>

#include "../core/dsm.h"
#include "lin.h"

/* Seeded bugs: each must be found, or the checks are worth nothing. */
enum sim_bug {
	BUG_NONE,
	BUG_DROP_ACK,		/* an ack is lost */
	BUG_STALE_GRANT,	/* an answer is taken that belongs to an earlier request */
	BUG_EARLY_WRITE,	/* the right to write is given before all acks are there */
	BUG_EARLY_DONE,		/* DONE is said when the right is there, but not yet the page */
	BUG_SILENT_SUPPLIER,	/* the copy that the home counts on is dropped silently */
	BUG_EARLY_ACK,		/* an invalidation is answered before the page is unmapped */
	BUG_NO_PROTECT,		/* a page that is shared stays writable */
	BUG_SHORT_NOTICE,	/* the home isn't told of a death */
	BUGS
};

extern const char *const bug_name[BUGS];

#define F_CRASH		0x01	/* nodes die */
#define F_SLOW		0x02	/* some nodes are ten times as slow */
#define F_SPLIT		0x04	/* messages between halves wait */
#define F_DUP		0x08	/* what a reconnect may bring twice comes twice */
#define F_NOMEM		0x10	/* the home refuses a request now and then */
#define F_PIN		0x20	/* devices use pages */
#define F_DROP		0x40	/* memory is short */
#define F_ALL		0x7f

extern const char *const fault_name[];

/* What to run; 0: drawn from the seed. */
struct sim_cfg {
	u64 seed;
	u32 nodes;		/* of a region */
	u32 regions;
	u32 pages;		/* of a region */
	u32 threads;		/* of a node */
	u32 ops;		/* in all */
	u32 hold_us;
	u32 faults;
	enum sim_bug bug;
	bool fair;		/* nodes do nothing but write to one page */
	bool trace;
	const u8 *tape;		/* chance comes from here first, and then is none */
	size_t tape_len;
};

enum msg_type {
	M_ASK, M_ANSWER, M_FWD, M_FETCH, M_SENT, M_INV, M_ACK, M_DATA, M_DONE, M_NODATA, M_PUT,
	MSGS
};

struct msg {
	u8 type;
	u8 flags;
	bool data;		/* a page comes with it, @val */
	u16 from, to;
	u16 node;		/* whose request it is about */
	u32 page;
	u32 req;
	u32 pages;		/* ASK: so many, from @page and @req on; 0: one */
	u32 mask;		/* INV, ACK: of pages @page and on, bit 0 is @page's; 0: one */
	u32 gone;		/* ACK: of them, those that were dropped */
	s32 status;
	u64 val;
	struct msg *next;	/* to the own node, not yet carried out */
};

enum what { E_MSG, E_THREAD, E_UNMAP, E_CRASH, E_NOTICE, E_PIN };

struct event {
	u64 at, order;
	u8 what;
	u16 node, peer;
	u32 page;
	struct region *rg;
	struct thread *t;
	struct msg m;
};

struct thread {
	struct region *rg;
	struct thread *next;	/* waits for the same page */
	u16 node;
	u16 id;
	u8 op;
	bool over;
	u32 page;
	u32 left;
	u32 tries;
	u64 start;		/* of the operation, in stamps */
	u64 began;		/* in time */
};

/* A page at a node, as an engine has it. */
struct pg {
	struct pd_page p;
	u8 pte;			/* enum pd_state: how it is mapped */
	u8 unmap;		/* PD_DO_UNMAP or _PROTECT is under way */
	bool ready;		/* and waits only for pins */
	bool mute;		/* for an INV that has been answered without it */
	bool frame;		/* the page's */
	bool rframe;		/* the request's */
	u16 pins;
	u64 val;
	struct thread *wait;
};

struct ask {
	struct pd_txn x;
	struct region *rg;
	u32 page;
	bool answered;
};

/* A page as the whole region has it. */
struct page {
	struct pd_dir dir;
	struct pd_txn *now;
	u64 latest;		/* what was written last */
	bool doubt;		/* a copy died, or data on their way */
	bool died;		/* and there may be no other one */
	u64 inv;		/* nodes that owe an ack */
	u64 fwd;		/* and an answer to a FWD */
	struct lin_op *ops;
	u32 nops, maxops;
};

struct node {
	bool dead;
	bool gone;		/* knows that the home died */
	u64 known;		/* deaths that it was told of */
	u32 slow;
	u8 side;
	struct pg *pg;
};

struct region {
	struct sim *s;
	u16 n, home;
	u16 id;
	struct pd_cfg cfg[PD_NODES];
	struct node node[PD_NODES];
	struct page *page;
	u32 pages;
	u32 asks;		/* struct ask that are the core's */
};

struct sim {
	struct sim_cfg cfg;
	u64 rng, now, order, stamp, value;
	size_t tape_at;
	struct event **heap;
	u32 events, heap_max;
	struct region *rg;
	u32 regions;
	struct thread *thread;
	u32 threads;
	u32 delay_ns, unmap_ns, wake_ns, pin_ns, hold_ns, notice_ns;
	u64 split_at, split_end;
	u64 patience_ns;
	bool deep;		/* messages to the own node are carried out at once */
	struct msg *own, **own_end;
	struct msg *batch;	/* what is asked for goes in this message */
	u64 *invs;		/* and who is to drop it is kept here, by page, from @inv_first on */
	u32 inv_first;
	struct region *own_rg;
	u64 steps, msgs, faults, deferred, ops, lost, deaths;
	u32 work[PD_NODES];	/* fair: of each node, when the first was done */
	bool stop;
	jmp_buf out;
	char why[400];
};

/* bar.c */
const char *bar_run(u64 seed, u32 nodes);
const char *bar_cost(u32 nodes);

/* sim.c */
u64 sim_rand(struct sim *s);
static inline u64 sim_below(struct sim *s, u64 n)
{
	return n > 1 ? sim_rand(s) % n : 0;
}
static inline bool one_in(struct sim *s, u32 n)
{
	return sim_below(s, n) == n - 1;
}
struct event *sim_event(struct sim *s, enum what what, u64 delay);
void sim_fail(struct sim *s, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
/* fair: the smallest part of all work that a node had, percent */
u32 sim_share(const struct sim *s);
void sim_trace(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Return: 0, or 1: s->why says why. */
int sim_run(struct sim *s, const struct sim_cfg *cfg);

/* engine.c */
void eng_deliver(struct region *rg, const struct msg *m);
void eng_unmapped(struct region *rg, u16 node, u32 page);
void eng_unpin(struct region *rg, u16 node, u32 page);
void eng_notice(struct region *rg, u16 node, u16 dead);
int eng_fault(struct region *rg, u16 node, u32 page, bool write);
void eng_map(struct region *rg, u16 node, u32 page, bool write);
void eng_ahead(struct region *rg, u16 node, u32 page, u32 n, bool write);
void eng_drop(struct region *rg, u16 node, u32 page);
void eng_own(struct sim *s);

/* load.c */
void load_begin(struct sim *s);
void load_step(struct thread *t);
void load_pinned(struct thread *t);
void load_wake(struct region *rg, struct pg *g);

/* check.c */
void check_page(struct region *rg, u32 page);
void check_end(struct sim *s);
void check_lin(struct sim *s);

/* table.c */
enum core_event {
	C_FAULT_R, C_FAULT_W, C_AHEAD, C_AHEAD_W, C_GRANT, C_GRANT_DATA, C_GRANT_LOST, C_GRANT_NO, C_DATA,
	C_NODATA, C_INV, C_FWD_R, C_FWD_W, C_FETCH_R, C_FETCH_W, C_UNMAPPED, C_DROP,
	C_HOME,			/* from here on: the home's */
	C_ASK_R = C_HOME, C_ASK_W, C_UPGRADE, C_IDLE, C_IDLE_W, C_IDLE_UP, C_ACK, C_SENT, C_MISS, C_DONE, C_FAIL, C_DEAD,
	C_EVENTS
};
#define TABLE_END	(~0u)	/* the transaction is over */
u32 table_node(const struct pd_page *p);
u32 table_home(const struct pd_cfg *c, const struct page *pp);
void table_add(enum core_event e, u32 before, u32 after, int ret, const struct pd_acts *a);
int table_load(const char *path);
bool table_unknown(char *line, size_t len);
void table_print(FILE *f);

#endif
