// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Frames: the pages into which answers are received. They lie in a memfd, so
 * that a peer on this machine can write a page straight into the frame that was
 * named to it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"

static size_t pool_size(u32 frames)
{
	return (size_t)(frames + 1) * UE_PAGE;
}

/**
 * ue_pool_make() - make a node's pool
 * @n: node, with o.frames and o.mode set
 *
 * Return: 0 or -errno.
 */
int ue_pool_make(struct popcorn_node *n)
{
	struct ue_pool *p = &n->pool;
	u32 i;
	int r;

	p->n = n->o.frames;
	p->fd = ue_inject() ? -1 : memfd_create("popcorn-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (p->fd < 0)
		return -errno;
	r = -ENOMEM;
	p->frame = ue_alloc((p->n + 1) * sizeof(*p->frame));
	p->hold = ue_alloc((p->n + 1) * sizeof(*p->hold));
	if (!p->frame || !p->hold)
		goto fail;
	if (ftruncate(p->fd, pool_size(p->n)) ||
	    fcntl(p->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL)) {
		r = -errno;
		goto fail;
	}
	p->base = ue_inject() ? MAP_FAILED :
		mmap(NULL, pool_size(p->n), PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (p->base == MAP_FAILED) {
		p->base = NULL;
		goto fail;
	}
	p->bell = (struct ue_bell *)p->base;
	p->bell->blocks = n->o.mode == POPCORN_BLOCK;
	for (i = p->n; i--;) {
		p->frame[i].id = i;
		p->frame[i].data = p->base + (size_t)(i + 1) * UE_PAGE;
		p->frame[i].next = p->free;
		p->free = &p->frame[i];
	}
	return 0;
fail:
	ue_pool_free(n);
	return r;
}

void ue_pool_free(struct popcorn_node *n)
{
	struct ue_pool *p = &n->pool;

	if (p->base)
		munmap(p->base, pool_size(p->n));
	if (p->fd >= 0)
		close(p->fd);
	free(p->frame);
	free(p->hold);
	memset(p, 0, sizeof(*p));
	p->fd = -1;
}

/**
 * popcorn_frame_alloc() - take a page from the pool
 * @n: node
 *
 * Any context. Return: the frame, with what its last user left in it, or NULL if
 * all are in use.
 */
struct popcorn_frame *popcorn_frame_alloc(struct popcorn_node *n)
{
	struct popcorn_frame *f;

	ue_lock(&n->pool_lock);
	f = n->pool.free;
	if (f)
		n->pool.free = f->next;
	ue_unlock(&n->pool_lock);
	return f;
}

/**
 * popcorn_frame_free() - give a page back
 * @n: node
 * @f: frame, or NULL
 */
void popcorn_frame_free(struct popcorn_node *n, struct popcorn_frame *f)
{
	if (!f)
		return;
	ue_lock(&n->pool_lock);
	if (n->pool.hold[f->id]) {
		f->next = f;	/* waits for ue_pool_unhold() */
	} else {
		f->next = n->pool.free;
		n->pool.free = f;
	}
	ue_unlock(&n->pool_lock);
}

/**
 * ue_pool_hold() - do not use a frame again as long as a peer may write there
 * @n: node
 * @f: frame, in use
 * @c: connection over which it was named, and whose peer has not said it stopped
 */
void ue_pool_hold(struct popcorn_node *n, struct popcorn_frame *f, struct ue_conn *c)
{
	ue_lock(&n->pool_lock);
	n->pool.hold[f->id] = c;
	f->next = NULL;
	ue_unlock(&n->pool_lock);
}

/* The peer of @c writes no more. */
void ue_pool_unhold(struct popcorn_node *n, struct ue_conn *c)
{
	struct ue_pool *p = &n->pool;
	u32 i;

	ue_lock(&n->pool_lock);
	for (i = 0; i < p->n; i++) {
		struct popcorn_frame *f = &p->frame[i];

		if (p->hold[i] != c)
			continue;
		p->hold[i] = NULL;
		if (f->next == f) {
			f->next = p->free;
			p->free = f;
		}
	}
	ue_unlock(&n->pool_lock);
}
