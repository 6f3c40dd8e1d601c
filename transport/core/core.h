/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Transport core: links between nodes as state machines without I/O, clock,
 * locks or allocation. An engine (kernel, user mode, simulator, fuzzer) hands
 * in events and does what comes back.
 *
 * Objects. A node has a table of all nodes, and a link to each peer. A link
 * has three lanes, one for each priority class; a lane is a queue pair or a
 * connection. The three lanes of one life of the wires are a session: when one
 * fails all go, and the next session continues where the last one stopped.
 *
 * Contract with the engine
 *  - One lock a link, the engine's. Every function with a link or a lane
 *    argument is called with it held, in any context. Nothing here sleeps.
 *  - After every call: reap (pt_lane_reap) and do pt_link_actions(), the
 *    former before the lock is dropped.
 *  - A lane's frames go out in the order in which pt_lane_tx() gives them, and
 *    come in through pt_lane_rx() in the order in which they were sent.
 *  - "Drained" means: no frame, page write or event of that session can come
 *    any more. Nothing named to the peer is used again before.
 */
#ifndef PT_CORE_H
#define PT_CORE_H

#include "compat.h"

struct pt_link;

/* ------------------------------------------------------------ node table */

#define PT_NODES_MAX	65535	/* ids are 16 bits; 0xffff is nobody */
#define PT_NOBODY	0xffff

/**
 * struct pt_addr - a node's address, IPv4 as ::ffff:a.b.c.d
 * @ip:   16 bytes in network order
 */
struct pt_addr {
	u8 ip[16];
};

/**
 * struct pt_table - all nodes of a cluster; an id is a position in it
 * @blk:   entries by id / 256, each with the hash of the table up to there
 * @n:     entries; written last, so that readers below @n need no lock
 * @seed:  hash of the cluster's name
 *
 * It only grows; the engine serialises writers.
 */
struct pt_table_entry {
	struct pt_addr addr;
	u64 hash;
};

struct pt_table {
	struct pt_table_entry *blk[256];
	u32 n;
	u64 seed;
};

void pt_table_init(struct pt_table *t, const char *cluster);
int pt_table_find(const struct pt_table *t, const struct pt_addr *a);
int pt_table_add(struct pt_table *t, const struct pt_addr *a, void *blk, bool *took_blk);
u64 pt_table_hash(const struct pt_table *t, u32 n);

static inline const struct pt_addr *pt_table_addr(const struct pt_table *t, u16 id)
{
	return &t->blk[id >> 8][id & 255].addr;
}

/* ----------------------------------------------------------------- limits */

/**
 * struct pt_cfg - sizes and times, the same for all links of a node
 * @window:     frames needing credit that a peer may have on its way or
 *              unconsumed here, a lane; at least PW_FRAMES_MAX
 * @slots:      requests in flight a lane and direction; at least PT_SLOTS_MIN
 * @prepaid:    answer frames a lane that requests may reserve; at least
 *              max(@slots, PW_FRAMES_MAX)
 * @hb_ms:      heartbeat period
 * @lease_ms:   no news of our heartbeats' arrival for so long: lease lost
 * @dead_ms:    not heard for so long: declared dead; more than @lease_ms
 * @connect_ms: a session that isn't up after so long is given up
 * @backoff_ms: first pause between attempts; doubles up to 32 times that
 */
struct pt_cfg {
	u16 window;
	u16 slots;
	u16 prepaid;
	u32 hb_ms;
	u32 lease_ms;
	u32 dead_ms;
	u32 connect_ms;
	u32 backoff_ms;
};

/* Requests that every node serves: so many may be queued before a peer is met. */
#define PT_SLOTS_MIN	4

/* Receives beyond window and prepaid, for unsequenced frames (see lane.c). */
#define PT_SPARE	4

/* Receive buffers that a lane needs posted or lent out. */
static inline u32 pt_cfg_receives(const struct pt_cfg *c)
{
	return c->window + c->prepaid + PT_SPARE;
}

int pt_cfg_check(const struct pt_cfg *c);

/* ------------------------------------------------------------------- node */

/**
 * struct pt_env - what the core asks of its engine
 * @hmac:   HMAC-SHA256 of @len bytes with the node's key into 32 bytes
 * @random: fill with unpredictable bytes
 */
struct pt_env {
	int (*hmac)(void *ctx, const void *data, u32 len, u8 out[32]);
	void (*random)(void *ctx, void *buf, u32 len);
};

