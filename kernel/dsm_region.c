// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: regions at the nodes of this kernel, their life, and what becomes of
 * them when nodes come and go.
 */
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "dsm.h"

DEFINE_MUTEX(dsm_mutex);
struct workqueue_struct *dsm_wq;
struct kthread_worker *dsm_worker;
static DEFINE_HASHTABLE(regions, 6);
static DEFINE_SPINLOCK(regions_lock);	/* changes of @regions */
static u64 serial;

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
	dsm_user_unset(r);
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

/**
 * dsm_region_by_id - the region that an attachment is about
 * @node: node here
 * @home: the region's home
 * @id:   region
 *
 * Any context. Return: it, counted, or NULL if it has ended or isn't there.
 */
struct dsm_region *dsm_region_by_id(struct popcorn_node *node, u16 home, u32 id)
{
	struct dsm_region *r;
	u32 i;

	rcu_read_lock();
	hash_for_each_rcu(regions, i, r, hash)
		if (r->node == node && r->cfg.home == home && r->id == id && !r->over &&
		    kref_get_unless_zero(&r->ref)) {
			rcu_read_unlock();
			return r;
		}
	rcu_read_unlock();
	return NULL;
}

/**
 * dsm_region_next - one region after the other, those that are there all the time
 * @r: the one before, which is put; NULL: begin
 *
 * Any context; takes no memory. Return: the next one, counted, or NULL.
 */
struct dsm_region *dsm_region_next(struct dsm_region *r)
{
	u64 after = r ? r->serial : 0;
	struct dsm_region *next, *i;
	u32 b;

	rcu_read_lock();
	do {
		next = NULL;
		hash_for_each_rcu(regions, b, i, hash)
			if (i->serial > after && (!next || i->serial < next->serial))
				next = i;
		if (next)
			after = next->serial;
	} while (next && !kref_get_unless_zero(&next->ref));
	rcu_read_unlock();
	if (r)
		dsm_region_put(r);
	return next;
}

/* It isn't found any more. */
void dsm_region_unhash(struct dsm_region *r)
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

/**
 * dsm_region_new - a region at a node
 * @node: node
 * @at:   what the home says of it
 * @home: its home
 *
 * Process context. Return: it, with one attachment, which counts it; or NULL.
 */
struct dsm_region *dsm_region_new(struct popcorn_node *node, const struct pd_attach *at, u16 home)
{
	u32 i, pages = le32_to_cpu(at->pages);
	struct dsm_region *r = kvzalloc(sizeof(*r), GFP_KERNEL);

	if (!r)
		return NULL;
	r->chunk = kvcalloc(DIV_ROUND_UP(pages, DSM_CHUNK), sizeof(*r->chunk), GFP_KERNEL);
	r->data = kvzalloc(sizeof(struct pd_msg) + PAGE_SIZE, GFP_KERNEL);
	r->inode = dsm_inode_new();
	if (!r->chunk || !r->data || !r->inode || dsm_user_set(r)) {
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
	r->writes.least = PD_STREAM_WRITES;
	spin_lock_init(&r->lock);
	hrtimer_init(&r->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
	r->timer.function = dsm_timer;
	init_llist_head(&r->items);
	kthread_init_work(&r->fast, dsm_fast_work);
	INIT_WORK(&r->slow, dsm_slow_work);
	INIT_WORK(&r->end, region_end);
	INIT_DELAYED_WORK(&r->leave, dsm_leave_work);
	INIT_DELAYED_WORK(&r->free, region_free);
	mutex_init(&r->data_mutex);
	dsm_sync_init(r);
	i_size_write(r->inode, (loff_t)pages << PAGE_SHIFT);
	__module_get(THIS_MODULE);
	spin_lock_bh(&regions_lock);
	r->serial = ++serial;
	hash_add_rcu(regions, &r->hash, key(r->id, r->gen));
	spin_unlock_bh(&regions_lock);
	return r;
}

/**
 * dsm_region_bury - a member is gone
 * @r:    region, at its home
 * @node: the member's id
 * @dead: it died; else it has left
 *
 * Any context. Every page is told, by the region's work.
 */
void dsm_region_bury(struct dsm_region *r, u16 node, bool dead)
{
	spin_lock_bh(&r->lock);
	if (r->members & (1ull << node)) {
		r->members &= ~(1ull << node);
		r->dying |= 1ull << node;
		if (!dead)
			r->left |= 1ull << node;
	}
	spin_unlock_bh(&r->lock);
	queue_work(dsm_wq, &r->slow);
}

/* ----------------------------------------------------------------- events */

static void region_event(struct dsm_region *r, enum popcorn_event_what what, u16 peer)
{
	switch (what) {
	case POPCORN_PEER_DEAD:
		if (peer == r->cfg.home)
			dsm_region_over(r, -EHOSTDOWN);
		else if (dsm_home(r) && peer < PD_NODES)
			dsm_region_bury(r, peer, true);
		else
			dsm_sync_cut(r);
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
	const struct popcorn_event *e = ev;
	struct dsm_region *r = NULL;

	while ((r = dsm_region_next(r)))
		if (r->node == e->node && !r->over)
			region_event(r, what, e->peer);
	return NOTIFY_OK;
}

static struct notifier_block events = { .notifier_call = event };

/* -------------------------------------------------------------------- /proc */

static void region_show(struct seq_file *m, struct dsm_region *r)
{
	const struct dsm_stat *s = &r->stat;
	long user_pages;
	kuid_t user = dsm_user_id(r, &user_pages);
	const char *state = r->over ? "over" : r->leaving ? "leaving" : r->paused ? "paused" : "up";

	seq_printf(m, "%10u %5u %5u %-7s %10u %10u %6u %016llx %12lld %12lld %12lld %12lld %8lld %8u %10ld\n",
		   r->id, r->cfg.self, r->cfg.home, state, r->pages, atomic_read(&r->resident),
		   r->files, r->members, atomic64_read(&s->faults_local),
		   atomic64_read(&s->faults_read),
		   atomic64_read(&s->faults_write) + atomic64_read(&s->faults_upgrade),
		   atomic64_read(&s->invalidated), atomic64_read(&s->lost),
		   from_kuid_munged(seq_user_ns(m), user), user_pages);
}

static int regions_show(struct seq_file *m, void *v)
{
	struct dsm_region *r = NULL;

	seq_printf(m, "# %8s %5s %5s %-7s %10s %10s %6s %16s %12s %12s %12s %12s %8s %8s %10s\n", "region",
		   "node", "home", "state", "pages", "resident", "opened", "members", "local",
		   "read", "write", "invalidated", "lost", "user", "user_pages");
	while ((r = dsm_region_next(r)))
		region_show(m, r);
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
	e = dsm_obj_init();
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
	e = dsm_mem_init();
	if (e)
		goto proc;
	e = dsm_dev_init();
	if (!e)
		return 0;
	dsm_mem_exit();
proc:
	remove_proc_subtree("popcorn_regions", NULL);
events:
	popcorn_events_unregister(&events);
msg:
	dsm_msg_exit();
act:
	dsm_obj_exit();
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
	remove_proc_subtree("popcorn_regions", NULL);
	popcorn_events_unregister(&events);
	dsm_msg_exit();
	dsm_mem_exit();
	kthread_destroy_worker(dsm_worker);
	destroy_workqueue(dsm_wq);
	dsm_obj_exit();
	rcu_barrier();
}
