// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn.h: arguments are checked here, the modes do the rest. User mode is at the
 * end; kernel mode in api_kernel.c.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"
#include "dsm.h"

/* ------------------------------------------------------------------- calls */

int popcorn_open(const char *spec, popcorn_t **out)
{
	int e = -EINVAL;

	if (!out)
		return -EINVAL;
	if (!spec)
		spec = getenv("POPCORN_NODE");
	if (!spec)
		spec = "kernel";
	if (!strncmp(spec, "user:", 5))
		e = api_user_open(spec + 5, out);
	else if (!strcmp(spec, "kernel") || !strncmp(spec, "kernel:", 7))
		e = api_kernel_open(spec[6] ? spec + 7 : NULL, out);
	if (!e)
		api_prof_maps();
	return e;
}

void popcorn_close(popcorn_t *p)
{
	if (!p)
		return;
	api_prof_maps();
	p->ops->close(p);
}

unsigned int popcorn_self(const popcorn_t *p)
{
	return p->self;
}

unsigned int popcorn_nodes(const popcorn_t *p)
{
	return p->ops->nodes(p);
}

const char *popcorn_mode(const popcorn_t *p)
{
	return p->ops->mode;
}

int popcorn_create(popcorn_t *p, uint32_t id, size_t bytes,
		   const struct popcorn_region_opts *opts, popcorn_region_t **out)
{
	static const struct popcorn_region_opts dflt;

	if (!p || !out || !bytes)
		return -EINVAL;
	return p->ops->create(p, id, bytes, opts ?: &dflt, out);
}

int popcorn_attach(popcorn_t *p, unsigned int home, uint32_t id, popcorn_region_t **out)
{
	if (!p || !out || !id || home >= popcorn_nodes(p))
		return -EINVAL;
	return p->ops->attach(p, home, id, out);
}

int popcorn_detach(popcorn_region_t *r)
{
	return r ? r->p->ops->detach(r) : -EINVAL;
}

void *popcorn_map(popcorn_region_t *r, void *at)
{
	int e = -EINVAL;

	if (r && r->map && (!at || at == r->map))
		return r->map;
	if (r && !r->map && !((uintptr_t)at % sysconf(_SC_PAGESIZE)))
		e = r->p->ops->map(r, at);
	if (!e)
		return r->map;
	errno = -e;
	return NULL;
}

size_t popcorn_bytes(const popcorn_region_t *r)
{
	return r->bytes;
}

int popcorn_advise(popcorn_region_t *r, size_t offset, size_t bytes, unsigned int advice)
{
	if (!r || advice < POPCORN_ADVISE_WILLNEED || advice > POPCORN_ADVISE_WILLWRITE ||
	    offset > r->bytes || bytes > r->bytes - offset)
		return -EINVAL;
	return r->p->ops->advise(r, offset, bytes, advice);
}

int popcorn_stat(popcorn_region_t *r, struct popcorn_ioc_stat *out)
{
	return r && out ? r->p->ops->stat(r, out) : -EINVAL;
}

int popcorn_lock(popcorn_region_t *r, unsigned int number)
{
	return r && number < POPCORN_SYNC_MAX ? r->p->ops->lock(r, number) : -EINVAL;
}

int popcorn_unlock(popcorn_region_t *r, unsigned int number)
{
	return r && number < POPCORN_SYNC_MAX ? r->p->ops->unlock(r, number) : -EINVAL;
}

int popcorn_barrier(popcorn_region_t *r, unsigned int number, unsigned int count)
{
	if (!r || number >= POPCORN_SYNC_MAX || !count)
		return -EINVAL;
	return r->p->ops->barrier(r, number, count);
}

int popcorn_name(popcorn_region_t *r, const void *at, size_t bytes, const char *name)
{
	size_t offset;

	if (!r || !r->map || !name || !*name)
		return -EINVAL;
	offset = (uintptr_t)at - (uintptr_t)r->map;
	if (!bytes || offset >= r->bytes || bytes > r->bytes - offset)
		return -EINVAL;
	api_prof_name(r, offset, bytes, name);
	return 0;
}