/**
 * struct pt_node - one node that lives here
 * @id:          its position in the table
 * @incarnation: real time in ns when it was made; a later one is larger
 * @cfg:         limits
 * @table:       all nodes
 * @env:         engine's functions, called with @ctx
 * @has_key:     peers must prove the key and are shown proof
 * @arch:        PW_ARCH_*
 * @page_shift:  log2 of the page size
 * @cpu:         CPU feature words
 */
struct pt_node {
	u16 id;
	u64 incarnation;
	struct pt_cfg cfg;
	struct pt_table *table;
	const struct pt_env *env;
	void *ctx;
	bool has_key;
	u8 arch;
	u8 page_shift;
	u64 cpu[2];
};

/* ---------------------------------------------------------------- sending */

enum pt_tx_state { PT_TX_FREE, PT_TX_QUEUED, PT_TX_SENT };

/**
 * struct pt_tx - one message on its way, until the peer has acknowledged it
 * @next:   the core's queues
 * @seq:    number of the first frame, once given
 * @frames: frames it takes
 * @sent:   frames handed out in this session
 * @state:  enum pt_tx_state
 * @kind:   enum pw_kind
 * @flags:  PW_F_*
 * @notify: the engine wants it back from pt_lane_reap() (sets it before)
 * @type, @slot, @gen, @arg: see struct pw_hdr
 * @len:    payload bytes
 * @status: reaped: 0 when acknowledged, else why it will never be (-errno)
 * @fv:     frame buffers: header space, then payload; @frames of PW_FRAME
 *          bytes each, the last may be shorter. &@one for a single frame.
 * @one:    the only frame of a short message; &@hdr when there is no payload
 * @page:   PW_PAGE: the engine's handle of the page that is the payload; it
 *          must not change before the message is reaped
 * @frame:  PW_PAGE: the requester's frame id
 * @hdr:    room for a header alone
 */
struct pt_tx {
	struct pt_tx *next;
	u32 seq;
	u16 frames;
	u16 sent;
	u8 state;
	u8 kind;
	u8 flags;
	bool notify;
	u16 type;
	u16 slot;
	u16 gen;
	u32 arg;
	u32 len;
	s32 status;
	void **fv;
	void *one;
	void *page;
	u32 frame;
	struct pw_hdr hdr;
};

struct pt_queue {
	struct pt_tx *head;
	struct pt_tx **tail;
};

/* --------------------------------------------------- requests and answers */

/*
 * A slot is the requester's side of one request. It is free again only when
 * the one answer has arrived, or the session that could still bring it is
 * drained and the peer dead. A waiter that gives up leaves a zombie.
 */
enum pt_slot_state {
	PT_SLOT_FREE,
	PT_SLOT_TAKEN,		/* being filled in */
	PT_SLOT_WAITING,	/* asked */
	PT_SLOT_ZOMBIE,		/* asked, nobody waits any more */
	PT_SLOT_DONE,		/* answered; the waiter hasn't looked yet */
};

/**
 * struct pt_slot - a request of ours
 * @tx:       the request
 * @cancel:   the message that asks for an answer now
 * @next:     free list
 * @index:    position in the lane; on the wire
 * @gen:      counts the uses; on the wire
 * @state:    enum pt_slot_state
 * @units:    prepaid frames reserved
 * @batch:    pages asked for in one request, if this slot's is it
 * @leader:   the slot whose request asked for this page as well, or NULL
 * @lead_gen: its generation then: a later one means that the request arrived
 * @deadline: ms; then the request is answered with -ETIMEDOUT from here
 * @ans:      where an answer is copied
 * @ans_max:  room there, bytes
 * @ans_len:  bytes there
 * @frame:    frame id named in the request, or PW_NOFRAME
 * @page:     engine's handle of that frame
 * @status:   0 or -errno once PT_SLOT_DONE
 * @ctx:      the engine's (waiter, callback)
 */
struct pt_slot {
	struct pt_tx tx;
	struct pt_tx cancel;
	struct pt_slot *next;
	u16 index;
	u16 gen;
	u8 state;
	u8 units;
	u8 batch;
	u16 lead_gen;
	struct pt_slot *leader;
	u64 deadline;
	void *ans;
	u32 ans_max;
	u32 ans_len;
	u32 frame;
	void *page;
	s32 status;
	void *ctx;
};

enum pt_ans_state { PT_ANS_IDLE, PT_ANS_OPEN, PT_ANS_SENT };

