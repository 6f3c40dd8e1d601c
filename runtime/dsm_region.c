// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Regions in user mode: made, attached and left, and what the death of a node does
 * to them.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dsm.h"

#define ATTACH_MS	10000	/* the home may not have made it yet */
#define LEAVE_US	100	/* between looks whether everything was given back */
#define HOLD_US		100

#define LOST_LINES	16	/* pages that a death takes, named in the log */

/**
 * dsm_log() - tell the user what the program can't
 * @d:   node
 * @fmt: one line, without newline
 *
 * To standard error. What the transport says of comings and goings is for those who
 * look for it: popcorn_open() decides.
 */
void dsm_log(const struct dsm *d, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "popcorn: node %u: %s\n", dsm_self(d), line);
}

/* ------------------------------------------------------------------ lookup */

static struct dsm_region *ref(struct dsm_region *r)
{
	atomic_fetch_add(&r->refs, 1);
	return r;
}

struct dsm_region *dsm_region_get(struct dsm *d, u32 id)
{
	struct dsm_region *r = NULL;
	u32 i;

	ue_lock(&d->map);
	for (i = 0; i < DSM_REGIONS && !r; i++)
		if (d->region[i] && d->region[i]->id == id)
			r = ref(d->region[i]);
	ue_unlock(&d->map);
	return r;
}

/* The region that is mapped at an address. */
struct dsm_region *dsm_region_at(struct dsm *d, u64 addr)
{
	struct dsm_region *r = NULL, *c;
	u64 map;
	u32 i;

	ue_lock(&d->map);
	for (i = 0; i < DSM_REGIONS && !r; i++) {
		c = d->region[i];
		map = c ? (uintptr_t)__atomic_load_n(&c->map, __ATOMIC_ACQUIRE) : 0;
		if (map && addr - map < c->bytes)
			r = ref(c);
	}
	ue_unlock(&d->map);
	return r;
}

/* The @i-th one, or NULL. */
struct dsm_region *dsm_region_nth(struct dsm *d, u32 i)
{
	struct dsm_region *r;

	if (!__atomic_load_n(&d->region[i], __ATOMIC_RELAXED))
		return NULL;
	ue_lock(&d->map);
	r = d->region[i];
	if (r)
		ref(r);
	ue_unlock(&d->map);
	return r;
}

static void region_free(struct dsm_region *r)
{
	u32 i;

	dsm_sync_free(r);
	dsm_unmap(r);
	if (r->alias)
		munmap(r->alias, r->bytes);
	if (r->fd >= 0)
		close(r->fd);
	if (r->empty_fd >= 0)
		close(r->empty_fd);
	if (r->page)
		munmap(r->page, r->pages * sizeof(*r->page));
	if (r->dir)
		munmap(r->dir, r->pages * sizeof(*r->dir));
	if (r->now)
		munmap(r->now, r->pages * sizeof(*r->now));
	for (i = 0; i < PD_NODES; i++)
		free(r->txns[i]);
	for (i = 0; i < DSM_BUCKETS; i++)
		pthread_mutex_destroy(&r->lock[i]);
	free(r);
}

void dsm_region_put(struct dsm_region *r)
{
	if (atomic_fetch_sub(&r->refs, 1) == 1)
		region_free(r);
}

/* Return: 0; -EEXIST: the id is taken here; -ENOSPC. */
static int link_region(struct dsm *d, struct dsm_region *r)
{
	u32 i, at = DSM_REGIONS;
	int e = 0;

	ue_lock(&d->map);
	/* The first place that is free: who looks for a region begins there. */
	for (i = DSM_REGIONS; i--;) {
		if (!d->region[i])
			at = i;
		else if (d->region[i]->id == r->id)
			e = -EEXIST;
	}
	if (!e && at == DSM_REGIONS)
		e = -ENOSPC;
	if (!e)
		d->region[at] = r;
	ue_unlock(&d->map);
	return e;
}

