/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * User-mode shared memory: what its parts share. The protocol is dsm-proto/core's; here
 * are its memory, its locks, its messages and the mappings of the program.
 *
 *   dsm_page.c   what happens to a page: faults, drops, deaths; what is left to do later
 *   dsm_act.c    the core's actions carried out
 *   dsm_ask.c    what is asked of the home, one page or several ahead of need
 *   dsm_msg.c    messages about pages
 *   dsm_map.c    the program's mapping, kept by userfaultfd
 *   dsm_fault.c  its faults: from userfaultfd, or as signals
 *   dsm_thread.c who looks for both and for messages: the engine's threads, and those that wait
 *   dsm_region.c regions: made, attached, left, and what death does to them
 *   dsm_sync.c   locks and barriers
 *   dsm_prof.c   what `popcorn dsm-prof` wants to know
 *
 * A region's pages lie in a memfd, mapped twice: the program's mapping shows a page
 * only as far as the protocol allows; the engine reads and writes pages through the
 * alias, which is never taken away. It may be behind while the program can write to a
 * page (dsm_map.c says when), so it is read only after PROTECT or UNMAP, as the
 * protocol has it anyway.
 *
 * Locks: struct dsm_region.lock, one for a bucket of pages, is held over a call into the core
 * and over the actions that it returns, so that they are carried out in order. Inside it
 * only the transport's locks and the spin locks below are taken. Nothing waits for a
 * message with a lock held. What can't be sent now stays with the page (DSM_TODO_*)
 * and is tried again by whoever polls.
 */
#ifndef POPCORN_RUNTIME_DSM_H
#define POPCORN_RUNTIME_DSM_H

#include <pthread.h>
#include <stdatomic.h>

#include <dsm-proto/core/barrier.h>
#include <dsm-proto/core/dsm.h>
#include <dsm-proto/core/stream.h>
#include <popcorn/popcorn.h>

#include "engine.h"

#define DSM_BUCKETS	64
#define DSM_REGIONS	64	/* of a node */
#define DSM_SLOTS	64	/* requests of a lane */
#define DSM_ASKS	16	/* faults of a node under way: less than there are slots, so that
				 * FETCH always finds one */
#define DSM_AHEAD	DSM_SLOTS	/* pages being fetched ahead, on a lane of their own */
#define DSM_ACTS	(8 * PD_ACTS)	/* that follow from one call of the core */
#define DSM_DONES	8	/* of one message */
#define DSM_RETRY_NS	20000	/* until what could not be sent is tried again */
#define DSM_FOREVER	0x7fffffffu	/* ms: the peer's death ends a request, not time */

/* Of a page: what is still to be sent. */
#define DSM_TODO_ASK	0x01
#define DSM_TODO_DATA	0x04
#define DSM_TODO_PUT	0x08
#define DSM_TODO_NODATA	0x10
#define DSM_TODO_FWD	0x20
#define DSM_TODO_INV	0x40
#define DSM_TODO_LATER	0x80	/* INV, FWD or FETCH is served again at @until */

/* Events for `popcorn dsm-prof`; numbers of a file format. */
enum dsm_prof_what {
	DSM_PROF_READ,		/* a fault that has to wait */
	DSM_PROF_WRITE,
	DSM_PROF_UPGRADE,
	DSM_PROF_HERE,		/* the page is mapped, or mapped for more: the end of such faults */
	DSM_PROF_DATA,		/* its bytes came from a node */
	DSM_PROF_GONE,		/* it was taken away */
	DSM_PROF_SHARED,	/* it can only be read now */
	DSM_PROF_LOST,
};

enum dsm_map { DSM_NONE, DSM_READ, DSM_WRITE };

/**
 * struct dsm_page - a page at this node
 * @p:      the core's
 * @mapped: enum dsm_map: what the program's mapping shows
 * @todo:   DSM_TODO_*
 * @listed: in struct dsm_region.work
 * @backed: the memfd has memory for it, surely
 * @serves: PD_T_INV, PD_T_FWD or PD_T_FETCH that is being served, 0: none
 * @next:   the list: page + 1, 0 ends it
 * @msg:    its message; NULL if it came from this node
 * @until:  when it is served again
 * @fwd_node, @fwd_req, @fwd_flags: its arguments
 * @to, @to_req: for DSM_TODO_DATA, or NODATA (a node is supplier or home of a page's request)
 * @unsaid: its DONE is to be sent, under dsm_region.done_lock: in dsm_region.undone,
 * @done_next: the list, likewise: page + 1, 0 ends it
 * @done_req, @done_flags: what DONE says
 * @ask_flags: for DSM_TODO_ASK
 */
