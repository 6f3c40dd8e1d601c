/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Simulator of a whole cluster in one process: virtual time, a network that
 * fails in every way that the transport must survive, and the real core. All
 * that happens follows from the seed. The sim keeps the truth beside the nodes
 * (struct msg, struct frame) and ends the run at the first thing that differs.
 */
#ifndef PT_SIM_H
#define PT_SIM_H

#include <stdio.h>
#include <stdlib.h>

#include "../core/core.h"

#define US		1ull
#define MS		(1000 * US)
#define SEC		(1000 * MS)
#define FOREVER		(~0ull)

struct sim;
struct snode;
struct slink;
struct conn;
struct msg;

/* ------------------------------------------------- events and chance (des.c) */

/**
 * struct event - something that will happen
 * @at:  virtual time, us
 * @ord: order among events of the same time
 * @fn:  what happens
 * @arg: of @fn
 * @tag: of @fn: an index, or a generation that shows whether @arg still counts
 */
struct event {
	u64 at;
	u64 ord;
	void (*fn)(struct sim *s, void *arg, u64 tag);
	void *arg;
	u64 tag;
};

void sim_at(struct sim *s, u64 at, void (*fn)(struct sim *, void *, u64), void *arg, u64 tag);
bool sim_step(struct sim *s, u64 until);
u64 sim_rand(struct sim *s);
u64 sim_mix(u64 x);
void *sim_alloc(struct sim *s, size_t size);
void sim_free(struct sim *s, void *p);

/* 0 … n - 1 */
static inline u64 sim_below(struct sim *s, u64 n)
{
	return n ? sim_rand(s) % n : 0;
}

static inline bool sim_chance(struct sim *s, u32 per_mille)
{
	return sim_below(s, 1000) < per_mille;
}

/* lo … hi, small values as likely as large ones */
u64 sim_spread(struct sim *s, u64 lo, u64 hi);

__attribute__((noreturn, format(printf, 2, 3)))
void sim_fail(struct sim *s, const char *fmt, ...);
__attribute__((format(printf, 2, 3)))
void sim_log(struct sim *s, const char *fmt, ...);

/* ----------------------------------------------------------------- faults */

#define F_LANE		(1u << 0)	/* a lane fails and loses what is in flight */
#define F_CUT		(1u << 1)	/* two nodes can't reach each other */
#define F_ONEWAY	(1u << 2)	/* one direction is cut */
#define F_SPLIT		(1u << 3)	/* the cluster falls into two */
#define F_CRASH		(1u << 4)	/* a node dies; most come back */
#define F_BYE		(1u << 5)	/* a node goes in an orderly way */
#define F_PAUSE		(1u << 6)	/* a node is suspended, wires and all */
#define F_STOP		(1u << 7)	/* a node's software stops, its NIC doesn't */
#define F_SLOW		(1u << 8)	/* handlers stop for a while */
#define F_REFUSE	(1u << 9)	/* connections are refused at random */
#define F_FOREVER	(1u << 10)	/* cuts are not healed at the end */
#define F_ALL		((1u << 11) - 1)

enum bug {
	BUG_NONE,
	BUG_FREE_ON_TIMEOUT,	/* frames are free when the waiter gives up */
	BUG_NO_DRAIN,		/* pt_link_drained() while writes can still land */
	BUG_FORGET_REPLAY,	/* one replayed frame isn't sent */
	BUG_DUP_DELIVER,	/* a message is handled twice */
	BUG_OVER_CONSUME,	/* credit given twice */
	BUG_SLOW_CLOCK,		/* a node's clock runs at a third of the speed */
	BUG_EARLY_REUSE,	/* the page that is the answer changes before it is acked */
	BUG_LOSE_ANSWER,	/* a handler forgets a request */
	BUGS
};

extern const char *const bug_name[BUGS];
extern const char *const fault_name[];

/* ---------------------------------------------------------------- the truth */

/**
 * struct stream - messages of one class from one life of a link, in order
 * @src, @src_inc: sender
 * @dst:           receiver's id
 * @dst_inc:       its incarnation, once something was delivered
 * @life:          sender's link's life
 * @head, @tail:   not delivered yet
 */
struct stream {
	struct stream *next;
	u16 src, dst;
	u8 class;
	u64 src_inc, dst_inc;
	u32 life;
	struct msg *head, **tail;
};

#define BATCH_MAX	6

enum msg_state { M_SENT, M_WITHDRAWN, M_OVER };

