// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Shared memory under hard use: a process is a node, all run the same test. What it may end with is
 * checked; status 0: all was right. "calls" is for kernel mode alone.
 *
 *	POPCORN_NODE=kernel:N kdsm-hard TEST NODES MS [ID]
 *
 * Hammers go on for MS milliseconds of node 0's clock, who is the home; others until it says so.
 * KDSM_LIMIT: seconds after which a program ends that hangs; KDSM_HOLD: µs that a page is kept.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <popcorn/popcorn.h>

#define PAGE	4096
#define PAGES	64
#define STREAM	200	/* pages, in two chunks of the kernel's records */
#define STREAM_AT 412
#define PASSES	3
#define LIMIT_S	170
#define NODES	8

static popcorn_t *p;
static popcorn_region_t *r;
static unsigned char *mem;
static unsigned int me, nodes, ms, home, id = 1;

#define die(...) do { printf("node %u: ", me); printf(__VA_ARGS__); \
		      printf(" (%s)\n", strerror(errno)); exit(1); } while (0)
#define want(cond) do { if (!(cond)) die("line %d: not %s", __LINE__, #cond); } while (0)

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static _Atomic uint32_t *word(unsigned int page, unsigned int offset)
{
	return (_Atomic uint32_t *)(mem + page * PAGE + offset);
}

static void meet(void)
{
	want(!popcorn_barrier(r, 0, nodes));
}

/* Is it time to stop? Node 0 says so on page 0; the others look now and then. */
static bool over(void)
{
	static uint64_t end, looked;
	uint64_t now = now_ms();

	if (!end)
		end = now + ms;
	if (!me && now >= end)
		atomic_store(word(0, 0), 1);
	if (now < looked + 20)
		return false;
	looked = now;
	return atomic_load(word(0, 0));
}

/* ----------------------------------------------------------------- hammers */

/* All kinds of atomic, of all sizes, side by side on one page. */
struct mixed {
	_Atomic uint8_t b;
	_Atomic uint16_t h;
	_Atomic uint32_t w;
	_Atomic uint64_t d, cas, bits;
	_Atomic uint64_t total;
};

static void t_atomics(void)
{
	struct mixed *m = (void *)(mem + PAGE);
	uint64_t n, old, bit = 1ull << me;

	for (n = 0; !over(); n++) {
		atomic_fetch_add(&m->b, 1);
		atomic_fetch_add(&m->h, 1);
		atomic_fetch_sub(&m->w, 1);
		atomic_fetch_add(&m->d, n);
		old = atomic_load(&m->cas);
		while (!atomic_compare_exchange_weak(&m->cas, &old, old + 3))
			;
		want(!(atomic_fetch_or(&m->bits, bit) & bit));
		want(atomic_fetch_and(&m->bits, ~bit) & bit);
	}
	atomic_fetch_add(&m->total, n);
	atomic_fetch_sub(&m->d, n * (n - 1) / 2);
	meet();
	n = m->total;
	want(m->b == (uint8_t)n && m->h == (uint16_t)n && m->w == (uint32_t)-n && m->cas == 3 * n);
	want(!m->d && !m->bits && n);
	printf("atomics %llu\n", (unsigned long long)n);
}

/* Peterson's lock of nodes 0 and 1, without ordered accesses but with the fence that it needs. */
static void t_peterson(void)
{
	volatile uint32_t *flag[] = { (void *)word(1, 0), (void *)word(2, 0) };
	volatile uint32_t *turn = (void *)word(3, 0), *count = (void *)word(4, 0);
	_Atomic uint32_t *total = word(5, 0);
	uint32_t n = 0;

	for (; me < 2 && !over(); n++) {
		*flag[me] = 1;
		*turn = 1 - me;
		atomic_thread_fence(memory_order_seq_cst);
		while (*flag[1 - me] && *turn == 1 - me)
			;
		atomic_thread_fence(memory_order_seq_cst);
		(*count)++;
		atomic_thread_fence(memory_order_seq_cst);
		*flag[me] = 0;
	}
	atomic_fetch_add(total, n);
	meet();
	want(*count == *total && *count);
	printf("peterson %u\n", *count);
}

