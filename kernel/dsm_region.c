// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: regions at the nodes of this kernel, and what becomes of them when
 * programs and nodes come and go.
 */
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/seq_file.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "dsm.h"

#define ATTACH_MS	10000	/* until the home must have answered */
#define LEAVE_MS	10	/* between two rounds of giving pages back */

static ulong dsm_pages_max;
module_param(dsm_pages_max, ulong, 0644);
MODULE_PARM_DESC(dsm_pages_max, "most pages of shared memory that may be on this machine; 0: half of its memory (default 0)");

DEFINE_MUTEX(dsm_mutex);
static DEFINE_MUTEX(attach_mutex);	/* outside dsm_mutex: nodes attach and leave */
struct workqueue_struct *dsm_wq;
struct kthread_worker *dsm_worker;
static DEFINE_HASHTABLE(regions, 6);
static DEFINE_SPINLOCK(regions_lock);
static atomic_long_t resident;

/* ---------------------------------------------------------------- memory */

/* A frame for a page; NULL: no memory, or the limit is reached. */
struct popcorn_frame *dsm_frame_alloc(gfp_t gfp)
{
	unsigned long max = READ_ONCE(dsm_pages_max) ?: totalram_pages() / 2;

	if (atomic_long_read(&resident) >= (long)max) {
		pr_warn_ratelimited("shared memory is at its limit of %lu pages; raise dsm_pages_max=\n",
				    max);
		return NULL;
	}
	return popcorn_frame_alloc(gfp);
}

static LLIST_HEAD(busy_frames);		/* by page->lru, which nobody else uses */

static struct llist_node *busy_node(struct popcorn_frame *f)
{
	return (struct llist_node *)&f->page->lru;
}

static void busy_work(struct work_struct *work)
{
	struct llist_node *n = llist_del_all(&busy_frames), *next;

	for (; n; n = next) {
		next = n->next;
		dsm_frame_free(popcorn_page_frame(container_of((struct list_head *)n, struct page,
							       lru)));
	}
}
static DECLARE_DELAYED_WORK(busy, busy_work);

/**
 * dsm_frame_free - give a page's frame back
 * @f: frame that is mapped nowhere, or NULL
 *
 * Any context. Somebody may look at the page in passing, as get_user_pages_fast() does
 * before it finds that the PTE has gone: then it is given back a little later.
 */
void dsm_frame_free(struct popcorn_frame *f)
{
	if (!f)
		return;
	if (likely(page_count(f->page) == 1)) {
		popcorn_frame_free(f);
		return;
	}
	llist_add(busy_node(f), &busy_frames);
	queue_delayed_work(dsm_wq, &busy, 1);
}

void dsm_resident(struct dsm_region *r, int n)
{
	atomic_add(n, &r->resident);
	atomic_long_add(n, &resident);
}

/**
 * dsm_page_make - record of a page
 * @r:     region
 * @index: page
 *
 * Process context. Return: it, or NULL if there is no memory.
 */
struct dsm_page *dsm_page_make(struct dsm_region *r, u32 index)
{
	struct dsm_chunk **at = &r->chunk[index / DSM_CHUNK], *c = smp_load_acquire(at);

	if (!c) {
		c = popcorn_zalloc(struct_size(c, dir, dsm_home(r) ? DSM_CHUNK : 0),
				   GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY);
		if (!c)
			return NULL;
		if (cmpxchg_release(at, NULL, c))
			kvfree(c);
	}
	return dsm_page(r, index);
}

/* -------------------------------------------------------------- life times */

static void region_free(struct work_struct *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, free.work);
	struct dsm_page *pg;
	u32 i;

	for (i = 0; i < r->pages; i++) {
		pg = dsm_page(r, i);
		if (!pg) {
			i |= DSM_CHUNK - 1;
		} else if (pg->frame) {
			struct page *page = pg->frame->page;

			/* A device or another process may still be at it. */
			if (page_count(page) != 1 || !trylock_page(page)) {
				queue_delayed_work(dsm_wq, &r->free, 1);
				return;
			}
			page->mapping = NULL;
			unlock_page(page);
			dsm_frame_free(pg->frame);
			pg->frame = NULL;
			dsm_resident(r, -1);
		}
	}
	hrtimer_cancel(&r->timer);
	kthread_cancel_work_sync(&r->fast);
	hrtimer_cancel(&r->timer);
	cancel_work_sync(&r->slow);
	for (i = 0; i < DIV_ROUND_UP(r->pages, DSM_CHUNK); i++)
		kvfree(r->chunk[i]);
	kvfree(r->chunk);
	kvfree(r->data);
	dsm_sync_free(r);
	dsm_inode_put(r->inode);
	popcorn_node_put(r->node);
	kvfree_rcu(r, rcu);
	module_put(THIS_MODULE);
}