struct dsm_page {
	struct pd_page p;
	u8 mapped;
	u8 todo;
	bool listed;
	bool backed;
	u8 serves;
	u32 next;
	struct popcorn_msg *msg;
	u64 until;
	u32 fwd_req;
	u32 to_req;
	u32 done_next;
	u32 done_req;
	u16 fwd_node;
	u16 to;
	u8 fwd_flags;
	bool unsaid;
	u8 done_flags;
	u8 ask_flags;
};

struct dsm_region;

/**
 * struct dsm_ask - an ASK under way
 * @a: the transport's; @a.done first
 * @flags: PD_F_* of it, ahead of need
 */
struct dsm_ask {
	struct popcorn_async a;
	struct dsm_region *r;
	struct dsm_ask *next;
	u32 page;
	u32 req;
	u8 flags;
	bool ahead;
};

/**
 * struct dsm_call - INV, FWD or FETCH under way, of a transaction
 */
struct dsm_call {
	struct popcorn_async a;
	struct dsm_txn *x;
	u16 node;
};

/* What a page of an ASK for several is answered by: the page, or an error. */
struct dsm_answer {
	bool known;
	int error;
	const void *page;
};

/**
 * struct dsm_txn - a request at the home
 * @x:     the core's; x.cookie is the ASK's struct popcorn_msg
 * @r:     region
 * @next:  free list
 * @page:  which
 * @calls: under way; it isn't used again before they have ended
 * @ended: the core is done with it
 * @give:  where to note the answer, which goes with others; or NULL
 * @todo:  nodes that INV is still to be sent to
 * @fwd:   FWD or FETCH
 * @inv:   by node
 */
struct dsm_txn {
	struct pd_txn x;
	struct dsm_region *r;
	struct dsm_txn *next;
	u32 page;
	_Atomic u32 calls;
	bool ended;
	struct dsm_answer *give;
	u64 todo;
	struct dsm_call fwd;
	struct dsm_call inv[];
};

/**
 * struct dsm_wait - a thread that waits
 * @state: futex: 0, 1: it sleeps, 2: over
 */
struct dsm_wait {
	_Atomic u32 state;
	int status;
	struct dsm_wait *next;
};

struct dsm_sync;

/**
 * struct dsm_region - a region at this node
 * @unsaid:     pages whose DONE isn't sent yet
 * @undone:     those that nobody sends just now, the latest first, under @done_lock
 * @stream:     what is read one after the other, under @stream_lock
 * @writes:     and what is written
 * @dead:       the home died, or ended it
 * @suspended:  the home's lease is lost: nothing is mapped until it is back
 * @refs:       of those who look at it; the last one frees it
 * @empty_fd:   a file without a byte: mapped where a page is lost, it gives SIGBUS
 */
struct dsm_region {
	struct dsm *d;
	struct pd_cfg c;
	u32 id;
	u32 gen;
	u32 pages;
	u32 perm;
	size_t bytes;
	int fd;
	u8 *alias;
	u8 *map;
	struct dsm_page *page;
	struct pd_dir *dir;
	struct pd_txn **now;
	pthread_mutex_t lock[DSM_BUCKETS];
	_Atomic u32 seq[DSM_BUCKETS];
	_Atomic u32 sleepers;

	ue_lock_t work_lock;
	u32 work;
	_Atomic u64 due;

	ue_lock_t txn_lock;
	struct dsm_txn *txn_free;
	void *txns[PD_NODES];
	_Atomic u64 members;

	u32 advice;
	_Atomic u32 unsaid;
	ue_lock_t done_lock;
	u32 undone;
	ue_lock_t stream_lock;
	struct pd_stream stream, writes;
	_Atomic bool dead;
	_Atomic bool suspended;
	_Atomic u32 refs;
	struct dsm_sync *sync;
	struct popcorn_ioc_stat stat;
	int empty_fd;
};

/**
 * struct dsm - a node
 * @spin:   threads look rather than sleep
 * @sigbus: faults come as signals to the faulting thread
 * @copies: pages are copied to be shown, and back
 * @uffd:   of all regions
 * @asks, @aheads: under way, of threads that wait and ahead of need
 * @map:    guards @region; taken for a few instructions
 * @prof:   NULL: nothing is recorded
 */
