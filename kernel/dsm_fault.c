// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory and page tables: faults map pages, invalidations take them away.
 *
 * A page's lock is held from where its right is looked at until the PTE is set, and
 * PTEs are taken away under it: no PTE outlives its right.
 */
#include <linux/file.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>

#include "dsm.h"
#include "trace.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
#define folio_mapcount(folio) page_mapcount(&(folio)->page)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
static void release_fault_lock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

/* -------------------------------------------------------- bringing a page */

/* Is the page here, and may it be mapped? Locked. */
static bool usable(struct dsm_region *r, struct dsm_page *pg, bool write)
{
	return !r->over && !r->paused && pd_may(&pg->p, write);
}

/* The home's page that nobody has used yet. Return: 0 or -ENOMEM. */
static int first(struct dsm_region *r, struct dsm_page *pg, u32 index)
{
	struct dsm_dir *dir = dsm_dir(r, index);
	struct popcorn_frame *f;
	bool used;

	if (likely(READ_ONCE(dir->d.state) != PD_I))
		return 0;
	f = dsm_frame_alloc(r, GFP_KERNEL);
	if (!f)
		return -ENOMEM;
	clear_page(popcorn_frame_data(f));
	spin_lock_bh(dsm_lock(r, index));
	used = r->over || dsm_first(r, pg, dir, index, f);
	spin_unlock_bh(dsm_lock(r, index));
	if (used)
		dsm_frame_free(f);
	return 0;
}

/**
 * dsm_want - see to it that a page comes
 * @r:     region
 * @pg:    page
 * @vmf:   the fault
 * @write: to write
 * @out:   the request to be waited for, counted, or NULL: wait for @r->wait
 *
 * Process context; waits for nobody. Return: 0: it is here, if only for now;
 * -EINPROGRESS; -EIO: lost, or the region has ended; -ENOMEM.
 */
static int dsm_want(struct dsm_region *r, struct dsm_page *pg, const struct vm_fault *vmf,
		    bool write, struct dsm_req **out)
{
	struct dsm_req *req = NULL;
	struct dsm_run run DSM_UNINIT;
	u32 index = vmf->pgoff;
	int e;

	*out = NULL;
	if (dsm_home(r)) {
		e = first(r, pg, index);
		if (e)
			return e;
	}
	if (!READ_ONCE(pg->req)) { /* most often one is needed; else it is given back */
new:
		req = dsm_req_new(r, index);
		if (!req)
			return -ENOMEM;
	}
	dsm_run_begin(&run, r, pg, index);
	spin_lock_bh(dsm_lock(r, index));
	if (r->over) {
		e = -EIO;
	} else if (usable(r, pg, write)) {
		e = 0;
	} else if (r->paused || pg->p.doing != PD_IDLE || pg->req) {
		e = -EINPROGRESS;
		*out = r->paused ? NULL : pg->req;
		if (*out) {
			refcount_inc(&pg->req->ref);
			pd_fault(&r->cfg, &pg->p, write, &run.out); /* a thread waits for it now */
		}
	} else if (!req) {
		spin_unlock_bh(dsm_lock(r, index));
		goto new;
	} else {
		pg->req = req;
		e = pd_fault(&r->cfg, &pg->p, write, &run.out);
		if (run.out.n) {
			atomic64_inc(!write ? &r->stat.faults_read : pg->p.state == PD_S ?
				     &r->stat.faults_upgrade : &r->stat.faults_write);
			refcount_inc(&req->ref);
			*out = req;
			req = NULL;
			dsm_take(&run, 0);
		} else {
			pg->req = NULL;
		}
	}
	spin_unlock_bh(dsm_lock(r, index));
	if (e == -EINPROGRESS)
		trace_popcorn_dsm_fault(r, pg, vmf, write);
	dsm_run(&run);
	if (req)
		dsm_req_put(req);
	if (*out && READ_ONCE((*out)->over)) { /* served at once */
		e = (*out)->status;
		dsm_req_put(*out);
		*out = NULL;
	}
	return e;
}