static void unlink_region(struct dsm *d, struct dsm_region *r)
{
	u32 i;

	ue_lock(&d->map);
	for (i = 0; i < DSM_REGIONS; i++)
		if (d->region[i] == r)
			d->region[i] = NULL;
	ue_unlock(&d->map);
}

static void lock_all(struct dsm_region *r)
{
	u32 i;

	for (i = 0; i < DSM_BUCKETS; i++)
		pthread_mutex_lock(&r->lock[i]);
}

static void unlock_all(struct dsm_region *r)
{
	u32 i;

	for (i = 0; i < DSM_BUCKETS; i++)
		pthread_mutex_unlock(&r->lock[i]);
}

/* ------------------------------------------------------------------ making */

/* Transactions for a member's requests, or the home's own. */
static int txns_make(struct dsm_region *r, u16 node)
{
	size_t size = sizeof(struct dsm_txn) +
		popcorn_node_count(r->d->n) * sizeof(struct dsm_call);
	u32 i, n = 2 * DSM_ASKS + DSM_AHEAD + PD_BATCH;
	struct dsm_txn *x;
	u8 *p;

	size = (size + 63) & ~(size_t)63;
	if (r->txns[node])
		return 0;
	p = ue_alloc(n * size);
	if (!p)
		return -ENOMEM;
	r->txns[node] = p;
	for (i = 0; i < n; i++) {
		x = (struct dsm_txn *)(p + i * size);
		x->r = r;
		ue_lock(&r->txn_lock);
		x->next = r->txn_free;
		r->txn_free = x;
		ue_unlock(&r->txn_lock);
	}
	return 0;
}

static int region_files(struct dsm_region *r)
{
	r->fd = memfd_create("popcorn-region", MFD_CLOEXEC);
	r->empty_fd = memfd_create("popcorn-lost", MFD_CLOEXEC);
	if (r->fd < 0 || r->empty_fd < 0 || ftruncate(r->fd, r->bytes))
		return -errno;
	r->alias = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->alias == MAP_FAILED) {
		r->alias = NULL;
		return -ENOMEM;
	}
	madvise(r->alias, r->bytes, MADV_NOHUGEPAGE);
	madvise(r->alias, r->bytes, MADV_DONTFORK);
	return 0;
}

/* @id and @gen are set by the caller. One reference, the caller's. */
static int region_new(struct dsm *d, u16 home, u32 pages, u32 hold_us, struct dsm_region **out)
{
	struct dsm_region *r = ue_alloc(sizeof(*r));
	u32 i;
	int e;

	if (!r)
		return -ENOMEM;
	r->d = d;
	r->c = (struct pd_cfg){ .self = dsm_self(d), .home = home, .hold_ns = hold_us * 1000 };
	r->pages = pages;
	r->bytes = (size_t)pages << UE_PAGE_SHIFT;
	r->fd = r->empty_fd = -1;
	r->due = ~0ull;
	r->refs = 1;
	r->advice = POPCORN_ADVISE_NORMAL;
	r->writes.least = PD_STREAM_WRITES;
	for (i = 0; i < DSM_BUCKETS; i++)
		pthread_mutex_init(&r->lock[i], NULL);
	e = region_files(r);
	r->page = ue_map(pages * sizeof(*r->page));
	if (dsm_is_home(r)) {
		r->dir = ue_map(pages * sizeof(*r->dir));
		r->now = ue_map(pages * sizeof(*r->now));
		e = e ?: txns_make(r, r->c.self);
	}
	if (!r->page || (dsm_is_home(r) && (!r->dir || !r->now)))
		e = e ?: -ENOMEM;
	e = e ?: dsm_sync_make(r);
	if (e)
		region_free(r);
	else
		*out = r;
	return e;
}