/**
 * struct pt_ans - the responder's side of a peer's slot, with the answer's entry
 * @tx:    the answer
 * @gen:   generation of the request
 * @state: enum pt_ans_state
 * @frame: frame that the requester named, or PW_NOFRAME
 * @max:   longest answer that was prepaid, bytes
 */
struct pt_ans {
	struct pt_tx tx;
	u16 gen;
	u8 state;
	u32 frame;
	u32 max;
};

/* ------------------------------------------------------------------ lanes */

struct pt_stats {
	u64 tx_msgs, tx_bytes;		/* messages and payload first sent */
	u64 rx_msgs, rx_bytes;
	u64 stalls;			/* a message had to wait for credit */
	u64 replays;			/* frames sent again */
	u64 nops;			/* unsequenced frames sent */
	u64 late;			/* answers whose waiter had gone */
};

#define PT_DUE_NOP	1
#define PT_DUE_HB	2
#define PT_DUE_BYE	4

struct pt_lane {
	struct pt_link *link;
	u8 class;
	bool ready;			/* this session's handshake is done */

	/* to the peer */
	u32 tx_seq;			/* last number given out */
	u32 tx_posted;			/* last number ever handed out */
	u32 tx_acked;			/* last number acknowledged */
	u32 crd_used, crd_limit;	/* frames needing credit: sent, allowed */
	struct pt_queue ansq;		/* answers: prepaid, first */
	struct pt_queue msgq;		/* all else, waits for credit */
	struct pt_queue sent;		/* given a number, not acknowledged */
	struct pt_tx *cur;		/* first of @sent with frames to go */
	bool stalled;			/* head of msgq was counted as stalled */
	u8 due;				/* PT_DUE_*: unsequenced frames to send */

	/* from the peer */
	u32 rx_seq;			/* last number received in order */
	u32 ack_told;
	u32 crd_rx;			/* frames needing credit received */
	u32 crd_grant, crd_told;	/* allowed in all; what the peer knows */
	u16 rx_frag;			/* next fragment of a message, 0: none open */
	u16 rx_frags;
	struct pw_hdr rx_first;		/* first header of the open message */

	struct pt_slot *slots;		/* cfg.slots of them */
	struct pt_slot *slot_free;
	struct pt_ans *ans;		/* cfg.slots of them */
	u16 peer_slots;			/* how many the peer serves */
	u16 slots_used;
	u16 prepaid;			/* answer frames not reserved */

	struct pt_queue done;		/* to be reaped */
	struct {			/* an unsequenced frame */
		struct pw_hdr hdr;
		struct pw_heartbeat hb;
	} ctl;
	struct pt_stats stats;
};

/* ------------------------------------------------------------------ links */

enum pt_link_state {
	PT_LINK_IDLE,		/* never wanted */
	PT_LINK_CONNECT,	/* we are opening lanes */
	PT_LINK_ACCEPT,		/* the peer is opening lanes */
	PT_LINK_UP,
	PT_LINK_CLOSE,		/* engine is draining */
	PT_LINK_WAIT,		/* pause before the next attempt */
	PT_LINK_STATES
};

/* What the engine is to do, from pt_link_actions(). */
#define PT_ACT_TX(class)	(1u << (class))	/* lane has frames to go */
#define PT_ACT_TX_ALL		7u
#define PT_ACT_CONNECT		(1u << 3)	/* open the three lanes */
#define PT_ACT_CLOSE		(1u << 4)	/* drain; then pt_link_drained() */
#define PT_ACT_UP		(1u << 5)	/* session is up */
#define PT_ACT_LEASE_LOST	(1u << 6)	/* stop using what the peer owns */
#define PT_ACT_LEASE_BACK	(1u << 7)
#define PT_ACT_FAIL		(1u << 8)	/* call pt_link_fail_next() until NULL */
#define PT_ACT_DEAD		(1u << 9)	/* link->dead_inc was declared dead */
#define PT_ACT_TIMEOUT		(1u << 10)	/* see pt_lane_timeout_next() */