struct dsm {
	struct popcorn_node *n;
	bool spin;
	bool sigbus;
	bool copies;
	int uffd;
	int stop_fd;
	struct dsm_prof *prof;
	_Atomic bool stop;
	_Atomic u64 due;
	ue_lock_t map;
	struct dsm_region *region[DSM_REGIONS];
	ue_lock_t ask_lock;
	struct dsm_ask *ask_free;
	struct dsm_ask *ahead_free;
	_Atomic u32 asks;
	_Atomic u32 aheads;
	struct dsm_ask ask[DSM_ASKS + DSM_AHEAD];
	pthread_t engine;
	pthread_t faults;
	bool has_engine;
	bool has_faults;
};

static inline u32 dsm_self(const struct dsm *d)
{
	return popcorn_node_id(d->n);
}

static inline bool dsm_is_home(const struct dsm_region *r)
{
	return r->c.self == r->c.home;
}

static inline u32 dsm_bucket(u32 page)
{
	return page % DSM_BUCKETS;
}

static inline void *dsm_alias(const struct dsm_region *r, u32 page)
{
	return r->alias + ((size_t)page << UE_PAGE_SHIFT);
}

/* Memory for a page, if the memfd has none there yet; its bytes stay. */
static inline void dsm_back(const struct dsm_region *r, u32 page)
{
	atomic_fetch_or_explicit((_Atomic u8 *)dsm_alias(r, page), 0, memory_order_relaxed);
}