/**
 * dsm_create() - make a region of which this node is the home
 * @d:       node
 * @id:      its id, 0: any
 * @bytes:   size, rounded up
 * @perm:    mode bits, 0: default
 * @hold_us: how long a page is kept at least, 0: default
 * @out:     region
 *
 * Return: 0, -EINVAL, -EEXIST, -ENOSPC, -ERANGE, -ENOMEM.
 */
int dsm_create(struct dsm *d, u32 id, size_t bytes, u32 perm, u32 hold_us,
	       struct dsm_region **out)
{
	size_t pages = bytes / UE_PAGE + !!(bytes % UE_PAGE);
	struct dsm_region *r, *other;
	int e;

	if (!bytes || pages > PD_PAGES_MAX || perm > 0777 || hold_us > 1000000)
		return -EINVAL;
	if (popcorn_node_count(d->n) > PD_NODES)
		return -ERANGE;
	e = region_new(d, dsm_self(d), pages, hold_us ?: HOLD_US, &r);
	if (e)
		return e;
	for (r->id = id ?: 1; !id && (other = dsm_region_get(d, r->id)); r->id++)
		dsm_region_put(other);
	r->gen = (u32)(dsm_now() >> 10) ^ (u32)getpid() << 20;
	r->perm = perm ?: 0600;
	e = link_region(d, r);
	if (e)
		region_free(r);
	else
		*out = r;
	return e;
}

/* --------------------------------------------------------------- attaching */

static bool allowed(const struct dsm_region *r, u32 uid)
{
	u32 bits = uid == geteuid() || !uid ? r->perm >> 6 : r->perm;

	return (bits & 6) == 6;
}

/* Home: a node wants to attach. */
void dsm_on_attach(struct popcorn_msg *m)
{
	struct dsm *d = m->node->o.above;
	const struct pd_attach *q = m->data;
	struct dsm_region *r = NULL;
	struct pd_attach a;
	int e = 0;

	if (!m->request || m->len != sizeof(*q) || m->max < sizeof(a))
		e = -EPROTO;
	else if (q->mode != POPCORN_MODE_USER || le32_to_cpu(q->page_size) != UE_PAGE)
		e = -EPROTO;
	else if (m->from >= PD_NODES)
		e = -ERANGE;
	else if (!(r = dsm_region_get(d, le32_to_cpu(q->region))) || !dsm_is_home(r) || r->dead)
		e = -ENOENT;
	else if (q->pages && le32_to_cpu(q->pages) != r->pages)
		e = -EPROTO;
	else if (!allowed(r, le32_to_cpu(q->uid)))
		e = -EACCES;
	else if (atomic_load(&r->members) >> m->from & 1)
		e = -EBUSY;
	else
		e = txns_make(r, m->from);
	if (e) {
		if (m->request)
			popcorn_answer(m, e, NULL, 0);
		else
			popcorn_msg_done(m);
		goto out;
	}
	a = (struct pd_attach){
		.region = q->region, .gen = cpu_to_le32(r->gen), .pages = cpu_to_le32(r->pages),
		.page_size = cpu_to_le32(UE_PAGE), .uid = cpu_to_le32(geteuid()),
		.perm = cpu_to_le16(r->perm), .mode = POPCORN_MODE_USER,
		.hold_us = cpu_to_le32(r->c.hold_ns / 1000),
	};
	atomic_fetch_or(&r->members, 1ull << m->from);
	popcorn_answer(m, 0, &a, sizeof(a));
out:
	if (r)
		dsm_region_put(r);
}

/* Worth asking again? */
static bool not_yet(int e)
{
	return e == -ENOENT || e == -EHOSTUNREACH || e == -ETIMEDOUT || e == -EBUSY;
}

