// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What happens to a page at a node of user mode: threads need it, memory is short, a node
 * dies; and what is left to do later.
 */
#define _GNU_SOURCE
#include <time.h>

#include "dsm.h"

u64 dsm_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ------------------------------------------------------- what is left to do */

/**
 * dsm_due() - something of a region is to be looked at again
 * @r:    region
 * @when: ns
 */
void dsm_due(struct dsm_region *r, u64 when)
{
	u64 was = atomic_load(&r->due);

	while (when < was && !atomic_compare_exchange_weak(&r->due, &was, when))
		;
	was = atomic_load(&r->d->due);
	while (when < was && !atomic_compare_exchange_weak(&r->d->due, &was, when))
		;
}

/**
 * dsm_later() - do something about a page from a time on
 * @r:    region
 * @page: page, its lock held
 * @todo: DSM_TODO_*
 * @when: ns
 */
void dsm_later(struct dsm_region *r, u32 page, u8 todo, u64 when)
{
	struct dsm_page *dp = &r->page[page];

	dp->todo |= todo;
	if (!dp->listed) {
		dp->listed = true;
		ue_lock(&r->work_lock);
		dp->next = r->work;
		r->work = page + 1;
		ue_unlock(&r->work_lock);
	}
	dsm_due(r, when);
}

/* It could not be sent now. Page lock held. */
void dsm_retry(struct dsm_region *r, u32 page, u8 todo)
{
	dsm_later(r, page, todo, dsm_now() + DSM_RETRY_NS);
}

static void work_page(struct dsm_region *r, u32 page, u64 now)
{
	struct dsm_page *dp = &r->page[page];
	struct dsm_run run;
	u8 todo;

	dsm_begin(&run, r, page);
	todo = dp->todo & ~DSM_TODO_LATER;
	dp->listed = false;
	dp->todo &= DSM_TODO_LATER;
	if ((todo & DSM_TODO_ASK) && dp->p.want)
		dsm_ask(&run, dp->p.req, dp->ask_flags);
	dsm_take(&run);
	dsm_act_again(&run, todo, now);
	dsm_end(&run);
}

static void work_region(struct dsm_region *r, u64 now)
{
	u32 page, next;

	atomic_store(&r->due, ~0ull);
	ue_lock(&r->work_lock);
	page = r->work;
	r->work = 0;
	ue_unlock(&r->work_lock);
	for (; page; page = next) {
		next = r->page[page - 1].next;
		work_page(r, page - 1, now);
	}
	dsm_done_send(r);
	if (dsm_sync_work(r))
		dsm_due(r, now + DSM_RETRY_NS);
}

/**
 * dsm_work() - do what is due: what could not be sent, what was to be kept until now
 * @d: node
 *
 * No lock held.
 */
void dsm_work(struct dsm *d)
{
	struct dsm_region *r;
	u64 now, due;
	u32 i;

	if (likely(atomic_load_explicit(&d->due, memory_order_relaxed) == ~0ull))
		return;
	now = dsm_now();
	if (atomic_load(&d->due) > now)
		return;
	atomic_store(&d->due, ~0ull);
	for (i = 0; i < DSM_REGIONS; i++) {
		r = dsm_region_nth(d, i);
		if (!r)
			continue;
		due = atomic_load(&r->due);
		if (due <= now)
			work_region(r, now);
		due = atomic_load(&r->due);
		if (due != ~0ull)
			dsm_due(r, due);
		dsm_region_put(r);
	}
}

/* ------------------------------------------------------------ the page's events */

/* The home's first use of a page. Its lock is held. */
void dsm_first(struct dsm_run *run)
{
	struct dsm_region *r = run->r;

	if (dsm_is_home(r) && r->dir[run->page].state == PD_I)
		pd_home_first(&r->c, &r->dir[run->page], run->p);
}

/* A thread reads, or writes, @n pages from @page on: which are next? */
static void look_ahead(struct dsm_region *r, u32 page, u32 n, bool write)
{
	struct pd_stream *s = write ? &r->writes : &r->stream;
	u32 first = 0, count = 0, more, at;

	if (r->advice == POPCORN_ADVISE_RANDOM)
		return;
	ue_lock(&r->stream_lock);
	for (; n; n--, page++) {
		more = pd_stream_fault(s, page, r->pages, &at);
		if (more && !count)
			first = at;
		else if (more && at + more == first)
			first = at;	/* it goes down */
		else if (more && at != first + count)
			continue;
		count += more;
	}
	ue_unlock(&r->stream_lock);
	dsm_page_ahead(r, first, count, write);
}

