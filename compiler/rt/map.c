// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Mappings of the memory that is common to all ISAs: the runtime chooses their addresses and knows them all, so
 * that an image has them all.
 */
#include "runtime.h"

#define PAGE 4096ull
#define MAPS_AT_FIRST 256
#define TRIES 16

static u64 page_up(u64 n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

/** popcorn_private_pages - zeroed pages that only this process has, wherever the kernel wants; or NULL */
void *popcorn_private_pages(u64 len)
{
	long p = sys(mmap, NULL, len, SYS_PROT_READ | SYS_PROT_WRITE,
		     SYS_MAP_PRIVATE | SYS_MAP_ANONYMOUS, -1, 0);

	return sys_failed(p) ? NULL : (void *)p;
}

/* Room for one more change of the table. With the lock held. */
static int table_grow(struct popcorn_mapset *s)
{
	u32 room = s->room ? s->room * 2 : MAPS_AT_FIRST, i;
	struct popcorn_map *v;

	if (s->n + POPCORN_MAPSET_GROWTH <= s->room)
		return 0;
	v = popcorn_private_pages(room * sizeof(*v));
	if (!v)
		return -SYS_ENOMEM;
	for (i = 0; i < s->n; i++)
		v[i] = s->v[i];
	if (s->v)
		sys(munmap, s->v, s->room * sizeof(*v));
	s->v = v;
	s->room = room;
	return 0;
}

static int in_area(u64 start, u64 len)
{
	return start >= POPCORN_BRK_START && start < POPCORN_MAP_END &&
	       len <= POPCORN_MAP_END - start;
}

/* mmap() where nothing is. Older kernels take MAP_FIXED_NOREPLACE for a hint. */
static long map_free(u64 at, u64 len, int prot, int flags, int fd, s64 off)
{
	long p = sys(mmap, at, len, prot, flags | SYS_MAP_FIXED_NOREPLACE, fd, off);

	if (!sys_failed(p) && (u64)p != at) {
		sys(munmap, p, len);
		return -SYS_EEXIST;
	}
	return p;
}

static long map_anywhere(u64 hint, u64 len, int prot, int flags, int fd, s64 off)
{
	struct popcorn_mapset *s = &popcorn.map;
	long p = -SYS_ENOMEM;
	int i;

	if (hint && !(hint % PAGE) && in_area(hint, len) && hint >= POPCORN_MAP_START &&
	    !popcorn_mapset_overlaps(s, hint, hint + len)) {
		p = map_free(hint, len, prot, flags, fd, off);
		if (!sys_failed(p))
			return p;
	}
	for (i = 0; i < TRIES; i++) {
		u64 at = popcorn_mapset_gap(s, len, POPCORN_MAP_ALIGN, POPCORN_MAP_START,
					    POPCORN_MAP_END);

		if (!at)
			return -SYS_ENOMEM;
		p = map_free(at, len, prot, flags, fd, off);
		if (p != -SYS_EEXIST)
			break;
	}
	return p == -SYS_EEXIST ? -SYS_ENOMEM : p;
}

static u32 kind_of(int flags)
{
	if (flags & SYS_MAP_ANONYMOUS)
		return (flags & 15) == SYS_MAP_PRIVATE ? POPCORN_KIND_ANON : POPCORN_KIND_SHARED;
	return (flags & 15) == SYS_MAP_PRIVATE ? POPCORN_KIND_FILE : POPCORN_KIND_SHARED_FILE;
}

static long map_kind(u64 addr, u64 len, int prot, int flags, int fd, s64 off, u32 kind)
{
	const int fixed = SYS_MAP_FIXED | SYS_MAP_FIXED_NOREPLACE;
	long p;

	if (len > POPCORN_MAP_END)
		return -SYS_ENOMEM;
	len = page_up(len);
	if (!len || ((flags & fixed) && addr % PAGE))
		return -SYS_EINVAL;
	if ((flags & fixed) && !in_area(addr, len))
		return -SYS_ENOMEM;
	flags &= ~(0x40 | SYS_MAP_GROWSDOWN);	/* MAP_32BIT is x86-64's alone */

	popcorn_lock(&popcorn.lock);
	p = table_grow(&popcorn.map);
	if (p)
		goto out;
	if (flags & SYS_MAP_FIXED_NOREPLACE)
		p = popcorn_mapset_overlaps(&popcorn.map, addr, addr + len) ? -SYS_EEXIST :
			map_free(addr, len, prot, flags & ~fixed, fd, off);
	else if (flags & SYS_MAP_FIXED)
		p = sys(mmap, addr, len, prot, flags, fd, off);
	else
		p = map_anywhere(addr, len, prot, flags, fd, off);
	if (!sys_failed(p))
		popcorn_mapset_add(&popcorn.map, p, p + len, kind, prot);
out:
	popcorn_unlock(&popcorn.lock);
	return p;
}

long __popcorn_mmap(void *addr, uint64_t len, int prot, int flags, int fd, int64_t off)
{
	return map_kind((u64)addr, len, prot, flags, fd, off, kind_of(flags));
}

long __popcorn_munmap(void *addr, uint64_t len)
{
	long ret;

	if ((u64)addr % PAGE || !len || len > POPCORN_MAP_END)
		return -SYS_EINVAL;
	len = page_up(len);
	if (!in_area((u64)addr, len))
		return -SYS_EINVAL;
	popcorn_lock(&popcorn.lock);
	ret = table_grow(&popcorn.map);
	if (!ret)
		ret = sys(munmap, addr, len);
	if (!ret)
		popcorn_mapset_remove(&popcorn.map, (u64)addr, (u64)addr + len);
	popcorn_unlock(&popcorn.lock);
	return ret;
}

long __popcorn_mprotect(void *addr, uint64_t len, int prot)
{
	long ret;

	if ((u64)addr % PAGE || len > POPCORN_MAP_END)
		return -SYS_EINVAL;
	len = page_up(len);
	if (!in_area((u64)addr, len))	/* data, code: not what images have a protection of */
		return sys(mprotect, addr, len, prot);
	popcorn_lock(&popcorn.lock);
	ret = table_grow(&popcorn.map);
	if (!ret)
		ret = sys(mprotect, addr, len, prot);
	if (!ret)
		popcorn_mapset_protect(&popcorn.map, (u64)addr, (u64)addr + len, prot);
	popcorn_unlock(&popcorn.lock);
	return ret;
}

/* With the lock held, @m being the mapping at @addr. */
static long remap(struct popcorn_map m, u64 addr, u64 old, u64 len, int flags, u64 to)
{
	struct popcorn_mapset *s = &popcorn.map;
	long p;

	if (flags & SYS_MREMAP_FIXED) {
		if (to % PAGE || !in_area(to, len))
			return -SYS_EINVAL;
	} else if (len <= old || (in_area(addr, len) &&
				  !popcorn_mapset_overlaps(s, addr + old, addr + len))) {
		p = sys(mremap, addr, old, len, 0, 0);
		if (!sys_failed(p)) {
			if (len < old)
				popcorn_mapset_remove(s, addr + len, addr + old);
			else
				popcorn_mapset_add(s, addr, addr + len, m.kind, m.prot);
			return p;
		}
		if (!(flags & SYS_MREMAP_MAYMOVE))
			return p;
		to = 0;
	} else if (flags & SYS_MREMAP_MAYMOVE) {
		to = 0;
	} else {
		return -SYS_ENOMEM;
	}
	if (!to)
		to = popcorn_mapset_gap(s, len, POPCORN_MAP_ALIGN, POPCORN_MAP_START, POPCORN_MAP_END);
	if (!to)
		return -SYS_ENOMEM;
	p = sys(mremap, addr, old, len, SYS_MREMAP_MAYMOVE | SYS_MREMAP_FIXED, to);
	if (sys_failed(p))
		return p;
	popcorn_mapset_remove(s, addr, addr + old);
	popcorn_mapset_add(s, p, p + len, m.kind, m.prot);
	return p;
}

long __popcorn_mremap(void *addr, uint64_t old, uint64_t len, int flags, void *to)
{
	struct popcorn_mapset *s = &popcorn.map;
	long p;
	u32 i;

	if ((u64)addr % PAGE || !len || !old || len > POPCORN_MAP_END || old > POPCORN_MAP_END ||
	    (flags & ~(SYS_MREMAP_MAYMOVE | SYS_MREMAP_FIXED)) ||
	    !in_area((u64)addr, page_up(old)))
		return -SYS_EINVAL;
	popcorn_lock(&popcorn.lock);
	p = table_grow(s);
	i = popcorn_mapset_find(s, (u64)addr);
	if (!p && (i == s->n || s->v[i].start > (u64)addr || s->v[i].end < (u64)addr + page_up(old)))
		p = -14;	/* EFAULT, as the kernel says */
	if (!p)
		p = remap(s->v[i], (u64)addr, page_up(old), page_up(len), flags, (u64)to);
	popcorn_unlock(&popcorn.lock);
	return p;
}

long __popcorn_brk(void *end)
{
	u64 to = (u64)end, now, p, old, new;

	popcorn_lock(&popcorn.lock);
	if (!popcorn.brk)
		popcorn.brk = POPCORN_BRK_START;
	now = popcorn.brk;
	if (to < POPCORN_BRK_START || to > POPCORN_MAP_START || table_grow(&popcorn.map))
		goto out;
	old = page_up(now);
	new = page_up(to);
	if (new > old) {
		p = map_free(old, new - old, SYS_PROT_READ | SYS_PROT_WRITE,
			     SYS_MAP_PRIVATE | SYS_MAP_ANONYMOUS, -1, 0);
		if (sys_failed(p))
			goto out;
		popcorn_mapset_add(&popcorn.map, old, new, POPCORN_KIND_ANON,
				   SYS_PROT_READ | SYS_PROT_WRITE);
	} else if (new < old) {
		if (sys(munmap, new, old - new))
			goto out;
		popcorn_mapset_remove(&popcorn.map, new, old);
	}
	popcorn.brk = now = to;
out:
	popcorn_unlock(&popcorn.lock);
	return now;
}

/** popcorn_map_anon - zeroed common memory of the runtime's own, of the kind @kind; or NULL */
void *popcorn_map_anon(u64 len, u32 kind)
{
	long p = map_kind(0, len, SYS_PROT_READ | SYS_PROT_WRITE,
			  SYS_MAP_PRIVATE | SYS_MAP_ANONYMOUS | SYS_MAP_NORESERVE, -1, 0, kind);

	return sys_failed(p) ? NULL : (void *)p;
}

/** popcorn_map_gone - gives memory back that popcorn_map_anon() gave */
void popcorn_map_gone(void *addr, u64 len)
{
	__popcorn_munmap(addr, len);
}

/** popcorn_map_at - memory of a restored process where it was: writable for now. Returns 0 or -errno. */
long popcorn_map_at(u64 start, u64 end, u32 kind, u32 prot)
{
	int flags = SYS_MAP_ANONYMOUS | SYS_MAP_NORESERVE |
		(kind == POPCORN_KIND_SHARED ? SYS_MAP_SHARED : SYS_MAP_PRIVATE);
	long p;

	popcorn_lock(&popcorn.lock);
	p = table_grow(&popcorn.map);
	if (!p)
		p = map_free(start, end - start, SYS_PROT_READ | SYS_PROT_WRITE, flags, -1, 0);
	if (!sys_failed(p))
		popcorn_mapset_add(&popcorn.map, start, end, kind, prot);
	popcorn_unlock(&popcorn.lock);
	return sys_failed(p) ? p : 0;
}