static int ask_attach(struct dsm *d, u16 home, u32 id, struct pd_attach *a)
{
	struct pd_attach q = {
		.region = cpu_to_le32(id), .page_size = cpu_to_le32(UE_PAGE),
		.uid = cpu_to_le32(geteuid()), .mode = POPCORN_MODE_USER,
	};
	u64 end = ue_clock_ms() + ATTACH_MS;
	int e;

	for (;;) {
		e = popcorn_request(d->n, home, PW_SYNC, PD_T_ATTACH, &q, sizeof(q), a, sizeof(*a),
				    2000);
		if (e >= 0 || !not_yet(e) || ue_clock_ms() >= end)
			break;
		usleep(2000);
	}
	if (e == -EOPNOTSUPP)
		return -EPROTO;		/* its home is in kernel mode, or shares no memory */
	return e < 0 ? e : e == sizeof(*a) ? 0 : -EPROTO;
}

/**
 * dsm_attach() - share a region of another node
 * @d:    node
 * @home: that node
 * @id:   region
 * @out:  region
 *
 * Return: 0; -ENOENT: it isn't there, within 10 s; -EACCES, -EPROTO, -EHOSTDOWN, -ERANGE,
 * -EEXIST: attached already, -EINVAL, -ENOMEM.
 */
int dsm_attach(struct dsm *d, u16 home, u32 id, struct dsm_region **out)
{
	struct dsm_region *r = dsm_region_get(d, id);
	struct pd_attach a;
	u32 pages;
	int e;

	if (r) {
		dsm_region_put(r);
		return -EEXIST;
	}
	if (!id || home == dsm_self(d) || home >= popcorn_node_count(d->n))
		return -EINVAL;
	if (home >= PD_NODES || dsm_self(d) >= PD_NODES)
		return -ERANGE;
	e = ask_attach(d, home, id, &a);
	if (e)
		return e;
	pages = le32_to_cpu(a.pages);
	if (!pages || pages > PD_PAGES_MAX || a.mode != POPCORN_MODE_USER ||
	    le32_to_cpu(a.page_size) != UE_PAGE || le32_to_cpu(a.hold_us) > 1000000)
		return -EPROTO;
	e = region_new(d, home, pages, le32_to_cpu(a.hold_us), &r);
	if (e)
		return e;
	r->id = id;
	r->gen = le32_to_cpu(a.gen);
	r->perm = le16_to_cpu(a.perm);
	e = link_region(d, r);
	if (e)
		region_free(r);
	else
		*out = r;
	return e;
}

/* ------------------------------------------------------------ leaving, dying */

/**
 * dsm_region_end() - a member's region is over: SIGBUS for who touches it
 * @r:   region
 * @error: what went wrong, for the log; NULL: its home ended it
 *
 * No lock held.
 */
void dsm_region_end(struct dsm_region *r, const char *error)
{
	u32 i;

	if (atomic_exchange(&r->dead, true))
		return;
	lock_all(r);
	dsm_map_lost(r, 0, r->pages);
	unlock_all(r);
	for (i = 0; i < DSM_BUCKETS; i++) {
		atomic_fetch_add(&r->seq[i], 1);
		ue_futex_wake(&r->seq[i], false);
	}
	dsm_sync_end(r);
	if (error)
		dsm_log(r->d, "region %u of node %u is over: %s", r->id, r->c.home, error);
}

/* Home: a node has no part in the region any more. Of one that ends nobody misses a page. */
static void member_gone(struct dsm_region *r, u16 node, bool dead)
{
	u64 bit = 1ull << node;
	u32 i, lost = 0;

	if (!(atomic_fetch_and(&r->members, ~bit) & bit))
		return;
	for (i = 0; i < r->pages; i++) {
		if (!dsm_page_dead(r, i, node) || atomic_load(&r->dead) || ++lost > LOST_LINES)
			continue;
		dsm_log(r->d, "region %u: page %u died with node %u (offset %#zx, address %p)",
			r->id, i, node, (size_t)i << UE_PAGE_SHIFT,
			r->map ? (void *)(r->map + ((size_t)i << UE_PAGE_SHIFT)) : NULL);
	}
	if (lost > LOST_LINES)
		dsm_log(r->d, "region %u: %u pages in all died with node %u", r->id, lost, node);
	dsm_sync_gone(r, node, dead);
}

