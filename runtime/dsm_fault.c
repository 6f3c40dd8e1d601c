// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The program's mapping of a region, and what brings its faults here.
 *
 * The mapping is of a memfd and registered with userfaultfd. A page is shown by
 * UFFDIO_CONTINUE, write-protected unless it is this node's alone, and taken away by
 * MADV_DONTNEED, which leaves it in the memfd. A page that is lost is covered by a
 * mapping of an empty file: whoever touches it gets SIGBUS from the kernel itself, in
 * both fault modes and on all kernels.
 *
 * Before Linux 6.4 UFFDIO_CONTINUE can't write-protect: a write would slip through before a
 * second call does. There (struct dsm.copies) the mapping is anonymous memory. A page is
 * shown by UFFDIO_COPY from the memfd, which can; one that could be written is protected
 * and copied back when others may read it or it is taken away. So the memfd has a
 * page's bytes whenever the program can't write to it, and nobody but this file
 * knows the difference.
 *
 * Threads. Spinning: one engine thread looks at the wires and for faults, and gives
 * way after each fault. Blocking: the engine thread sleeps on the wires, another one
 * on the faults. With SIGBUS the thread that faults does all itself, in its handler,
 * and the engine serves other nodes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "dsm.h"

#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP	((__u64)1 << 1)	/* Linux 6.4 */
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW	_IO(0xaa, 0x00)
#endif

#define FEATURES (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_THREAD_ID)
#define SHARES	 (UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | \
		  UFFD_FEATURE_WP_HUGETLBFS_SHMEM)
#define FAULTS_AT_ONCE	16
#define SLEEP_US	10000	/* a sleeper looks at least so often */
#define SPIN_NS		20000	/* before it sleeps */

/*
 * Looks that found nothing before a spinning thread lets others have its core: soon when it
 * waits for nothing in particular, later when it does, which the peer's thread that is
 * to answer may do as well on the same core.
 */
#define IDLE_LOOKS	4
#define WAIT_LOOKS	64

/* This thread let another one go on that may want its core. */
static __thread bool woke;

/* ---------------------------------------------------------------- mapping */

static struct uffdio_range range(const struct dsm_region *r, u32 page, u32 n)
{
	return (struct uffdio_range){
		.start = (uintptr_t)r->map + ((size_t)page << UE_PAGE_SHIFT),
		.len = (size_t)n << UE_PAGE_SHIFT,
	};
}

/* Let those go on, or fault again, who wait for pages. */
void dsm_map_wake(struct dsm_region *r, u32 page, u32 n)
{
	struct uffdio_range g = range(r, page, n);

	if (!r->map || r->d->sigbus)
		return;
	ioctl(r->d->uffd, UFFDIO_WAKE, &g);
	woke = true;
}

#define NO_WAKE	UFFDIO_COPY_MODE_DONTWAKE
#define TO_READ	UFFDIO_COPY_MODE_WP
_Static_assert(NO_WAKE == UFFDIO_CONTINUE_MODE_DONTWAKE && TO_READ == UFFDIO_CONTINUE_MODE_WP,
	       "one mode for both");

/* Show pages: those of the memfd there, or copies of @src. Return: bytes shown, or -errno. */
static s64 put(int uffd, bool copies, void *at, const void *src, size_t len, u64 mode)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)at, .src = (uintptr_t)src, .len = len, .mode = mode,
	};
	struct uffdio_continue share = {
		.range = { .start = (uintptr_t)at, .len = len }, .mode = mode,
	};
	s64 done;

	if (!ioctl(uffd, copies ? UFFDIO_COPY : UFFDIO_CONTINUE,
		   copies ? (void *)&copy : (void *)&share))
		return len;
	done = copies ? copy.copy : share.mapped;
	return done > 0 ? done : -errno;
}

static int show(struct dsm_region *r, u32 page, bool write)
{
	void *at = r->map + ((size_t)page << UE_PAGE_SHIFT);
	s64 e;

	do {
		e = put(r->d->uffd, r->d->copies, at, dsm_alias(r, page), UE_PAGE,
			write ? 0 : TO_READ);
		if (e == -EFAULT && !r->d->copies) {
			dsm_back(r, page);
			e = -EAGAIN;
		}
	} while (e == -EAGAIN);
	return e < 0 ? e : 0;
}