/**
 * struct msg - one message or request, with its answer
 * @id:        never used twice; the contents follow from it
 * @next:      in its stream
 * @refs:      sender, stream, packets, receiver
 * @delivered: the receiver's handler has had it
 * @answered:  its answer was handed to the receiver of answers
 * @tx:        one-way: the core's entry
 * @buf:       payload's frame buffers
 * @sl, @boot: sender's link, and the sender's boot that it belongs to
 * @frame:     page request: frame index, else -1
 * @batch:     requests for a page that this one carries; itself is the first
 * @status:    what the waiter got
 * @waiting:   somebody waits for the answer
 */
struct msg {
	u64 id;
	struct msg *next;
	struct stream *st;
	u32 refs;
	u8 class, kind, state;
	u16 type;
	u32 len;
	bool delivered, answered, waiting, keys;
	struct pt_tx tx;
	void **fv;
	struct slink *sl;
	u32 boot;
	struct pt_slot *slot;
	u16 index, gen;
	int frame;
	u8 batch_n;
	struct msg *batch[BATCH_MAX];
	u32 ans_max, ans_len;
	s32 ans_status;
	u8 *ans;
	s32 status;
	u64 asked, deadline;
	u64 key_session;
};

#define PAGE_WORDS	4		/* stand for the 4096 bytes */

/* Memory of a page pool. Who owns it is the truth that writes are held against. */
struct frame {
	u64 w[PAGE_WORDS];
	struct msg *owner;
};

/* The page that is an answer, at its owner. */
struct spage {
	u64 w[PAGE_WORDS];
};

/* ------------------------------------------------------------ wires (net.c) */

enum pkt_what { PK_HELLO, PK_WELCOME, PK_PROOF, PK_READY, PK_FRAME, PK_CLOSED };

/**
 * struct pkt - something on a wire
 * @at:    earliest arrival
 * @late:  sender's memory that the NIC reads when it needs it; NULL: @data holds it
 * @len:   bytes of header and payload
 * @page:  page answer: the source page, until captured in @w
 * @is_page, @imm, @frame: page answer, without a header when @hdr isn't sent
 * @m:     truth: whose frame it is; @answer: of its answer
 * @land:  receiver's frame that the page went into
 */
struct pkt {
	struct pkt *next;
	u64 at;
	u8 what;
	bool is_page, answer, seqd, landed, has_hdr;
	u32 len;
	const void *late;
	u8 *data;
	const struct spage *page;
	u64 w[PAGE_WORDS];
	u32 imm, frame;
	struct msg *m;
};

enum end_state { END_NONE, END_HS, END_UP, END_CLOSED, END_DRAINED };

/**
 * struct end - one side of a connection
 * @n, @boot: node, and its boot that this belongs to
 * @sl:       link, once known
 * @head:     sent from here, not arrived, in order
 * @dead_tx:  nothing given to it from now on gets away
 * @parked:   @head waits for the path or for a receive (@rnr)
 * @cq_head:  arrived here, not looked at by the software
 * @cq_seqd:  of them, sequenced frames; @cq_ctl unsequenced
 * @deaf:     closed, and what is in the queue is thrown away
 */
struct end {
	struct snode *n;
	u16 id;
	u32 boot;
	struct slink *sl;
	u8 state;
	struct pt_hs hs;
	struct pkt *head, **tail;
	u64 last_at;
	u32 in_flight;
	bool dead_tx, armed, parked, rnr, retry_armed, deaf;
	struct pkt *cq_head, **cq_tail;
	bool cq_armed;
	u64 cq_last;
	u32 cq_seqd, cq_ctl;
};

/**
 * struct conn - a queue pair, or a TCP connection
 * @imm: pages go as RDMA WRITE_WITH_IMM
 */
struct conn {
	struct conn *next, *prev;
	u32 refs;
	u8 class;
	bool imm;
	u64 session;
	struct end e[2];
};

struct conn *net_connect(struct sim *s, struct slink *sl, u8 class, bool imm);
void net_post(struct sim *s, struct conn *c, int i, struct pkt *p);
void net_blob(struct sim *s, struct conn *c, int i, u8 what, const void *buf, u32 len);
void net_close(struct sim *s, struct conn *c, int i, bool tell);
void net_drained(struct sim *s, struct conn *c, int i);
void net_break(struct sim *s, struct conn *c);
void net_crash(struct sim *s, struct snode *n);
void net_changed(struct sim *s);
void net_reposted(struct sim *s, struct conn *c, int i);
bool net_path(struct sim *s, u16 from, u16 to);
void net_put(struct sim *s, struct conn *c);
void pkt_free(struct sim *s, struct pkt *p);

/* --------------------------------------------------- nodes as engines (node.c) */