/* Home: are pages of a node that wants to leave still on their way to others? */
static bool still_gives(struct dsm_region *r, u16 node)
{
	bool gives = false;
	u32 i;

	for (i = 0; i < r->pages && !gives; i++) {
		if (!r->now[i])
			continue;
		pthread_mutex_lock(&r->lock[dsm_bucket(i)]);
		gives = r->now[i] && r->now[i]->from == node && (r->now[i]->steps & PD_X_FWD);
		pthread_mutex_unlock(&r->lock[dsm_bucket(i)]);
	}
	return gives;
}

/* A member leaves; or the home ends it. */
void dsm_on_detach(struct popcorn_msg *m)
{
	int e = 0;

	struct dsm *d = m->node->o.above;
	const struct pd_msg *pm = m->data;
	struct dsm_region *r = m->len == sizeof(*pm) ?
		dsm_region_get(d, le32_to_cpu(pm->region)) : NULL;

	if (r && le32_to_cpu(pm->gen) == r->gen && !(pm->flags & PD_F_IDLE)) {
		if (dsm_is_home(r) && m->request && still_gives(r, m->from))
			e = -EAGAIN;
		else if (dsm_is_home(r))
			member_gone(r, m->from, false);
		else if (m->from == r->c.home)
			dsm_region_end(r, NULL);
	}
	if (m->request)
		popcorn_answer(m, e, NULL, 0);
	else
		popcorn_msg_done(m);
	if (r)
		dsm_region_put(r);
}

static void on_event(const struct popcorn_event *ev)
{
	struct dsm *d = ev->node->o.above;
	struct dsm_region *r;
	u32 i;

	for (i = 0; i < DSM_REGIONS; i++) {
		r = dsm_region_nth(d, i);
		if (!r)
			continue;
		if (dsm_is_home(r)) {
			if (ev->what == POPCORN_PEER_DEAD && ev->peer < PD_NODES)
				member_gone(r, ev->peer, true);
		} else if (ev->peer == r->c.home) {
			if (ev->what == POPCORN_PEER_DEAD)
				dsm_region_end(r, "its home died");
			else if (ev->what == POPCORN_LEASE_LOST)
				dsm_map_suspend(r);
			else if (ev->what == POPCORN_LEASE_BACK)
				dsm_map_resume(r);
		} else if (ev->what == POPCORN_PEER_DEAD) {
			dsm_sync_cut(r);
		}
		dsm_region_put(r);
	}
}

/*
 * Give all copies back, however long the home takes: whoever leaves before takes the region's
 * only copies along. The home's death ends it, too.
 */
static void give_back(struct dsm_region *r)
{
	u32 i, left;

	do {
		left = atomic_load(&r->unsaid);
		for (i = 0; i < r->pages && !r->dead; i++) {
			if (!dsm_page_busy(r, i))
				continue;
			left++;
			dsm_page_drop(r, i);
		}
		if (left && dsm_step(r->d) <= 0)
			usleep(LEAVE_US);
	} while (left && !r->dead);
}

static int detach_request(struct dsm_region *r, u16 to, u8 class, u8 flags)
{
	struct pd_msg m;

	dsm_msg_fill(r, &m, 0, 0, 0, flags);
	return popcorn_request(r->d->n, to, class, PD_T_DETACH, &m, sizeof(m), NULL, 0,
			       DSM_FOREVER);
}

/*
 * Nothing that was said before may come after it, on whatever lane: pages that the home
 * fetched are on their way on one, and DONE, UNLOCK and BARRIER on the other. So the first
 * request only has to come through. The other one is refused while pages that this node
 * gave have not arrived. The peer's death ends both.
 */
