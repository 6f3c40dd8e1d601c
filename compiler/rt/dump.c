// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A stopped process is written into an image: memory, threads, files, signal handlers. */
#include "image.h"
#include "runtime.h"

#define PAGE 4096ull
#define BUFFER 0x10000ull
#define KERNEL_NR_SIGNALS 64
/* Flags of an open file that a new open() takes, as of x86-64; aarch64 has four of them elsewhere. */
#define FILE_FLAGS (3 | 02000 | 04000 | 010000 | 04010000 | 040000 | 0200000 | 0400000 | 01000000)

/* The beginning of struct statx. */
struct statx_head {
	u32 mask, blksize;
	u64 attributes;
	u32 nlink, uid, gid;
	u16 mode, pad;
	u64 ino, size, blocks, attributes_mask;
	u64 times[8];
	u32 rdev_major, rdev_minor, dev_major, dev_minor;
	u64 more[14];
};

/* A file that was looked at: others may share its offset. */
struct seen {
	int fd;
	u64 ino, dev;
	s64 offset;
};

#define SEEN 256

struct dump {
	struct popcorn_image_out out;
	int fd;
	u64 used;
	char *buffer;
	int probe[2];		/* a pipe: tells whether a page can be read */
	const char *why;
	s64 number;		/* descriptor that is in the way, or -1 */
	int write_files;
	u64 pending;		/* signals of the process */
	u32 nseen;
	struct seen seen[SEEN];
	char path[POPCORN_IMAGE_PATH];
};

static u64 length(const char *s)
{
	u64 n = 0;

	while (s[n])
		n++;
	return n;
}

static int flush(struct dump *d)
{
	u64 at = 0;

	while (at < d->used) {
		long n = sys(write, d->fd, d->buffer + at, d->used - at);

		if (n == -SYS_EINTR)
			continue;
		if (n <= 0)
			return n ? n : -28;	/* ENOSPC */
		at += n;
	}
	d->used = 0;
	return 0;
}

static int buffered(void *ctx, const void *p, u64 len)
{
	struct dump *d = ctx;
	const char *from = p;
	int err;

	while (len) {
		u64 n = BUFFER - d->used < len ? BUFFER - d->used : len;

		__builtin_memcpy(d->buffer + d->used, from, n);
		d->used += n;
		from += n;
		len -= n;
		if (d->used == BUFFER) {
			err = flush(d);
			if (err)
				return err;
		}
	}
	return 0;
}

static int put(void *ctx, const void *p, u64 len)
{
	popcorn_image_put(ctx, p, len);
	return 0;
}

/* Those of timer_create(): how they tell of their end, the kernel doesn't say. */
static int has_posix_timers(void)
{
	int fd = sys(openat, SYS_AT_FDCWD, "/proc/self/timers", SYS_O_CLOEXEC), n;
	char byte;

	n = sys(read, fd, &byte, 1);
	sys(close, fd);
	return n == 1;
}

static void put_process(struct dump *d)
{
	struct popcorn_image_process p = {
		.data_start = (u64)__popcorn_data, .data_end = popcorn_data_end(),
		.brk = popcorn.brk, .start = (u64)popcorn.start, .auxv = popcorn.auxv,
		.nthreads = popcorn.nthreads, .every = popcorn.every,
		.stats = { popcorn.stats.points, popcorn.stats.moves, popcorn.stats.refused,
			   popcorn.stats.images + 1 },
	};
	struct sys_timespec now = { 0, 0 };
	char cwd[POPCORN_IMAGE_PATH];
	u32 i;

	for (i = 0; i < POPCORN_IMAGE_TIMERS; i++) {
		sys(getitimer, i, &p.timer[i]);
		/* It has ended, and begins anew when its signal, which is pending, is delivered: here it begins now. */
		if (!p.timer[i].left_s && !p.timer[i].left_us) {
			p.timer[i].left_s = p.timer[i].interval_s;
			p.timer[i].left_us = p.timer[i].interval_us;
		}
	}
	/* The calling thread is nobody's aim: what it sees is the process's. */
	sys(rt_sigpending, &p.pending, 8);
	p.pending &= ~(1ull << (POPCORN_SIGNAL - 1));
	d->pending = p.pending;
	sys(clock_gettime, SYS_CLOCK_MONOTONIC, &now);
	p.monotonic = now.sec * 1000000000 + now.nsec + __popcorn_monotonic;
	p.umask = sys(umask, 077);
	sys(umask, p.umask);
	if (sys(getcwd, cwd, sizeof(cwd)) <= 0 || cwd[0] != '/')
		cwd[0] = 0;
	popcorn_image_section(&d->out, POPCORN_IMAGE_PROCESS,
			      sizeof(p) + length(popcorn.program) + 1 + length(cwd) + 1);
	popcorn_image_put(&d->out, &p, sizeof(p));
	popcorn_image_put(&d->out, popcorn.program, length(popcorn.program) + 1);
	popcorn_image_put(&d->out, cwd, length(cwd) + 1);
	popcorn_image_close(&d->out);
}