/* Wait until it is worth looking again. Return: 0 or -errno. */
static int dsm_wait(struct dsm_region *r, struct dsm_page *pg, struct dsm_req *req)
{
	struct dsm_group *g;
	int e;

	if (!req) {
		e = wait_event_killable(r->wait, r->over || (!r->paused && (pg->req ||
					READ_ONCE(pg->p.doing) == PD_IDLE)));
		return e ? -EINTR : 0;
	}
	if (req->unsent && xchg(&req->unsent, false))
		dsm_req_send(req, 0);
	/*
	 * Who reads page after page, faster than they come, need not be woken for each. But no page
	 * is waited for for long because of another one, which somebody may keep.
	 */
	g = dsm_group(req);
	if (g && atomic_read(&g->left))
		wait_event_killable_timeout(g->wait, !atomic_read(&g->left), 1);
	/* This lets others run before it sleeps: on one CPU the page is often here by then. */
	e = wait_event_killable(req->wait, READ_ONCE(req->over));
	e = e ? -EINTR : req->status;
	dsm_req_put(req);
	return e == -EAGAIN ? 0 : e; /* it was somebody's ahead of need */
}

/**
 * dsm_ahead - ask for a page before it is needed
 * @r:     region
 * @index: page
 * @write: to write
 * @wait:  for room to send, killable; for the page nobody waits
 * @invs:  at the home: what others are to drop is added to it; or NULL
 *
 * Process context. Return: 0: it is here, or comes, or isn't to be had now; -EAGAIN: no room;
 * -ENOMEM.
 */
int dsm_ahead(struct dsm_region *r, u32 index, bool write, bool wait, struct dsm_invs *invs)
{
	struct dsm_page *pg = dsm_page_make(r, index);
	struct dsm_req *req;
	struct dsm_run run DSM_UNINIT;
	int e = 0;

	if (!pg)
		return -ENOMEM;
	if (READ_ONCE(pg->p.state) >= (write ? PD_M : PD_S) || READ_ONCE(pg->req) ||
	    (dsm_home(r) && dsm_dir(r, index)->d.state == PD_I))
		return 0;
	req = dsm_req_new(r, index);
	if (!req)
		return -ENOMEM;
	dsm_run_begin(&run, r, pg, index);
	run.invs = invs;
	spin_lock_bh(dsm_lock(r, index));
	if (!r->over && !r->paused && !pg->req) {
		pg->req = req;
		if (pd_ahead(&r->cfg, &pg->p, write, &run.out)) {
			pg->req = NULL;
		} else {
			refcount_inc(&req->ref);
			dsm_take(&run, 0);
			atomic64_inc(&r->stat.ahead);
		}
	}
	spin_unlock_bh(dsm_lock(r, index));
	dsm_run(&run);
	if (req->unsent && xchg(&req->unsent, false)) {
		if (wait) {
			dsm_req_send(req, 0);
		} else {
			dsm_req_cancel(req);
			e = -EAGAIN;
		}
	}
	dsm_req_put(req);
	return e;
}

/* ---------------------------------------------------------------- mapping */

/* It is mapped as soon as its lock is let go. Locked. */
static void mapped(struct dsm_region *r, struct dsm_page *pg, u64 now)
{
	if (!pg->p.since && !dsm_home(r))
		atomic64_inc(&r->stat.ahead_used);
	pd_mapped(&pg->p, now);
}

/*
 * The page if it may be mapped now, locked and counted. NULL: @e says: 0: not here;
 * -EINTR.
 */
