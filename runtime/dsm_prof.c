// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What `popcorn dsm-prof` is told by a program, if POPCORN_DSM_PROF names a directory:
 *
 *   user.NODE.PID  user mode: struct dsm_prof_head, then a struct dsm_prof_rec for each event
 *   PID.maps       which file's code is where
 *   PID.names      "HOME REGION OFFSET BYTES NAME": what popcorn_name() said
 *
 * Each record is one write(2) to a file that only grows: nothing is lost when the
 * program dies, and the handler of a signal may do it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "dsm.h"

#define RECORDS_MAX	(8u << 20)	/* 320 MiB; the rest is only counted */

struct dsm_prof_head {
	char magic[8];
	u32 version;
	u32 size;		/* of a record */
	u32 pid;
	u32 node;
	u64 wall;		/* what the clock of the day is ahead of the records', ns */
	u64 zero;
};
_Static_assert(sizeof(struct dsm_prof_head) == 40, "file format");

/**
 * struct dsm_prof_rec - an event
 * @time:   ns, CLOCK_MONOTONIC
 * @ip:     of a fault: instruction, 0: unknown; DSM_PROF_LOST: how many records are missing
 * @at:     byte in the region
 * @region: its id
 * @tid:    of a fault
 * @home:   the region's
 * @peer:   node where the page came from
 * @what:   enum dsm_prof_what
 * @call:   of a fault: within a system call, before @ip
 */
struct dsm_prof_rec {
	u64 time;
	u64 ip;
	u64 at;
	u32 region;
	u32 tid;
	u16 home;
	u16 peer;
	u8 what;
	u8 call;
	u16 zero;
};
_Static_assert(sizeof(struct dsm_prof_rec) == 40, "file format");

struct dsm_prof {
	int fd;
	_Atomic u64 records;
	_Atomic u64 lost;
};

/* ----------------------------------------------------------------- records */

static void put(struct dsm_prof *p, struct dsm_prof_rec *rec)
{
	int saved = errno;

	if (atomic_fetch_add(&p->records, 1) >= RECORDS_MAX ||
	    write(p->fd, rec, sizeof(*rec)) != sizeof(*rec))
		atomic_fetch_add(&p->lost, 1);
	errno = saved;
}

static struct dsm_prof_rec record(const struct dsm_region *r, u64 at, u8 what)
{
	return (struct dsm_prof_rec){
		.time = dsm_now(), .at = at, .region = r->id, .home = r->c.home, .what = what,
	};
}

void dsm_prof_put(struct dsm_region *r, u32 page, u8 what, u16 peer)
{
	struct dsm_prof_rec rec = record(r, (u64)page << UE_PAGE_SHIFT, what);

	if (what == DSM_PROF_HERE && !r->page[page].mapped)
		return;
	rec.peer = peer;
	put(r->d->prof, &rec);
}

/*
 * Where a thread of this process is that waits for a page: its program counter is the last number
 * of /proc/self/task/TID/syscall, the first one the call, -1: none.
 */
static u64 ip_of(u32 tid, bool *call)
{
	char path[64], line[256], *last;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%u/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	line[n] = 0;
	last = strrchr(line, ' ');
	*call = line[0] != '-';
	return last ? strtoull(last, NULL, 16) : 0;
}

/* A fault is looked at: of it, what can't be known once it has been served. */
void dsm_prof_look(struct dsm_region *r, struct dsm_prof_fault *f, bool write)
{
	f->at = f->addr - (uintptr_t)r->map;
	f->since = dsm_now();
	f->kind = !write ? DSM_PROF_READ :
		  r->page[f->at >> UE_PAGE_SHIFT].mapped == DSM_READ ? DSM_PROF_UPGRADE : DSM_PROF_WRITE;
	if (!f->ip)
		f->ip = ip_of(f->tid, &f->call);
}