/* Each its own words of many pages: no write may be lost, whatever the others write there. */
static void t_false_sharing(void)
{
	volatile uint32_t *own[16];
	uint32_t n = 0, k, i;

	for (k = 0; k < 16; k++)
		own[k] = (void *)word(1 + k % 4, (k / 4) * 1000 / 4 * 4 + 4 * me);
	while (!over()) {
		n++;
		for (k = 0; k < 16; k++) {
			want(*own[k] == n - 1);
			*own[k] = n;
		}
	}
	atomic_store(word(10, 4 * me), n);
	meet();
	for (k = 0; k < 16; k++)
		for (i = 0; i < nodes; i++)
			want(own[k][(int)i - (int)me] == *word(10, 4 * i));
	printf("rounds %u\n", n);
}

/* Records over page boundaries, under a lock; and stores that need two pages at once, under none. */
#define RECORD	(3 * PAGE + 123)

static void t_straddle(void)
{
	unsigned char *record = mem + 5 * PAGE + 3001;
	unsigned char *own = mem + (14 + me) * PAGE - 3;	/* its pages are the neighbours', too */
	uint64_t n = 0, x, was;
	uint32_t i;

	for (; !over(); n++) {
		x = n * 0x0101010101010101;
		memcpy(mem + 12 * PAGE - 3, &x, 8);		/* everybody's: which halves last is chance */
		if (n) {
			memcpy(&was, own, 8);
			want(was == x - 0x0101010101010101);
		}
		memcpy(own, &x, 8);
		want(!popcorn_lock(r, 1));
		for (i = 1; i < RECORD; i++)
			want(record[i] == record[0]);
		memset(record, record[0] + 1, RECORD);
		want(!popcorn_unlock(r, 1));
	}
	atomic_fetch_add(word(1, 0), n);
	meet();
	want(record[0] == (unsigned char)*word(1, 0) && *word(1, 0));
	printf("records %u\n", *word(1, 0));
}

/*
 * Each in turn writes page after page, which all have: rights are asked for ahead, and copies dropped
 * together. It does so several times, while others look on: for them no page goes back. When all have
 * met, all find what was written last.
 */
static void t_upgrades(void)
{
	static uint32_t seen[STREAM];
	uint32_t n = 0, seed = me + 1, at, i, k, pass, how;
	uint64_t end = now_ms() + ms;

	for (;; n += PASSES) {
		for (i = 0; i < STREAM; i++)
			want(atomic_load(word(STREAM_AT + i, 8)) == n);
		if (!me && n >= nodes * PASSES && now_ms() >= end)
			atomic_store(word(0, 0), 1);
		meet();
		if (atomic_load(word(0, 0)))
			break;
		for (pass = 1; pass <= PASSES; pass++) {
			seed = seed * 1103515245 + 12345;
			how = n / PASSES % nodes == me ? 0 : 1 + (seed >> 16) % 3;
			for (i = 0; i < STREAM && how < 3; i++) {
				at = how < 2 ? i : (seed >> 16) * i % STREAM;
				k = atomic_load(word(STREAM_AT + at, 8));
				want(k >= seen[at] && k <= n + PASSES);
				want(atomic_load(word(STREAM_AT + at, 4088)) >= k);
				seen[at] = k;
				if (how)
					continue;
				want(k == n + pass - 1);
				atomic_store(word(STREAM_AT + at, 4088), n + pass);
				atomic_store(word(STREAM_AT + at, 8), n + pass);
			}
		}
		meet();
	}
	printf("upgrades %u\n", n * STREAM);
}

/* --------------------------------------------------------------- system calls */

static int device(void)
{
	struct popcorn_ioc_region io = { .id = id, .node = me, .home = home };
	int fd = open("/dev/popcorn", O_RDWR | O_CLOEXEC);

	want(fd >= 0 && !ioctl(fd, POPCORN_IOC_ATTACH, &io));
	return fd;
}

