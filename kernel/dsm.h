/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Distributed shared memory in the kernel: the engine around dsm-proto/core. What these share:
 *   dsm_dev.c     the device
 *   dsm_region.c  regions
 *   dsm_attach.c  who uses them
 *   dsm_mem.c     frames and limits
 *   dsm_fault.c   page tables
 *   dsm_batch.c   several pages in one message
 *   dsm_msg.c     messages, from the wire to the core
 *   dsm_obj.c     transactions, operations, requests and their memory
 *   dsm_take.c    what the core returns, collected
 *   dsm_run.c     and carried out
 *   dsm_due.c     what must wait
 *   dsm_sync.c    locks and barriers
 *
 * Locks, outer first:
 *   mmap_lock or VMA lock    not held while a message is waited for
 *   dsm_mutex                regions and attachments come and go
 *   page lock                from the look at the right until the PTE is set, and
 *                            while PTEs are taken away; never while waiting
 *   i_mmap_rwsem             taken by unmapping
 *   dsm_region.page_lock[]   spinlock, bottom halves off: struct dsm_page and dsm_dir,
 *                            so all calls of the core; what these return is carried out
 *                            when it is dropped
 *   dsm_region.lock          spinlock, bottom halves off: lists and members; a leaf
 *
 * Contexts. A message is handled in the node's real-time thread, which waits for no
 * memory, page lock or foreign reference: what must wait is marked in dsm_page.todo and
 * done by dsm_region.fast, at dsm_region.timer. What needs memory goes to .slow. The
 * completion of an ASK (any context) lets the thread that faulted go on; completions
 * of a home's INV and FWD are dealt with by .fast. DONE goes with the next ASK or, soon
 * afterwards, by .fast: off the critical path, and before the page may be taken away again.
 *
 * Life times. A region object is one node's view of a region. It is counted by
 * attachments, requests, transactions and messages under way. struct dsm_req is the
 * node's request for a page and is counted by who waits; dsm_txn is a request at the
 * home; dsm_op is a message about the own page that isn't answered yet.
 */
#ifndef POPCORN_DSM_H
#define POPCORN_DSM_H

#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/version.h>
#include <popcorn/uapi.h>

#include "../dsm-proto/core/barrier.h"
#include "../dsm-proto/core/dsm.h"
#include "../dsm-proto/core/stream.h"
#include "engine.h"

#define DSM_FOREVER_MS	U32_MAX		/* death ends a request, nothing else */
#define DSM_NOWAIT	(GFP_NOWAIT | __GFP_NOWARN)
#define DSM_CHUNK	512		/* pages whose records are allocated together */
#define DSM_LOCKS	64		/* page locks of a region */
#define DSM_HOLD_US	100		/* a grant is kept at least that long */
#define DSM_HOLD_MAX_US	100000
#define DSM_RETRY_NS	50000		/* until a page that somebody uses is tried again */
#define DSM_RETRY_MAX_NS 4000000
#define DSM_DONE_NS	50000		/* that DONE waits for an ASK to go with, at most */
#define DSM_BATCH_NS	1000000		/* for the rest of its batch, too */
#define DSM_GROUP	16		/* pages of a batch that are waited for together */
#define DSM_AROUND	15		/* pages mapped with that of a fault, at most */
#define DSM_AWAITED_MAX	0xffff		/* threads at a barrier */
#define DSM_DONES	16		/* in one message, at most */

/* Completions that .fast deals with. */
enum dsm_item_kind { DSM_ITEM_INV, DSM_ITEM_INVS, DSM_ITEM_FWD };

struct dsm_item {
	struct llist_node node;
	u8 kind;
};

/**
 * struct dsm_send - a page on its way
 * @d:     told when it has arrived
 * @r:     region, counted by what this is in
 * @index: page
 * @f:     its frame, the page counted
 */
struct dsm_send {
	struct popcorn_done d;
	struct dsm_region *r;
	u32 index;
	struct popcorn_frame *f;
};

struct dsm_reqs;
struct dsm_txns;

/**
 * struct dsm_req - this node's request for a page
 * @a:      the ASK, with the frame that it names
 * @batch:  memory that it is a part of, or NULL
 * @txn:    at the home: the transaction that it becomes
 * @ref:    who waits, the page, the message, the DONE
 * @r:      region, counted
 * @index:  page
 * @req:    the core's number
 * @flags:  PD_F_* of the ASK, then those of the DONE
 * @unsent: the faulting thread has to send it
 * @over:   it has ended, with @status
 * @wait:   who waits for that
 * @done:   in dsm_region.dones
 */