static struct page *page_lock_mappable(struct dsm_region *r, struct dsm_page *pg, u32 index,
				       bool write, int *e)
{
	spinlock_t *lock = dsm_lock(r, index);
	struct page *page = NULL;
	bool locked;

	*e = 0;
	for (;;) {
		spin_lock_bh(lock);
		if (!usable(r, pg, write)) {
			spin_unlock_bh(lock);
			return NULL;
		}
		page = pg->frame->page;
		get_page(page);
		locked = trylock_page(page);
		if (locked)
			break;
		pg->refs++;
		spin_unlock_bh(lock);
		*e = folio_lock_killable(page_folio(page));
		spin_lock_bh(lock);
		pg->refs--;
		if (!*e && usable(r, pg, write))
			break;	/* with our reference it can't have become another */
		put_page(page);
		spin_unlock_bh(lock);
		if (*e) {
			*e = -EINTR;
			return NULL;
		}
		unlock_page(page);
	}
	if (write)
		pg->want_write = false;
	mapped(r, pg, dsm_now());
	spin_unlock_bh(lock);
	return page;
}

/* A page that may be mapped to read now and isn't yet, locked; or NULL. Waits for nobody. */
static struct page *page_trylock_mappable(struct dsm_region *r, u32 index, u64 now)
{
	struct dsm_page *pg = dsm_page(r, index);
	struct page *page = NULL;

	if (!pg)
		return NULL;
	spin_lock_bh(dsm_lock(r, index));
	if (usable(r, pg, false) && !folio_mapped(page_folio(pg->frame->page)) &&
	    trylock_page(pg->frame->page)) {
		page = pg->frame->page;
		mapped(r, pg, now);
	}
	spin_unlock_bh(dsm_lock(r, index));
	return page;
}

/* Map up to @n pages below or above that of a fault, to read. Return: how many next to it. */
static u32 map_around(struct dsm_region *r, struct vm_fault *vmf, u32 n, bool down)
{
	struct vm_area_struct *vma = vmf->vma;
	u32 first = vma->vm_pgoff, last = first + vma_pages(vma) - 1, index = vmf->pgoff, got, i;
	unsigned long addr = vmf->address & PAGE_MASK, left;
	struct page *page[DSM_AROUND] DSM_UNINIT;
	u64 now = dsm_now();
	int e;

	n = min3(n, (u32)DSM_AROUND, down ? index - first : last - index);
	for (got = 0; got < n; got++) {
		page[got] = page_trylock_mappable(r, down ? index - 1 - got : index + 1 + got, now);
		if (!page[got])
			break;
	}
	if (!got)
		return 0;
	for (i = 0; down && i < got / 2; i++)
		swap(page[i], page[got - 1 - i]);
	left = got;
	e = vm_insert_pages(vma, down ? addr - got * PAGE_SIZE : addr + PAGE_SIZE, page, &left);
	for (i = 0; i < got; i++)
		unlock_page(page[i]);
	return e && down ? 0 : got - left;
}

/* A thread faults to read: what is it going to read next? */
static void read_ahead(struct dsm_region *r, struct vm_fault *vmf, bool here)
{
	u32 first, n = 0, index = vmf->pgoff;
	bool down;

	if (dsm_home(r) || r->advice == POPCORN_ADVISE_RANDOM)
		return;
	if (here) {
		spin_lock_bh(&r->lock);
		n = pd_stream_around(&r->stream, index, &down);
		spin_unlock_bh(&r->lock);
		if (n)
			n = map_around(r, vmf, n, down);
	}
	spin_lock_bh(&r->lock);
	pd_stream_used(&r->stream, index, n);
	n = pd_stream_fault(&r->stream, n && down ? index - n : index + n, r->pages, &first);
	spin_unlock_bh(&r->lock);
	if (n)
		dsm_ahead_pages(r, first, n, false, false);
}

/* A thread faults to write: what is it going to write next? */
static void write_ahead(struct dsm_region *r, u32 index)
{
	u32 first, n;

	if (r->advice == POPCORN_ADVISE_RANDOM)
		return;
	spin_lock_bh(&r->lock);
	n = pd_stream_fault(&r->writes, index, r->pages, &first);
	spin_unlock_bh(&r->lock);
	if (n)
		dsm_ahead_pages(r, first, n, true, false);
}

