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

#define FEATURES (UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM | \
		  UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_WP_HUGETLBFS_SHMEM | \
		  UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_THREAD_ID)
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

static int show(struct dsm_region *r, u32 page, bool write)
{
	_Atomic u8 *byte = dsm_alias(r, page);
	struct uffdio_continue c;

	for (;;) {
		c = (struct uffdio_continue){
			.range = range(r, page, 1),
			.mode = write ? 0 : UFFDIO_CONTINUE_MODE_WP,
		};
		if (!ioctl(r->d->uffd, UFFDIO_CONTINUE, &c))
			return 0;
		if (errno == EFAULT)
			atomic_fetch_or(byte, 0);	/* the memfd has no page there yet */
		else if (errno != EAGAIN)
			return -errno;
	}
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
	if (!may || r->suspended) {
		dsm_map_wake(r, page, 1);
		return;
	}
	if (stale || dp->mapped == DSM_NONE)
		e = show(r, page, may == DSM_WRITE);
	if (e == -EEXIST && may == DSM_WRITE)
		e = protect(r, page, false);
	else if (e)
		dsm_map_wake(r, page, 1);
	woke = true;
	dp->mapped = may;
	pd_mapped(&dp->p, dsm_now());
}

/* Nobody reaches the page any more. Its lock is held. */
void dsm_map_none(struct dsm_region *r, u32 page)
{
	struct uffdio_range g = range(r, page, 1);

	if (r->map && r->page[page].mapped && !r->dead)
		madvise((void *)(uintptr_t)g.start, g.len, MADV_DONTNEED);
	r->page[page].mapped = DSM_NONE;
}

/* Nobody writes to the page any more. Its lock is held. */
void dsm_map_clean(struct dsm_region *r, u32 page)
{
	if (r->page[page].mapped != DSM_WRITE)
		return;
	if (r->dead || !r->map || protect(r, page, true))
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

/**
 * dsm_map() - map a region for the program
 * @r:  region that isn't mapped yet
 * @at: address, or NULL
 *
 * Return: 0; -EEXIST: something else is there; -EINVAL, -ENOMEM, -EPERM.
 */
int dsm_map(struct dsm_region *r, void *at)
{
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
			UFFDIO_REGISTER_MODE_WP,
	};
	u8 *p;
	int e;

	p = mmap(at, r->bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | (at ? MAP_FIXED_NOREPLACE : 0), r->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* A child has no engine; a huge page has no state of its own. */
	madvise(p, r->bytes, MADV_DONTFORK);
	madvise(p, r->bytes, MADV_NOHUGEPAGE);
	reg.range.start = (uintptr_t)p;
	reg.range.len = r->bytes;
	if (ioctl(r->d->uffd, UFFDIO_REGISTER, &reg)) {
		e = -errno;
		munmap(p, r->bytes);
		return e;
	}
	__atomic_store_n(&r->map, p, __ATOMIC_RELEASE);
	if (r->dead)
		dsm_map_lost(r, 0, r->pages);
	return 0;
}

void dsm_unmap(struct dsm_region *r)
{
	if (r->map)
		munmap(r->map, r->bytes);
	r->map = NULL;
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
	ssize_t got = read(d->uffd, m, sizeof(m));
	size_t i;

	if (got <= 0)
		return false;
	for (i = 0; i < got / sizeof(*m); i++)
		if (m[i].event == UFFD_EVENT_PAGEFAULT)
			fault(d, m[i].arg.pagefault.address, m[i].arg.pagefault.flags,
			      m[i].arg.pagefault.feat.ptid);
	return true;
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
		if (!woke)
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

static int api(int fd, bool sigbus)
{
	struct uffdio_api a = {
		.api = UFFD_API, .features = FEATURES | (sigbus ? UFFD_FEATURE_SIGBUS : 0),
	};

	return ioctl(fd, UFFDIO_API, &a) ? -EOPNOTSUPP : 0;
}

/* Return: descriptor or -errno. */
static int uffd_open(struct dsm *d)
{
	int flags = O_CLOEXEC | O_NONBLOCK, dev, fd, r;

	fd = syscall(SYS_userfaultfd, flags);
	if (fd < 0) {
		dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (dev >= 0) {
			fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
			close(dev);
		}
	}
	if (fd < 0) {
		fd = syscall(SYS_userfaultfd, flags | UFFD_USER_MODE_ONLY);
		if (fd >= 0 && !d->sigbus)
			dsm_log(d, "system calls get EFAULT for shared pages that are not here: "
			       "set vm.unprivileged_userfaultfd=1 or allow /dev/userfaultfd");
	}
	if (fd < 0)
		return errno == ENOSYS ? -EOPNOTSUPP : -errno;
	r = api(fd, d->sigbus);
	if (!r)
		return fd;
	close(fd);
	return r;
}

/* Can a page be shown read-only in one step? (Linux 6.4; in two, a write slips through.) */
static int try_show(int uffd)
{
	struct uffdio_register reg = {
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR |
			UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_continue c = { .mode = UFFDIO_CONTINUE_MODE_WP };
	int fd = memfd_create("popcorn-try", MFD_CLOEXEC), r = -EOPNOTSUPP;
	u8 *p = MAP_FAILED, *alias = MAP_FAILED;

	if (fd < 0)
		return -errno;
	if (!ftruncate(fd, UE_PAGE)) {
		p = mmap(NULL, UE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		alias = mmap(NULL, UE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (p != MAP_FAILED && alias != MAP_FAILED) {
		*alias = 1;
		reg.range = (struct uffdio_range){ (uintptr_t)p, UE_PAGE };
		c.range = reg.range;
		if (!ioctl(uffd, UFFDIO_REGISTER, &reg) && !ioctl(uffd, UFFDIO_CONTINUE, &c))
			r = 0;
	}
	if (p != MAP_FAILED)
		munmap(p, UE_PAGE);
	if (alias != MAP_FAILED)
		munmap(alias, UE_PAGE);
	close(fd);
	return r;
}

/**
 * dsm_faults_start() - open userfaultfd and start the node's threads
 * @d: node; n, spin and sigbus are set
 *
 * Return: 0; -EPERM: not allowed here; -EOPNOTSUPP: the kernel is too old; -errno.
 */
int dsm_faults_start(struct dsm *d)
{
	int r;

	d->uffd = uffd_open(d);
	if (d->uffd < 0)
		return d->uffd;
	r = try_show(d->uffd);
	if (r) {
		dsm_log(d, "user mode needs userfaultfd with write protection (Linux 6.4)");
		return r;
	}
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