/* It has to wait. */
void dsm_prof_waits(struct dsm_region *r, const struct dsm_prof_fault *f)
{
	struct dsm_prof_rec rec = record(r, f->at, f->kind);

	rec.time = f->since;
	rec.ip = f->ip;
	rec.tid = f->tid ?: (u32)syscall(SYS_gettid);
	rec.call = f->call;
	put(r->d->prof, &rec);
}

/* ------------------------------------------------------------------- files */

static const char *directory(void)
{
	const char *dir = getenv("POPCORN_DSM_PROF");

	return dir && *dir ? dir : NULL;
}

/* Return: descriptor or -errno. */
static int file(const char *dir, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0644);
	return fd < 0 ? -errno : fd;
}

static u64 ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (u64)t.tv_sec * 1000000000 + t.tv_nsec;
}

/**
 * dsm_prof_start() - begin to record a node's events, if the environment says so
 * @d: node
 *
 * What can't be recorded is told once, and the program goes on. For dsm_prof_stop().
 */
void dsm_prof_start(struct dsm *d)
{
	struct dsm_prof_head head = {
		.magic = "popcorn\n", .version = 1, .size = sizeof(struct dsm_prof_rec),
		.pid = getpid(), .node = dsm_self(d),
		.wall = ns(CLOCK_REALTIME) - ns(CLOCK_MONOTONIC),
	};
	const char *dir = directory();
	struct dsm_prof *p;
	char name[64];
	int fd;

	if (!dir)
		return;
	snprintf(name, sizeof(name), "user.%u.%u", head.node, head.pid);
	fd = file(dir, name, O_TRUNC);
	p = fd < 0 ? NULL : ue_alloc(sizeof(*p));
	if (p && write(fd, &head, sizeof(head)) == sizeof(head)) {
		p->fd = fd;
		d->prof = p;
		return;
	}
	dsm_log(d, "not recorded: %s/%s: %s", dir, name, strerror(fd < 0 ? -fd : errno));
	if (fd >= 0)
		close(fd);
	free(p);
}

/* Nobody records any more. */
void dsm_prof_stop(struct dsm *d)
{
	struct dsm_prof *p = d->prof;
	struct dsm_prof_rec rec = { .time = dsm_now(), .what = DSM_PROF_LOST };

	d->prof = NULL;
	if (!p)
		return;
	rec.ip = atomic_load(&p->lost);
	if (rec.ip && write(p->fd, &rec, sizeof(rec)) < 0)
		dsm_log(d, "%llu events could not be recorded", (unsigned long long)rec.ip);
	close(p->fd);
	free(p);
}

/**
 * api_prof_maps() - write down which code is where, for symbols
 *
 * Called when a node is opened, and again when it is closed: libraries may have come.
 */
void api_prof_maps(void)
{
	const char *dir = directory();
	char name[32], buf[4096];
	int from, to;
	ssize_t n;

	if (!dir)
		return;
	snprintf(name, sizeof(name), "%u.maps", (unsigned int)getpid());
	from = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	to = file(dir, name, O_TRUNC);
	if (from >= 0 && to >= 0)
		while ((n = read(from, buf, sizeof(buf))) > 0 && write(to, buf, n) == n)
			;
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
}

/**
 * api_prof_name() - write down what a part of a region is called
 * @r:     region
 * @at:    byte in it
 * @bytes: size
 * @name:  name, of which the first line counts
 *
 * If that can't be recorded, dsm_prof_start() has said so.
 */
void api_prof_name(const struct popcorn_region *r, size_t at, size_t bytes, const char *name)
{
	const char *dir = directory();
	char line[256], path[32];
	size_t n = strcspn(name, "\n");
	int fd;

	if (!dir)
		return;
	n = snprintf(line, sizeof(line), "%u %u %zu %zu %.*s\n", r->home, r->id, at, bytes,
		     n < 128 ? (int)n : 128, name);
	snprintf(path, sizeof(path), "%u.names", (unsigned int)getpid());
	fd = file(dir, path, 0);
	if (fd < 0)
		return;
	if (write(fd, line, n) != (ssize_t)n)
		fprintf(stderr, "popcorn: %s/%s: %s\n", dir, path, strerror(errno));
	close(fd);
}
