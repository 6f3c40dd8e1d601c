// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page pool (pool.h): chunks are made on demand, registered with every
 * driver before a frame of them is given out, and let go when they have been
 * empty for a while.
 */
#include <linux/gfp.h>

#include "engine.h"

#define TRIM_MS	10000	/* a chunk empty so long is given back */

static struct {
	struct mutex mutex;		/* chunks and drivers come and go */
	spinlock_t lock;		/* free lists */
	struct list_head avail;		/* chunks with free frames */
	struct popcorn_chunk **chunk;	/* by number; NULL: none */
	u32 max;
	u32 n;
	u32 free;			/* frames */
	u32 generation;			/* counts chunks made */
	struct popcorn_driver *driver[POPCORN_DRIVERS_MAX];
	struct delayed_work trim;
	struct work_struct grow;	/* for who can't wait */
} pool;

static void chunk_free_pages(struct popcorn_chunk *c)
{
	u32 i;

	for (i = 0; i < POPCORN_CHUNK_PAGES; i++)
		if (c->frame[i].page) {
			set_page_private(c->frame[i].page, 0);
			__free_page(c->frame[i].page);
		}
	kvfree(c);
}

static struct popcorn_chunk *chunk_new(u32 index)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN | __GFP_NORETRY;
	struct popcorn_chunk *c = popcorn_zalloc(sizeof(*c), GFP_KERNEL);
	struct page *block;
	u32 i;

	if (!c)
		return NULL;
	c->index = index;
	INIT_LIST_HEAD(&c->list);
	block = popcorn_alloc_fails() ? NULL : alloc_pages(gfp, ilog2(POPCORN_CHUNK_PAGES));
	if (block)
		split_page(block, ilog2(POPCORN_CHUNK_PAGES));
	for (i = POPCORN_CHUNK_PAGES; i--;) {
		struct popcorn_frame *f = &c->frame[i];

		f->page = block ? block + i : alloc_page(gfp);
		if (!f->page) {
			chunk_free_pages(c);
			return NULL;
		}
		f->chunk = c;
		f->id = index * POPCORN_CHUNK_PAGES + i;
		f->next = c->free;
		c->free = f;
		set_page_private(f->page, (unsigned long)f);
	}
	c->nfree = POPCORN_CHUNK_PAGES;
	return c;
}

static void chunk_unregister(struct popcorn_chunk *c, unsigned int n)
{
	while (n--)
		if (pool.driver[n] && pool.driver[n]->chunk_remove)
			pool.driver[n]->chunk_remove(c);
}

static int chunk_register(struct popcorn_chunk *c)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < POPCORN_DRIVERS_MAX; i++) {
		if (!pool.driver[i] || !pool.driver[i]->chunk_add)
			continue;
		r = pool.driver[i]->chunk_add(c);
		if (r) {
			chunk_unregister(c, i);
			break;
		}
	}
	return r;
}

static int pool_grow(void)
{
	struct popcorn_chunk *c;
	int r = -ENOMEM;
	u32 i;

	mutex_lock(&pool.mutex);
	if (READ_ONCE(pool.free)) { /* somebody else was faster */
		r = 0;
		goto out;
	}
	for (i = 0; i < pool.max && pool.chunk[i]; i++)
		;
	if (i == pool.max) {
		pr_warn_ratelimited("page pool is at its limit of %u MiB; raise pool_mb=\n",
				    pool.max * 2);
		goto out;
	}
	c = chunk_new(i);
	if (!c)
		goto out;
	r = chunk_register(c);
	if (r) {
		chunk_free_pages(c);
		goto out;
	}
	spin_lock_bh(&pool.lock);
	pool.chunk[i] = c;
	pool.n++;
	pool.free += c->nfree;
	WRITE_ONCE(pool.generation, pool.generation + 1);
	list_add(&c->list, &pool.avail);
	spin_unlock_bh(&pool.lock);
	popcorn_keys_changed();
out:
	mutex_unlock(&pool.mutex);
	return r;
}