/* --------------------------------------------------------------- user mode */

struct user_region {
	struct popcorn_region r;
	struct dsm_region *dsm;
	struct user_region *next;
};

struct user {
	struct popcorn p;
	struct dsm *d;
	pthread_mutex_t lock;
	struct user_region *regions;
};

static struct dsm *dsm_of(const struct popcorn *p)
{
	return ((const struct user *)p)->d;
}

static struct dsm_region *region_of(const struct popcorn_region *r)
{
	return ((const struct user_region *)r)->dsm;
}

static void user_close(struct popcorn *p)
{
	struct user *u = (struct user *)p;
	struct user_region *r;

	dsm_close(u->d);
	while ((r = u->regions)) {
		u->regions = r->next;
		free(r);
	}
	pthread_mutex_destroy(&u->lock);
	free(u);
}

static unsigned int user_nodes(const struct popcorn *p)
{
	return popcorn_node_count(dsm_of(p)->n);
}

static struct user_region *region_new(struct popcorn *p)
{
	struct user_region *u = calloc(1, sizeof(*u));

	if (u)
		u->r.p = p;
	return u;
}

static int region_made(struct user_region *r, int e, struct popcorn_region **out)
{
	struct user *u = (struct user *)r->r.p;

	if (e) {
		free(r);
		return e;
	}
	r->r.id = r->dsm->id;
	r->r.home = r->dsm->c.home;
	r->r.bytes = r->dsm->bytes;
	pthread_mutex_lock(&u->lock);
	r->next = u->regions;
	u->regions = r;
	pthread_mutex_unlock(&u->lock);
	*out = &r->r;
	return 0;
}

static int user_create(struct popcorn *p, uint32_t id, size_t bytes,
		       const struct popcorn_region_opts *opts, struct popcorn_region **out)
{
	struct user_region *u = region_new(p);

	if (!u)
		return -ENOMEM;
	return region_made(u, dsm_create(dsm_of(p), id, bytes, opts->perm, opts->hold_us,
					 &u->dsm), out);
}

static int user_attach(struct popcorn *p, unsigned int home, uint32_t id,
		       struct popcorn_region **out)
{
	struct user_region *u = region_new(p);

	if (!u)
		return -ENOMEM;
	return region_made(u, dsm_attach(dsm_of(p), home, id, &u->dsm), out);
}

static int user_detach(struct popcorn_region *r)
{
	struct user *u = (struct user *)r->p;
	int e = dsm_detach(region_of(r));
	struct user_region **at;

	pthread_mutex_lock(&u->lock);
	for (at = &u->regions; *at && &(*at)->r != r; at = &(*at)->next)
		;
	if (*at)
		*at = (*at)->next;
	pthread_mutex_unlock(&u->lock);
	free(r);
	return e;
}

static int user_map(struct popcorn_region *r, void *at)
{
	int e = dsm_map(region_of(r), at);

	if (!e)
		r->map = region_of(r)->map;
	return e;
}

static int user_advise(struct popcorn_region *u, size_t offset, size_t bytes,
		       unsigned int advice)
{
	struct dsm_region *r = region_of(u);
	u32 from = offset >> UE_PAGE_SHIFT, to = (offset + bytes + UE_PAGE - 1) >> UE_PAGE_SHIFT;

	switch (advice) {
	case POPCORN_ADVISE_WILLNEED:
	case POPCORN_ADVISE_WILLWRITE:
		dsm_page_need(r, from, to - from, advice == POPCORN_ADVISE_WILLWRITE);
		return 0;
	case POPCORN_ADVISE_DONTNEED:
		for (; from < to; from++)
			dsm_page_drop(r, from);
		return 0;
	}
	r->advice = advice;
	return 0;
}

static int user_stat(struct popcorn_region *u, struct popcorn_ioc_stat *out)
{
	struct dsm_region *r = region_of(u);
	u32 i;

	*out = r->stat;
	out->resident = 0;
	for (i = 0; i < r->pages; i++)
		out->resident += r->page[i].p.state != PD_I;
	return 0;
}