/*
 * A thread reads or writes a page: show those behind it, too, that were asked for ahead.
 * Return: how many from @run's page on are mapped then.
 */
static u32 show_around(struct dsm_run *run, bool write)
{
	struct dsm_region *r = run->r;
	u32 page = run->page, n, i, mapped;
	u8 was = r->page[page].mapped, state = write ? PD_M : PD_S;
	struct dsm_page *dp;

	for (n = 1; n < PD_BATCH && page + n < r->pages; n++) {
		dp = &r->page[page + n];
		if (pthread_mutex_trylock(&r->lock[dsm_bucket(page + n)]))
			break;
		if (dp->mapped != was || dp->p.state != state || dp->p.doing != PD_IDLE) {
			pthread_mutex_unlock(&r->lock[dsm_bucket(page + n)]);
			break;
		}
	}
	mapped = n > 1 ? dsm_map_more(r, page + 1, n - 1, write) : 0;
	for (i = 1; i < n; i++)
		pthread_mutex_unlock(&r->lock[dsm_bucket(page + i)]);
	return 1 + mapped;
}

/**
 * dsm_page_fault() - a thread needs a page
 * @r:     region
 * @page:  page
 * @write: to write
 * @stale: the mapping has nothing there, whatever was thought
 * @waits: a thread does; else it is fetched for the home, which takes it over
 *
 * Return: 0: it is mapped, -EINPROGRESS: it will be, -EIO: it is lost.
 */
int dsm_page_fault(struct dsm_region *r, u32 page, bool write, bool stale, bool waits)
{
	struct dsm_run run;
	u32 n = 1;
	int e;

	dsm_begin(&run, r, page);
	if (r->suspended || r->dead) {
		dsm_end(&run);
		return r->dead ? -EIO : -EINPROGRESS;
	}
	dsm_first(&run);
	e = pd_fault(&r->c, run.p, write, &run.out);
	if (!e && waits) {
		n = r->page[page].mapped < (write ? DSM_WRITE : DSM_READ) ? show_around(&run, write) : 1;
		dsm_map_page(r, page, stale);
		dsm_count(&r->stat.faults_local);
	} else if (run.out.n && waits) {
		dsm_count(!write ? &r->stat.faults_read : run.p->state == PD_S ?
			  &r->stat.faults_upgrade : &r->stat.faults_write);
	}
	dsm_end(&run);
	/* While it is on its way. */
	if (e == -EINPROGRESS && !__atomic_load_n(&r->page[page].backed, __ATOMIC_RELAXED))
		dsm_back(r, page);
	if (waits && e != -EIO)
		look_ahead(r, page, n, write);
	return e;
}

/* Is there a copy, a request, or something still to be said of the page? */
bool dsm_page_busy(struct dsm_region *r, u32 page)
{
	struct dsm_page *dp = &r->page[page];
	struct dsm_run run;
	bool busy;

	/* The state changes before what follows from it is sent: look when that has been. */
	dsm_begin(&run, r, page);
	busy = dp->p.state || dp->p.want || dp->serves || dp->listed;
	dsm_end(&run);
	return busy;
}

/* Return: 0: something was begun; -EBUSY: there is nothing to drop, or not now. */
int dsm_page_drop(struct dsm_region *r, u32 page)
{
	struct dsm_run run;
	int e;

	dsm_begin(&run, r, page);
	e = pd_drop(&r->c, run.p, false, &run.out);
	if (!e)
		dsm_count(&r->stat.dropped);
	dsm_end(&run);
	return e;
}

/* Home: @node is dead, or has left. Return: whether the page is lost by that. */
bool dsm_page_dead(struct dsm_region *r, u32 page, u16 node)
{
	struct pd_home h = dsm_home_of(r, page);
	struct dsm_run run;
	bool lost;

	if (r->dir[page].state == PD_I)
		return false;
	dsm_begin(&run, r, page);
	if (*h.now)
		((struct dsm_txn *)*h.now)->todo &= ~(1ull << node);
	lost = h.dir->flags & PD_D_LOST;
	dsm_txns_ended(pd_home_dead(&r->c, &h, node, &run.out));
	lost = !lost && (h.dir->flags & PD_D_LOST);
	if (lost)
		dsm_count(&r->stat.lost);
	dsm_act(&run);
	/* The last copy's node doesn't know that it is: take one before it is dropped. */
	if (!lost && !*h.now && (h.dir->flags & PD_D_DOUBT))
		pd_ahead(&r->c, run.p, false, &run.out);
	dsm_end(&run);
	return lost;
}