static vm_fault_t bus(struct dsm_region *r, struct vm_fault *vmf, int e)
{
	const char *why = r->over == -EHOSTDOWN ? "its home is dead" :
			  r->over ? "the region has ended" :
			  e == -ENOMEM ? "no memory, here or at its home: see dsm_pages_max=" :
			  e == -EIO ? "the node that had it is dead" : "its home can't give it";

	atomic64_inc(&r->stat.lost);
	pr_warn_ratelimited("node %u: %s[%d] at 0x%lx: page %lu of region %u of node %u is lost: %s (%d)\n",
			    r->cfg.self, current->comm, current->pid, vmf->address, vmf->pgoff,
			    r->id, r->cfg.home, why, e);
	return VM_FAULT_SIGBUS;
}

static vm_fault_t dsm_fault(struct vm_fault *vmf)
{
	struct file *file = vmf->vma->vm_file;
	struct dsm_region *r = file->private_data;
	bool write = vmf->flags & FAULT_FLAG_WRITE, waited = false;
	struct dsm_page *pg;
	struct dsm_req *req;
	u32 room;
	bool full;
	int e;

	if (vmf->pgoff >= r->pages)
		return VM_FAULT_SIGBUS;
	pg = dsm_page_make(r, vmf->pgoff);
	if (!pg)
		return bus(r, vmf, -ENOMEM);
	write |= READ_ONCE(pg->want_write);
	if (unlikely(READ_ONCE(pg->error))) {
		e = -xchg(&pg->error, 0);
		if (e)
			return bus(r, vmf, e);
	}
	if (write && READ_ONCE(pg->p.state) == PD_M)
		write_ahead(r, vmf->pgoff);
	else if (!write && READ_ONCE(pg->p.state) != PD_I)
		read_ahead(r, vmf, true);
	for (;;) {
		vmf->page = page_lock_mappable(r, pg, vmf->pgoff, write, &e);
		if (vmf->page) {
			if (!waited)
				atomic64_inc(&r->stat.faults_local);
			return VM_FAULT_LOCKED;
		}
		room = dsm_room();
		if (!e)
			e = dsm_want(r, pg, vmf, write, &req);
		full = e == -ENOMEM && dsm_room_soon();
		if (full)
			e = -EINPROGRESS;
		if (e == -EINTR)
			return VM_FAULT_SIGBUS; /* of a thread that is being killed */
		if (e && e != -EINPROGRESS)
			return bus(r, vmf, e);
		if (write && e && !waited && !full)
			write_ahead(r, vmf->pgoff);
		else if (e && !waited && !full)
			read_ahead(r, vmf, false);
		waited = true;
		if (!e)
			continue;
		if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY)) {
			e = full ? dsm_room_wait(room) : dsm_wait(r, pg, req);
			if (e && e != -EINTR)
				return bus(r, vmf, e);
			if (e)
				return VM_FAULT_SIGBUS;
			continue;
		}
		if (!(vmf->flags & FAULT_FLAG_RETRY_NOWAIT)) {
			u64 since = dsm_now();

			get_file(file);
			release_fault_lock(vmf);
			/* The VMA may be gone from here on. */
			e = full ? dsm_room_wait(room) : dsm_wait(r, pg, req);
			if (e && e != -EINTR)
				WRITE_ONCE(pg->error, -e);
			atomic64_add(dsm_now() - since, &r->stat.fault_ns);
			fput(file);
		} else if (req) {
			dsm_req_put(req);
		}
		return VM_FAULT_RETRY;
	}
}