static int protect(struct dsm_region *r, u32 page, bool on)
{
	struct uffdio_writeprotect w = {
		.range = range(r, page, 1), .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	while (ioctl(r->d->uffd, UFFDIO_WRITEPROTECT, &w))
		if (errno != EAGAIN)
			return -errno;
	return 0;
}

/* Nobody writes to a page that was shown for writing, and the memfd has its bytes. */
static int clean(struct dsm_region *r, u32 page)
{
	int e = protect(r, page, true);

	if (!e && r->d->copies)
		memcpy(dsm_alias(r, page), r->map + ((size_t)page << UE_PAGE_SHIFT), UE_PAGE);
	return e;
}

/**
 * dsm_map_page() - show a page as far as the protocol allows, and wake who waits for it
 * @r:    region
 * @page: page, its lock held
 * @stale: a fault found nothing there, which the kernel may have dropped by itself
 */
void dsm_map_page(struct dsm_region *r, u32 page, bool stale)
{
	struct dsm_page *dp = &r->page[page];
	u8 may = pd_may(&dp->p, true) ? DSM_WRITE : pd_may(&dp->p, false) ? DSM_READ : DSM_NONE;
	int e = -EEXIST;

	if (!r->map || r->dead)
		return;
	if (!may || r->suspended || (!stale && dp->mapped == may)) {
		dsm_map_wake(r, page, 1);
		return;
	}
	if (stale || dp->mapped == DSM_NONE)
		e = show(r, page, may == DSM_WRITE);
	if (e == -EEXIST && may == DSM_WRITE)
		e = protect(r, page, false);
	if (e)
		dsm_map_wake(r, page, 1);
	woke = true;
	if (e && e != -EEXIST)
		return;		/* the fault comes again */
	dp->mapped = may;
	pd_mapped(&dp->p, dsm_now());
}

/**
 * dsm_map_more() - show pages to read that nobody waits for
 * @r:    region
 * @page: the first of several that are shared and not mapped; their locks are held
 * @n:    how many
 *
 * They are not held against others for it. Return: how many are mapped.
 */
u32 dsm_map_more(struct dsm_region *r, u32 page, u32 n)
{
	s64 done = 0;
	u32 i;

	if (r->map)
		done = put(r->d->uffd, r->d->copies, r->map + ((size_t)page << UE_PAGE_SHIFT),
			   dsm_alias(r, page), (size_t)n << UE_PAGE_SHIFT, TO_READ | NO_WAKE);
	n = done > 0 ? done >> UE_PAGE_SHIFT : 0;
	for (i = 0; i < n; i++)
		r->page[page + i].mapped = DSM_READ;
	return n;
}

/* Nobody reaches the page any more. Its lock is held. */
void dsm_map_none(struct dsm_region *r, u32 page)
{
	struct uffdio_range g = range(r, page, 1);
	u8 mapped = r->page[page].mapped;

	if (r->map && mapped && !r->dead) {
		if (mapped == DSM_WRITE && r->d->copies)
			clean(r, page);
		madvise((void *)(uintptr_t)g.start, g.len, MADV_DONTNEED);
	}
	r->page[page].mapped = DSM_NONE;
}

/* Nobody writes to the page any more. Its lock is held. */
void dsm_map_clean(struct dsm_region *r, u32 page)
{
	if (r->page[page].mapped != DSM_WRITE)
		return;
	if (r->dead || !r->map || clean(r, page))
		dsm_map_none(r, page);
	else
		r->page[page].mapped = DSM_READ;
}

/* Pages are gone for good: SIGBUS for whoever touches them. */
void dsm_map_lost(struct dsm_region *r, u32 page, u32 n)
{
	struct uffdio_range g = range(r, page, n);

	if (!r->map)
		return;
	if (mmap((void *)(uintptr_t)g.start, g.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 r->empty_fd, 0) == MAP_FAILED)
		mprotect((void *)(uintptr_t)g.start, g.len, PROT_NONE);
	dsm_map_wake(r, page, n);
}

/* The home's lease is lost: its grants aren't used until it is back. */
void dsm_map_suspend(struct dsm_region *r)
{
	u32 i;

	atomic_store(&r->suspended, true);
	for (i = 0; i < r->pages; i++) {
		if (!r->page[i].mapped)
			continue;
		pthread_mutex_lock(&r->lock[dsm_bucket(i)]);
		dsm_map_none(r, i);
		pthread_mutex_unlock(&r->lock[dsm_bucket(i)]);
	}
}

void dsm_map_resume(struct dsm_region *r)
{
	u32 i;

	atomic_store(&r->suspended, false);
	dsm_map_wake(r, 0, r->pages);
	for (i = 0; i < DSM_BUCKETS; i++) {
		atomic_fetch_add(&r->seq[i], 1);
		ue_futex_wake(&r->seq[i], false);
	}
}

/* Memory that @fd has, or without @fd, of its own; faults on it come to @uffd. */
static int map_memory(int uffd, int fd, void *at, size_t bytes, u8 **out)
{
	int kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP |
			(fd < 0 ? 0 : UFFDIO_REGISTER_MODE_MINOR),
	};
	u8 *p;
	int e;

	p = mmap(at, bytes, PROT_READ | PROT_WRITE, kind | (at ? MAP_FIXED_NOREPLACE : 0), fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* A child has no engine; a huge page has no state of its own. */
	madvise(p, bytes, MADV_DONTFORK);
	madvise(p, bytes, MADV_NOHUGEPAGE);
	reg.range = (struct uffdio_range){ .start = (uintptr_t)p, .len = bytes };
	if (ioctl(uffd, UFFDIO_REGISTER, &reg)) {
		e = -errno;
		munmap(p, bytes);
		return e;
	}
	*out = p;
	return 0;
}

/**
 * dsm_map() - map a region for the program
 * @r:  region that isn't mapped yet
 * @at: address, or NULL
 *
 * Return: 0; -EEXIST: something else is there; -EINVAL, -ENOMEM, -EPERM.
 */
int dsm_map(struct dsm_region *r, void *at)
{
	u8 *p;
	int e = map_memory(r->d->uffd, r->d->copies ? -1 : r->fd, at, r->bytes, &p);

	if (e)
		return e;
	__atomic_store_n(&r->map, p, __ATOMIC_RELEASE);
	if (r->dead)
		dsm_map_lost(r, 0, r->pages);
	return 0;
}

/* The program is done with it; the memfd keeps what this node has. No page is in use. */
void dsm_unmap(struct dsm_region *r)
{
	void *map = r->map;
	u32 i;

	if (!map)
		return;
	for (i = 0; i < r->pages && r->d->copies; i++)
		if (r->page[i].mapped == DSM_WRITE)
			dsm_map_none(r, i);
	__atomic_store_n(&r->map, NULL, __ATOMIC_RELEASE);
	munmap(map, r->bytes);
}

/* ------------------------------------------------------------------ faults */

static void fault(struct dsm *d, u64 addr, u64 flags, u32 tid)
{
	struct dsm_prof_fault seen = { .addr = addr, .tid = tid };
	struct dsm_region *r = dsm_region_at(d, addr);
	bool write = flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
	u32 page;
	int e;

	if (!r)
		return;
	page = (addr - (uintptr_t)r->map) >> UE_PAGE_SHIFT;
	if (unlikely(d->prof))
		dsm_prof_look(r, &seen, write);
	e = dsm_page_fault(r, page, write, !(flags & UFFD_PAGEFAULT_FLAG_WP), true);
	if (e == -EIO)
		dsm_map_lost(r, page, 1);
	if (unlikely(d->prof) && e == -EINPROGRESS)
		dsm_prof_waits(r, &seen);
	dsm_region_put(r);
}

/* Return: whether there were any. */
static bool read_faults(struct dsm *d)
{
	struct uffd_msg m[FAULTS_AT_ONCE];
	ssize_t got = syscall(SYS_read, d->uffd, m, sizeof(m));	/* no point to be cancelled at */
	size_t i;

	if (got <= 0)
		return false;
	for (i = 0; i < got / sizeof(*m); i++)
		if (m[i].event == UFFD_EVENT_PAGEFAULT)
			fault(d, m[i].arg.pagefault.address, m[i].arg.pagefault.flags,
			      m[i].arg.pagefault.feat.ptid);
	return true;
}

/*
 * Pages that were asked for together come together: take what is here already before the
 * thread that waits for one of them goes on, and needs the next.
 */
static void take_more(struct dsm *d)
{
	u32 i;

	for (i = 0; i < PD_BATCH && atomic_load_explicit(&d->aheads, memory_order_relaxed); i++)
		if (popcorn_look(d->n) <= 0)
			break;
}

/* ----------------------------------------------------------------- SIGBUS */

#define MODES_MAX	16

static struct dsm *_Atomic signalled[MODES_MAX];	/* nodes of this process with SIGBUS */
static struct sigaction before;

/* Was it a write? Where that can't be told, the state says it. */
static bool wrote(const ucontext_t *uc, const struct dsm_page *dp)
{
#if defined(__x86_64__)
	(void)dp;
	return uc->uc_mcontext.gregs[REG_ERR] & 2;
#elif defined(__aarch64__)
	const struct _aarch64_ctx *c = (const void *)uc->uc_mcontext.__reserved;

	for (; c->magic; c = (const void *)((const u8 *)c + c->size))
		if (c->magic == ESR_MAGIC)
			return ((const struct esr_context *)c)->esr >> 6 & 1;
	return dp->mapped == DSM_READ;
#else
	(void)uc;
	return dp->mapped == DSM_READ;
#endif
}

static u64 ip_of(const ucontext_t *uc)
{
#if defined(__x86_64__)
	return uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return uc->uc_mcontext.pc;
#else
	(void)uc;
	return 0;
#endif
}

/*
 * A thread that waits looks. Return: frames, 0 or -EBUSY. What is due after something
 * came is left to the engine if that is awake: this thread may have what it waits for.
 */
static int look(struct dsm *d, u32 *idle)
{
	int got = popcorn_look(d->n);

	if (got <= 0 || !d->spin)
		dsm_work(d);
	*idle = got > 0 ? 0 : *idle + 1;
	if (got == -EBUSY || *idle % WAIT_LOOKS == WAIT_LOOKS - 1)
		sched_yield();
	return got;
}

/* Until the page's bucket has news. */
static void wait_news(struct dsm_region *r, u32 page, u32 seq, u64 *since, u32 *idle)
{
	_Atomic u32 *word = &r->seq[dsm_bucket(page)];
	int got = look(r->d, idle);

	if (r->d->spin || got > 0)
		return;
	if (!*since)
		*since = dsm_now();
	if (dsm_now() - *since < SPIN_NS)
		return;
	atomic_fetch_add(&r->sleepers, 1);
	ue_futex_wait(word, seq, SLEEP_US, false);
	atomic_fetch_sub(&r->sleepers, 1);
}

/* Return: false: it isn't a fault of ours, or the page is lost. */
static bool serve_signal(struct dsm_region *r, u64 addr, const ucontext_t *uc)
{
	u32 page = (addr - (uintptr_t)r->map) >> UE_PAGE_SHIFT, seq;
	struct dsm_prof_fault seen = { .addr = addr, .ip = ip_of(uc) };
	struct dsm_page *dp = &r->page[page];
	bool write = wrote(uc, dp), stale = dp->mapped != DSM_READ || !write;
	bool recorded = !r->d->prof;
	u64 since = 0;
	u32 idle = 0;
	int e;

	if (unlikely(!recorded))
		dsm_prof_look(r, &seen, write);
	for (;;) {
		seq = atomic_load(&r->seq[dsm_bucket(page)]);
		e = dsm_page_fault(r, page, write, stale, true);
		if (e != -EINPROGRESS)
			return !e;
		if (unlikely(!recorded))
			dsm_prof_waits(r, &seen);
		recorded = true;
		stale = false;
		while (seq == atomic_load(&r->seq[dsm_bucket(page)]) && !r->dead)
			wait_news(r, page, seq, &since, &idle);
		take_more(r->d);
	}
}

static void on_sigbus(int sig, siginfo_t *info, void *uc)
{
	u64 addr = (uintptr_t)info->si_addr;
	int saved = errno, i;
	bool done = false;

	for (i = 0; i < MODES_MAX && !done; i++) {
		struct dsm *d = atomic_load(&signalled[i]);
		struct dsm_region *r = d ? dsm_region_at(d, addr) : NULL;

		if (!r)
			continue;
		done = serve_signal(r, addr, uc);
		dsm_region_put(r);
	}
	errno = saved;
	if (done)
		return;
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(sig, info, uc);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(sig);
	else
		signal(SIGBUS, SIG_DFL);	/* the instruction runs again, and ends it */
}

static int sigbus_start(struct dsm *d)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };
	static bool done;
	struct dsm *none;
	int r = 0, i;

	pthread_mutex_lock(&once);
	if (!done)
		r = sigaction(SIGBUS, &sa, &before) ? -errno : 0;
	done = !r;
	pthread_mutex_unlock(&once);
	for (i = 0; !r && i < MODES_MAX; i++) {
		none = NULL;
		if (atomic_compare_exchange_strong(&signalled[i], &none, d))
			return 0;
	}
	return r ?: -ENOSPC;
}

