/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Page pool: every byte that the transport sends or receives without a copy,
 * and every page of distributed memory, lies in one of its 2 MiB chunks. A
 * chunk is registered once with each device, so that no transfer maps or
 * registers anything.
 */
#ifndef POPCORN_POOL_H
#define POPCORN_POOL_H

#include <linux/mm.h>
#include <linux/types.h>

#define POPCORN_CHUNK_PAGES	512	/* rxe registers no more at once */
#define POPCORN_DRIVERS_MAX	4

struct popcorn_chunk;

/**
 * struct popcorn_frame - one page of the pool
 * @page:  the page; order 0, with a reference count of its own
 * @chunk: the chunk that it lies in
 * @next:  free list
 * @id:    chunk number * POPCORN_CHUNK_PAGES + page; named on the wire
 */
struct popcorn_frame {
	struct page *page;
	struct popcorn_chunk *chunk;
	struct popcorn_frame *next;
	u32 id;
};

/**
 * struct popcorn_chunk - pages that are registered together
 * @index: chunk number, below popcorn_pool_chunks_max()
 * @nfree: frames on the free list
 * @free:  free list
 * @list:  in the pool's list of chunks with free frames
 * @priv:  a driver's, by its slot: registrations with its devices
 * @frame: the frames; their pages need not be adjacent
 */
struct popcorn_chunk {
	u32 index;
	u32 nfree;
	struct popcorn_frame *free;
	struct list_head list;
	void *priv[POPCORN_DRIVERS_MAX];
	struct popcorn_frame frame[POPCORN_CHUNK_PAGES];
};

struct popcorn_frame *popcorn_frame_alloc(gfp_t gfp);
void popcorn_frame_free(struct popcorn_frame *f);
struct popcorn_frame *popcorn_frame_find(u32 id);
u32 popcorn_pool_chunks_max(void);

/* Frame of a pool's page; page->private is the pool's as long as it lives. */
static inline struct popcorn_frame *popcorn_page_frame(struct page *page)
{
	return (struct popcorn_frame *)page_private(page);
}

/* Frame that holds @p, an address in a message buffer of the pool. */
static inline struct popcorn_frame *popcorn_buf_frame(const void *p)
{
	return popcorn_page_frame(virt_to_page(p));
}

static inline void *popcorn_frame_data(const struct popcorn_frame *f)
{
	return page_address(f->page);
}

#endif