static void put_maps(struct dump *d)
{
	u32 i;

	for (i = 0; i < popcorn.map.n; i++) {
		const struct popcorn_map *m = &popcorn.map.v[i];
		struct popcorn_image_map s = {
			.start = m->start, .end = m->end, .kind = m->kind, .prot = m->prot,
		};

		if (m->kind == POPCORN_KIND_RECORDS)
			continue;
		if (m->kind == POPCORN_KIND_FILE)
			s.kind = POPCORN_KIND_ANON;
		if (m->kind == POPCORN_KIND_SHARED_FILE)
			d->why = "a file is mapped shared";
		popcorn_image_section(&d->out, POPCORN_IMAGE_MAP, sizeof(s));
		popcorn_image_put(&d->out, &s, sizeof(s));
		popcorn_image_close(&d->out);
	}
}

static int zero_page(const u64 *p)
{
	u64 i;

	for (i = 0; i < PAGE / 8; i += 4)
		if (p[i] | p[i + 1] | p[i + 2] | p[i + 3])
			return 0;
	return 1;
}

/* A page behind a file's end is there but can't be read. */
static int readable(struct dump *d, u64 page)
{
	char byte;

	if (sys(write, d->probe[1], page, 1) != 1)
		return 0;
	sys(read, d->probe[0], &byte, 1);
	return 1;
}

static void put_run(struct dump *d, u64 from, u64 to)
{
	while (from < to) {
		u64 n = to - from < POPCORN_IMAGE_DATA ? to - from : POPCORN_IMAGE_DATA;
		struct popcorn_image_data s = { .addr = from, .bytes = n };

		popcorn_image_section(&d->out, POPCORN_IMAGE_DATA_RUN, sizeof(s) + n);
		popcorn_image_put(&d->out, &s, sizeof(s));
		popcorn_image_put(&d->out, (const void *)from, n);
		popcorn_image_close(&d->out);
		from += n;
	}
}

/* All pages of [from, to) that are not zero. */
static void put_range(struct dump *d, u64 from, u64 to, int probe)
{
	u64 page, run = 0;

	for (page = from; page < to && !d->out.err; page += PAGE) {
		if ((probe && !readable(d, page)) || zero_page((const u64 *)page)) {
			if (run)
				put_run(d, run, page);
			run = 0;
		} else if (!run) {
			run = page;
		}
	}
	if (run)
		put_run(d, run, to);
}

/* Where the shadow stack in @m is in use: of a thread, everything from its pointer upwards. */
static u64 shadow_from(const struct popcorn_map *m)
{
	const struct popcorn_thread *t;

	for (t = popcorn.threads; t; t = t->next)
		if ((u64)t->ssp > m->start && (u64)t->ssp <= m->end)
			return (u64)t->ssp & ~(PAGE - 1);
	return m->start;
}

static void put_memory(struct dump *d)
{
	u32 i;

	put_range(d, (u64)__popcorn_data, popcorn_data_end(), 0);
	for (i = 0; i < popcorn.map.n; i++) {
		struct popcorn_map m = popcorn.map.v[i];
		u64 from = m.start;

		if (m.kind == POPCORN_KIND_RECORDS)
			continue;
		if (m.kind == POPCORN_KIND_SHADOW) {
			if (!(m.prot & SYS_PROT_READ))
				continue;
			from = shadow_from(&m);
		}
		if (!(m.prot & SYS_PROT_READ) &&
		    sys(mprotect, m.start, m.end - m.start, m.prot | SYS_PROT_READ)) {
			d->why = "a mapping can't be read";
			d->out.err = -SYS_EACCES;
			return;
		}
		put_range(d, from, m.end, m.kind == POPCORN_KIND_FILE);
		if (!(m.prot & SYS_PROT_READ))
			sys(mprotect, m.start, m.end - m.start, m.prot);
	}
}

static void put_thread(struct dump *d, const struct popcorn_thread *t)
{
	struct popcorn_image_thread s = {
		.self = (u64)t, .tls = (u64)t->tls, .sigmask = t->sigmask, .alt_sp = t->alt.sp,
		.alt_bytes = t->alt.bytes, .alt_flags = t->alt.flags, .fenv = t->fenv,
		.pending = t->pending & ~(d->pending | 1ull << (POPCORN_SIGNAL - 1)),
	};

	popcorn_image_section(&d->out, POPCORN_IMAGE_THREAD, sizeof(s) + popcorn_records_bytes(t));
	popcorn_image_put(&d->out, &s, sizeof(s));
	popcorn_records_copy(t, put, &d->out);
	popcorn_image_close(&d->out);
}

