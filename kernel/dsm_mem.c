// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory and the machine's memory: frames for pages, how many there may be and who
 * they count against, and what is given up when memory is short.
 *
 * A page counts against the user whose program was the first to attach the node to its
 * region, whoever touches it: what is here is the node's, and comes and goes in threads of
 * the kernel. It can't be charged to a memory cgroup: frames are allocated and registered
 * by the hundred, before anybody knows for whom. Nor is RLIMIT_MEMLOCK its limit, as most
 * pages are copies that go when memory is short. To a process it is memory of a file
 * (RssFile): so the OOM killer finds the right one.
 *
 * Who is short of memory gives up other pages, in turn: at a member those that the home
 * doesn't count on at once, others by PUT. At its home a page can't be given up.
 */
#include <linux/capability.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/shrinker.h>

#include "dsm.h"

#define BATCH		64	/* pages that a fault gives up when there are too many */
#define OOM_BATCH	2048	/* and the last resort before the OOM killer */
#define AGAIN_MS	5000	/* until the home is asked once more to take a page */
#define LOOK_MS		100
#define REFUSED_MS	1000	/* that other pages may take to go when it had no room for one */

static ulong dsm_pages_max;
module_param(dsm_pages_max, ulong, 0644);
MODULE_PARM_DESC(dsm_pages_max, "most pages of shared memory that may be on this machine; 0: half of its memory (default 0)");

static ulong dsm_user_pages_max;
module_param(dsm_user_pages_max, ulong, 0644);
MODULE_PARM_DESC(dsm_user_pages_max, "most of them that may count against one user, unless it has CAP_IPC_LOCK; 0: no limit of its own (default 0)");

static atomic_long_t resident;

/* ------------------------------------------------------------------- users */

/**
 * struct dsm_user - whom pages count against
 * @list:    in @users
 * @uid:     user
 * @regions: that count against it; users_mutex
 * @pages:   of these, on this machine
 */
struct dsm_user {
	struct list_head list;
	kuid_t uid;
	u32 regions;
	atomic_long_t pages;
};

static LIST_HEAD(users);
static DEFINE_MUTEX(users_mutex);

/**
 * dsm_user_set - a region counts against the user who runs this
 * @r: region, new
 *
 * Process context. Return: 0 or -ENOMEM.
 */
int dsm_user_set(struct dsm_region *r)
{
	struct dsm_user *new = kzalloc(sizeof(*new), GFP_KERNEL), *u;

	mutex_lock(&users_mutex);
	list_for_each_entry(u, &users, list)
		if (uid_eq(u->uid, current_uid()))
			goto found;
	u = new;
	new = NULL;
	if (!u)
		goto out;
	u->uid = current_uid();
	list_add(&u->list, &users);
found:
	u->regions++;
	r->unlimited = capable(CAP_IPC_LOCK);
	r->user = u;
out:
	mutex_unlock(&users_mutex);
	kfree(new);
	return r->user ? 0 : -ENOMEM;
}

/* The region has no pages any more. */
void dsm_user_unset(struct dsm_region *r)
{
	struct dsm_user *u = r->user;

	mutex_lock(&users_mutex);
	if (--u->regions)
		u = NULL;
	else
		list_del(&u->list);
	mutex_unlock(&users_mutex);
	kfree(u);
}

kuid_t dsm_user_id(const struct dsm_region *r, long *pages)
{
	*pages = atomic_long_read(&r->user->pages);
	return r->user->uid;
}

/* ------------------------------------------------------------------ frames */

/* The limit that one more page of @r would be over; or 0. */
static unsigned long at_limit(const struct dsm_region *r, bool *per_user)
{
	unsigned long max = READ_ONCE(dsm_pages_max) ?: totalram_pages() / 2;

	*per_user = false;
	if (atomic_long_read(&resident) >= (long)max)
		return max;
	max = READ_ONCE(dsm_user_pages_max);
	if (!max || r->unlimited || atomic_long_read(&r->user->pages) < (long)max)
		return 0;
	*per_user = true;
	return max;
}

static u32 give_up(const struct dsm_user *user, u32 n);

/**
 * dsm_frame_alloc - a frame for a page
 * @r:   region
 * @gfp: may it sleep? Then other pages may go for it, unless __GFP_NORETRY is set
 *
 * Context: with a @gfp that doesn't sleep, any but hard interrupts; else as dsm_run().
 * Return: the frame, or NULL: no memory, or a limit is reached.
 */
struct popcorn_frame *dsm_frame_alloc(struct dsm_region *r, gfp_t gfp)
{
	struct popcorn_frame *f;
	unsigned long max;
	bool per_user;

