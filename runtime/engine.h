/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The user-mode engine's own: nodes, links and lanes around the core's, and what
 * its drivers (transport/socket/usocket.c, transport/shm) must do.
 *
 * Who does what. Any thread may send: it calls the core under the link's lock and
 * hands the frames to the driver. Only the thread that has the node's poll role
 * receives, runs handlers and completions, ticks, and makes and ends connections;
 * other threads leave such work in ue_link.todo and wake it.
 *
 * Locks, none taken inside another except where said:
 *   ue_link.lock          the core's link, its lanes, and all here marked (L)
 *   popcorn_node.wait_lock  list of sleeping waiters
 *   popcorn_node.pool_lock  frames; taken inside ue_link.lock
 */
#ifndef POPCORN_RUNTIME_ENGINE_H
#define POPCORN_RUNTIME_ENGINE_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "transport.h"

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

#define UE_PAGE		4096
#define UE_PAGE_SHIFT	12

/* A message of several frames: their buffers, then the vector of them. */
#define UE_ENTRY	(PW_FRAMES_MAX * PW_FRAME + 192)

struct ue_link;
struct ue_lane;
struct ue_conn;

static inline void ue_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* ------------------------------------------------------------------ locks */

typedef _Atomic u32 ue_lock_t;

#define UE_UNSHARED	2	/* a lock of a node that a single thread uses */

void ue_lock_slow(ue_lock_t *l);

/* Held for tens of nanoseconds and never across a system call. */
static inline void ue_lock(ue_lock_t *l)
{
	/* A locked instruction is what a message over shared memory spends most on. */
	if (atomic_load_explicit(l, memory_order_relaxed) == UE_UNSHARED)
		return;
	if (unlikely(atomic_exchange_explicit(l, 1, memory_order_acquire)))
		ue_lock_slow(l);
}

static inline void ue_unlock(ue_lock_t *l)
{
	if (atomic_load_explicit(l, memory_order_relaxed) != UE_UNSHARED)
		atomic_store_explicit(l, 0, memory_order_release);
}

/* ---------------------------------------------------------------- waiters */

enum ue_wait { UE_WAITING, UE_SLEEPING, UE_POLL_NOW, UE_DONE };

/**
 * struct ue_waiter - whoever waits for a request, a completion or a free entry
 * @state:  enum ue_wait, a futex
 * @status: bytes of the answer, or -errno; valid once UE_DONE
 * @async:  not NULL: nobody waits, this is completed
 * @next:   in ue_lane.wait_q or a list to complete
 * @sleep_next: in popcorn_node.sleepers
 * @promised: what became free is for this one
 */
struct ue_waiter {
	_Atomic u32 state;
	int status;
	struct popcorn_async *async;
	struct ue_waiter *next;
	struct ue_waiter *sleep_next;
	bool promised;
};

/* ------------------------------------------------------------------ lanes */

/**
 * enum ue_msg_state - whose a received message is
 * @UE_MSG_FREE:   nobody's
 * @UE_MSG_INSIDE: its handler's, which runs; the data are where they arrived
 * @UE_MSG_KEPT:   whoever's the handler gave it to; the data are its own
 */
enum ue_msg_state { UE_MSG_FREE, UE_MSG_INSIDE, UE_MSG_KEPT };

/**
 * struct ue_msg - a received message
 * @msg:    what the handler sees
 * @ul:     link
 * @next:   free list
 * @state:  enum ue_msg_state
 * @frames: to be consumed
 * @slot, @gen, @life: name the answer
 * @left:   pages that aren't answered yet
 * @skip:   several pages: bytes before msg.data, struct pw_want that name answers
 * @buf:    PW_MSG_MAX bytes of its own
 */
struct ue_msg {
	struct popcorn_msg msg;
	struct ue_link *ul;
	struct ue_msg *next;
	_Atomic u8 state;
	u16 frames;
	u16 slot;
	u16 gen;
	u16 left;
	u16 skip;
	u32 life;
	void *buf;
};

/**
 * struct ue_tx - a one-way message's entry
 * @tx:   the core's, first
 * @next: free list
 * @buf:  UE_ENTRY bytes
 */
struct ue_tx {
	struct pt_tx tx;
	struct ue_tx *next;
	u8 *buf;
};

