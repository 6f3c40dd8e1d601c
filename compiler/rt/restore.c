// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A fresh process becomes the one that an image has: before the libc has begun, so that nothing of
 * its own is lost. Nothing is changed until the whole image has been checked.
 */
#include "image.h"
#include "runtime.h"

#define STACK_BYTES (8ull << 20)
#define STACK_GUARD 0x10000ull
/* CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD, _SYSVSEM, _SETTLS */
#define THREAD_FLAGS (0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000)

static const char *image_name POPCORN_PRIVATE;

static _Noreturn void refuse(const char *why)
{
	struct popcorn_line l = { .len = 0 };

	popcorn_line_str(&l, "popcorn: restore: ");
	popcorn_line_str(&l, image_name);
	popcorn_line_str(&l, ": ");
	popcorn_line_str(&l, why);
	popcorn_line_write(&l, 2);
	for (;;)
		sys(exit_group, 1);
}

static _Noreturn void refuse_object(const char *why, const char *object)
{
	struct popcorn_line l = { .len = 0 };

	popcorn_line_str(&l, why);
	popcorn_line_str(&l, " ");
	popcorn_line_str(&l, object);
	l.text[l.len] = 0;
	refuse(l.text);
}

static u8 *map_image(const char *name, u64 *len)
{
	int fd = sys(openat, SYS_AT_FDCWD, name, SYS_O_CLOEXEC);
	s64 size;
	long p;

	if (fd < 0)
		refuse("can't be opened");
	size = sys(lseek, fd, 0, 2);
	if (size <= 0)
		refuse("is empty");
	p = sys(mmap, NULL, size, SYS_PROT_READ, SYS_MAP_PRIVATE, fd, 0);
	if (sys_failed(p))
		refuse("can't be mapped");
	sys(close, fd);
	*len = size;
	return (u8 *)p;
}

static void memory(const u8 *image, u64 len)
{
	struct popcorn_image_in in;
	struct popcorn_image_part s;

	popcorn_image_open(&in, image, len);
	while (popcorn_image_next(&in, &s))
		if (s.type == POPCORN_IMAGE_MAP) {
			const struct popcorn_image_map *m = (const void *)s.payload;

			if (popcorn_map_at(m->start, m->end, m->kind, m->prot))
				refuse("memory of the process can't be had at its addresses");
		} else if (s.type == POPCORN_IMAGE_DATA_RUN) {
			const struct popcorn_image_data *d = (const void *)s.payload;

			__builtin_memcpy((void *)d->addr, d + 1, d->bytes);
		}
	popcorn_image_open(&in, image, len);
	while (popcorn_image_next(&in, &s))
		if (s.type == POPCORN_IMAGE_MAP) {
			const struct popcorn_image_map *m = (const void *)s.payload;

			if (m->prot != (SYS_PROT_READ | SYS_PROT_WRITE))
				sys(mprotect, m->start, m->end - m->start, m->prot);
		}
}

static u32 flags_here(u32 flags)
{
#if defined __aarch64__
	u32 direct = flags & 040000, directory = flags & 0200000, nofollow = flags & 0400000;

	flags &= ~(040000 | 0200000 | 0400000);
	flags |= (direct ? 0200000 : 0) | (directory ? 040000 : 0) | (nofollow ? 0100000 : 0);
#endif
	return flags;
}

static void open_file(const struct popcorn_image_file *f)
{
	const char *path = (const char *)(f + 1);
	int fd;

	if (f->same >= 0) {
		if (sys(dup3, f->same, f->fd, f->cloexec ? SYS_O_CLOEXEC : 0) != f->fd)
			refuse_object("no descriptor for", path);
		return;
	}
	fd = sys(openat, SYS_AT_FDCWD, path, flags_here(f->flags) | (f->cloexec ? SYS_O_CLOEXEC : 0));
	if (fd < 0)
		refuse_object("a file of the process can't be opened:", path);
	if (fd != f->fd) {
		if (sys(dup3, fd, f->fd, f->cloexec ? SYS_O_CLOEXEC : 0) != f->fd)
			refuse_object("no descriptor for", path);
		sys(close, fd);
	}
	if (f->offset >= 0 && sys(lseek, f->fd, f->offset, 0) != f->offset)
		refuse_object("the place in a file can't be had again:", path);
}

static void set_signal(const struct popcorn_image_signal *s)
{
	struct sys_sigaction sa = { .handler = s->handler, .flags = s->flags, .mask = s->mask };

#if !defined __riscv
	sa.flags |= SYS_SA_RESTORER;
	sa.restorer = (u64)popcorn_sigreturn;
#endif
	sys(rt_sigaction, s->number, &sa, NULL, 8);
}

/* What of a thread is this process's; its records go into a new buffer. */
static void set_thread(const struct popcorn_image_thread *s, u64 length)
{
	struct popcorn_thread *t = (struct popcorn_thread *)s->self;
	u64 bytes = length - sizeof(*s);

	t->piece = NULL;
	if (popcorn_records_prepare(t, bytes))
		refuse("no memory for the state of a thread");
	t->rec -= bytes;
	__builtin_memcpy(t->rec, s + 1, bytes);
	t->tls = (char *)s->tls;
	t->sigmask = s->sigmask;
	t->alt.sp = s->alt_sp;
	t->alt.bytes = s->alt_bytes;
	t->alt.flags = s->alt_flags;
	t->fenv = s->fenv;
	t->pending = s->pending;
	t->flag = popcorn.every ? POPCORN_FLAG_EVERY : 0;
	t->unwinding = POPCORN_RUN;
	t->due = popcorn.every;
	t->state = POPCORN_THREAD_NEW;
	t->stack_map = NULL;
	t->next = popcorn.threads;
	popcorn.threads = t;
	popcorn.nthreads++;
}