/* Give empty chunks back, but for one. With the mutex. Return: their pages. */
static u32 trim(void)
{
	struct popcorn_chunk *c;
	u32 i, n = 0;

	for (i = 0; i < pool.max && pool.n > 1; i++) {
		c = pool.chunk[i];
		if (!c)
			continue;
		spin_lock_bh(&pool.lock);
		if (c->nfree == POPCORN_CHUNK_PAGES && pool.free > POPCORN_CHUNK_PAGES) {
			list_del(&c->list);
			pool.chunk[i] = NULL;
			pool.n--;
			pool.free -= c->nfree;
		} else {
			c = NULL;
		}
		spin_unlock_bh(&pool.lock);
		if (c) {
			chunk_unregister(c, POPCORN_DRIVERS_MAX);
			chunk_free_pages(c);
			n += POPCORN_CHUNK_PAGES;
		}
	}
	return n;
}

static void grow_work(struct work_struct *work)
{
	pool_grow();
}

static void trim_work(struct work_struct *work)
{
	mutex_lock(&pool.mutex);
	trim();
	mutex_unlock(&pool.mutex);
}

/**
 * popcorn_pool_trim - give empty chunks back to the system now
 *
 * Process context. Does nothing while a chunk is being made: that may wait for memory.
 * Return: pages that were given back.
 */
u32 popcorn_pool_trim(void)
{
	u32 n;

	if (!mutex_trylock(&pool.mutex))
		return 0;
	n = trim();
	mutex_unlock(&pool.mutex);
	return n;
}

static struct popcorn_frame *frame_take(void)
{
	struct popcorn_frame *f = NULL;
	struct popcorn_chunk *c;

	spin_lock_bh(&pool.lock);
	c = list_first_entry_or_null(&pool.avail, struct popcorn_chunk, list);
	if (c) {
		f = c->free;
		c->free = f->next;
		if (!--c->nfree)
			list_del_init(&c->list);
		pool.free--;
	}
	spin_unlock_bh(&pool.lock);
	return f;
}

/**
 * popcorn_frame_alloc - take a page of the pool
 * @gfp: may it sleep? Then a chunk is added if need be; otherwise soon
 *
 * The page has one reference and holds anything. Context: with a @gfp that
 * doesn't sleep, any but hard interrupts. Return: the frame, or NULL.
 */
struct popcorn_frame *popcorn_frame_alloc(gfp_t gfp)
{
	struct popcorn_frame *f;

	if (popcorn_alloc_fails())
		return NULL;
	f = frame_take();
	while (!f && gfpflags_allow_blocking(gfp) && !pool_grow())
		f = frame_take();
	if (!f && !gfpflags_allow_blocking(gfp))
		queue_work(system_wq, &pool.grow);
	return f;
}
EXPORT_SYMBOL_GPL(popcorn_frame_alloc);

/**
 * popcorn_frame_free - give a page back
 * @f: frame whose page is unmapped, with one reference, named to no peer; or NULL
 *
 * Context: any but hard interrupts.
 */
void popcorn_frame_free(struct popcorn_frame *f)
{
	struct popcorn_chunk *c;
	bool empty;

	if (!f)
		return;
	/* Somebody still looks at it: better lost than used for two things. */
	if (WARN_ON_ONCE(page_count(f->page) != 1))
		return;
	c = f->chunk;
	spin_lock_bh(&pool.lock);
	f->next = c->free;
	c->free = f;
	if (!c->nfree++)
		list_add_tail(&c->list, &pool.avail);
	pool.free++;
	empty = c->nfree == POPCORN_CHUNK_PAGES && pool.n > 1;
	spin_unlock_bh(&pool.lock);
	if (empty)
		mod_delayed_work(system_wq, &pool.trim, msecs_to_jiffies(TRIM_MS));
}
EXPORT_SYMBOL_GPL(popcorn_frame_free);

/**
 * popcorn_frame_find - frame of an id
 * @id: from struct popcorn_frame
 *
 * The caller owns a frame of that chunk, or looks only. Return: it, or NULL.
 */
struct popcorn_frame *popcorn_frame_find(u32 id)
{
	struct popcorn_chunk *c;

	if (id / POPCORN_CHUNK_PAGES >= pool.max)
		return NULL;
	c = READ_ONCE(pool.chunk[id / POPCORN_CHUNK_PAGES]);
	return c ? &c->frame[id % POPCORN_CHUNK_PAGES] : NULL;
}
EXPORT_SYMBOL_GPL(popcorn_frame_find);

/* Chunk numbers are below that. */
u32 popcorn_pool_chunks_max(void)
{
	return pool.max;
}
EXPORT_SYMBOL_GPL(popcorn_pool_chunks_max);