/* What a thread may have to wait for before it can send. */
enum ue_kind { UE_SLOT, UE_TX, UE_KINDS };

/**
 * struct ue_lane - what the engine keeps of a lane
 * @la:      the core's
 * @ul:      link
 * @conn:    the wire, NULL while there is none (L)
 * @tx_busy: somebody is sending outside the lock (L)
 * @tx_more: the driver stopped before the lane was empty: the poller goes on (L)
 * @open:    message whose fragments are coming in
 * @waiter:  by slot index: who is told
 * @timeout: by slot index: ms; its deadline is set by the next tick (UE_LATER), so
 *           that a request needs no clock
 * @pgdone:  by answer index: to be told when a page is no longer needed
 * @wait_q:  who waits for a free slot, and for a free entry (L)
 * @promised: slots, and entries, that are free for who waited (L)
 */
struct ue_lane {
	struct pt_lane *la;
	struct ue_link *ul;
	struct ue_conn *conn;
	bool tx_busy;
	bool tx_more;
	struct ue_msg *open;
	struct ue_msg *msg_free;
	struct ue_tx *tx_free;
	u32 tx_nfree;
	struct ue_waiter *wait_q[UE_KINDS];
	u32 promised[UE_KINDS];
	struct ue_waiter *waiter;
	u32 *timeout;
	struct popcorn_done **pgdone;
	struct ue_msg *msgs;
	struct ue_tx *txs;
	u8 *slot_buf;
	u8 *ans_buf;
};

/**
 * struct ue_link - to one peer
 * @pt:      the core's link
 * @lock:    guards it
 * @todo:    PT_ACT_* and UE_WORK_* for the poller
 * @cork:    the poller has more frames at hand: it will send when they are handled
 * @corked:  PT_ACT_TX bits that wait for that
 * @fault:   -errno that a driver met while it had no lock
 * @done:    completions of answered pages, for the poller (L)
 * @drain:   ms; the peer has until then to say that it writes no more
 * @arena:   all buffers, one mapping touched only as far as it is used
 */
struct ue_link {
	struct pt_link pt;
	ue_lock_t lock;
	struct popcorn_node *node;
	_Atomic u32 todo;
	bool cork;
	u32 corked;
	s32 fault;
	u64 drain;
	bool draining;
	u8 logged;
	struct popcorn_done *done;
	struct ue_lane lane[PW_CLASSES];
	struct pt_slot *slots;
	struct pt_ans *ans;
	void *arena;
	size_t arena_size;
};

/* ---------------------------------------------------------------- drivers */

enum ue_conn_state {
	UE_CONN_CONNECT,	/* waits for connect() */
	UE_CONN_HELLO,		/* responder waits for HELLO */
	UE_CONN_WELCOME,	/* initiator waits for WELCOME */
	UE_CONN_PROOF,
	UE_CONN_READY,
	UE_CONN_LIVE,		/* belongs to its lane */
	UE_CONN_CLOSED,		/* is being drained */
	UE_CONN_HOLDS,		/* keeps frames that its peer may still write to */
	UE_CONN_DEAD,		/* to be freed */
};

/**
 * struct ue_conn - a stream to a peer; first the handshake's, then a lane's
 * @node:  whose
 * @ops:   the driver's
 * @next:  in popcorn_node.conns
 * @ul:    known once the peer is
 * @ln:    UE_CONN_LIVE: its lane
 * @fd:    stream socket
 * @state: enum ue_conn_state
 * @got:   bytes in @buf
 * @want:  bytes that the handshake waits for
 * @since: ms when it was made
 * @hs:    handshake
 * @from:  address of whoever connected
 * @fds:   descriptors that came with the handshake (shared memory)
 * @stamp: if not NULL: there is nothing to receive until it reads @next_stamp
 * @idle:  polls that found nothing since something was sent or came
 * @full:  the wire takes no more for now (L)
 */
struct ue_conn {
	struct popcorn_node *node;
	const struct ue_driver *ops;
	struct ue_conn *next;
	struct ue_link *ul;
	struct ue_lane *ln;
	int fd;
	u8 state;
	u8 class;
	_Atomic u32 *stamp;
	u32 next_stamp;
	_Atomic u32 idle;
	bool full;
	u32 got;
	u32 want;
	u64 since;
	struct pt_addr from;
	bool has_from;
	struct pt_hs hs;
	u8 buf[128];
	int fds[2];
	int nfds;
};