static void sigbus_stop(struct dsm *d)
{
	struct dsm *me;
	int i;

	for (i = 0; i < MODES_MAX; i++) {
		me = d;
		atomic_compare_exchange_strong(&signalled[i], &me, NULL);
	}
}

/* ----------------------------------------------------------------- waiting */

/**
 * dsm_step() - look once for messages, and do what is due
 * @d: node
 *
 * Not from a handler, no lock held. Return: frames, or -EBUSY: another thread looks.
 */
int dsm_step(struct dsm *d)
{
	int got = popcorn_look(d->n);

	dsm_work(d);
	return got;
}

/**
 * dsm_wait() - wait until dsm_wake()
 * @d:        node
 * @w:        the caller's, zeroed before it was shown to anybody
 * @deadline: ns, 0: none
 *
 * Return: its status, or -ETIMEDOUT: whoever knows of @w still does.
 */
int dsm_wait(struct dsm *d, struct dsm_wait *w, u64 deadline)
{
	u64 since = 0, now;
	u32 was, idle = 0;
	int got;

	while (atomic_load_explicit(&w->state, memory_order_acquire) != 2) {
		got = look(d, &idle);
		if (got > 0 || (d->spin && !deadline))
			continue;
		now = dsm_now();
		since = since ?: now;
		if (deadline && now >= deadline)
			return -ETIMEDOUT;
		if (d->spin || now - since < SPIN_NS)
			continue;
		was = 0;
		if (atomic_compare_exchange_strong(&w->state, &was, 1) || was == 1)
			ue_futex_wait(&w->state, 1, SLEEP_US, false);
	}
	return w->status;
}