static void region_release(struct kref *ref)
{
	struct dsm_region *r = container_of(ref, struct dsm_region, ref);

	queue_delayed_work(dsm_wq, &r->free, 0);
}

void dsm_region_put(struct dsm_region *r)
{
	kref_put(&r->ref, region_release);
}

static u32 key(u32 id, u32 gen)
{
	return id * 31 + gen;
}

/**
 * dsm_region_find - the region that a message is about
 * @node: node that received it
 * @id:   region
 * @gen:  generation
 *
 * Any context. Return: it, counted, or NULL.
 */
struct dsm_region *dsm_region_find(struct popcorn_node *node, u32 id, u32 gen)
{
	struct dsm_region *r;

	rcu_read_lock();
	hash_for_each_possible_rcu(regions, r, hash, key(id, gen))
		if (r->id == id && r->gen == gen && r->node == node &&
		    kref_get_unless_zero(&r->ref)) {
			rcu_read_unlock();
			return r;
		}
	rcu_read_unlock();
	return NULL;
}

/* One region after the other: those that are found, counted. @fn is called unlocked. */
static void for_each_region(void (*fn)(struct dsm_region *r, void *arg), void *arg)
{
	struct dsm_region **v, *r;
	u32 i, n = 0, max = 16;

again:
	v = kcalloc(max, sizeof(*v), GFP_KERNEL | __GFP_NOFAIL);
	spin_lock_bh(&regions_lock);
	hash_for_each(regions, i, r, hash) {
		if (n < max && kref_get_unless_zero(&r->ref))
			v[n] = r;
		n++;
	}
	spin_unlock_bh(&regions_lock);
	for (i = 0; i < min(n, max); i++) {
		if (v[i] && n <= max)
			fn(v[i], arg);
		if (v[i])
			dsm_region_put(v[i]);
	}
	kfree(v);
	if (n > max) {
		max = n + 16;
		n = 0;
		goto again;
	}
}

static void unhash(struct dsm_region *r)
{
	spin_lock_bh(&regions_lock);
	hash_del_rcu(&r->hash);
	spin_unlock_bh(&regions_lock);
}

/* No page table has a page of the region any more, whoever was about to map one. */
static void unmap_all(struct dsm_region *r)
{
	struct dsm_page *pg;
	struct page *page;
	u32 i;

	for (i = 0; i < r->pages; i++) {
		pg = dsm_page(r, i);
		if (!pg) {
			i |= DSM_CHUNK - 1;
			continue;
		}
		spin_lock_bh(dsm_lock(r, i));
		page = pg->frame ? pg->frame->page : NULL;
		if (page) {
			get_page(page);
			pg->refs++;
		}
		spin_unlock_bh(dsm_lock(r, i));
		if (!page)
			continue;
		lock_page(page);
		unmap_mapping_pages(r->inode->i_mapping, i, 1, false);
		unlock_page(page);
		spin_lock_bh(dsm_lock(r, i));
		put_page(page);
		pg->refs--;
		spin_unlock_bh(dsm_lock(r, i));
		cond_resched();
	}
}

static void tell_members(struct dsm_region *r)
{
	struct pd_msg m = { .region = cpu_to_le32(r->id), .gen = cpu_to_le32(r->gen) };
	u64 mask;

	spin_lock_bh(&r->lock);
	mask = r->members;
	r->members = 0;
	spin_unlock_bh(&r->lock);
	/* Of the class that barriers open with: who has passed one may go at once. */
	dsm_sync_flush(r);
	for (; mask; mask &= mask - 1)
		popcorn_send(r->node, __builtin_ctzll(mask), PW_SYNC, PD_T_DETACH, &m, sizeof(m), 0);
}

static void region_end(struct work_struct *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, end);

	wake_up_all(&r->wait);
	wake_up_all(&r->sync_wait);
	unmap_all(r);
	dsm_end(r);
	wake_up_all(&r->wait);
	if (dsm_home(r))
		tell_members(r);
	dsm_region_put(r);
}

