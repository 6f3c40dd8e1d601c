// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory and the machine's memory: frames for pages, how many there may be, and
 * what is given up when memory is short.
 */
#include <linux/module.h>
#include <linux/shrinker.h>

#include "dsm.h"

static ulong dsm_pages_max;
module_param(dsm_pages_max, ulong, 0644);
MODULE_PARM_DESC(dsm_pages_max, "most pages of shared memory that may be on this machine; 0: half of its memory (default 0)");


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

/* -------------------------------------------------------------- the shrinker */

static atomic_long_t to_drop;

/* Copies that the home has as well are given up, some at a time, in turn. */
static void shrink_region(struct dsm_region *r)
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
	struct dsm_region *r = NULL;

	while ((r = dsm_region_next(r)))
		shrink_region(r);
	atomic_long_set(&to_drop, 0);
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
	return shrinker_init();
}

/* No region is left. */
void dsm_mem_exit(void)
{
	shrinker_exit();
	cancel_work_sync(&shrink);
	while (!llist_empty(&busy_frames))
		flush_delayed_work(&busy);
	cancel_delayed_work_sync(&busy);
}