	for (;;) {
		max = at_limit(r, &per_user);
		f = max ? NULL : popcorn_frame_alloc(gfp);
		if (f || !gfpflags_allow_blocking(gfp) || (gfp & __GFP_NORETRY))
			return f;
		if (give_up(per_user ? r->user : NULL, BATCH))
			continue;
		if (max)
			pr_warn_ratelimited("shared memory is at its limit of %lu pages; raise %s=\n",
					    max, per_user ? "dsm_user_pages_max" : "dsm_pages_max");
		return NULL;
	}
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

/* ------------------------------------------------------------ room for pages */

static DECLARE_WAIT_QUEUE_HEAD(room);
static atomic_t gone;		/* counts pages that left */

/* So many pages more, or less, are here. Any context. */
void dsm_resident(struct dsm_region *r, int n)
{
	atomic_add(n, &r->resident);
	atomic_long_add(n, &r->user->pages);
	atomic_long_add(n, &resident);
	if (n < 0) {
		atomic_inc(&gone);
		if (wq_has_sleeper(&room))
			wake_up_all(&room);
	}
}

/* The home of @r has no room for a page that was PUT. */
void dsm_room_refused(struct dsm_region *r)
{
	WRITE_ONCE(r->refused_at, dsm_now());
	wake_up_all(&room);
}

/* What dsm_room_wait() compares with; to be read before memory turns out to be short. */
u32 dsm_room(void)
{
	return atomic_read(&gone);
}

/* A home that says nothing is slow, or can't be reached, until it is dead. */
static bool soon(const struct dsm_region *r)
{
	u64 put = READ_ONCE(r->put_at), refused = READ_ONCE(r->refused_at), now = dsm_now();

	if (!put || r->over)
		return false;
	return refused >= put ? now < refused + REFUSED_MS * NSEC_PER_MSEC :
	       now < put + r->node->pt.cfg.dead_ms * NSEC_PER_MSEC;
}

/* Is a page on its way out that a fault without memory had better wait for? */
bool dsm_room_soon(void)
{
	struct dsm_region *r = NULL;
	bool any = false;

	while ((r = dsm_region_next(r)))
		any |= soon(r);
	return any;
}

/**
 * dsm_room_wait - wait for a page to leave
 * @before: dsm_room() before there was no memory
 *
 * Process context, killable. Return: 0: look again: one has left, or the home may have taken one
 * that can go now; -EINTR, or -ENOMEM: nothing is on its way out, or the home has no room for it.
 */
int dsm_room_wait(u32 before)
{
	if (!dsm_room_soon())
		return dsm_room() != before ? 0 : -ENOMEM;
	if (wait_event_killable_timeout(room, dsm_room() != before,
					msecs_to_jiffies(LOOK_MS)) < 0)
		return -EINTR;
	return 0;
}

/* Has the home had time enough for what it was asked to take? */
bool dsm_put_again(const struct dsm_region *r)
{
	return dsm_now() >= READ_ONCE(r->put_at) + AGAIN_MS * NSEC_PER_MSEC;
}

/* --------------------------------------------------------------- giving up */

/**
 * struct given - what came of it
 * @freed: pages that have left
 * @put:   that the home was asked to take
 * @left:  that are still here, or on their way
 */
struct given {
	u32 freed;
	u32 put;
	u32 left;
};

/* @again: those that are PUT already, too, as the home may not have had room. */
static void drop(struct dsm_region *r, u32 first, u32 n, bool again, struct given *g)
{
	struct dsm_run run DSM_UNINIT;
	struct dsm_page *pg;
	bool owner;
	u64 now;
	u32 i;
	int e;

	for (i = first; i < first + n; i++) {
		pg = dsm_page(r, i);
		if (!pg) {
			i |= DSM_CHUNK - 1;
			continue;
		}
		if (READ_ONCE(pg->p.state) == PD_I && !READ_ONCE(pg->p.want) &&
		    READ_ONCE(pg->p.doing) == PD_IDLE)
			continue;
		dsm_run_begin(&run, r, pg, i);
		spin_lock_bh(dsm_lock(r, i));
		owner = pg->p.flags & PD_P_OWNER;
		e = r->over ? -EBUSY : pd_drop(&r->cfg, &pg->p, again, &run.out);
		if (!e)
			dsm_take(&run, 0);
		spin_unlock_bh(dsm_lock(r, i));
		now = dsm_now();	/* the home may refuse at once */
		dsm_run(&run);
		if (!e && owner && (READ_ONCE(pg->p.flags) & PD_P_PUT)) {
			WRITE_ONCE(r->put_at, now);
			g->put++;
		} else if (!e && !READ_ONCE(pg->frame)) {
			g->freed++;
		}
		if (!e)
			atomic64_inc(&r->stat.dropped);
		g->left += pg->p.state != PD_I || pg->p.want || pg->p.doing != PD_IDLE;
		cond_resched();
	}
}

/**
 * dsm_drop - give up this node's copies
 * @r:     region, not at its home
 * @first: from this page on
 * @n:     so many
 * @again: ask the home once more to take what it was asked to
 *
 * Context as dsm_run(). Return: pages that are still here, or on their way; for some the
 * home must be waited for.
 */
u32 dsm_drop(struct dsm_region *r, u32 first, u32 n, bool again)
{
	struct given g = { 0 };

	drop(r, first, n, again, &g);
	return g.left;
}

/* One turn of a region's hand, or less. */
static void region_give_up(struct dsm_region *r, u32 n, bool again, struct given *g)
{
	u32 left, step, at;

	for (left = r->pages; left && g->freed + g->put < n; left -= step) {
		at = READ_ONCE(r->shrink_at);
		if (at >= r->pages)
			at = 0;
		step = min3(left, r->pages - at, (u32)BATCH);
		WRITE_ONCE(r->shrink_at, at + step);
		drop(r, at, step, again, g);
	}
}

/* About @n pages that count against @user, NULL: anybody. Return: how many have left. */
static u32 give_up(const struct dsm_user *user, u32 n)
{
	struct dsm_region *r = NULL;
	struct given g = { 0 };

	while ((r = dsm_region_next(r)))
		if (!dsm_home(r) && !r->over && (!user || r->user == user))
			region_give_up(r, n, dsm_put_again(r), &g);
	return g.freed;
}

/* ---------------------------------------------------------------- the shrinker */

static atomic_long_t to_drop;
static atomic_long_t given_back;	/* pages, to the system, that nobody was told of yet */
static DECLARE_WAIT_QUEUE_HEAD(shrunk);

/*
 * Who needs memory may hold any lock, and registrations of frames take some to undo: so
 * a work does it, without memory of its own, chunk by chunk of the pool.
 */
static void shrink_work(struct work_struct *work)
{
	long n = atomic_long_read(&to_drop);

	while (n > 0) {
		u32 freed = give_up(NULL, min_t(long, n, POPCORN_CHUNK_PAGES));

		atomic_long_add(popcorn_pool_trim(), &given_back);
		n = freed ? n - freed : 0;
	}
	atomic_long_set(&to_drop, 0);
	wake_up_all(&shrunk);
}
static DECLARE_WORK(shrink, shrink_work);

static unsigned long shrink_count(struct shrinker *s, struct shrink_control *sc)
{
	struct dsm_region *r = NULL;
	unsigned long n = 0;

	while ((r = dsm_region_next(r)))
		if (!dsm_home(r))
			n += atomic_read(&r->resident);
	return n ?: SHRINK_EMPTY;
}

/* Return: what has been given back since the last call. */
static unsigned long shrink_scan(struct shrinker *s, struct shrink_control *sc)
{
	atomic_long_add(sc->nr_to_scan, &to_drop);
	queue_work(dsm_wq, &shrink);
	return atomic_long_xchg(&given_back, 0) ?: SHRINK_STOP;
}

/* Reclaim may have been faster than the work: nobody is killed before it has done it. */
static int oom(struct notifier_block *nb, unsigned long unused, void *freed)
{
	atomic_long_add(OOM_BATCH, &to_drop);
	queue_work(dsm_wq, &shrink);
	/* What the work waits for may need memory, too. */
	wait_event_timeout(shrunk, !atomic_long_read(&to_drop), HZ);
	*(unsigned long *)freed += atomic_long_xchg(&given_back, 0);
	return NOTIFY_OK;
}

static struct notifier_block oom_notifier = { .notifier_call = oom };

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static struct shrinker shrinker = {
	.count_objects = shrink_count,
	.scan_objects = shrink_scan,
	.seeks = DEFAULT_SEEKS,
};

static int shrinker_init(void)
{
	return register_shrinker(&shrinker, "popcorn-dsm");
}

static void shrinker_exit(void)
{
	unregister_shrinker(&shrinker);
}
#else
static struct shrinker *shrinker;

static int shrinker_init(void)
{
	shrinker = shrinker_alloc(0, "popcorn-dsm");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker_register(shrinker);
	return 0;
}

static void shrinker_exit(void)
{
	shrinker_free(shrinker);
}
#endif


int dsm_mem_init(void)
{
	int e = register_oom_notifier(&oom_notifier);

	if (e)
		return e;
	e = shrinker_init();
	if (e)
		unregister_oom_notifier(&oom_notifier);
	return e;
}

/* No region is left. */
void dsm_mem_exit(void)
{
	shrinker_exit();
	unregister_oom_notifier(&oom_notifier);
	cancel_work_sync(&shrink);
	while (!llist_empty(&busy_frames))
		flush_delayed_work(&busy);
	cancel_delayed_work_sync(&busy);
}