/**
 * struct pt_link - to one peer
 * @node:      whose
 * @peer:      the peer's id
 * @state:     enum pt_link_state
 * @initiator: of the present session
 * @dead:      the last incarnation met was declared dead, no new one met yet
 * @leased:    the peer knew us alive within lease_ms
 * @wanted:    somebody has something to say to the peer (or keep: eager)
 * @peer_inc:  incarnation talked with, 0 before the first
 * @dead_inc:  highest incarnation declared dead; never talked with again
 * @leaving:   we said goodbye
 * @dying:     declared dead, its session is being drained
 * @fail_status: what its waiters get
 * @tx_open:   frames may go out
 * @imm:       the engine's: pages go as RDMA WRITE_WITH_IMM, without a header
 * @reap:      bit a class: lanes with something for pt_lane_reap()
 * @life:      counts deaths: what was received in an earlier life is void
 * @session:   present session
 * @error:     what ended the last session (-errno)
 * @refusal:   last refusal received, enum pw_refusal
 * @sessions:  sessions that came up
 */
struct pt_link {
	struct pt_node *node;
	u16 peer;
	u8 state;
	bool initiator;
	bool dead;
	bool leased;
	bool wanted;
	bool leaving;
	bool dying;
	bool heard;
	bool tx_open;
	bool imm;
	u8 up_lanes;			/* bit a class */
	u8 reap;
	u8 refusal;
	u8 peer_arch;
	u64 peer_inc;
	u64 dead_inc;
	u64 session;
	u64 peer_cpu[2];
	u32 life;
	s32 error;
	s32 fail_status;
	u32 actions;
	u32 attempts;			/* since the last session that was up */
	u32 sessions;
	u64 last_heard;			/* ms */
	u64 lease_end;
	u64 hb_next;
	u64 now;			/* of the last tick */
	u64 peer_sent;			/* newest heartbeat's time, peer's clock */
	u64 deadline;			/* CONNECT, ACCEPT: give up; WAIT: retry */
	struct pt_lane lane[PW_CLASSES];
};

void pt_link_init(struct pt_link *l, struct pt_node *node, u16 peer,
		  struct pt_slot *slots, struct pt_ans *ans);
void pt_link_want(struct pt_link *l, u64 now);
void pt_link_fault(struct pt_link *l, int error, u64 now);
void pt_link_drained(struct pt_link *l, u64 now);
void pt_link_kill(struct pt_link *l, int status, u64 now);
void pt_link_bye(struct pt_link *l);
void pt_link_tick(struct pt_link *l, u64 now);
struct pt_slot *pt_link_fail_next(struct pt_link *l);
u32 pt_link_actions(struct pt_link *l);

/* May what the peer granted still be used? False from lease loss on. */
static inline bool pt_link_lease_ok(const struct pt_link *l, u64 now)
{
	return l->leased && now < l->lease_end;
}

/* -------------------------------------------------------------- handshake */

/**
 * struct pt_hs - handshake of one lane, kept by whoever owns the connection
 * @node:    ours
 * @class:   lane
 * @version: protocol version agreed on
 * @hello, @welcome, @ready, @proof: as sent or received
 */
struct pt_hs {
	struct pt_node *node;
	u8 class;
	u8 version;
	struct pw_hello hello;
	struct pw_welcome welcome;
	struct pw_proof proof;
	struct pw_ready ready;
};

/* Initiator: hello() → WELCOME → welcome() → send proof → READY → ready(). */
void pt_hs_hello(struct pt_hs *hs, struct pt_link *l, u8 class);
int pt_hs_welcome(struct pt_hs *hs, struct pt_link *l, const void *buf, u32 len, u64 now);
int pt_hs_ready(struct pt_hs *hs, struct pt_link *l, const void *buf, u32 len, u64 now);

/* Responder: HELLO → parse() → accept() → send welcome → PROOF → proof() →
 * send ready → pt_hs_up(). */
int pt_hs_parse(struct pt_hs *hs, struct pt_node *node, const void *buf, u32 len,
		const struct pt_addr *from, u16 *src);
int pt_hs_accept(struct pt_hs *hs, struct pt_link *l, u64 now);
int pt_hs_proof(struct pt_hs *hs, struct pt_link *l, const void *buf, u32 len, u64 now);
void pt_hs_up(struct pt_hs *hs, struct pt_link *l, u64 now);

const char *pt_refusal_str(u8 refusal);
const char *pt_link_state_str(const struct pt_link *l);

/* ---------------------------------------------------------------- sending */

int pt_send(struct pt_lane *la, struct pt_tx *tx, u16 type, u32 len);

struct pt_slot *pt_slot_get(struct pt_lane *la, u32 ans_max);
int pt_slot_send(struct pt_lane *la, struct pt_slot *s, u16 type, u32 len, u64 deadline);
int pt_slots_send(struct pt_lane *la, struct pt_slot **s, u32 n, u16 type, u32 len,
		  u64 deadline);