/* Ends a wait; @w may be gone on return. */
void dsm_wake(struct dsm_wait *w, int status)
{
	w->status = status;
	if (atomic_exchange_explicit(&w->state, 2, memory_order_acq_rel) == 1)
		ue_futex_wake(&w->state, false);
	woke = true;
}

/* ----------------------------------------------------------------- threads */

static void *engine_spins(void *arg)
{
	struct dsm *d = arg;
	u32 idle = 0, most;
	bool found;

	while (!atomic_load_explicit(&d->stop, memory_order_relaxed)) {
		woke = false;
		found = !d->sigbus && read_faults(d);
		found |= popcorn_look(d->n) > 0;
		/* Others wait for it, but less than who was just woken. */
		if (woke)
			take_more(d);
		else
			dsm_work(d);
		idle = found ? 0 : idle + 1;
		most = atomic_load(&d->asks) ? WAIT_LOOKS : IDLE_LOOKS;
		if (woke || idle % most == most - 1)
			sched_yield();
	}
	return NULL;
}

/* Until the next thing is due, at most SLEEP_US. */
static u32 sleep_us(struct dsm *d)
{
	u64 due = atomic_load(&d->due), now;

	if (due == ~0ull)
		return SLEEP_US;
	now = dsm_now();
	if (due <= now)
		return 1;
	due = (due - now) / 1000 + 1;
	return due < SLEEP_US ? due : SLEEP_US;
}

