// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The program's mapping of a region, and userfaultfd, which keeps it as the protocol has it.
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
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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
	dsm_woke = true;
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

static int protect(struct dsm_region *r, u32 page, u32 n, u64 mode)
{
	struct uffdio_writeprotect w = { .range = range(r, page, n), .mode = mode };

	while (ioctl(r->d->uffd, UFFDIO_WRITEPROTECT, &w))
		if (errno != EAGAIN)
			return -errno;
	return 0;
}

/* Nobody writes to a page that was shown for writing, and the memfd has its bytes. */
static int clean(struct dsm_region *r, u32 page)
{
	int e = protect(r, page, 1, UFFDIO_WRITEPROTECT_MODE_WP);

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
		e = protect(r, page, 1, 0);
	if (e)
		dsm_map_wake(r, page, 1);
	dsm_woke = true;
	if (e && e != -EEXIST)
		return;		/* the fault comes again */
	dp->mapped = may;
	pd_mapped(&dp->p, dsm_now());
}

/**
 * dsm_map_more() - show pages that nobody waits for
 * @r:    region
 * @page: the first of several that may be read, or written, and are mapped alike: not at all
 *        or to read; their locks are held
 * @n:    how many
 * @write: to write
 *
 * They are not held against others for it. Return: how many are mapped.
 */
u32 dsm_map_more(struct dsm_region *r, u32 page, u32 n, bool write)
{
	size_t bytes = (size_t)n << UE_PAGE_SHIFT;
	s64 done = 0;
	u32 i;

	if (r->map && r->page[page].mapped == DSM_NONE)
		done = put(r->d->uffd, r->d->copies, r->map + ((size_t)page << UE_PAGE_SHIFT),
			   dsm_alias(r, page), bytes, (write ? 0 : TO_READ) | NO_WAKE);
	else if (r->map && !protect(r, page, n, UFFDIO_WRITEPROTECT_MODE_DONTWAKE))
		done = bytes;
	n = done > 0 ? done >> UE_PAGE_SHIFT : 0;
	for (i = 0; i < n; i++)
		r->page[page + i].mapped = write ? DSM_WRITE : DSM_READ;
	return n;
}

/* May the page be hidden at once with others? Then its lock is taken. */
static bool hides(struct dsm_region *r, u32 page, u64 now)
{
	struct dsm_page *dp = &r->page[page];

	if (pthread_mutex_trylock(&r->lock[dsm_bucket(page)]))
		return false;
	if (dp->mapped != DSM_NONE && !(dp->mapped == DSM_WRITE && r->d->copies) &&
	    now - dp->p.since >= r->c.hold_ns)
		return true;
	pthread_mutex_unlock(&r->lock[dsm_bucket(page)]);
	return false;
}

/**
 * dsm_map_hide() - take pages from the mapping that are about to be taken away
 * @r:    region
 * @page: the first one
 * @n:    how many, at most PD_BATCH
 *
 * No lock held. They can be shown again at once: each is still taken away by itself, which
 * costs little if it isn't mapped any more.
 */
void dsm_map_hide(struct dsm_region *r, u32 page, u32 n)
{
	u32 end = page + n, i;
	u64 now = dsm_now();

	for (; r->map && !r->dead && page < end; page += n + 1) {
		for (n = 0; page + n < end && hides(r, page + n, now); n++)
			;
		if (n)
			madvise(r->map + ((size_t)page << UE_PAGE_SHIFT),
				(size_t)n << UE_PAGE_SHIFT, MADV_DONTNEED);
		for (i = page; i < page + n; i++) {
			r->page[i].mapped = DSM_NONE;
			pthread_mutex_unlock(&r->lock[dsm_bucket(i)]);
		}
	}
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

/* ------------------------------------------------------------- userfaultfd */

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

/**
 * dsm_map_open() - open userfaultfd as this kernel has it
 * @d: node; n, sigbus and copies are set, the last as a wish
 *
 * Return: 0; -EPERM: not allowed here; -EOPNOTSUPP: the kernel is too old; -errno.
 */
int dsm_map_open(struct dsm *d)
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