/**
 * dsm_region_over - a region has ended for this node
 * @r:     region
 * @error: why, -errno
 *
 * All waits end, mappings go, and whoever touches a page gets SIGBUS. Any context.
 */
void dsm_region_over(struct dsm_region *r, int error)
{
	if (cmpxchg(&r->over, 0, error))
		return;
	if (READ_ONCE(r->files))
		pr_warn_ratelimited("node %u: region %u of node %u has ended (%d)\n", r->cfg.self,
				    r->id, r->cfg.home, error);
	dsm_region_get(r);
	queue_work(dsm_wq, &r->end);
}

/*
 * The last attachment of a member has gone: what the home counts on is given back, then
 * it is told. Until then the node can attach again and finds its pages.
 */
static void region_leave(struct work_struct *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, leave.work);
	struct pd_msg m = { .region = cpu_to_le32(r->id), .gen = cpu_to_le32(r->gen) };
	bool left = false;

	if (!r->over && r->leaving && dsm_drop(r, 0, r->pages)) {
		queue_delayed_work(dsm_wq, &r->leave, msecs_to_jiffies(LEAVE_MS));
		return;
	}
	mutex_lock(&attach_mutex);
	mutex_lock(&dsm_mutex);
	if (r->leaving) {
		unhash(r);
		left = true;
	}
	mutex_unlock(&dsm_mutex);
	if (left && !r->over)
		popcorn_request(r->node, r->cfg.home, PW_SYNC, PD_T_DETACH, &m, sizeof(m), NULL, 0,
				ATTACH_MS);
	mutex_unlock(&attach_mutex);
	if (left && !cmpxchg(&r->over, 0, -ENOENT))
		dsm_end(r);
	dsm_region_put(r);
}

/**
 * dsm_region_close - an attachment has gone
 * @r: its region, counted
 */
void dsm_region_close(struct dsm_region *r)
{
	mutex_lock(&dsm_mutex);
	if (!--r->files) {
		if (dsm_home(r)) {
			unhash(r);
			dsm_region_over(r, -ENOENT);
		} else {
			r->leaving = true;
			dsm_region_get(r);
			queue_delayed_work(dsm_wq, &r->leave, 0);
		}
	}
	mutex_unlock(&dsm_mutex);
	dsm_region_put(r);
}

/* -------------------------------------------------- creating and attaching */