/*
 * Another program of the home's, in the same process: has the region for itself, and leaves it by
 * popcorn_close().
 */
static void another(void)
{
	popcorn_region_t *s, *none;
	_Atomic uint32_t *at;
	popcorn_t *q;
	int fds[2];

	want((fds[0] = dup(0)) >= 0 && !close(fds[0]));
	want(!popcorn_open(NULL, &q) && !popcorn_attach(q, home, id, &s));
	want(popcorn_create(q, id, PAGE, NULL, &none) == -EEXIST);
	at = popcorn_map(s, NULL);
	want(at && (void *)at != mem);
	atomic_fetch_add((_Atomic uint32_t *)((unsigned char *)at + 8 * PAGE + 3500), 5);
	want(*word(8, 3500) == 5);
	popcorn_close(q);
	want(msync((void *)at, PAGE, MS_ASYNC) == -1 && errno == ENOMEM);	/* not mapped */
	want((fds[1] = dup(0)) == fds[0] && !close(fds[1]));			/* not open */
}

/* The other nodes want pages 8 to 23 all the time, to write. */
static void disturb(void)
{
	uint32_t n = 0;

	while (!atomic_load(word(0, 0))) {
		atomic_fetch_add(word(8 + n++ % 16, 4000 + 4 * me), 1);
		usleep(500);
	}
}

/* Device and file, from and into memory that others write to meanwhile. */
static void direct(const char *path)
{
	unsigned char *buf = mem + 8 * PAGE, *back = aligned_alloc(PAGE, 8 * PAGE);
	int fd = open(path, O_RDWR | O_DIRECT);
	uint32_t i, k;

	want(fd >= 0 && back);
	for (i = 0; i < 30; i++) {
		for (k = 0; k < 8; k++)
			memset(buf + k * PAGE, i + k, 3000);
		want(pwrite(fd, buf, 8 * PAGE, 0) == 8 * PAGE);
		for (k = 0; k < 8; k++)
			memset(buf + k * PAGE, 255, 3000);
		want(pread(fd, back, 8 * PAGE, 0) == 8 * PAGE);
		for (k = 0; k < 8 * PAGE; k++)
			want(k % PAGE >= 3000 || back[k] == (unsigned char)(i + k / PAGE));
		/* All of it comes from the disk, so pages that nobody else writes to. */
		want(pread(fd, mem + 30 * PAGE, 8 * PAGE, 0) == 8 * PAGE);
		want(!memcmp(mem + 30 * PAGE, back, 8 * PAGE));
	}
	close(fd);
	free(back);
}

static long futex(void *at, int op, uint32_t value, const struct timespec *t)
{
	return syscall(SYS_futex, at, op, value, t, NULL, 0);
}

static void *futex_waker(void *arg)
{
	_Atomic uint32_t *at = arg;
	uint32_t i;

	for (i = 1; i <= 50; i++) {
		while (atomic_load(at) != 2 * i - 1)
			futex(at, FUTEX_WAIT, 2 * i - 2, &(struct timespec){ 0, 20000000 });
		atomic_store(at, 2 * i);
		futex(at, FUTEX_WAKE, 1, NULL);
	}
	return NULL;
}

/* Between threads of one node, on a page that others write to. */
static void futexes(void)
{
	_Atomic uint32_t *at = word(9, 3996);
	pthread_t t;
	uint32_t i;

	atomic_store(at, 0);
	want(!pthread_create(&t, NULL, futex_waker, (void *)at));
	for (i = 1; i <= 50; i++) {
		atomic_store(at, 2 * i - 1);
		futex(at, FUTEX_WAKE, 1, NULL);
		while (atomic_load(at) != 2 * i)
			futex(at, FUTEX_WAIT, 2 * i - 1, &(struct timespec){ 0, 20000000 });
	}
	pthread_join(t, NULL);
}