struct dsm_req {
	struct popcorn_async a;
	struct dsm_reqs *batch;
	struct dsm_txn *txn;
	refcount_t ref;
	struct dsm_region *r;
	u32 index;
	u32 req;
	u8 flags;
	bool unsent;
	bool over;
	int status;
	wait_queue_head_t wait;
	struct llist_node done;
};

/* Pages that come one after the other: who needs one most often needs all. */
struct dsm_group {
	atomic_t left;			/* not answered yet */
	wait_queue_head_t wait;		/* for all of them */
};

/**
 * struct dsm_reqs - requests for consecutive pages, in one message
 * @ref:   each request is one
 * @left:  not answered yet
 * @group: DSM_GROUP requests each
 * @req:   they
 */
struct dsm_reqs {
	refcount_t ref;
	atomic_t left;
	struct dsm_group group[DIV_ROUND_UP(PD_BATCH, DSM_GROUP)];
	struct dsm_req req[];
};

/* A part of a batch: its group, or NULL. */
static inline struct dsm_group *dsm_group(const struct dsm_req *req)
{
	return req->batch ? &req->batch->group[(req - req->batch->req) / DSM_GROUP] : NULL;
}

/**
 * struct dsm_op - a message about the own page, kept until it is answered
 * @send:   the page that answers it
 * @msg:    the message; NULL: answered
 * @next:   in dsm_region.unsent
 * @fetch:  FETCH: the page is the answer
 * @unsent: DATA couldn't be sent yet
 * @to, @req: for whom DATA is
 */
struct dsm_op {
	struct dsm_send send;
	struct popcorn_msg *msg;
	struct dsm_op *next;
	bool fetch;
	bool unsent;
	u16 to;
	u32 req;
};

/**
 * struct dsm_txn - a request at the home
 * @x:        the core's
 * @send:     the page that answers it
 * @msg:      the ASK; NULL: answered, or the home's own. Taken by xchg(), as its answer
 *            may meet its requester's death
 * @at:       which of the pages that @msg asks for
 * @batch:    memory that it is a part of, or NULL
 * @ref:      the core, messages under way
 * @r:        region, counted
 * @index:    page
 * @fwd:      the FWD or FETCH under way
 * @item:     it is answered
 * @fwd_to:   by whom
 * @fwd_busy: @fwd and @item are in use
 * @fwd_due:  to be sent as soon as that can be
 * @nodata_due: so NODATA
 * @inv_due:  INV is to be sent to these
 */
struct dsm_txn {
	struct pd_txn x;
	struct dsm_send send;
	struct popcorn_msg *msg;
	struct dsm_txns *batch;
	refcount_t ref;
	struct dsm_region *r;
	u32 index;
	u8 at;
	struct popcorn_async fwd;
	struct dsm_item item;
	u16 fwd_to;
	bool fwd_busy;
	bool fwd_due;
	bool nodata_due;
	u64 inv_due;
};

/* Transactions of one message; each is a reference. */
struct dsm_txns {
	refcount_t ref;
	struct dsm_txn txn[];
};

/**
 * struct dsm_answers - what becomes of the pages of a message, to be said at once
 * @msg:   an ASK for several
 * @first: of its pages
 * @n:     so many of them so far, without a gap
 * @f:     pages; NULL: @error says it
 * @d:     who is told
 * @error: -EXDEV: the right alone; -EAGAIN: not to be had now
 */
struct dsm_answers {
	struct popcorn_msg *msg;
	u32 first;
	u32 n;
	struct popcorn_frame *f[PD_BATCH];
	struct popcorn_done *d[PD_BATCH];
	int error[PD_BATCH];
};

/**
 * struct dsm_invs - pages that others have to drop, to be said at once
 * @n:  so many
 * @t:  the transaction of each, counted
 * @to: who has to
 */
struct dsm_invs {
	u32 n;
	struct dsm_txn *t[PD_BATCH];
	u64 to[PD_BATCH];
};

/* An INV under way. */
struct dsm_inv {
	struct popcorn_async a;
	struct dsm_item item;
	struct dsm_txn *t;
	u16 to;
};