static vm_fault_t dsm_page_mkwrite(struct vm_fault *vmf)
{
	struct dsm_region *r = vmf->vma->vm_file->private_data;
	struct dsm_page *pg = dsm_page(r, vmf->pgoff);
	spinlock_t *lock = dsm_lock(r, vmf->pgoff);
	struct page *page = vmf->page;
	struct dsm_req *req = NULL;
	bool ok;

	if (READ_ONCE(pg->p.state) == PD_M)
		write_ahead(r, vmf->pgoff);
	spin_lock_bh(lock);
	ok = pg->frame && pg->frame->page == page;
	if (ok && !pd_may(&pg->p, true)) {
		spin_unlock_bh(lock);
		/* Ask before the wait, which is in dsm_fault(): it can let go of mmap_lock. */
		dsm_want(r, pg, vmf, true, &req);
		if (req)
			dsm_req_put(req);
		write_ahead(r, vmf->pgoff);
		spin_lock_bh(lock);
		ok = pg->frame && pg->frame->page == page;
	}
	if (!ok) {
		spin_unlock_bh(lock);
		return VM_FAULT_NOPAGE;
	}
	pg->refs++;	/* the one that our caller holds */
	spin_unlock_bh(lock);
	if (folio_lock_killable(page_folio(page))) {
		spin_lock_bh(lock);
		pg->refs--;
		spin_unlock_bh(lock);
		return VM_FAULT_NOPAGE;
	}
	spin_lock_bh(lock);
	pg->refs--;
	ok = page->mapping == r->inode->i_mapping && usable(r, pg, true);
	if (ok) {
		pg->want_write = false;
		pd_mapped(&pg->p, dsm_now());
	} else {
		pg->want_write = true;
	}
	spin_unlock_bh(lock);
	if (ok)
		return VM_FAULT_LOCKED;
	unmap_mapping_pages(r->inode->i_mapping, vmf->pgoff, 1, false);
	unlock_page(page);
	return VM_FAULT_NOPAGE;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
/*
 * dsm_fault() maps around, as it may sleep. But only with this is it called under the VMA's
 * lock; else each fault is begun again under mmap_lock.
 */
static vm_fault_t dsm_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	return 0;
}
#endif

static const struct vm_operations_struct vm_ops = {
	.fault = dsm_fault,
	.page_mkwrite = dsm_page_mkwrite,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	.map_pages = dsm_map_pages,
#endif
};

/**
 * dsm_mmap - map a part of the file's region
 * @file: attachment
 * @vma:  as it is being made
 */
int dsm_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct dsm_region *r = file->private_data;

	if (!r)
		return -ENXIO;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff > r->pages || vma_pages(vma) > r->pages - vma->vm_pgoff)
		return -ENXIO;
	/* Mixed: for vm_insert_pages(). Pages are found in page tables as before. */
	vm_flags_set(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP | VM_MIXEDMAP);
	vma->vm_ops = &vm_ops;
	return 0;
}

/* -------------------------------------------------------------- unmapping */

/**
 * dsm_take_away - take the page from all mappings, or make these read-only
 * @r:     region
 * @pg:    page, whose pd_page.doing says which
 * @index: its number
 *
 * Process context; waits for neither the page's lock nor who else refers to it. Returns
 * with the page's spinlock held.
 * Return: it is done, and nobody else, no device either, can reach the page (or write
 * to it); else try again.
 */
bool dsm_take_away(struct dsm_region *r, struct dsm_page *pg, u32 index)
	__acquires(dsm_lock(r, index))
{
	bool protect = pg->p.doing == PD_SHARES;
	struct page *page = pg->frame->page;
	int others;

	if (!trylock_page(page)) {
		spin_lock_bh(dsm_lock(r, index));
		return false;
	}
	if (protect)
		folio_mkclean(page_folio(page));
	else if (folio_mapped(page_folio(page)))
		unmap_mapping_pages(r->inode->i_mapping, index, 1, false);
	spin_lock_bh(dsm_lock(r, index));
	others = page_count(page) - 1 - folio_mapcount(page_folio(page)) - pg->refs - pg->sends;
	unlock_page(page);
	return others <= 0;
}