/* A child has nothing mapped, maps it by itself, is read and written by who traces it. */
static void tracing(void)
{
	struct rlimit none = { 0, 0 };
	unsigned char *at;
	int status, fd;
	pid_t child;
	long v;

	child = fork();
	if (!child) {
		setrlimit(RLIMIT_CORE, &none);
		*(volatile unsigned char *)(mem + 8 * PAGE) = 1;	/* not there */
		_exit(0);
	}
	want(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);

	fd = device();
	at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8 * PAGE);
	want(at != MAP_FAILED && !munmap(at, 2 * PAGE));
	child = fork();
	if (!child) {
		if (mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 8 * PAGE) != at ||
		    mmap(at + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 9 * PAGE) != at + PAGE)
			_exit(1);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(*(volatile unsigned char *)(at + 8) == 0x5a ? 0 : 2);
	}
	want(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
	atomic_store(word(8, 16), 77);
	errno = 0;
	v = ptrace(PTRACE_PEEKDATA, child, at + 16, 0);
	want(!errno && (uint32_t)v == 77);
	want(!ptrace(PTRACE_POKEDATA, child, at + 8, 0x5aL));
	want((uint8_t)*word(8, 8) == 0x5a);
	/* Read-only there, so a tracer can't write either: it would be a page of nobody's. */
	want(ptrace(PTRACE_POKEDATA, child, at + PAGE + 8, 0x5aL) == -1 && errno == EIO);
	want(!ptrace(PTRACE_CONT, child, 0, 0));
	want(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status));

	/* exec(): the mapping goes, the attachment with O_CLOEXEC as well. */
	child = fork();
	if (!child) {
		mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 8 * PAGE);
		execl("/bin/sh", "sh", "-c", "! grep -q popcorn /proc/self/maps && ! ls -l /proc/self/fd 2>/dev/null | grep -q popcorn",
		      NULL);
		_exit(3);
	}
	want(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status));

	/* A core is written; what is shared isn't in it. */
	child = fork();
	if (!child) {
		struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

		setrlimit(RLIMIT_CORE, &all);
		if (chdir("/tmp") || mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 8 * PAGE) == MAP_FAILED)
			_exit(4);
		abort();
	}
	want(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	close(fd);
}

/* Advice and pins of all kinds on a part that is its own mapping; none loses a write or stops the others. */
static void mappings(void)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_WILLNEED, MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE,
		MADV_MERGEABLE, MADV_FREE, MADV_REMOVE, MADV_DOFORK, MADV_DODUMP, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_WIPEONFORK,
	};
	_Atomic uint32_t *at;
	unsigned char *m, *moved;
	int fd = device(), zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), pipes[2];
	struct iovec iov;
	char c[PAGE];
	uint32_t i, k;

	m = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 8 * PAGE);
	want(m != MAP_FAILED);
	for (i = 0; i < ms; i++) {
		int what = advice[i % (sizeof(advice) / sizeof(*advice))];

		for (k = 0; k < 16; k++) {
			at = (void *)(m + k * PAGE + 3000);
			want(atomic_load(at) == i);
			atomic_store(at, i + 1);
			want(atomic_load(word(8 + k, 3000)) == i + 1);
		}
		madvise(m, 16 * PAGE, what);
		switch (i % 5) {
		case 0:
			want(!mlock(m, 8 * PAGE));
			break;
		case 1:
			want(!munlock(m, 8 * PAGE));
			break;
		case 2:		/* read-only is read-only, and can be undone */
			want(!mprotect(m, 16 * PAGE, PROT_READ));
			want(read(zero, m + 4 * PAGE, 8) == -1 && errno == EFAULT);
			want(!mprotect(m, 16 * PAGE, PROT_READ | PROT_WRITE));
			break;
		case 3:
			moved = mremap(m, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				       mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
			want(moved != MAP_FAILED);
			m = moved;
			break;
		case 4:
			want(!msync(m, 16 * PAGE, MS_SYNC | MS_INVALIDATE) || errno == EBUSY);
			break;
		}
	}
	/* Both halves of a hole stay; what was unmapped is a fault for this process only. */
	want(!munmap(m + 4 * PAGE, 8 * PAGE));
	close(zero);
	want(m[3000] && m[12 * PAGE + 3000]);
	want(mincore(m + 4 * PAGE, PAGE, (void *)c) == -1 && errno == ENOMEM);
	/* A pipe keeps the page itself: the others wait until it is empty, and then go on. */
	want(!pipe(pipes));
	iov = (struct iovec){ mem + 8 * PAGE, 2 * PAGE };
	want(vmsplice(pipes[1], &iov, 1, 0) == 2 * PAGE);
	usleep(100000);
	want(read(pipes[0], c, PAGE) == PAGE && read(pipes[0], c, PAGE) == PAGE);
	close(pipes[0]);
	close(pipes[1]);
	want(read(fd, c, 1) == -1 && write(fd, c, 1) == -1 && errno == EINVAL);
	close(fd);
	munmap(m, 4 * PAGE);
	munmap(m + 12 * PAGE, 4 * PAGE);
}