/**
 * struct dsm_page - a page of a region at a node
 * @p:     the core's
 * @frame: its memory, or NULL
 * @req:   the request under way, or NULL
 * @op:    the message that is being served, or NULL
 * @next:  in dsm_region.pending: page + 1; 0: not there
 * @refs:  own references to the page that are no mapping
 * @sends: transfers from it under way, each with a reference
 * @todo:  DSM_TODO_*
 * @tries: how often DSM_TODO_UNMAP was tried
 * @error: what the next fault is to report
 * @want_write: who faults next means to write: the store-exclusive of an arm64
 *         pair faults as a load first, again and again
 */
struct dsm_page {
	struct pd_page p;
	struct popcorn_frame *frame;
	struct dsm_req *req;
	struct dsm_op *op;
	u32 next;
	u16 refs;
	u16 sends;
	u8 todo;
	u8 tries;
	u8 error;
	bool want_write;
};

#define DSM_TODO_UNMAP	0x01	/* somebody uses it: try again */
#define DSM_TODO_INV	0x02	/* call the core again: INV was deferred */
#define DSM_TODO_FWD	0x04	/* so FWD */
#define DSM_TODO_SEND	0x08	/* the transaction has unsent messages */

/* At the home, beside it. */
struct dsm_dir {
	struct pd_dir d;
	struct pd_txn *now;
};

struct dsm_chunk {
	struct dsm_page page[DSM_CHUNK];
	struct dsm_dir dir[];		/* at the home */
};

struct dsm_stat {
	atomic64_t faults_local, faults_read, faults_write, faults_upgrade, fault_ns;
	atomic64_t invalidated, supplied, ahead, ahead_used, dropped, lost;
};

/**
 * struct dsm_region - a region at one node of this kernel
 * @ref:      see above
 * @hash:     by id, generation and node
 * @serial:   counts regions made
 * @node:     the node, counted
 * @cfg:      the core's: own id and the home's
 * @id, @gen: what messages call it
 * @pages:    size
 * @uid, @perm: who may attach
 * @user:     whom its pages here count against, unless @unlimited
 * @files:    attachments here; dsm_mutex
 * @leaving:  the last has gone; what the home counts on is being given back
 * @over:     0, or why it has ended, -errno
 * @paused:   the lease is lost: nothing may be mapped
 * @inode:    what is mapped
 * @chunk:    records of pages
 * @wait:     who waits for a page that is being taken away, or for @paused
 * @shrink_at: page that is given up next when memory is short
 * @put_at:   ns, when the home was asked to take a page, last
 * @refused_at: ns, when it had no room for one, last
 * @members:  home: who has attached
 * @dying:    home: whose death isn't dealt with on every page yet; those of them who
 *            have @left are missed by nobody
 * @stream:   which pages to fetch ahead, unless @advice is RANDOM
 * @writes:   and which to ask for to write
 * @pending:  pages with something to be done, first + 1
 * @timer:    when, at @due ns
 * @later:    messages for which there was no memory, by msg->next
 * @slow_msgs: messages that need memory
 * @unsent:   DATA that couldn't be sent
 * @items:    completions for @fast
 * @dones:    requests whose DONE is to be sent, with the next ASK or at @timer
 * @data:     DATA is put together here; data_mutex
 * @sync_wait: who waits for a lock or barrier, each with a wish in @sync_waits
 * @sync_held: wishes that are locks now
 * @sync_out: wishes that are messages to be sent
 * @syncs:    home: locks, by number
 * @bars:     barriers, by number
 * @tree:     how they meet
 */
struct dsm_region {
	struct kref ref;
	struct rcu_head rcu;	/* kvfree_rcu() wants it in the first 4 KiB */
	struct hlist_node hash;
	u64 serial;
	struct popcorn_node *node;
	struct pd_cfg cfg;
	u32 id, gen, pages;
	kuid_t uid;
	u16 perm;
	bool unlimited;
	struct dsm_user *user;
	u32 files;
	bool leaving;
	int over;
	bool paused;
	struct inode *inode;
	struct dsm_chunk **chunk;
	wait_queue_head_t wait;
	atomic_t resident;
	u32 advice;
	u32 shrink_at;
	u64 put_at, refused_at;
	struct dsm_stat stat;
	spinlock_t page_lock[DSM_LOCKS];

	spinlock_t lock;
	u64 members, dying, left;
	struct pd_stream stream, writes;
	u32 pending;
	u64 due;
	struct popcorn_msg *later, *slow_msgs;
	struct dsm_op *unsent;
	struct llist_head dones;