static inline u32 ue_idle(const struct ue_conn *c)
{
	return atomic_load_explicit(&c->idle, memory_order_relaxed);
}

static inline void ue_set_idle(struct ue_conn *c, u32 polls)
{
	atomic_store_explicit(&c->idle, polls, memory_order_relaxed);
}

/**
 * struct ue_driver - a kind of wire
 * @size:    of its struct ue_conn
 * @cheap:   a look that finds nothing is no system call
 * @listen:  a listening, non-blocking socket for the node, or -errno
 * @connect: a non-blocking socket on its way to a peer, or -errno
 * @accepted: sets options of an accepted socket, tells the peer's address
 * @give:    initiator, before PROOF (responder, before READY): descriptors to send along
 * @live:    the handshake is done: make ready to carry frames
 * @tx:      sends what the lane has; lock held, may be dropped meanwhile
 * @rx:      poller: receives and delivers a few frames. Return: frames, or -errno
 * @stop:    poller, lock held, no tx going on: nothing is written from now on
 * @drained: poller: can nothing of the peer's come any more?
 * @free:    releases what @live made
 */
struct ue_driver {
	const char *name;
	size_t size;
	bool cheap;
	int (*listen)(struct popcorn_node *n);
	int (*connect)(struct popcorn_node *n, u16 peer, u8 class);
	int (*accepted)(struct ue_conn *c);
	int (*give)(struct ue_conn *c, int *fds);
	int (*live)(struct ue_conn *c);
	void (*tx)(struct ue_lane *ln);
	int (*rx)(struct ue_conn *c);
	void (*stop)(struct ue_conn *c);
	bool (*drained)(struct ue_conn *c);
	void (*free)(struct ue_conn *c);
};

extern const struct ue_driver ue_tcp, ue_shm;

/* ------------------------------------------------------------------ nodes */

/**
 * struct ue_bell - first page of a node's pool: how peers on this machine wake it
 * @seq:    futex
 * @asleep: the node sleeps on @seq
 * @blocks: the node may sleep at all; else nobody needs to look
 */
struct ue_bell {
	_Atomic u32 seq;
	_Atomic u32 asleep;
	u32 blocks;
	u32 frames;
};

/**
 * struct ue_pool - frames, in memory that peers on this machine can map
 * @fd:     memfd: a page with the bell, then the frames
 * @hold:   by frame: a peer that did not say it stopped may still write there
 */
struct ue_pool {
	int fd;
	u8 *base;
	u32 n;
	struct ue_bell *bell;
	struct popcorn_frame *frame;
	struct popcorn_frame *free;
	struct ue_conn **hold;
};

struct popcorn_node {
	struct pt_node pt;
	struct pt_table table;
	struct popcorn_opts o;
	const struct ue_driver *drv;
	u8 *key;
	u32 key_len;

	_Atomic u64 now;		/* ms; as new as the last poll */
	u64 tick_next;
	u32 round;
	u32 cold;
	bool yielded;			/* bulk was left out of the last round */
	_Atomic u32 role;		/* 1: a thread polls */
	_Atomic u32 want;		/* threads that would rather poll themselves */
	_Atomic u32 app_polls;		/* counts what the service thread watches */
	_Atomic bool asleep;		/* the poller is in ppoll() or a futex */
	_Atomic bool work;		/* some link's todo or tx_more is set */
	_Atomic bool stop;
	ue_lock_t wait_lock;
	struct ue_waiter *_Atomic sleepers;
	int kick_fd;
	int listen_fd;
	pthread_t service;
	bool has_service;
	_Atomic bool service_polls;

	struct ue_link **links;		/* by peer id, PT_NODES_MAX of them, mapped lazily */
	struct ue_link **made;		/* those that there are, as many as nmade says */
	u32 nmade;
	pthread_mutex_t grow;		/* links and table entries are made under it */
	struct ue_conn *conns;		/* all */
	u32 nconns;
	u32 handshakes;
	struct ue_conn **live;		/* polled, URGENT first */
	u32 nlive;
	u32 live_max;
	struct pollfd *pfd;
	struct ue_conn **pfd_conn;
	u32 pfd_max;

