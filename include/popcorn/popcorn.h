/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Distributed shared memory for programs: regions that several machines map, coherent
 * as the memory of one. The same calls in both modes: in kernel mode popcorn.ko does the
 * work, in user mode this library does, without root and without a module.
 *
 *	popcorn_t *p;
 *	popcorn_region_t *r;
 *
 *	popcorn_open(NULL, &p);
 *	if (popcorn_self(p) == 0)
 *		popcorn_create(p, 1, 1 << 20, NULL, &r);
 *	else
 *		popcorn_attach(p, 0, 1, &r);
 *	int *a = popcorn_map(r, NULL);
 *	popcorn_barrier(r, 0, popcorn_nodes(p));
 *
 * Every call returns 0 or -errno, or says otherwise. All may be called by any thread.
 */
#ifndef POPCORN_H
#define POPCORN_H

#include <stddef.h>
#include <stdint.h>

#include <popcorn/uapi.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct popcorn popcorn_t;
typedef struct popcorn_region popcorn_region_t;

/**
 * popcorn_open - become a node's program
 * @spec: NULL: as the environment says (`popcorn run` sets it), else kernel mode if
 *        /dev/popcorn is there. "kernel" or "kernel:ID": popcorn.ko, at the node of this
 *        kernel with that id. "user:SELF:WIRE:ADDRESSES": user mode; own position in
 *        ADDRESSES, "tcp" or "shm", addresses separated by commas
 * @out:  the handle
 *
 * Errors: -ENODEV: no popcorn.ko or no node; -EINVAL; -EADDRINUSE; -EPERM: userfaultfd
 * isn't allowed here (sysctl vm.unprivileged_userfaultfd, or /dev/userfaultfd).
 */
int popcorn_open(const char *spec, popcorn_t **out);
void popcorn_close(popcorn_t *p);

unsigned int popcorn_self(const popcorn_t *p);	/* own node's id */
unsigned int popcorn_nodes(const popcorn_t *p);	/* nodes in the cluster */
const char *popcorn_mode(const popcorn_t *p);	/* "kernel" or "user" */

/**
 * struct popcorn_region_opts - how a region is made; NULL or zeroes for defaults
 * @perm:    mode bits, default 0600 (kernel mode: the same user on every node)
 * @hold_us: microseconds that a page is kept at least, default 100
 */
struct popcorn_region_opts {
	uint32_t perm;
	uint32_t hold_us;
};

/* Errors of both: see struct popcorn_ioc_region. attach waits up to 10 s for the region. */
int popcorn_create(popcorn_t *p, uint32_t id, size_t bytes,
		   const struct popcorn_region_opts *opts, popcorn_region_t **out);
int popcorn_attach(popcorn_t *p, unsigned int home, uint32_t id, popcorn_region_t **out);
/* Unmaps it and gives all copies back; the home's ends the region for everybody. */
int popcorn_detach(popcorn_region_t *r);

/**
 * popcorn_map - where the region's memory is
 * @at: NULL, or an address that is free on this node: pointers into the region mean the
 *      same on all nodes if all map it there
 * Return: the address, or NULL with errno set. Mapped once; again: the same address.
 *
 * An access to a page whose only copy died with its node, or after the home died,
 * raises SIGBUS.
 */
void *popcorn_map(popcorn_region_t *r, void *at);
size_t popcorn_bytes(const popcorn_region_t *r);

int popcorn_advise(popcorn_region_t *r, size_t offset, size_t bytes, unsigned int advice);
int popcorn_stat(popcorn_region_t *r, struct popcorn_ioc_stat *out);

/* Locks are queued at the home and handed over by message. See struct popcorn_ioc_sync. */
int popcorn_lock(popcorn_region_t *r, unsigned int number);
int popcorn_unlock(popcorn_region_t *r, unsigned int number);
int popcorn_barrier(popcorn_region_t *r, unsigned int number, unsigned int count);

/**
 * popcorn_name - what a variable of the region is called, for `popcorn dsm-prof`
 * @at:    its address in the mapping
 * @bytes: its size
 * @name:  name, one line
 * Errors: -EINVAL: not within the mapped region. Does nothing when nothing is recorded.
 */
int popcorn_name(popcorn_region_t *r, const void *at, size_t bytes, const char *name);

#ifdef __cplusplus
}
#endif
#endif