	struct hrtimer timer;
	struct llist_head items;
	struct kthread_work fast;
	struct work_struct slow;
	struct work_struct end;
	struct delayed_work leave, free;
	struct mutex data_mutex;
	void *data;

	wait_queue_head_t sync_wait;
	struct list_head sync_waits, sync_held, sync_out;
	struct list_head syncs[16], bars[16];
	struct pd_tree tree;
	u32 sync_token;
};

/* What the core returned for a page, to be carried out; see dsm_run(). */
#define DSM_RUN_ACTS	16

struct dsm_act {
	struct pd_act a;
	void *p;
};

/* 1.6 KiB of zeroes cost 300 instructions. */
#define DSM_UNINIT	__attribute__((__uninitialized__))

struct dsm_run {
	struct dsm_region *r;
	struct dsm_page *pg;
	struct dsm_dir *dir;
	u32 index;
	u64 now;			/* 0: the clock hasn't been read yet */
	u32 head, tail;
	u32 own_head, own_tail;
	struct dsm_answers *answers;	/* the page goes out with others; or NULL */
	struct dsm_invs *invs;		/* and so are others told to drop theirs */
	struct pd_txn *ended;		/* transactions */
	struct pd_acts out;
	struct pd_act own[PD_ACTS];	/* to the own node: dealt with at once */
	struct dsm_act act[DSM_RUN_ACTS];
};

static inline bool dsm_home(const struct dsm_region *r)
{
	return r->cfg.self == r->cfg.home;
}

static inline spinlock_t *dsm_lock(struct dsm_region *r, u32 index)
{
	return &r->page_lock[index % DSM_LOCKS];
}

/* Record of a page, or NULL if it was never used here. */
static inline struct dsm_page *dsm_page(struct dsm_region *r, u32 index)
{
	struct dsm_chunk *c = smp_load_acquire(&r->chunk[index / DSM_CHUNK]);

	return c ? &c->page[index % DSM_CHUNK] : NULL;
}

static inline struct dsm_dir *dsm_dir(struct dsm_region *r, u32 index)
{
	struct dsm_chunk *c = smp_load_acquire(&r->chunk[index / DSM_CHUNK]);

	return c && dsm_home(r) ? &c->dir[index % DSM_CHUNK] : NULL;
}

static inline u64 dsm_now(void)
{
	return ktime_get_ns();
}

/* The clock is read once for a message, whatever it is about. */
static inline u64 dsm_run_now(struct dsm_run *run)
{
	if (!run->now)
		run->now = dsm_now();
	return run->now;
}

/* ----------------------------------------------------------- dsm_region.c */

extern struct mutex dsm_mutex;
extern struct workqueue_struct *dsm_wq;
extern struct kthread_worker *dsm_worker;

int dsm_init(void);
void dsm_exit(void);
struct dsm_region *dsm_region_new(struct popcorn_node *node, const struct pd_attach *at, u16 home);
struct dsm_region *dsm_region_find(struct popcorn_node *node, u32 id, u32 gen);
struct dsm_region *dsm_region_by_id(struct popcorn_node *node, u16 home, u32 id);
struct dsm_region *dsm_region_next(struct dsm_region *r);
void dsm_region_put(struct dsm_region *r);
void dsm_region_unhash(struct dsm_region *r);
void dsm_region_over(struct dsm_region *r, int error);
void dsm_region_bury(struct dsm_region *r, u16 node, bool dead);
struct dsm_page *dsm_page_make(struct dsm_region *r, u32 index);

static inline void dsm_region_get(struct dsm_region *r)
{
	kref_get(&r->ref);
}

/* ----------------------------------------------------------- dsm_attach.c */

int dsm_region_create(struct popcorn_node *node, struct popcorn_ioc_region *u,
		      struct dsm_region **out);
int dsm_region_attach(struct popcorn_node *node, struct popcorn_ioc_region *u,
		      struct dsm_region **out);
void dsm_region_close(struct dsm_region *r);
void dsm_attach_msg(struct popcorn_msg *msg);
void dsm_detach_msg(struct popcorn_msg *msg);
void dsm_leave_work(struct work_struct *work);

/* -------------------------------------------------------------- dsm_mem.c */