u64 dsm_now(void);	/* ns, CLOCK_MONOTONIC */
void dsm_log(const struct dsm *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * struct dsm_run - calls of the core about a page, and what is to be done
 * @p:     the core's page
 * @quiet: nobody waits for it
 * @at, @n, @a: actions, those before @at done
 * @out:   what the core returns next
 */
struct dsm_run {
	struct dsm_region *r;
	struct pd_page *p;
	u32 page;
	bool quiet;
	u32 at;
	u32 n;
	struct pd_acts out;
	struct pd_act a[DSM_ACTS];
};

/* dsm_act.c */
void dsm_take(struct dsm_run *run);
void dsm_act(struct dsm_run *run);
void dsm_act_again(struct dsm_run *run, u8 todo, u64 now);
void dsm_serve(struct dsm_run *run, u8 type, struct popcorn_msg *msg, u16 node, u32 req, u8 flags);
struct dsm_txn *dsm_txn_get(struct dsm_region *r, u32 page);
void dsm_txns_ended(struct pd_txn *x);

/* Takes the page's lock. */
static inline void dsm_begin(struct dsm_run *run, struct dsm_region *r, u32 page)
{
	run->r = r;
	run->p = &r->page[page].p;
	run->page = page;
	run->quiet = false;
	run->at = run->n = run->out.n = 0;
	pthread_mutex_lock(&r->lock[dsm_bucket(page)]);
}

/* Does what the core has said, and drops the lock. */
static inline void dsm_end(struct dsm_run *run)
{
	dsm_act(run);
	pthread_mutex_unlock(&run->r->lock[dsm_bucket(run->page)]);
}

static inline struct pd_home dsm_home_of(struct dsm_region *r, u32 page)
{
	return (struct pd_home){ .dir = &r->dir[page], .now = &r->now[page] };
}

static inline void dsm_count(__u64 *what)
{
	__atomic_fetch_add(what, 1, __ATOMIC_RELAXED);
}

/* dsm_ask.c */
void dsm_ask(struct dsm_run *run, u32 req, u8 flags);
void dsm_page_ahead(struct dsm_region *r, u32 page, u32 count, bool write);
void dsm_page_need(struct dsm_region *r, u32 page, u32 count, bool write);
void dsm_done(struct dsm_region *r, u32 page, u32 req, u8 flags);
void dsm_done_send(struct dsm_region *r);

/* dsm_msg.c */
int dsm_types_register(void);
void dsm_msg_fill(const struct dsm_region *r, struct pd_msg *m, u32 page, u32 req, u16 node,
		  u8 flags);
bool dsm_tell(struct dsm_region *r, u16 to, u16 type, u32 page, u32 req, u8 flags);

/* dsm_page.c */
int dsm_page_fault(struct dsm_region *r, u32 page, bool write, bool stale, bool waits);
void dsm_first(struct dsm_run *run);
bool dsm_page_busy(struct dsm_region *r, u32 page);
int dsm_page_drop(struct dsm_region *r, u32 page);
bool dsm_page_dead(struct dsm_region *r, u32 page, u16 node);
void dsm_later(struct dsm_region *r, u32 page, u8 todo, u64 when);
void dsm_retry(struct dsm_region *r, u32 page, u8 todo);
void dsm_work(struct dsm *d);
void dsm_due(struct dsm_region *r, u64 when);

/* dsm_map.c */
int dsm_map_open(struct dsm *d);
int dsm_map(struct dsm_region *r, void *at);
void dsm_unmap(struct dsm_region *r);
void dsm_map_page(struct dsm_region *r, u32 page, bool stale);
u32 dsm_map_more(struct dsm_region *r, u32 page, u32 n, bool write);
void dsm_map_hide(struct dsm_region *r, u32 page, u32 n);
void dsm_map_none(struct dsm_region *r, u32 page);
void dsm_map_clean(struct dsm_region *r, u32 page);
void dsm_map_lost(struct dsm_region *r, u32 page, u32 count);
void dsm_map_wake(struct dsm_region *r, u32 page, u32 count);
void dsm_map_suspend(struct dsm_region *r);
void dsm_map_resume(struct dsm_region *r);

/* dsm_fault.c */
bool dsm_faults_read(struct dsm *d);
int dsm_sigbus_start(struct dsm *d);
void dsm_sigbus_stop(struct dsm *d);

/* dsm_thread.c */
extern __thread bool dsm_woke;
int dsm_threads_start(struct dsm *d);
void dsm_threads_stop(struct dsm *d);
int dsm_step(struct dsm *d);
int dsm_wait(struct dsm *d, struct dsm_wait *w, u64 deadline);
void dsm_wake(struct dsm_wait *w, int status);
void dsm_wait_news(struct dsm_region *r, u32 page, u32 seq, u64 *since, u32 *idle);
void dsm_take_more(struct dsm *d);

/* dsm_region.c */
int dsm_open(const struct popcorn_opts *o, bool sigbus, bool copies, struct dsm **out);
void dsm_close(struct dsm *d);
int dsm_create(struct dsm *d, u32 id, size_t bytes, u32 perm, u32 hold_us,
	       struct dsm_region **out);
int dsm_attach(struct dsm *d, u16 home, u32 id, struct dsm_region **out);
int dsm_detach(struct dsm_region *r);
struct dsm_region *dsm_region_get(struct dsm *d, u32 id);
struct dsm_region *dsm_region_at(struct dsm *d, u64 addr);
struct dsm_region *dsm_region_nth(struct dsm *d, u32 i);
void dsm_region_put(struct dsm_region *r);
void dsm_region_end(struct dsm_region *r, const char *error);
void dsm_on_attach(struct popcorn_msg *m);
void dsm_on_detach(struct popcorn_msg *m);

/* dsm_sync.c */
int dsm_sync_make(struct dsm_region *r);
void dsm_sync_free(struct dsm_region *r);
void dsm_on_lock(struct popcorn_msg *m);
void dsm_on_unlock(struct popcorn_msg *m);
void dsm_on_barrier(struct popcorn_msg *m);
void dsm_sync_gone(struct dsm_region *r, u16 node, bool dead);
void dsm_sync_cut(struct dsm_region *r);
void dsm_sync_end(struct dsm_region *r);
bool dsm_sync_work(struct dsm_region *r);
int dsm_lock(struct dsm_region *r, u32 number);
int dsm_unlock(struct dsm_region *r, u32 number);
int dsm_barrier(struct dsm_region *r, u32 number, u32 count);

/**
 * struct dsm_prof_fault - a fault as dsm_prof.c wants it
 * @addr: touched
 * @ip:   by which instruction; 0: ask the kernel about @tid
 * @tid:  thread; 0: this one
 * @call: within a system call
 * @at, @kind, @since: dsm_prof_look()'s
 */
struct dsm_prof_fault {
	u64 addr;
	u64 ip;
	u32 tid;
	u64 at;
	u64 since;
	bool call;
	u8 kind;
};

/* dsm_prof.c */
void dsm_prof_start(struct dsm *d);
void dsm_prof_stop(struct dsm *d);
void dsm_prof_put(struct dsm_region *r, u32 page, u8 what, u16 peer);
void dsm_prof_look(struct dsm_region *r, struct dsm_prof_fault *f, bool write);
void dsm_prof_waits(struct dsm_region *r, const struct dsm_prof_fault *f);

static inline void dsm_prof(struct dsm_region *r, u32 page, u8 what, u16 peer)
{
	if (unlikely(r->d->prof))
		dsm_prof_put(r, page, what, peer);
}

/* A page's bytes have come from a node. */
static inline void dsm_page_in(struct dsm_region *r, u32 page, const void *data, u16 from)
{
	dsm_prof(r, page, DSM_PROF_DATA, from);
	r->page[page].backed = true;
	memcpy(dsm_alias(r, page), data, UE_PAGE);
}

#endif
