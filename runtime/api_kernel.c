// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn.h in kernel mode: popcorn.ko does the work, an open /dev/popcorn is an
 * attachment.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "api.h"

#define DEVICE		"/dev/popcorn"
#define ATTACH_TRIES	5000
#define ATTACH_WAIT_US	2000	/* 10 s in all */

struct kernel {
	struct popcorn p;
	unsigned int nodes;
	pthread_mutex_t lock;
	struct kernel_region *regions;
};

struct kernel_region {
	struct popcorn_region r;
	int fd;
	struct kernel_region *next;
};

static int fd_of(const struct popcorn_region *r)
{
	return ((const struct kernel_region *)r)->fd;
}

static int call(int fd, unsigned long what, void *arg)
{
	return ioctl(fd, what, arg) ? -errno : 0;
}

static unsigned int kernel_nodes(const struct popcorn *p)
{
	return ((const struct kernel *)p)->nodes;
}

static int region_open(struct popcorn *p, unsigned long what, struct popcorn_ioc_region *io,
		       struct popcorn_region **out)
{
	struct kernel *owner = (struct kernel *)p;
	struct kernel_region *k = calloc(1, sizeof(*k));
	int e;

	if (!k)
		return -ENOMEM;
	k->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	e = k->fd < 0 ? -errno : call(k->fd, what, io);
	if (e) {
		if (k->fd >= 0)
			close(k->fd);
		free(k);
		return e;
	}
	k->r.p = p;
	k->r.id = io->id;
	k->r.home = io->home;
	k->r.bytes = io->bytes;
	pthread_mutex_lock(&owner->lock);
	k->next = owner->regions;
	owner->regions = k;
	pthread_mutex_unlock(&owner->lock);
	*out = &k->r;
	return 0;
}

static int kernel_create(struct popcorn *p, uint32_t id, size_t bytes,
			 const struct popcorn_region_opts *opts, struct popcorn_region **out)
{
	struct popcorn_ioc_region io = {
		.id = id, .node = p->self, .bytes = bytes, .perm = opts->perm ? opts->perm : 0600,
		.hold_us = opts->hold_us,
	};

	return region_open(p, POPCORN_IOC_CREATE, &io, out);
}

static int kernel_attach(struct popcorn *p, unsigned int home, uint32_t id,
			 struct popcorn_region **out)
{
	struct popcorn_ioc_region io = { .id = id, .node = p->self, .home = home }, try;
	int e, i;

	for (i = 0; i < ATTACH_TRIES; i++) {
		try = io;
		e = region_open(p, POPCORN_IOC_ATTACH, &try, out);
		if (e != -ENOENT)
			break;
		usleep(ATTACH_WAIT_US);
	}
	return e;
}

static int kernel_detach(struct popcorn_region *r)
{
	struct kernel *owner = (struct kernel *)r->p;
	struct kernel_region **at;
	int e = 0;

	pthread_mutex_lock(&owner->lock);
	for (at = &owner->regions; &(*at)->r != r; at = &(*at)->next)
		;
	*at = (*at)->next;
	pthread_mutex_unlock(&owner->lock);
	if (r->map && munmap(r->map, r->bytes))
		e = -errno;
	if (close(fd_of(r)) && !e)
		e = -errno;
	free(r);
	return e;
}

static void kernel_close(struct popcorn *p)
{
	struct kernel *k = (struct kernel *)p;

	while (k->regions)
		kernel_detach(&k->regions->r);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static int kernel_map(struct popcorn_region *r, void *at)
{
	void *p = mmap(at, r->bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | (at ? MAP_FIXED_NOREPLACE : 0), fd_of(r), 0);

	if (p == MAP_FAILED)
		return -errno;
	r->map = p;
	return 0;
}

static int kernel_advise(struct popcorn_region *r, size_t offset, size_t bytes,
			 unsigned int advice)
{
	struct popcorn_ioc_advise io = { .offset = offset, .bytes = bytes, .advice = advice };

	return call(fd_of(r), POPCORN_IOC_ADVISE, &io);
}

static int kernel_stat(struct popcorn_region *r, struct popcorn_ioc_stat *out)
{
	return call(fd_of(r), POPCORN_IOC_STAT, out);
}

/* A signal whose handler returned is no reason to give up. */
static int sync_call(struct popcorn_region *r, unsigned long what, unsigned int number,
		     unsigned int count)
{
	struct popcorn_ioc_sync io = { .number = number, .count = count };
	int e;

	do
		e = call(fd_of(r), what, &io);
	while (e == -EINTR);
	return e;
}

static int kernel_lock(struct popcorn_region *r, unsigned int number)
{
	return sync_call(r, POPCORN_IOC_LOCK, number, 0);
}

static int kernel_unlock(struct popcorn_region *r, unsigned int number)
{
	return sync_call(r, POPCORN_IOC_UNLOCK, number, 0);
}

static int kernel_barrier(struct popcorn_region *r, unsigned int number, unsigned int count)
{
	return sync_call(r, POPCORN_IOC_BARRIER, number, count);
}

static const struct api_ops kernel_ops = {
	.mode = "kernel",
	.close = kernel_close,
	.nodes = kernel_nodes,
	.create = kernel_create,
	.attach = kernel_attach,
	.detach = kernel_detach,
	.map = kernel_map,
	.advise = kernel_advise,
	.stat = kernel_stat,
	.lock = kernel_lock,
	.unlock = kernel_unlock,
	.barrier = kernel_barrier,
};

/* The node with an id, or the first one. Return: 0, -ENODEV, -EPROTO. */
static int find(int fd, long want, struct popcorn_ioc_info *info)
{
	unsigned int i;
	int e;

	for (i = 0;; i++) {
		*info = (struct popcorn_ioc_info){ .abi = POPCORN_ABI, .node = i };
		e = call(fd, POPCORN_IOC_INFO, info);
		if (e)
			return e;
		if (info->abi != POPCORN_ABI)
			return -EPROTO;
		if (want < 0 || info->node == want)
			return 0;
	}
}

/**
 * api_kernel_open() - kernel mode
 * @spec: id of a node of this kernel, or NULL: the first one
 * @out:  handle
 */
int api_kernel_open(const char *spec, struct popcorn **out)
{
	struct popcorn_ioc_info info;
	struct kernel *k;
	long want = -1;
	char *end;
	int e, fd;

	if (spec) {
		want = strtol(spec, &end, 10);
		if (end == spec || *end || want < 0 || want > 0xffff)
			return -EINVAL;
	}
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
	e = find(fd, want, &info);
	close(fd);
	if (e)
		return e;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	pthread_mutex_init(&k->lock, NULL);
	k->p.ops = &kernel_ops;
	k->p.self = info.node;
	k->nodes = info.nodes;
	*out = &k->p;
	return 0;
}