/* The process's first thread comes first: it becomes the first again. */
static void put_threads(struct dump *d)
{
	int pid = sys(getpid, 0), other;
	const struct popcorn_thread *t;

	for (other = 0; other < 2; other++)
		for (t = popcorn.threads; t; t = t->next)
			if ((t->tid != pid) == other)
				put_thread(d, t);
}

static u32 flags_common(u32 flags)
{
#if defined __aarch64__
	u32 direct = flags & 0200000, directory = flags & 040000, nofollow = flags & 0100000;

	flags &= ~(0200000 | 040000 | 0100000 | 0400000);
	flags |= (direct ? 040000 : 0) | (directory ? 0200000 : 0) | (nofollow ? 0400000 : 0);
#endif
	return flags & FILE_FLAGS;
}

static int known_device(const char *path)
{
	static const char *const known[] = {
		"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
	};
	u64 i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (length(path) == length(known[i]) && !__builtin_memcmp(path, known[i], length(path)))
			return 1;
	return 0;
}

static int ends_in(const char *s, const char *end)
{
	u64 n = length(s), k = length(end);

	return n >= k && !__builtin_memcmp(s + n - k, end, k);
}

static const char *fd_name(char *name, int fd)
{
	static const char dir[] = "/proc/thread-self/fd/";
	char digits[12];
	u32 i = sizeof(digits), n;

	for (n = 0; dir[n]; n++)
		name[n] = dir[n];
	do
		digits[--i] = '0' + fd % 10;
	while (fd /= 10);
	while (i < sizeof(digits))
		name[n++] = digits[i++];
	name[n] = 0;
	return name;
}

/* Do both descriptors move together? */
static int same_offset(int a, int b, s64 offset)
{
	int same;

	if (sys(lseek, a, 0, 1) != offset || sys(lseek, b, offset + 1, 0) != offset + 1)
		return 0;
	same = sys(lseek, a, 0, 1) == offset + 1;
	sys(lseek, b, offset, 0);
	return same;
}

static int inherited(int fd, u64 ino)
{
	u32 i;

	for (i = 0; i < popcorn.ninherited; i++)
		if (popcorn.inherited[i].fd == fd && popcorn.inherited[i].ino == ino)
			return 1;
	return fd <= 2;
}

/* What @fd is and how it is opened again. Returns 1 if it is for the image, 0 if not, or -errno. */
static int look_at(struct dump *d, int fd, struct popcorn_image_file *f)
{
	struct statx_head st = { .mask = 0 };
	char name[40];
	u64 dev;
	long n;
	u32 i;

	if (sys(statx, fd, "", 0x1000, 0x7ff, &st))
		return -SYS_EINVAL;
	n = sys(readlinkat, SYS_AT_FDCWD, fd_name(name, fd), d->path, sizeof(d->path) - 1);
	d->path[n > 0 ? n : 0] = 0;
	if ((st.mode & 0170000) != 0100000 && (st.mode & 0170000) != 0040000 && !known_device(d->path)) {
		if (inherited(fd, st.ino))
			return 0;	/* those of whoever restores it */
		d->why = "a descriptor is neither a file nor a directory:";
		d->number = fd;
		return -SYS_EBUSY;
	}
	if (d->path[0] != '/' || ends_in(d->path, " (deleted)")) {
		if (inherited(fd, st.ino))
			return 0;
		d->why = "the file of a descriptor has no name any more:";
		d->number = fd;
		return -SYS_EBUSY;
	}
	*f = (struct popcorn_image_file){
		.fd = fd, .same = -1, .flags = flags_common(sys(fcntl, fd, 3, 0)),
		.cloexec = sys(fcntl, fd, 1, 0) & 1, .offset = sys(lseek, fd, 0, 1),
	};
	if (f->offset < 0)
		f->offset = -1;
	dev = (u64)st.dev_major << 32 | st.dev_minor;
	for (i = 0; i < d->nseen && f->same < 0 && f->offset >= 0; i++)
		if (d->seen[i].ino == st.ino && d->seen[i].dev == dev &&
		    d->seen[i].offset == f->offset && same_offset(d->seen[i].fd, fd, f->offset))
			f->same = d->seen[i].fd;
	if (d->nseen < SEEN && f->same < 0)
		d->seen[d->nseen++] = (struct seen){ fd, st.ino, dev, f->offset };
	return 1;
}

/*
 * Calls @each for all descriptors, the lowest first, until one returns not 0. /proc/self shows none once the first
 * thread has ended.
 */