bool pt_slot_abandon(struct pt_lane *la, struct pt_slot *s);
void pt_slot_put(struct pt_lane *la, struct pt_slot *s);

struct pt_ans *pt_ans_get(struct pt_lane *la, u16 slot, u16 gen, u32 life);
int pt_ans_send(struct pt_lane *la, struct pt_ans *a, int status, u32 len);
int pt_ans_send_page(struct pt_lane *la, struct pt_ans *a, void *page);

struct pt_tx *pt_lane_reap(struct pt_lane *la);
struct pt_slot *pt_lane_timeout_next(struct pt_lane *la, u64 now);

/**
 * struct pt_out - the next frame of a lane
 * @hdr:   header, filled in; payload of @len bytes follows it in memory.
 *         Of an unsequenced frame it is valid until the next call only.
 * @len:   payload bytes after the header; 0 with @page
 * @page:  not NULL: the payload is this page, PW_PAGE
 * @frame: PW_PAGE: the requester's frame
 * @imm:   PW_PAGE: immediate for a RDMA WRITE, which then replaces the header
 */
struct pt_out {
	struct pw_hdr *hdr;
	u32 len;
	void *page;
	u32 frame;
	u32 imm;
};

bool pt_lane_tx(struct pt_lane *la, struct pt_out *out);
void pt_lane_nop(struct pt_lane *la);

/**
 * pt_lane_tx_peek - the message that pt_lane_tx() would go on with
 * @la: lane
 *
 * For a driver that can't take every message yet (a page whose remote key
 * isn't known). Return: the message, or NULL.
 */
static inline struct pt_tx *pt_lane_tx_peek(const struct pt_lane *la)
{
	if (!la->link->tx_open)
		return NULL;
	if (la->cur)
		return la->cur;
	if (la->ansq.head)
		return la->ansq.head;
	if (la->msgq.head && (s32)(la->crd_limit - la->crd_used) >= la->msgq.head->frames)
		return la->msgq.head;
	return NULL;
}

/**
 * pt_lane_tx_pending - would pt_lane_tx() give a frame?
 * @la: lane
 */
static inline bool pt_lane_tx_pending(const struct pt_lane *la)
{
	return la->link->tx_open && (la->due || pt_lane_tx_peek(la));
}

/* -------------------------------------------------------------- receiving */

enum pt_event_what {
	PT_EV_NONE,	/* nothing for the engine; buffer is free */
	PT_EV_FRAG,	/* part of a message: keep the buffer, more follow */
	PT_EV_MSG,	/* message complete (its last buffer is this one) */
	PT_EV_REQ,	/* request complete: answer (slot, gen, life) */
	PT_EV_DONE,	/* slot is answered: wake its waiter; buffer is free */
	PT_EV_ZOMBIE,	/* slot is answered, nobody waits; engine frees what the
			 * slot held, then pt_slot_put() */
};

/**
 * struct pt_event - what one received frame means
 * @what:   enum pt_event_what
 * @slot:   PT_EV_DONE, PT_EV_ZOMBIE
 * @type:   PT_EV_MSG, PT_EV_REQ: message type
 * @kind:   PW_MSG or PW_REQ
 * @aslot:  PT_EV_REQ: names the answer, with @gen and @life
 * @frames: frames (and buffers) of the message, to be given to pt_consume()
 * @total:  payload bytes of the message
 * @frame:  PT_EV_REQ: frame the requester named, or PW_NOFRAME
 * @wants:  PT_EV_REQ: the payload begins with so many struct pw_want, each of
 *          which names an answer of its own; @aslot and @gen are the first's
 * @life:   of the link when it came
 */
struct pt_event {
	u8 what;
	u8 kind;
	u16 type;
	u16 aslot;
	u16 gen;
	u16 frames;
	u16 wants;
	u32 total;
	u32 frame;
	u32 life;
	struct pt_slot *slot;
};

int pt_lane_rx(struct pt_lane *la, const struct pw_hdr *h, const void *payload, u32 len,
	       struct pt_event *ev);
int pt_lane_rx_imm(struct pt_lane *la, u32 imm, u32 bytes, struct pt_event *ev);
void *pt_lane_rx_page(struct pt_lane *la, const struct pw_hdr *h);
void pt_consume(struct pt_lane *la, u16 frames, u32 life);

#endif