/*
 * Node 0 does all kinds of things, the others want its pages meanwhile. KDSM_DISKS: to be
 * overwritten. MS is a number of rounds.
 */
static void t_calls(void)
{
	char *disks = getenv("KDSM_DISKS"), *disk;
	uint64_t began = now_ms();

	if (me) {
		disturb();
		return;
	}
	for (disk = strtok(disks ? disks : "", ":"); disk; disk = strtok(NULL, ":")) {
		direct(disk);
		printf("%s after %llu ms\n", disk, (unsigned long long)(now_ms() - began));
	}
	another();
	futexes();
	tracing();
	printf("traced after %llu ms\n", (unsigned long long)(now_ms() - began));
	mappings();
	atomic_store(word(0, 0), 1);
	printf("calls %llu ms\n", (unsigned long long)(now_ms() - began));
}

/* ------------------------------------------------------------------- deaths */

static sigjmp_buf jump;
static void *lost_at;

static void on_bus(int sig, siginfo_t *si, void *c)
{
	(void)sig, (void)c;
	lost_at = si->si_addr;
	siglongjmp(jump, 1);
}

/*
 * Those who are left meet. Who waits when the death is found is told, as is who comes there later, in
 * the same number: each goes on to another barrier.
 */
static void meet_left(unsigned int left)
{
	static unsigned int number;

	while (popcorn_barrier(r, ++number, left) == -EOWNERDEAD)
		;
}

/*
 * Nodes come to die here. Each page has a word of each node, that only it writes, and a count of all
 * additions. A node whose own word isn't what it wrote last has lost a write: there were two writers.
 * A page that is lost must stay so. After MS those who are left, KDSM_LEFT of them, must agree about
 * every page. KDSM_BEGAN: a file to make when all have begun.
 */
static void t_chaos(void)
{
	static uint32_t mine[PAGES];
	static bool lost[PAGES];
	volatile uint32_t n = 0, page = 0, nlost = 0, longest = 0;
	const char *left = getenv("KDSM_LEFT"), *began_file = getenv("KDSM_BEGAN");
	uint64_t end = now_ms() + ms, began;
	volatile uint32_t seed = me * 7919 + id, sum = 0;
	uint32_t i, k;

	meet();
	if (began_file)
		close(open(began_file, O_CREAT | O_WRONLY, 0600));
	while (now_ms() < end) {
		seed = seed * 1103515245 + 12345;
		page = 1 + (seed >> 16) % (PAGES - 1);
		began = now_ms();
		if (!sigsetjmp(jump, 1)) {
			uint32_t was = atomic_load(word(page, 4 * me));

			if (was != mine[page])
				die("page %u: own word is %u, not %u", page, was, mine[page]);
			if (lost[page])
				die("page %u was lost and is back", page);
			if (seed & (1u << 30)) {
				mine[page] = was + 1;
				atomic_store(word(page, 4 * me), was + 1);
			}
			n++;
		} else {
			want((unsigned char *)lost_at >= mem + page * PAGE &&
			     (unsigned char *)lost_at < mem + (page + 1) * PAGE);
			if (!lost[page])
				nlost++;
			lost[page] = true;
		}
		if (now_ms() - began > longest)
			longest = now_ms() - began;
	}
	printf("accesses %u lost %u longest %u ms\n", n, nlost, longest);
	if (!left)
		return;
	/* A lost page may not be known to be so by all yet. */
	meet_left(atoi(left));
	for (page = 1; page < PAGES; page++)
		if (!sigsetjmp(jump, 1)) {
			for (i = 0, k = 0; i < NODES; i++)
				k = k * 31 + atomic_load(word(page, 4 * i));
			want(atomic_load(word(page, 4 * me)) == mine[page] && !lost[page]);
			sum = sum * 31 + k;
		} else {
			sum = sum * 31 + 7;
		}
	printf("agreed %08x\n", sum);
	meet_left(atoi(left));
}