struct slink {
	struct pt_link l;
	struct snode *n;
	struct slink *next;		/* of the node */
	struct conn *c[PW_CLASSES];
	u8 side[PW_CLASSES];
	u8 draining;			/* bit a class */
	bool imm;
	u64 keys;			/* session whose keys are known */
	u32 lent[PW_CLASSES];		/* receives held by messages */
	u32 queued[PW_CLASSES];		/* one-ways not reaped */
	struct stream *st[PW_CLASSES];
	struct msg **req[PW_CLASSES];	/* by slot */
	struct msg **serving[PW_CLASSES];
	u8 *rx[PW_CLASSES];		/* message being put together */
	u32 rx_len[PW_CLASSES];
	struct msg *rx_msg[PW_CLASSES];
	u64 heard;			/* ms: last frame that the core accepted */
	u64 declared;			/* truth: incarnation declared dead */
	bool bye;			/* the peer said so */
	struct pt_slot *slots;
	struct pt_ans *ans;
};

struct snode {
	struct sim *s;
	u16 id;
	u32 boot;
	bool up;
	struct pt_node pn;
	s64 clock_off;			/* us */
	s32 clock_ppm;
	u64 paused, stopped, slow;	/* until */
	u64 woken;			/* when it last went on */
	struct slink **link;		/* by peer */
	struct slink *links;
	struct frame *frame;
	u16 *frame_free;
	u32 frames, frames_free;
	u16 *neighbour;
	u32 neighbours;
};

u64 node_ms(struct snode *n);
void node_boot(struct sim *s, struct snode *n);
void node_crash(struct sim *s, struct snode *n);
void node_bye(struct sim *s, struct snode *n);
struct slink *node_link(struct sim *s, struct snode *n, u16 peer);
void eng_act(struct sim *s, struct slink *sl);
void eng_fault(struct sim *s, struct conn *c, int i, int error);
void eng_rx(struct sim *s, struct conn *c, int i, struct pkt *p);
void eng_consume(struct sim *s, struct slink *sl, u8 class, u16 frames, u32 life);
void frame_release(struct sim *s, struct snode *n, int frame, struct msg *m);

static inline bool node_is(const struct snode *n, u32 boot)
{
	return n->up && n->boot == boot;
}

/* ------------------------------------------------- workload and oracle (load.c) */

void load_start(struct sim *s, struct snode *n);
void load_keys(struct sim *s, struct slink *sl);
void load_message(struct sim *s, struct slink *sl, u8 class, struct msg *m,
		  const struct pt_event *ev, u8 *buf);
void load_answered(struct sim *s, struct slink *sl, u8 class, struct pt_slot *slot);
void load_timeouts(struct sim *s, struct slink *sl, u8 class);
void load_failed(struct sim *s, struct slink *sl, struct pt_slot *slot);
void load_reaped(struct sim *s, struct slink *sl, u8 class, struct pt_tx *tx);
void load_crashed(struct sim *s, struct slink *sl);
void load_quiet(struct sim *s, bool healed);
void load_page_tag(u64 id, u64 w[PAGE_WORDS]);
struct msg *load_wanted(struct sim *s, struct slink *sl, struct msg *m,
			const struct pt_event *ev, const u8 *buf, u32 i, struct pw_want *w);
void msg_put(struct sim *s, struct msg *m);

static inline struct msg *msg_get(struct msg *m)
{
	m->refs++;
	return m;
}

/* -------------------------------------------------------------- the cluster */

struct sim {
	u64 seed, rng, now;
	struct event *heap;
	size_t heap_n, heap_max;
	u64 ord;

	/* what to run */
	u16 n;
	u64 time;			/* of work, us */
	u64 reconnects;			/* --scenario reconnect: sessions wanted */
	u32 faults;
	enum bug bug;
	int verbose;

	/* drawn from the seed */
	struct pt_cfg cfg;
	u32 lat_lo, lat_hi;		/* us */
	u32 think;			/* us between two of a node's messages */
	u32 fault_gap;			/* ms */
	u32 retry_lo, retry_hi;		/* ms: a NIC gives up */
	u16 sq;				/* frames in flight that a wire takes */
	u16 frames;			/* a node's page pool */
	bool mix_imm;
	bool imm;

	struct pt_table table;
	struct snode *nodes;
	u8 *cut;			/* [from * n + to] */
	struct conn *conns;
	struct stream *streams;
	bool quiet;			/* no new work */
	u64 cuts;			/* generation: older cuts are healed */
	u64 next_id, last_inc;
	u64 mem, mem_max;		/* bytes allocated now, most */
	char rerun[512];

	/* what happened */
	struct {
		u64 events, sent, delivered, asked, answered, timeouts, killed, pages,
		    failed, sessions, faults, deaths, crashes, rnr, late, replays,
		    lease_lost;
	} st;
};

void sim_init(struct sim *s);
void sim_run(struct sim *s);
void faults_start(struct sim *s);
void faults_heal(struct sim *s);

#endif