	ue_lock_t pool_lock;
	struct ue_pool pool;
	u64 log_time;
	u32 log_count;
};

static inline u64 ue_now(struct popcorn_node *n)
{
	return atomic_load_explicit(&n->now, memory_order_relaxed);
}

#define UE_LATER	(~0ull)		/* pt_slot.deadline: see ue_lane.timeout */
#define UE_WORK_FAULT	(1u << 31)	/* a driver's write failed: ue_link.fault */
#define UE_WORK_TX	(1u << 30)	/* some lane's tx_more */
#define UE_WORK_DONE	(1u << 29)	/* ue_link.done */

/* Links made so far; any thread. */
static inline u32 ue_made(const struct popcorn_node *n)
{
	return __atomic_load_n(&n->nmade, __ATOMIC_ACQUIRE);
}

u64 ue_clock_ms(void);
void ue_log(struct popcorn_node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* alloc.c */
void *ue_alloc(size_t size);
void *ue_map(size_t size);
int ue_inject(void);
u32 ue_fail_alloc(u32 nth);

/* key.c */
int ue_key_load(const char *path, u8 **key, u32 *len);
int ue_key_hmac(void *ctx, const void *data, u32 len, u8 out[32]);
void ue_key_random(void *ctx, void *buf, u32 len);

/* nodes.c */
int ue_addr_parse(const char *s, struct pt_addr *a);
void ue_addr_str(const struct pt_addr *a, char *buf, size_t size);
int ue_table_load(struct pt_table *t, const char *spec);
int ue_table_add(struct pt_table *t, const char *addr);
void ue_table_free(struct pt_table *t);

/* pool.c */
int ue_pool_make(struct popcorn_node *n);
void ue_pool_free(struct popcorn_node *n);
void ue_pool_hold(struct popcorn_node *n, struct popcorn_frame *f, struct ue_conn *c);
void ue_pool_unhold(struct popcorn_node *n, struct ue_conn *c);

/* link.c */
int ue_link_get(struct popcorn_node *n, u16 peer, struct ue_link **out);
void ue_link_free(struct ue_link *ul);
void ue_link_finish(struct ue_link *ul, struct ue_lane *ln);
void ue_link_todo(struct ue_link *ul, u32 todo);
void ue_link_work(struct ue_link *ul);
void ue_link_tick(struct ue_link *ul, u64 now);
void ue_link_cork(struct ue_link *ul, bool on);
void ue_lane_more(struct ue_lane *ln);
struct ue_waiter *ue_lane_free(struct ue_lane *ln, enum ue_kind kind);

/* msg.c */
void ue_fill(struct pt_tx *tx, u8 *entry, const void *buf, u32 len);

/* recv.c */
extern __thread bool ue_handling;
int ue_deliver(struct ue_lane *ln, const struct pw_hdr *h, const void *payload, u32 len);
void ue_complete(struct ue_waiter *w);
void ue_call_done(struct popcorn_done *d);

/* poll.c */
int ue_wait(struct popcorn_node *n, struct ue_waiter *w, u64 deadline);
void ue_kick(struct popcorn_node *n);
int ue_service_start(struct popcorn_node *n);
void ue_service_stop(struct popcorn_node *n);
int ue_live_add(struct popcorn_node *n, struct ue_conn *c);
void ue_live_del(struct popcorn_node *n, struct ue_conn *c);
bool ue_waits_here(const struct ue_waiter *w);
int ue_futex_wait(_Atomic u32 *word, u32 val, u32 us, bool shared);
void ue_futex_wake(_Atomic u32 *word, bool shared);

/* conn.c */
void ue_conn_open(struct ue_link *ul);
void ue_conn_close_link(struct ue_link *ul);
void ue_conn_drain(struct ue_link *ul);
void ue_conn_events(struct popcorn_node *n, struct ue_conn *c, short revents);
void ue_conn_accept(struct popcorn_node *n);
void ue_conn_tick(struct popcorn_node *n, u64 now);
void ue_conn_free_all(struct popcorn_node *n);

#endif