static struct dsm_region *region_new(struct popcorn_node *node, const struct pd_attach *at,
				     u16 home)
{
	u32 i, pages = le32_to_cpu(at->pages);
	struct dsm_region *r = kvzalloc(sizeof(*r), GFP_KERNEL);

	if (!r)
		return NULL;
	r->chunk = kvcalloc(DIV_ROUND_UP(pages, DSM_CHUNK), sizeof(*r->chunk), GFP_KERNEL);
	r->data = kvzalloc(sizeof(struct pd_msg) + PAGE_SIZE, GFP_KERNEL);
	r->inode = dsm_inode_new();
	if (!r->chunk || !r->data || !r->inode) {
		kvfree(r->chunk);
		kvfree(r->data);
		dsm_inode_put(r->inode);
		kvfree(r);
		return NULL;
	}
	kref_init(&r->ref);
	popcorn_node_hold(node);
	r->node = node;
	r->cfg.self = popcorn_node_id(node);
	r->cfg.home = home;
	r->cfg.hold_ns = le32_to_cpu(at->hold_us) * 1000;
	r->id = le32_to_cpu(at->region);
	r->gen = le32_to_cpu(at->gen);
	r->pages = pages;
	r->uid = make_kuid(&init_user_ns, le32_to_cpu(at->uid));
	r->perm = le16_to_cpu(at->perm);
	r->files = 1;
	init_waitqueue_head(&r->wait);
	for (i = 0; i < DSM_LOCKS; i++)
		spin_lock_init(&r->page_lock[i]);
	spin_lock_init(&r->lock);
	hrtimer_init(&r->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
	r->timer.function = dsm_timer;
	init_llist_head(&r->items);
	kthread_init_work(&r->fast, dsm_fast_work);
	INIT_WORK(&r->slow, dsm_slow_work);
	INIT_WORK(&r->end, region_end);
	INIT_DELAYED_WORK(&r->leave, region_leave);
	INIT_DELAYED_WORK(&r->free, region_free);
	mutex_init(&r->data_mutex);
	dsm_sync_init(r);
	i_size_write(r->inode, (loff_t)pages << PAGE_SHIFT);
	__module_get(THIS_MODULE);
	spin_lock_bh(&regions_lock);
	hash_add_rcu(regions, &r->hash, key(r->id, r->gen));
	spin_unlock_bh(&regions_lock);
	return r;
}

/* May @uid use it? Reading and writing aren't told apart. */
static bool allowed(const struct dsm_region *r, kuid_t uid)
{
	if (uid_eq(uid, GLOBAL_ROOT_UID))
		return true;
	if (uid_eq(uid, r->uid))
		return (r->perm & 0600) == 0600;
	return (r->perm & 06) == 06;
}

/* A region of this node by home and id; with dsm_mutex. */
static struct dsm_region *region_by_id(struct popcorn_node *node, u16 home, u32 id)
{
	struct dsm_region *r;
	u32 i;

	hash_for_each(regions, i, r, hash)
		if (r->node == node && r->cfg.home == home && r->id == id && !r->over)
			return r;
	return NULL;
}

static void told(const struct dsm_region *r, struct popcorn_ioc_region *u)
{
	u->id = r->id;
	u->node = r->cfg.self;
	u->home = r->cfg.home;
	u->bytes = (u64)r->pages << PAGE_SHIFT;
	u->perm = r->perm;
	u->hold_us = r->cfg.hold_ns / 1000;
}

/**
 * dsm_region_create - make a region whose home is a node
 * @node: node
 * @u:    as POPCORN_IOC_CREATE
 * @out:  the region, counted, with one attachment
 *
 * Process context. Return: 0 or -errno.
 */
int dsm_region_create(struct popcorn_node *node, struct popcorn_ioc_region *u,
		      struct dsm_region **out)
{
	u64 pages = DIV_ROUND_UP_ULL(u->bytes, PAGE_SIZE);
	u16 self = popcorn_node_id(node);
	struct pd_attach at = {
		.pages = cpu_to_le32(pages), .gen = cpu_to_le32(get_random_u32() | 1),
		.uid = cpu_to_le32(from_kuid(&init_user_ns, current_fsuid())),
		.perm = cpu_to_le16(u->perm), .hold_us = cpu_to_le32(u->hold_us ?: DSM_HOLD_US),
	};
	struct dsm_region *r;
	u32 id = u->id;
	int e = 0;

	if (self >= PD_NODES)
		return -ERANGE;
	if (!u->bytes || u->bytes > (u64)PD_PAGES_MAX << PAGE_SHIFT || u->perm & ~0777 ||
	    u->hold_us > DSM_HOLD_MAX_US)
		return -EINVAL;
	if (mutex_lock_killable(&dsm_mutex))
		return -EINTR;
	while (!id || (!u->id && region_by_id(node, self, id)))
		id = get_random_u32() >> 1;
	if (region_by_id(node, self, id)) {
		e = -EEXIST;
	} else {
		at.region = cpu_to_le32(id);
		r = region_new(node, &at, self);
		if (r) {
			told(r, u);
			*out = r;
		} else {
			e = -ENOMEM;
		}
	}
	mutex_unlock(&dsm_mutex);
	return e;
}

/* Another attachment of a region that this node has. With dsm_mutex. */
static int join(struct dsm_region *r, struct popcorn_ioc_region *u, struct dsm_region **out)
{
	if (!allowed(r, current_fsuid()))
		return -EACCES;
	if (u->bytes && DIV_ROUND_UP_ULL(u->bytes, PAGE_SIZE) != r->pages)
		return -EINVAL;
	r->files++;
	r->leaving = false;
	dsm_region_get(r);
	told(r, u);
	*out = r;
	return 0;
}

/* Ask the home. Return: 0 or -errno. */
static int attach_ask(struct popcorn_node *node, struct popcorn_ioc_region *u, struct pd_attach *at)
{
	int e;

	*at = (struct pd_attach){
		.region = cpu_to_le32(u->id), .page_size = cpu_to_le32(PAGE_SIZE),
		.pages = cpu_to_le32(DIV_ROUND_UP_ULL(u->bytes, PAGE_SIZE)),
		.uid = cpu_to_le32(from_kuid(&init_user_ns, current_fsuid())),
		.mode = POPCORN_MODE_KERNEL,
	};
	e = popcorn_request(node, u->home, PW_SYNC, PD_T_ATTACH, at, sizeof(*at), at, sizeof(*at),
			    ATTACH_MS);
	if (e < 0)
		return e == -EOPNOTSUPP ? -EPROTO : e;
	if (e != sizeof(*at) || le32_to_cpu(at->page_size) != PAGE_SIZE ||
	    at->mode != POPCORN_MODE_KERNEL || !at->pages ||
	    le32_to_cpu(at->pages) > PD_PAGES_MAX || le32_to_cpu(at->region) != u->id ||
	    le32_to_cpu(at->hold_us) > DSM_HOLD_MAX_US)
		return -EPROTO;
	return 0;
}

/**
 * dsm_region_attach - attach a node to a region
 * @node: node
 * @u:    as POPCORN_IOC_ATTACH
 * @out:  the region, counted, with one attachment
 *
 * Process context; waits for the home, killable and bounded. Return: 0 or -errno.
 */
int dsm_region_attach(struct popcorn_node *node, struct popcorn_ioc_region *u,
		      struct dsm_region **out)
{
	u16 self = popcorn_node_id(node);
	struct pd_attach at;
	struct dsm_region *r;
	int e, tries;

	if (self >= PD_NODES || u->home >= PD_NODES)
		return -ERANGE;
	if (u->home >= popcorn_node_count() || u->bytes > (u64)PD_PAGES_MAX << PAGE_SHIFT)
		return -EINVAL;
	for (tries = 0;; tries++) {
		if (mutex_lock_killable(&attach_mutex))
			return -EINTR;
		mutex_lock(&dsm_mutex);
		r = region_by_id(node, u->home, u->id);
		e = r ? join(r, u, out) : u->home == self ? -ENOENT : -EAGAIN;
		mutex_unlock(&dsm_mutex);
		if (e == -EAGAIN) {
			e = attach_ask(node, u, &at);
			if (!e) {
				mutex_lock(&dsm_mutex);
				r = region_new(node, &at, u->home);
				if (r) {
					told(r, u);
					*out = r;
				} else {
					e = -ENOMEM;
				}
				mutex_unlock(&dsm_mutex);
			}
		}
		mutex_unlock(&attach_mutex);
		/* The home still buries this node's last life. */
		if (e != -EAGAIN || tries == ATTACH_MS / LEAVE_MS)
			return e;
		if (msleep_interruptible(LEAVE_MS))
			return -EINTR;
	}
}

/* ATTACH at the home. */
void dsm_attach_msg(struct popcorn_msg *msg)
{
	struct pd_attach at;
	struct dsm_region *r = NULL, *i;
	u64 bit = msg->from < PD_NODES ? 1ull << msg->from : 0;
	u32 b, pages;
	int e = 0;

	if (!msg->request || msg->len != sizeof(at)) {
		if (msg->request)
			popcorn_answer(msg, -EINVAL, NULL, 0);
		else
			popcorn_msg_done(msg);
		return;
	}
	memcpy(&at, msg->data, sizeof(at));
	pages = le32_to_cpu(at.pages);
	spin_lock_bh(&regions_lock);
	hash_for_each(regions, b, i, hash)
		if (i->node == msg->node && dsm_home(i) && !i->over &&
		    i->id == le32_to_cpu(at.region) && kref_get_unless_zero(&i->ref)) {
			r = i;
			break;
		}
	spin_unlock_bh(&regions_lock);
	if (!r)
		e = -ENOENT;
	else if (at.mode != POPCORN_MODE_KERNEL || le32_to_cpu(at.page_size) != PAGE_SIZE)
		e = -EPROTO;
	else if (!bit)
		e = -ERANGE;
	else if (!allowed(r, make_kuid(&init_user_ns, le32_to_cpu(at.uid))))
		e = -EACCES;
	else if (pages && pages != r->pages)
		e = -EINVAL;
	if (!e) {
		spin_lock_bh(&r->lock);
		if (r->dying & bit)
			e = -EAGAIN;
		else
			r->members |= bit;
		spin_unlock_bh(&r->lock);
	}
	if (!e) {
		at.gen = cpu_to_le32(r->gen);
		at.pages = cpu_to_le32(r->pages);
		at.page_size = cpu_to_le32(PAGE_SIZE);
		at.uid = cpu_to_le32(from_kuid(&init_user_ns, r->uid));
		at.perm = cpu_to_le16(r->perm);
		at.hold_us = cpu_to_le32(r->cfg.hold_ns / 1000);
		at.mode = POPCORN_MODE_KERNEL;
	}
	popcorn_answer(msg, e, &at, sizeof(at));
	if (r)
		dsm_region_put(r);
}

/* A member is gone: every page is told, by the region's work. */
static void bury(struct dsm_region *r, u16 node)
{
	spin_lock_bh(&r->lock);
	if (r->members & (1ull << node)) {
		r->members &= ~(1ull << node);
		r->dying |= 1ull << node;
	}
	spin_unlock_bh(&r->lock);
	queue_work(dsm_wq, &r->slow);
}

/* DETACH: a member leaves; or from the home, one-way: the region has ended. */
void dsm_detach_msg(struct popcorn_msg *msg)
{
	const struct pd_msg *m = msg->data;
	struct dsm_region *r = NULL;

	if (msg->len == sizeof(*m))
		r = dsm_region_find(msg->node, le32_to_cpu(m->region), le32_to_cpu(m->gen));
	if (r && dsm_home(r) && msg->request && msg->from < PD_NODES)
		bury(r, msg->from);
	else if (r && r->cfg.home == msg->from && !msg->request)
		dsm_region_over(r, -ESTALE);
	if (msg->request)
		popcorn_answer(msg, 0, NULL, 0);
	else
		popcorn_msg_done(msg);
	if (r)
		dsm_region_put(r);
}

/* ----------------------------------------------------------------- events */

struct event {
	enum popcorn_event_what what;
	const struct popcorn_event *ev;
};

static void region_event(struct dsm_region *r, void *arg)
{
	const struct event *e = arg;
	u16 peer = e->ev->peer;

	if (r->node != e->ev->node || r->over)
		return;
	switch (e->what) {
	case POPCORN_PEER_DEAD:
		if (peer == r->cfg.home)
			dsm_region_over(r, -EHOSTDOWN);
		else if (dsm_home(r) && peer < PD_NODES)
			bury(r, peer);
		break;
	case POPCORN_LEASE_LOST:
		if (peer == r->cfg.home) {
			WRITE_ONCE(r->paused, true);
			unmap_all(r);
		}
		break;
	case POPCORN_LEASE_BACK:
	case POPCORN_PEER_UP:
		if (peer == r->cfg.home && popcorn_peer_lease_ok(r->node, peer)) {
			WRITE_ONCE(r->paused, false);
			wake_up_all(&r->wait);
		}
		break;
	case POPCORN_NODE_GONE:
		dsm_region_over(r, -ESHUTDOWN);
		flush_work(&r->end);
		break;
	}
}

static int event(struct notifier_block *nb, unsigned long what, void *ev)
{
	struct event e = { what, ev };

	for_each_region(region_event, &e);
	return NOTIFY_OK;
}

static struct notifier_block events = { .notifier_call = event };

/* -------------------------------------------------------------- the shrinker */

static atomic_long_t to_drop;

/* Copies that the home has as well are given up, some at a time, in turn. */
static void shrink_region(struct dsm_region *r, void *arg)
{
	u32 chunks = DIV_ROUND_UP(r->pages, DSM_CHUNK), i, first;
	int before;

	for (i = 0; i < chunks && !dsm_home(r) && !r->over; i++) {
		if (atomic_long_read(&to_drop) <= 0)
			break;
		r->shrink_at = (r->shrink_at + 1) % chunks;
		first = r->shrink_at * DSM_CHUNK;
		before = atomic_read(&r->resident);
		dsm_drop(r, first, min_t(u32, DSM_CHUNK, r->pages - first));
		atomic_long_sub(max(before - atomic_read(&r->resident), 0), &to_drop);
	}
}

static void shrink_work(struct work_struct *work)
{
	for_each_region(shrink_region, NULL);
	atomic_long_set(&to_drop, 0);
}
static DECLARE_WORK(shrink, shrink_work);

static unsigned long shrink_count(struct shrinker *s, struct shrink_control *sc)
{
	struct dsm_region *r;
	unsigned long n = 0;
	u32 i;

	rcu_read_lock();
	hash_for_each_rcu(regions, i, r, hash)
		if (!dsm_home(r))
			n += atomic_read(&r->resident);
	rcu_read_unlock();
	return n ?: SHRINK_EMPTY;
}

/* Giving up may need messages, so it is left to a work: nothing is free when this returns. */
static unsigned long shrink_scan(struct shrinker *s, struct shrink_control *sc)
{
	atomic_long_add(sc->nr_to_scan, &to_drop);
	queue_work(dsm_wq, &shrink);
	return SHRINK_STOP;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static struct shrinker shrinker = {
	.count_objects = shrink_count,
	.scan_objects = shrink_scan,
	.seeks = DEFAULT_SEEKS,
};

static int shrink_init(void)
{
	return register_shrinker(&shrinker, "popcorn-dsm");
}

static void shrink_exit(void)
{
	unregister_shrinker(&shrinker);
	cancel_work_sync(&shrink);
}
#else
static struct shrinker *shrinker;

static int shrink_init(void)
{
	shrinker = shrinker_alloc(0, "popcorn-dsm");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker_register(shrinker);
	return 0;
}

static void shrink_exit(void)
{
	shrinker_free(shrinker);
	cancel_work_sync(&shrink);
}
#endif

/* -------------------------------------------------------------------- /proc */

static void region_show(struct dsm_region *r, void *arg)
{
	const struct dsm_stat *s = &r->stat;
	const char *state = r->over ? "over" : r->leaving ? "leaving" : r->paused ? "paused" : "up";

	seq_printf(arg, "%10u %5u %5u %-7s %10u %10u %6u %016llx %12lld %12lld %12lld %12lld %8lld\n",
		   r->id, r->cfg.self, r->cfg.home, state, r->pages, atomic_read(&r->resident),
		   r->files, r->members, atomic64_read(&s->faults_local),
		   atomic64_read(&s->faults_read),
		   atomic64_read(&s->faults_write) + atomic64_read(&s->faults_upgrade),
		   atomic64_read(&s->invalidated), atomic64_read(&s->lost));
}

static int regions_show(struct seq_file *m, void *v)
{
	seq_printf(m, "# %8s %5s %5s %-7s %10s %10s %6s %16s %12s %12s %12s %12s %8s\n", "region",
		   "node", "home", "state", "pages", "resident", "opened", "members", "local",
		   "read", "write", "invalidated", "lost");
	for_each_region(region_show, m);
	return 0;
}

/* ----------------------------------------------------------- init and exit */

int dsm_init(void)
{
	int e = -ENOMEM;

	dsm_wq = alloc_workqueue("popcorn_dsm", WQ_UNBOUND | WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (!dsm_wq)
		return -ENOMEM;
	dsm_worker = kthread_create_worker(0, "popcorn/dsm");
	if (IS_ERR(dsm_worker)) {
		e = PTR_ERR(dsm_worker);
		goto wq;
	}
	sched_set_fifo_low(dsm_worker->task);
	e = dsm_act_init();
	if (e)
		goto worker;
	e = dsm_msg_init();
	if (e)
		goto act;
	e = popcorn_events_register(&events);
	if (e)
		goto msg;
	e = -ENOMEM;
	if (!proc_create_single("popcorn_regions", 0444, NULL, regions_show))
		goto events;
	e = shrink_init();
	if (e)
		goto proc;
	e = dsm_dev_init();
	if (!e)
		return 0;
	shrink_exit();
proc:
	remove_proc_subtree("popcorn_regions", NULL);
events:
	popcorn_events_unregister(&events);
msg:
	dsm_msg_exit();
act:
	dsm_act_exit();
worker:
	kthread_destroy_worker(dsm_worker);
wq:
	destroy_workqueue(dsm_wq);
	return e;
}

/* No region is left: each counts the module. */
void dsm_exit(void)
{
	dsm_dev_exit();
	shrink_exit();
	remove_proc_subtree("popcorn_regions", NULL);
	popcorn_events_unregister(&events);
	dsm_msg_exit();
	while (!llist_empty(&busy_frames))
		flush_delayed_work(&busy);
	cancel_delayed_work_sync(&busy);
	kthread_destroy_worker(dsm_worker);
	destroy_workqueue(dsm_wq);
	dsm_act_exit();
	rcu_barrier();
}