/* Touch pages until killed, whatever comes of it: somebody sends senseless messages about them. */
static __thread sigjmp_buf thread_jump;

static void on_thread_bus(int sig, siginfo_t *si, void *c)
{
	(void)sig, (void)si, (void)c;
	siglongjmp(thread_jump, 1);
}

static void *victim(void *arg)
{
	_Atomic uint32_t *at = word((uintptr_t)arg, 0);

	for (;;) {
		if (!sigsetjmp(thread_jump, 1)) {
			atomic_load(at);
			usleep(500);
			atomic_fetch_add(at, 1);
		}
		usleep(500);
	}
	return NULL;
}

static void t_victim(void)
{
	pthread_t t;
	uintptr_t i;

	for (i = 0; i < 8; i++)
		want(!pthread_create(&t, NULL, victim, (void *)i));
	for (;;)
		pause();
}

static const struct {
	const char *name;
	void (*run)(void);
	void (*on_bus)(int sig, siginfo_t *si, void *c);
	unsigned int pages;
} tests[] = {
	{ "atomics", t_atomics, NULL, PAGES },
	{ "peterson", t_peterson, NULL, PAGES },
	{ "false_sharing", t_false_sharing, NULL, PAGES },
	{ "straddle", t_straddle, NULL, PAGES },
	{ "upgrades", t_upgrades, NULL, STREAM_AT + STREAM },
	{ "calls", t_calls, NULL, PAGES },
	{ "chaos", t_chaos, on_bus, PAGES },
	{ "victim", t_victim, on_thread_bus, PAGES },
};

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_NODEFER };
	const char *limit = getenv("KDSM_LIMIT"), *hold = getenv("KDSM_HOLD");
	struct popcorn_region_opts opts = { .hold_us = hold ? atoi(hold) : 0 };
	unsigned int limit_s, i;
	int e;

	if (argc < 4)
		return 2;
	for (i = 0; strcmp(argv[1], tests[i].name); i++)
		if (i + 1 == sizeof(tests) / sizeof(*tests))
			return 2;
	nodes = atoi(argv[2]);
	ms = atoi(argv[3]);
	if (argc > 4)
		id = atoi(argv[4]);
	limit_s = limit ? strtoul(limit, NULL, 10) : LIMIT_S + ms / 1000;
	alarm(limit_s);
	/* Before user mode's own, which hands on what it has no page for. */
	sa.sa_sigaction = tests[i].on_bus;
	if (sa.sa_sigaction)
		sigaction(SIGBUS, &sa, NULL);
	e = popcorn_open(NULL, &p);
	if (e)
		die("open %d", e);
	me = popcorn_self(p);
	home = getenv("KDSM_HOME") ? atoi(getenv("KDSM_HOME")) : 0;
	e = me == home ? popcorn_create(p, id, tests[i].pages * PAGE, &opts, &r) : popcorn_attach(p, home, id, &r);
	if (e)
		die("region %d", e);
	mem = popcorn_map(r, NULL);
	want(mem);
	tests[i].run();
	/* The home ends the region: not before all have looked at it. */
	if (strcmp(argv[1], "chaos"))
		meet();
	popcorn_close(p);
	printf("ok %s node %u\n", argv[1], me);
	return 0;
}