/* Sends again what was on its way, to one thread or (0) to the process; all signals are blocked. */
static void send(u64 signals, s32 tid)
{
	int pid = sys(getpid, 0), n;

	for (n = 1; n <= 64; n++)
		if (signals >> (n - 1) & 1) {
			if (tid)
				sys(tgkill, pid, tid, n);
			else
				sys(kill, pid, n);
		}
}

/* In the thread, on its native stack, with its thread pointer. */
static void run_thread(void *arg)
{
	struct popcorn_thread *t = arg;

	t->tid = sys(gettid, 0);
	if (t->alt.sp)
		sys(sigaltstack, &t->alt, NULL);
	send(t->pending, t->tid);
	fesetenv(&t->fenv);
	__popcorn_libc_restored(t);
	popcorn_go_on(t);
}

static void start_thread(struct popcorn_thread *t)
{
	u64 bytes = t->stack_bytes ? t->stack_bytes : STACK_BYTES;
	long p = sys(mmap, NULL, bytes, SYS_PROT_READ | SYS_PROT_WRITE,
		     SYS_MAP_PRIVATE | SYS_MAP_ANONYMOUS | SYS_MAP_NORESERVE, -1, 0);

	if (sys_failed(p))
		refuse("no memory for the stack of a thread");
	sys(mprotect, p, STACK_GUARD, SYS_PROT_NONE);
	t->stack_map = (char *)p;
	t->stack_bytes = bytes;
	if (popcorn_clone(THREAD_FLAGS, (char *)p + bytes, run_thread, t, __popcorn_tp_of(t->tls), NULL) < 0)
		refuse("a thread can't be started");
}

static void start_threads(const u8 *image, u64 len)
{
	struct popcorn_thread *first = NULL;
	struct popcorn_image_in in;
	struct popcorn_image_part s;

	popcorn_image_open(&in, image, len);
	while (popcorn_image_next(&in, &s))
		if (s.type == POPCORN_IMAGE_THREAD) {
			struct popcorn_thread *t = (void *)((const struct popcorn_image_thread *)s.payload)->self;

			if (first)
				start_thread(t);
			else
				first = t;
		}
	sys(munmap, image, len);
	sys_set_tp(__popcorn_tp_of(first->tls));
	run_thread(first);
}

static void set_process(const struct popcorn_image_process *p, const long *sp)
{
	const char *path = (const char *)(p + 1);
	const char *cwd = path + __builtin_strlen(path) + 1;
	struct sys_timespec now = { 0, 0 };
	s64 since;
	u32 i;

	popcorn.brk = p->brk;
	popcorn.start = (long *)p->start;
	popcorn.auxv = p->auxv;
	popcorn.stats = (struct popcorn_stats){ p->stats[0], p->stats[1], p->stats[2], p->stats[3] };
	popcorn_auxv_refresh(popcorn.start, popcorn.auxv, sp);
	sys(umask, p->umask);
	for (i = 0; i < POPCORN_IMAGE_TIMERS; i++)
		if (p->timer[i].left_s || p->timer[i].left_us)
			sys(setitimer, i, &p->timer[i], NULL);
	sys(clock_gettime, SYS_CLOCK_MONOTONIC, &now);
	since = now.sec * 1000000000 + now.nsec;
	__popcorn_monotonic = p->monotonic > since ? p->monotonic - since : 0;
	if (*cwd && sys(chdir, cwd))
		refuse_object("its working directory is missing:", cwd);
}

/**
 * popcorn_restore - the calling process, which has just started, becomes the one of an image
 * @name: file with the image
 * @sp: what the kernel has left on the stack
 */
_Noreturn void popcorn_restore(const char *name, long *sp)
{
	struct popcorn_image_process p;
	struct popcorn_image_part s;
	struct popcorn_image_in in;
	const char *why = "damaged";
	u64 all = ~0ull, len;
	u8 *image;

	image_name = name;
	image = map_image(name, &len);
	if (popcorn_image_check(image, len, __popcorn_program, &why))
		refuse(why);
	popcorn_image_open(&in, image, len);
	popcorn_image_next(&in, &s);
	__builtin_memcpy(&p, s.payload, sizeof(p));
	if (p.data_start != (u64)__popcorn_data || p.data_end != popcorn_data_end())
		refuse("a checkpoint of a program with another layout");

	sys(rt_sigprocmask, SYS_SIG_SETMASK, &all, NULL, 8);
	popcorn_signal_init();	/* who asks while this goes on waits for its end */
	if (sys_failed(sys(mmap, p.data_start, p.data_end - p.data_start, SYS_PROT_READ | SYS_PROT_WRITE,
			   SYS_MAP_PRIVATE | SYS_MAP_ANONYMOUS | SYS_MAP_FIXED, -1, 0)))
		refuse("no memory");
	memory(image, len);
	set_process((const void *)s.payload, sp);
	while (popcorn_image_next(&in, &s))
		if (s.type == POPCORN_IMAGE_THREAD)
			set_thread((const void *)s.payload, s.length);
		else if (s.type == POPCORN_IMAGE_FILE)
			open_file((const void *)s.payload);
		else if (s.type == POPCORN_IMAGE_SIGNAL)
			set_signal((const void *)s.payload);
	send(p.pending, 0);
	start_threads(image, len);
	__builtin_unreachable();
}