static int user_lock(struct popcorn_region *r, unsigned int number)
{
	return dsm_lock(region_of(r), number);
}

static int user_unlock(struct popcorn_region *r, unsigned int number)
{
	return dsm_unlock(region_of(r), number);
}

static int user_barrier(struct popcorn_region *r, unsigned int number, unsigned int count)
{
	return dsm_barrier(region_of(r), number, count);
}

static const struct api_ops user_ops = {
	.mode = "user",
	.close = user_close,
	.nodes = user_nodes,
	.create = user_create,
	.attach = user_attach,
	.detach = user_detach,
	.map = user_map,
	.advise = user_advise,
	.stat = user_stat,
	.lock = user_lock,
	.unlock = user_unlock,
	.barrier = user_barrier,
};

/* A number from the environment, between bounds. Return: 0 or -EINVAL. */
static int number(const char *name, u32 least, u32 most, u32 *out)
{
	const char *s = getenv(name);
	unsigned long v;
	char *end;

	if (!s || !*s)
		return 0;
	v = strtoul(s, &end, 10);
	if (*end || v < least || v > most)
		return -EINVAL;
	*out = v;
	return 0;
}

/* Comings and goings are no news, and what fails is told by a call or by dsm_log(). */
static void quiet(const char *line)
{
	if (getenv("POPCORN_DEBUG"))
		fprintf(stderr, "%s\n", line);
}

/* What popcorn(1) run and popcorn_open(3) say of the environment. */
static int environment(struct popcorn_opts *o, bool *sigbus, bool *copies)
{
	const char *fault = getenv("POPCORN_FAULT");
	u32 port = o->port, spin = 0, copy = 0, dead = o->cfg.dead_ms;
	int e;

	e = number("POPCORN_PORT", 1, 65535, &port) ?: number("POPCORN_SPIN", 0, 1, &spin) ?:
		number("POPCORN_COPY", 0, 1, &copy) ?:
		number("POPCORN_DEAD_MS", 1000, 600000, &dead);
	if (e)
		return e;
	if (fault && *fault && strcmp(fault, "thread") && strcmp(fault, "sigbus"))
		return -EINVAL;
	*sigbus = fault && !strcmp(fault, "sigbus");
	*copies = copy;
	o->port = port;
	o->mode = spin ? POPCORN_BUSY : POPCORN_BLOCK;
	if (dead != o->cfg.dead_ms) {
		o->cfg.dead_ms = dead;
		o->cfg.lease_ms = dead / 2;
		o->cfg.hb_ms = dead / 40 > 500 ? 500 : dead / 40;
		o->cfg.connect_ms = dead / 4;
	}
	o->keyfile = getenv("POPCORN_KEY");
	return 0;
}

/**
 * api_user_open() - user mode
 * @spec: SELF:WIRE:ADDRESSES
 * @out:  handle
 */
int api_user_open(const char *spec, struct popcorn **out)
{
	struct popcorn_opts o;
	struct user *u;
	bool sigbus, copies;
	char *end;
	int e;

	popcorn_opts_init(&o);
	o.log = quiet;
	o.self = strtoul(spec, &end, 10);
	if (end == spec || *end != ':' || o.self < 0)
		return -EINVAL;
	spec = end + 1;
	if (!strncmp(spec, "shm:", 4))
		o.wire = POPCORN_SHM;
	else if (strncmp(spec, "tcp:", 4))
		return -EINVAL;
	o.nodes = spec + 4;
	e = environment(&o, &sigbus, &copies);
	if (e)
		return e;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->p.ops = &user_ops;
	pthread_mutex_init(&u->lock, NULL);
	e = dsm_open(&o, sigbus, copies, &u->d);
	if (e) {
		free(u);
		return e;
	}
	u->p.self = dsm_self(u->d);
	*out = &u->p;
	return 0;
}