static void leave_request(struct dsm_region *r, u16 to)
{
	while (dsm_sync_work(r) && !(r->dead && !dsm_is_home(r)))
		usleep(LEAVE_US);
	detach_request(r, to, PW_SYNC, PD_F_IDLE);
	while (detach_request(r, to, PW_URGENT, 0) == -EAGAIN)
		usleep(LEAVE_US);
}

/* The home's: nobody gets an answer any more but that it is over. */
static void end_all(struct dsm_region *r)
{
	struct pd_txn *x;
	u64 left;
	u32 i;

	atomic_store(&r->dead, true);
	for (i = 0; i < r->pages; i++) {
		if (!r->now[i])
			continue;
		pthread_mutex_lock(&r->lock[dsm_bucket(i)]);
		for (x = r->now[i]; x; x = x->next) {
			if (x->cookie)
				popcorn_answer(x->cookie, -ESTALE, NULL, 0);
			x->cookie = NULL;
		}
		pthread_mutex_unlock(&r->lock[dsm_bucket(i)]);
	}
	dsm_sync_end(r);
	for (left = atomic_load(&r->members); left; left &= left - 1)
		leave_request(r, __builtin_ctzll(left));
}

/**
 * dsm_detach() - leave a region; the home's ends it for everybody
 * @r: region, nobody uses it any more
 *
 * Waits until all copies that others may need were given back, or the home is dead.
 * Return: 0.
 */
int dsm_detach(struct dsm_region *r)
{
	struct dsm *d = r->d;

	lock_all(r);
	dsm_unmap(r);
	unlock_all(r);
	if (dsm_is_home(r)) {
		end_all(r);
	} else if (!r->dead) {
		give_back(r);
		if (!r->dead)
			leave_request(r, r->c.home);
	}
	unlink_region(d, r);
	dsm_region_put(r);
	return 0;
}

/* ------------------------------------------------------------------- nodes */

/**
 * dsm_open() - make a node that shares memory
 * @o:      its options; service, single, event and above are set here
 * @sigbus: faults come as signals
 * @copies: show pages by copying them, also where the kernel could do without
 * @out:    node
 *
 * Return: 0 or -errno as popcorn_node_new() and dsm_threads_start().
 */
int dsm_open(const struct popcorn_opts *o, bool sigbus, bool copies, struct dsm **out)
{
	struct popcorn_opts mine = *o;
	struct dsm *d;
	u32 i;
	int e;

	d = ue_alloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->spin = o->mode == POPCORN_BUSY;
	d->sigbus = sigbus;
	d->copies = copies;
	d->uffd = d->stop_fd = -1;
	d->due = ~0ull;
	for (i = 0; i < DSM_ASKS + DSM_AHEAD; i++) {
		struct dsm_ask **list = i < DSM_ASKS ? &d->ask_free : &d->ahead_free;

		d->ask[i].ahead = i >= DSM_ASKS;
		d->ask[i].next = *list;
		*list = &d->ask[i];
	}
	mine.service = mine.single = false;
	mine.cfg.slots = mine.cfg.prepaid = DSM_SLOTS;
	mine.event = on_event;
	mine.above = d;
	e = dsm_types_register() ?: popcorn_node_new(&mine, &d->n);
	if (e) {
		free(d);
		return e;
	}
	dsm_prof_start(d);
	e = dsm_threads_start(d);
	if (e)
		dsm_close(d);
	else
		*out = d;
	return e;
}

void dsm_close(struct dsm *d)
{
	struct dsm_region *r;
	u32 i;

	for (i = 0; i < DSM_REGIONS; i++)
		if (d->region[i])
			dsm_detach(d->region[i]);
	dsm_threads_stop(d);
	popcorn_node_free(d->n);
	for (i = 0; i < DSM_REGIONS; i++) {
		r = d->region[i];
		if (r)
			dsm_region_put(r);
	}
	dsm_prof_stop(d);
	free(d);
}