/* Who serves others should not wait for those who compute; where that is allowed. */
static void go_first(void)
{
	setpriority(PRIO_PROCESS, syscall(SYS_gettid), -20);
}

static void *engine_sleeps(void *arg)
{
	struct dsm *d = arg;

	go_first();
	while (!atomic_load(&d->stop)) {
		popcorn_poll(d->n, sleep_us(d));
		dsm_work(d);
	}
	return NULL;
}

static void *faults_sleep(void *arg)
{
	struct dsm *d = arg;
	struct pollfd p[2] = {
		{ .fd = d->uffd, .events = POLLIN }, { .fd = d->stop_fd, .events = POLLIN },
	};

	go_first();
	while (!atomic_load(&d->stop))
		if (!read_faults(d))
			poll(p, 2, -1);
	return NULL;
}

/* Signals are the program's: handlers that touch the region would wait for themselves. */
static int start(pthread_t *t, void *(*fn)(void *), struct dsm *d)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(t, NULL, fn, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

/* Return: descriptor or -errno; *@user: only for faults of the program itself. */
static int uffd_new(bool *user)
{
	int flags = O_CLOEXEC | O_NONBLOCK, dev, fd;

	*user = false;
	fd = syscall(SYS_userfaultfd, flags);
	if (fd < 0) {
		dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (dev >= 0) {
			fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
			close(dev);
		}
	}
	if (fd < 0) {
		*user = true;
		fd = syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
	}
	return fd >= 0 ? fd : errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

/* Can a page be shown read-only in one step? */
static bool can_show(int uffd, bool copies)
{
	static const u8 zeroes[UE_PAGE];
	int fd = copies ? -1 : memfd_create("popcorn-try", MFD_CLOEXEC);
	bool can = copies || pwrite(fd, zeroes, UE_PAGE, 0) == UE_PAGE;
	u8 *p;

	can = can && !map_memory(uffd, fd, NULL, UE_PAGE, &p);
	if (can) {
		can = put(uffd, copies, p, zeroes, UE_PAGE, TO_READ) == UE_PAGE;
		munmap(p, UE_PAGE);
	}
	if (fd >= 0)
		close(fd);
	return can;
}

/* @features: besides those that are always needed. Return: descriptor or -errno. */
static int uffd_open(bool copies, u64 features, bool *user)
{
	struct uffdio_api a = { .api = UFFD_API, .features = FEATURES | features };
	int fd = uffd_new(user);

	if (fd < 0 || (!ioctl(fd, UFFDIO_API, &a) && can_show(fd, copies)))
		return fd;
	close(fd);
	return -EOPNOTSUPP;
}

/* userfaultfd as this kernel has it. */
static int uffd_start(struct dsm *d)
{
	static const struct {
		bool copies;
		u64 features;
	} way[] = {
		{ false, SHARES | UFFD_FEATURE_EXACT_ADDRESS },	/* Linux 6.4 */
		{ true, UFFD_FEATURE_EXACT_ADDRESS },		/* 5.18: profiles tell bytes */
		{ true, 0 },					/* 5.7 */
	};
	u64 sigbus = d->sigbus ? UFFD_FEATURE_SIGBUS : 0;
	u32 i = d->copies;
	bool user;

	do {
		d->uffd = uffd_open(way[i].copies, way[i].features | sigbus, &user);
		d->copies = way[i].copies;
	} while (d->uffd == -EOPNOTSUPP && ++i < sizeof(way) / sizeof(*way));
	if (d->uffd == -EOPNOTSUPP)
		dsm_log(d, "user mode needs userfaultfd with write protection: "
			   "Linux 5.10 on x86-64, 6.10 on arm64");
	else if (d->uffd == -EPERM)
		dsm_log(d, "user mode needs userfaultfd, which is not allowed here");
	else if (d->uffd >= 0 && user && !d->sigbus)
		dsm_log(d, "system calls get EFAULT for shared pages that are not here: "
			   "set vm.unprivileged_userfaultfd=1 or allow /dev/userfaultfd");
	return d->uffd < 0 ? d->uffd : 0;
}

/**
 * dsm_faults_start() - open userfaultfd and start the node's threads
 * @d: node; n, spin, sigbus and copies are set
 *
 * Return: 0; -EPERM: not allowed here; -EOPNOTSUPP: the kernel is too old; -errno.
 */
int dsm_faults_start(struct dsm *d)
{
	int r;

	r = uffd_start(d);
	if (r)
		return r;
	d->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (d->stop_fd < 0)
		return -errno;
	r = d->sigbus ? sigbus_start(d) : 0;
	if (r)
		return r;
	r = start(&d->engine, d->spin ? engine_spins : engine_sleeps, d);
	d->has_engine = !r;
	if (r || d->spin || d->sigbus)
		return r;
	r = start(&d->faults, faults_sleep, d);
	d->has_faults = !r;
	return r;
}

void dsm_faults_stop(struct dsm *d)
{
	u64 one = 1;

	atomic_store(&d->stop, true);
	if (d->stop_fd >= 0 && write(d->stop_fd, &one, sizeof(one)) < 0)
		dsm_log(d, "eventfd: %s", strerror(errno));
	if (d->has_engine) {
		ue_kick(d->n);
		pthread_join(d->engine, NULL);
	}
	if (d->has_faults)
		pthread_join(d->faults, NULL);
	if (d->sigbus)
		sigbus_stop(d);
	if (d->stop_fd >= 0)
		close(d->stop_fd);
	if (d->uffd >= 0)
		close(d->uffd);
	d->has_engine = d->has_faults = false;
	d->uffd = d->stop_fd = -1;
}