int dsm_mem_init(void);
void dsm_mem_exit(void);
int dsm_user_set(struct dsm_region *r);
void dsm_user_unset(struct dsm_region *r);
kuid_t dsm_user_id(const struct dsm_region *r, long *pages);
struct popcorn_frame *dsm_frame_alloc(struct dsm_region *r, gfp_t gfp);
void dsm_frame_free(struct popcorn_frame *f);
void dsm_resident(struct dsm_region *r, int n);
void dsm_room_refused(struct dsm_region *r);
u32 dsm_room(void);
bool dsm_room_soon(void);
int dsm_room_wait(u32 before);
bool dsm_put_again(const struct dsm_region *r);
u32 dsm_drop(struct dsm_region *r, u32 first, u32 n, bool again);

/* -------------------------------------------------------------- dsm_dev.c */

int dsm_dev_init(void);
void dsm_dev_exit(void);
struct inode *dsm_inode_new(void);
void dsm_inode_put(struct inode *inode);

/* ------------------------------------------------------------ dsm_fault.c */

int dsm_mmap(struct file *file, struct vm_area_struct *vma);
bool dsm_take_away(struct dsm_region *r, struct dsm_page *pg, u32 index);
int dsm_ahead(struct dsm_region *r, u32 index, bool write, bool wait, struct dsm_invs *invs);

/* ------------------------------------------------------------ dsm_batch.c */

int dsm_ahead_pages(struct dsm_region *r, u32 first, u32 n, bool write, bool wait);
void dsm_batch_msg(struct dsm_region *r, struct popcorn_msg *msg, u32 first, bool may_sleep);
void dsm_answers_add(struct dsm_answers *all, struct popcorn_msg *msg, u32 at,
		     struct popcorn_frame *f, struct popcorn_done *d, int error);
void dsm_answers_send(struct dsm_answers *all);

/* -------------------------------------------------------------- dsm_inv.c */

void dsm_hide(struct dsm_region *r, u32 first, u32 mask);
void dsm_invs_msg(struct dsm_region *r, struct popcorn_msg *msg);
void dsm_invs_add(struct dsm_invs *all, struct dsm_txn *t, u64 mask);
void dsm_invs_send(struct dsm_region *r, struct dsm_invs *all);
void dsm_invs_item(struct dsm_item *item);

/* -------------------------------------------------------------- dsm_obj.c */

int dsm_obj_init(void);
void dsm_obj_exit(void);
void dsm_txn_put(struct dsm_txn *t);
void dsm_txn_init(struct dsm_txn *t, struct dsm_region *r, u32 index, struct popcorn_msg *msg);
struct dsm_txn *dsm_txn_new(struct dsm_region *r, u32 index, struct popcorn_msg *msg, gfp_t gfp);
void dsm_txn_answer(struct dsm_txn *t, int status, struct dsm_answers *all);
void dsm_op_free(struct dsm_op *op);
struct dsm_op *dsm_op_new(struct dsm_region *r, u32 index, struct popcorn_msg *msg);
void dsm_req_put(struct dsm_req *req);
bool dsm_req_init(struct dsm_req *req, struct dsm_region *r, u32 index, gfp_t gfp);
struct dsm_req *dsm_req_new(struct dsm_region *r, u32 index);
struct dsm_inv *dsm_inv_new(void);
void dsm_inv_free(struct dsm_inv *inv);
void dsm_frame_set(struct dsm_region *r, struct dsm_page *pg, u32 index, struct popcorn_frame *f,
		   u16 from);
struct popcorn_frame *dsm_frame_clear(struct dsm_region *r, struct dsm_page *pg);
void dsm_send_begin(struct dsm_send *s, struct dsm_page *pg);
void dsm_send_end(struct dsm_send *s);
bool dsm_first(struct dsm_region *r, struct dsm_page *pg, struct dsm_dir *dir, u32 index,
	       struct popcorn_frame *f);

static inline struct dsm_txn *dsm_txn_of(struct pd_txn *x)
{
	return x ? container_of(x, struct dsm_txn, x) : NULL;
}

/* -------------------------------------------------------------- dsm_due.c */

enum hrtimer_restart dsm_timer(struct hrtimer *t);
void dsm_due(struct dsm_region *r, u64 until);
void dsm_pending(struct dsm_region *r, struct dsm_page *pg, u32 index, u64 until);
void dsm_later(struct dsm_region *r, struct popcorn_msg *msg);
void dsm_unsent(struct dsm_region *r, struct dsm_op *op);
void dsm_to_slow(struct dsm_region *r, struct popcorn_msg *msg);
void dsm_refuse(struct popcorn_msg *msg, int status);

/* ------------------------------------------------------------- dsm_take.c */