static int each_fd(int (*each)(void *ctx, int fd), void *ctx)
{
	struct {
		u64 ino;
		s64 off;
		u16 len;
		u8 type;
		char name[];
	} *e;
	int dir = sys(openat, SYS_AT_FDCWD, "/proc/thread-self/fd", SYS_O_CLOEXEC), err = 0;
	char buf[2048] __attribute__((aligned(8)));
	long n = 0, at;

	if (dir < 0)
		return dir;
	while (!err && (n = sys(getdents64, dir, buf, sizeof(buf))) > 0)
		for (at = 0; !err && at < n; at += e->len) {
			const char *c;
			int fd = 0;

			e = (void *)(buf + at);
			for (c = e->name; *c >= '0' && *c <= '9'; c++)
				fd = fd * 10 + *c - '0';
			if (!*c && fd != dir)
				err = each(ctx, fd);
		}
	sys(close, dir);
	return err ? err : n;
}

static int look(void *ctx, int fd)
{
	struct popcorn_image_file f;
	struct dump *d = ctx;
	int err;

	if (fd == d->fd || fd == d->probe[0] || fd == d->probe[1] || fd == popcorn.agent_sock)
		return 0;
	err = look_at(d, fd, &f);
	if (err <= 0 || !d->write_files)
		return err < 0 ? err : 0;
	popcorn_image_section(&d->out, POPCORN_IMAGE_FILE, sizeof(f) + length(d->path) + 1);
	popcorn_image_put(&d->out, &f, sizeof(f));
	popcorn_image_put(&d->out, d->path, length(d->path) + 1);
	popcorn_image_close(&d->out);
	return 0;
}

/* Looks at all descriptors; writes them, too, if @write. */
static int files(struct dump *d, int write)
{
	d->nseen = 0;
	d->write_files = write;
	return each_fd(look, d);
}

static int inherit(void *ctx, int fd)
{
	struct statx_head st;

	(void)ctx;
	if (fd > 2 && popcorn.ninherited < POPCORN_INHERITED && !sys(statx, fd, "", 0x1000, 0x7ff, &st))
		popcorn.inherited[popcorn.ninherited++] = (struct popcorn_inherited){ fd, st.ino };
	return 0;
}

/** popcorn_inherit - remembers the descriptors that a process starts with: they are not its own */
void popcorn_inherit(void)
{
	each_fd(inherit, NULL);
}

static void put_signals(struct dump *d)
{
	struct sys_sigaction sa;
	u32 n;

	for (n = 1; n <= KERNEL_NR_SIGNALS; n++) {
		struct popcorn_image_signal s = { .number = n };

		if (n == 9 || n == 19 || n == POPCORN_SIGNAL || sys(rt_sigaction, n, NULL, &sa, 8) ||
		    !sa.handler)
			continue;
		s.handler = sa.handler;
		s.flags = sa.flags & ~(u64)SYS_SA_RESTORER;
		s.mask = sa.mask;
		popcorn_image_section(&d->out, POPCORN_IMAGE_SIGNAL, sizeof(s));
		popcorn_image_put(&d->out, &s, sizeof(s));
		popcorn_image_close(&d->out);
	}
}

/**
 * popcorn_dump - writes the process, whose threads have all stopped
 * @fd: file that takes the image
 * @why: for the user, if it can't be done
 * @number: the descriptor that @why is about, or -1
 *
 * Returns 0 or -errno; the process is as before.
 */
int popcorn_dump(int fd, const char **why, s64 *number)
{
	struct dump *d = popcorn_private_pages(sizeof(*d) + BUFFER);
	int err;

	if (!d)
		return -SYS_ENOMEM;
	d->fd = fd;
	d->buffer = (char *)(d + 1);
	d->out.write = buffered;
	d->out.ctx = d;
	d->why = NULL;
	d->number = -1;
	d->probe[0] = d->probe[1] = -1;
	err = sys(pipe2, d->probe, SYS_O_CLOEXEC);
	if (!err)
		err = files(d, 0);
	if (err) {
		d->why = d->why ? d->why : "/proc can't be read";
		goto out;
	}

	if (has_posix_timers()) {
		d->why = "it has a timer of timer_create()";
		err = -SYS_EBUSY;
		goto out;
	}

	popcorn_image_begin(&d->out, __popcorn_program, POPCORN_ISA);
	put_process(d);
	put_maps(d);
	if (d->why) {
		err = -SYS_EBUSY;
		goto out;
	}
	put_memory(d);
	put_threads(d);
	err = files(d, 1);
	put_signals(d);
	if (!err)
		err = popcorn_image_finish(&d->out);
	if (!err)
		err = flush(d);
out:
	if (err && d->why) {
		*why = d->why;
		*number = d->number;
	}
	sys(close, d->probe[0]);
	sys(close, d->probe[1]);
	sys(munmap, d, sizeof(*d) + BUFFER);
	return err;
}