u32 popcorn_pool_generation(void)
{
	return READ_ONCE(pool.generation);
}

/**
 * popcorn_pool_for_each - look at all chunks
 * @fn:  called for each; ends the loop if it doesn't return 0
 * @arg: its argument
 *
 * No chunk comes or goes meanwhile. Process context; not from chunk_add() or
 * chunk_remove(). Return: what @fn returned last.
 */
int popcorn_pool_for_each(int (*fn)(struct popcorn_chunk *chunk, void *arg), void *arg)
{
	int r = 0;
	u32 i;

	mutex_lock(&pool.mutex);
	for (i = 0; i < pool.max && !r; i++)
		if (pool.chunk[i])
			r = fn(pool.chunk[i], arg);
	mutex_unlock(&pool.mutex);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_pool_for_each);

int popcorn_pool_driver_add(struct popcorn_driver *drv)
{
	int r = 0;
	u32 i;

	mutex_lock(&pool.mutex);
	for (i = 0; drv->chunk_add && i < pool.max; i++) {
		r = pool.chunk[i] ? drv->chunk_add(pool.chunk[i]) : 0;
		if (r)
			break;
	}
	if (!r)
		pool.driver[drv->slot] = drv;
	else
		while (i--)
			if (pool.chunk[i])
				drv->chunk_remove(pool.chunk[i]);
	mutex_unlock(&pool.mutex);
	return r;
}

void popcorn_pool_driver_remove(struct popcorn_driver *drv)
{
	u32 i;

	mutex_lock(&pool.mutex);
	pool.driver[drv->slot] = NULL;
	if (drv->chunk_remove)
		for (i = 0; i < pool.max; i++)
			if (pool.chunk[i])
				drv->chunk_remove(pool.chunk[i]);
	mutex_unlock(&pool.mutex);
}

void popcorn_pool_info(struct popcorn_pool_info *info)
{
	spin_lock_bh(&pool.lock);
	info->chunks = pool.n;
	info->chunks_max = pool.max;
	info->frames = pool.n * POPCORN_CHUNK_PAGES;
	info->free = pool.free;
	spin_unlock_bh(&pool.lock);
}

/**
 * popcorn_big_alloc - frame buffers for a message
 * @len:  payload bytes
 * @data: payload, copied in
 * @gfp:  how to allocate
 *
 * Return: an array for pt_tx.fv, ended by NULL, or NULL.
 */
void **popcorn_big_alloc(u32 len, const void *data, gfp_t gfp)
{
	u32 i, n = pt_frames(len);
	void **fv = popcorn_zalloc((n + 1) * sizeof(*fv), gfp);

	if (!fv)
		return NULL;
	for (i = 0; i < n; i++) {
		struct popcorn_frame *f = popcorn_frame_alloc(gfp);
		u32 part = min_t(u32, len, PW_PAYLOAD);

		if (!f) {
			popcorn_big_free(fv);
			return NULL;
		}
		fv[i] = popcorn_frame_data(f);
		memcpy(fv[i] + PW_HDR, data, part);
		data += part;
		len -= part;
	}
	return fv;
}

void popcorn_big_free(void **fv)
{
	void **p;

	if (!fv)
		return;
	for (p = fv; *p; p++)
		popcorn_frame_free(popcorn_buf_frame(*p));
	kvfree(fv);
}

int popcorn_pool_init(u32 chunks_max)
{
	mutex_init(&pool.mutex);
	spin_lock_init(&pool.lock);
	INIT_LIST_HEAD(&pool.avail);
	INIT_DELAYED_WORK(&pool.trim, trim_work);
	INIT_WORK(&pool.grow, grow_work);
	pool.max = chunks_max;
	pool.chunk = kvcalloc(chunks_max, sizeof(*pool.chunk), GFP_KERNEL);
	return pool.chunk ? 0 : -ENOMEM;
}

void popcorn_pool_exit(void)
{
	u32 i;

	cancel_work_sync(&pool.grow);
	cancel_delayed_work_sync(&pool.trim);
	if (pool.free != pool.n * POPCORN_CHUNK_PAGES)
		pr_err("%u page frames were never given back\n",
		       pool.n * POPCORN_CHUNK_PAGES - pool.free);
	for (i = 0; i < pool.max; i++)
		if (pool.chunk[i])
			chunk_free_pages(pool.chunk[i]);
	kvfree(pool.chunk);
}