void dsm_run_init(struct dsm_run *run, struct dsm_region *r);
struct dsm_op *dsm_op_take(struct dsm_page *pg);
void dsm_take_acts(struct dsm_run *run, u8 todo);

/**
 * dsm_take - keep what the core has just returned, with what it is about
 * @run:  run->out is taken
 * @todo: what is to be done again if the core defers it
 *
 * With the page's lock, which the core was called under. What the home tells itself is
 * dealt with here; dsm_run() does the rest.
 */
static inline void dsm_take(struct dsm_run *run, u8 todo)
{
	if (run->out.n)
		dsm_take_acts(run, todo);
}

/* The next page of a message; nothing is left to be done for the last one. */
static inline void dsm_run_page(struct dsm_run *run, struct dsm_page *pg, u32 index)
{
	run->pg = pg;
	run->dir = dsm_dir(run->r, index);
	run->index = index;
}

static inline void dsm_run_begin(struct dsm_run *run, struct dsm_region *r, struct dsm_page *pg,
				 u32 index)
{
	dsm_run_init(run, r);
	dsm_run_page(run, pg, index);
}

static inline struct dsm_txn *dsm_txn_now(struct dsm_run *run)
{
	return dsm_txn_of(run->dir->now);
}

static inline struct pd_home dsm_home_of(struct dsm_run *run)
{
	return (struct pd_home){ .dir = &run->dir->d, .now = &run->dir->now };
}

/* -------------------------------------------------------------- dsm_run.c */

void dsm_head(const struct dsm_region *r, u32 index, u32 req, struct pd_msg *m);
void dsm_run_acts(struct dsm_run *run);
int dsm_run_ask(struct dsm_run *run, struct dsm_txn *t, gfp_t gfp);
void dsm_run_ack(struct dsm_run *run, u16 node);
void dsm_run_sent(struct dsm_run *run, u16 node, int status);
void dsm_run_done(struct dsm_run *run, u16 node, u32 req, u8 flags);
void dsm_run_again(struct dsm_run *run, u8 todo);
void dsm_run_unmap(struct dsm_run *run);
void dsm_txn_send(struct dsm_run *run, struct dsm_txn *t);
void dsm_item_add(struct dsm_region *r, struct dsm_item *item);
int dsm_data_send(struct dsm_op *op);
void dsm_ended(struct pd_txn *x);

/**
 * dsm_run - carry out what dsm_take() has kept
 * @run: run
 *
 * Process context; or, for what pd_granted() returns at a node that isn't the home,
 * any. Nothing locked, but mmap_lock may be.
 */
static inline void dsm_run(struct dsm_run *run)
{
	if (run->head != run->tail || run->ended)
		dsm_run_acts(run);
}

/* ------------------------------------------------------------- dsm_sync.c */

void dsm_sync_init(struct dsm_region *r);
void dsm_sync_free(struct dsm_region *r);
int dsm_sync_msg(struct dsm_region *r, struct popcorn_msg *msg);
void dsm_sync_dead(struct dsm_region *r, u16 node, bool dead);
void dsm_sync_cut(struct dsm_region *r);
void dsm_sync_flush(struct dsm_region *r);

/* Is there something to be said? Without the lock: perhaps. */
static inline bool dsm_sync_due(const struct dsm_region *r)
{
	return !list_empty_careful(&r->sync_out) || READ_ONCE(r->tree.todo) ||
	       READ_ONCE(r->tree.untold);
}

int dsm_sync_wait(struct dsm_region *r, struct file *file, u16 type,
		  const struct popcorn_ioc_sync *u);
int dsm_sync_unlock(struct dsm_region *r, struct file *file, const struct popcorn_ioc_sync *u);
void dsm_sync_close(struct dsm_region *r, struct file *file);

/* -------------------------------------------------------------- dsm_msg.c */

int dsm_msg_init(void);
void dsm_msg_exit(void);
void dsm_ask_done(struct popcorn_done *d);
int dsm_ask_send(struct dsm_region *r, struct dsm_req *req, u32 n, unsigned int flags);
void dsm_ask_over(struct dsm_req *req, int status);
void dsm_req_send(struct dsm_req *req, unsigned int flags);
void dsm_req_cancel(struct dsm_req *req);
void dsm_home_dead(struct dsm_region *r, u16 node);
void dsm_end(struct dsm_region *r);
void dsm_fast_work(struct kthread_work *work);
void dsm_slow_work(struct work_struct *work);

#endif
