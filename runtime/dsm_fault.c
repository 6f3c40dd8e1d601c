// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The program's faults: read from userfaultfd, or, with SIGBUS, served by the thread that faults
 * in its handler.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "dsm.h"

#define FAULTS_AT_ONCE	16

/* ------------------------------------------------------------- userfaultfd */

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

/**
 * dsm_faults_read() - take the faults that there are
 * @d: node
 *
 * Return: whether there were any.
 */
bool dsm_faults_read(struct dsm *d)
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
			dsm_wait_news(r, page, seq, &since, &idle);
		dsm_take_more(r->d);
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

/* Faults of node @d come as signals from now on. Return: 0 or -errno. */
int dsm_sigbus_start(struct dsm *d)
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

void dsm_sigbus_stop(struct dsm *d)
{
	struct dsm *me;
	int i;

	for (i = 0; i < MODES_MAX; i++) {
		me = d;
		atomic_compare_exchange_strong(&signalled[i], &me, NULL);
	}
}
