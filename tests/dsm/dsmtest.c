// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * dsmtest: what a program sees of shared memory in kernel mode, from one node or, run
 * on several with the same words, from all. One process is one node.
 *
 *	dsmtest NODE HOME ID PAGES TEST [ARGUMENTS]
 *
 * NODE is this node's id, HOME that which makes the region ID of PAGES pages. Prints a
 * line for what was checked; status 0: all was right.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <popcorn/uapi.h>

static int limit = 120;	/* s that a wait may last: DSMTEST_LIMIT */
static int fd, node, home;
static char *mem;
static size_t page;

#define die(...) do { fprintf(stderr, "dsmtest: " __VA_ARGS__); \
		      fprintf(stderr, " (%s)\n", strerror(errno)); exit(1); } while (0)
#define want(cond) do { if (!(cond)) die("line %d: not %s", __LINE__, #cond); } while (0)

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static _Atomic uint32_t *word(unsigned int p, unsigned int offset)
{
	return (_Atomic uint32_t *)(mem + p * page + offset);
}

/* Wait until a word has a value, looking now and then. */
static void until(_Atomic uint32_t *w, uint32_t value)
{
	uint64_t end = now_ms() + limit * 1000;

	while (atomic_load(w) != value) {
		if (now_ms() > end)
			die("word is %u, not %u", atomic_load(w), value);
		usleep(1000);
	}
}

static void attach(uint32_t id, uint64_t pages)
{
	struct popcorn_ioc_region r = { .id = id, .node = node, .home = home, .perm = 0600 };
	const char *perm = getenv("DSMTEST_PERM");
	uint64_t end = now_ms() + 20000;

	if (perm)
		r.perm = strtoul(perm, NULL, 8);
	fd = open("/dev/popcorn", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("/dev/popcorn");
	if (node == home) {
		r.bytes = pages * page;
		if (ioctl(fd, POPCORN_IOC_CREATE, &r))
			die("create");
	} else {
		while (ioctl(fd, POPCORN_IOC_ATTACH, &r)) {
			if (errno != ENOENT || now_ms() > end)
				die("attach");
			usleep(20000);
		}
		want(r.bytes == pages * page);
	}
	mem = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		die("mmap");
}

/* Everybody calls it as often: page 0 is for that. */
static void meet(unsigned int nodes)
{
	static uint32_t round;

	atomic_fetch_add(word(0, 64), 1);
	round += nodes;
	uint64_t end = now_ms() + limit * 1000;

	while (atomic_load(word(0, 64)) < round) {
		if (now_ms() > end)
			die("met %u of %u", atomic_load(word(0, 64)), round);
		usleep(1000);
	}
}

static void stat_print(void)
{
	struct popcorn_ioc_stat s;

	if (ioctl(fd, POPCORN_IOC_STAT, &s))
		die("stat");
	printf("stat resident %llu local %llu read %llu write %llu upgrade %llu ns %llu invalidated %llu supplied %llu lost %llu\n",
	       s.resident, s.faults_local, s.faults_read, s.faults_write, s.faults_upgrade,
	       s.fault_ns, s.invalidated, s.supplied, s.lost);
}

/* ------------------------------------------------------------------- tests */

static int n_arg;
static unsigned long arg[4];

/* A page written at the home is read elsewhere, and back. */
static void t_basic(void)
{
	unsigned int i;

	if (node == home) {
		for (i = 0; i < page / 4; i++)
			atomic_store(word(1, i * 4), i * 2654435761u);
		atomic_store(word(0, 0), 1);
		until(word(0, 4), 1);
		for (i = 0; i < page / 4; i++)
			want(atomic_load(word(2, i * 4)) == i * 40503u);
	} else {
		until(word(0, 0), 1);
		for (i = 0; i < page / 4; i++)
			want(atomic_load(word(1, i * 4)) == i * 2654435761u);
		for (i = 0; i < page / 4; i++)
			atomic_store(word(2, i * 4), i * 40503u);
		atomic_store(word(0, 4), 1);
	}
}

/* NODES ROUNDS: all add to one word. */
static void t_atomic(void)
{
	unsigned int i;

	meet(arg[0]);
	for (i = 0; i < arg[1]; i++)
		atomic_fetch_add(word(1, 0), 1);
	meet(arg[0]);
	want(atomic_load(word(1, 0)) == arg[0] * arg[1]);
}

/* NODES ROUNDS: each has its own word of one page. */
static void t_false_sharing(void)
{
	volatile uint32_t *w = (void *)word(1, 128 * node);
	unsigned int i;

	meet(arg[0]);
	for (i = 1; i <= arg[1]; i++) {
		*w = i;
		want(*w == i);
	}
	meet(arg[0]);
	for (i = 0; i < arg[0]; i++)
		want(atomic_load(word(1, 128 * i)) == arg[1]);
}

/* NODES ROUNDS: Peterson's lock of nodes 0 and 1; its words are on different pages. */
static void t_peterson(void)
{
	_Atomic uint32_t *me = word(1 + node, 0), *other = word(2 - node, 0), *turn = word(3, 0);
	volatile uint32_t *count = (void *)word(4, 0);
	unsigned int i;

	meet(arg[0]);
	for (i = 0; i < arg[1]; i++) {
		atomic_store(me, 1);
		atomic_store(turn, 1 - node);
		while (atomic_load(other) && atomic_load(turn) == 1u - node)
			;
		(*count)++;
		atomic_store(me, 0);
	}
	meet(arg[0]);
	want(*count == arg[0] * arg[1]);
}

/* NODES ROUNDS: message passing, data and flag on different pages. */
static void t_message(void)
{
	unsigned int i;

	meet(arg[0]);
	for (i = 1; i <= arg[1]; i++) {
		if (i % arg[0] == (unsigned int)node) {
			atomic_store_explicit(word(1, 0), i, memory_order_relaxed);
			atomic_store_explicit(word(2, 0), i, memory_order_release);
		} else {
			uint64_t end = now_ms() + limit * 1000;

			while (atomic_load_explicit(word(2, 0), memory_order_acquire) < i)
				if (now_ms() > end)
					die("no message %u", i);
			want(atomic_load_explicit(word(1, 0), memory_order_relaxed) >= i);
		}
		meet(arg[0]);
	}
}

static void sync_do(unsigned long what, unsigned int number, unsigned int count)
{
	struct popcorn_ioc_sync u = { .number = number, .count = count, .timeout_ms = limit * 1000 };

	if (ioctl(fd, what, &u))
		die("sync %lx of %u", what, number);
}

/* NODES ROUNDS: a counter that is no atomic, under a lock; barriers around it. */
static void t_lock(void)
{
	volatile uint32_t *count = (void *)word(1, 0);
	struct popcorn_ioc_sync u = { .number = 7 };
	unsigned int i;

	want(ioctl(fd, POPCORN_IOC_UNLOCK, &u) && errno == EPERM);
	sync_do(POPCORN_IOC_BARRIER, 3, arg[0]);
	for (i = 0; i < arg[1]; i++) {
		sync_do(POPCORN_IOC_LOCK, 7, 0);
		(*count)++;
		sync_do(POPCORN_IOC_UNLOCK, 7, 0);
	}
	sync_do(POPCORN_IOC_BARRIER, 3, arg[0]);
	want(*count == arg[0] * arg[1]);
	for (i = 0; i < arg[1]; i++)
		sync_do(POPCORN_IOC_BARRIER, 4, arg[0]);
	u.number = POPCORN_SYNC_MAX;
	want(ioctl(fd, POPCORN_IOC_LOCK, &u) && errno == EINVAL);
	if (node == home) {
		sync_do(POPCORN_IOC_LOCK, 8, 0);
		sync_do(POPCORN_IOC_BARRIER, 5, arg[0]);
	} else {
		sync_do(POPCORN_IOC_BARRIER, 5, arg[0]);
		u.number = 8;
		u.timeout_ms = 50;
		want(ioctl(fd, POPCORN_IOC_LOCK, &u) && errno == ETIMEDOUT);
	}
	sync_do(POPCORN_IOC_BARRIER, 5, arg[0]);
}

/* Every @nth allocation of this machine's module fails; 0: none. */
static void fail_alloc(unsigned int nth)
{
	FILE *f = fopen("/sys/module/popcorn/parameters/fail_alloc", "w");

	if (!f || fprintf(f, "%u\n", nth) < 0 || fclose(f))
		die("fail_alloc");
}

/* NODES: node 1 gives node 2 its pages, three hops each, while its allocations fail. */
static void t_supply(void)
{
	unsigned int i;

	for (i = 0; node == 1 && i < 48; i++)
		*word(i, 0) = i + 7;
	if (node == 1)
		fail_alloc(4);
	sync_do(POPCORN_IOC_BARRIER, 3, arg[0]);
	for (i = 0; node == 2 && i < 48; i++)
		want(*word(i, 0) == i + 7);
	sync_do(POPCORN_IOC_BARRIER, 3, arg[0]);
	if (node == 1)
		fail_alloc(0);
}

/* A barrier that can't be reached: its error, in time. */
static int barrier_error(unsigned int number, unsigned int count)
{
	struct popcorn_ioc_sync u = { .number = number, .count = count, .timeout_ms = 20000 };

	return ioctl(fd, POPCORN_IOC_BARRIER, &u) ? errno : 0;
}

/* Node 1's process ends while the home waits for it. */
static void t_ended(void)
{
	sync_do(POPCORN_IOC_BARRIER, 6, 2);
	if (node != home) {
		usleep(500000);
		_exit(0);
	}
	want(barrier_error(6, 2) == EOWNERDEAD);
	sync_do(POPCORN_IOC_BARRIER, 6, 1);
}

/* NODES ROUNDS: read, write, O_DIRECT, futex, process_vm_readv, ... on memory of both. */
static void t_syscalls(void)
{
	unsigned int i, k;
	char *own = mem + (8 + 8 * node) * page, *other = mem + (8 + 8 * (1 - node)) * page;
	char path[] = "/tmp/dsmtestXXXXXX", *priv = malloc(8 * page);
	struct iovec l, r;
	int pipes[2], f;

	f = mkstemp(path);
	want(f >= 0 && !pipe(pipes));
	for (i = 0; i < arg[1]; i++) {
		memset(own, node * 16 + i % 16, 8 * page);
		sync_do(POPCORN_IOC_BARRIER, 1, arg[0]);
		/* From the other's memory into a file, from there into ours. */
		want(pwrite(f, other, 8 * page, 0) == (ssize_t)(8 * page));
		sync_do(POPCORN_IOC_BARRIER, 1, arg[0]);
		want(pread(f, own, 8 * page, 0) == (ssize_t)(8 * page));
		for (k = 0; k < 8 * page; k++)
			want(own[k] == (char)((1 - node) * 16 + i % 16));
		/* A pipe, less than a page and not aligned. */
		want(write(pipes[1], own + 100, 1000) == 1000);
		want(read(pipes[0], own + page - 500, 1000) == 1000);
		/* Another process reads and writes it. */
		l = (struct iovec){ priv, 8 * page };
		r = (struct iovec){ other, 8 * page };
		want(process_vm_readv(getpid(), &l, 1, &r, 1, 0) == (ssize_t)(8 * page));
		sync_do(POPCORN_IOC_BARRIER, 1, arg[0]);
		memset(priv, 99, 8 * page);
		r.iov_base = own;
		want(process_vm_writev(getpid(), &l, 1, &r, 1, 0) == (ssize_t)(8 * page));
		want(!memcmp(own, priv, 8 * page));
		sync_do(POPCORN_IOC_BARRIER, 1, arg[0]);
		want(!memcmp(other, priv, 8 * page));
		/* mprotect there and back must not let a write past the protocol. */
		want(!mprotect(own, 8 * page, PROT_READ));
		want(!mprotect(own, 8 * page, PROT_READ | PROT_WRITE));
		sync_do(POPCORN_IOC_BARRIER, 1, arg[0]);
	}
	unlink(path);
}

/* NODES ROUNDS: O_DIRECT writes and reads of a disk, while others want the pages. */
static void t_direct(void)
{
	const char *disk = getenv("DSMTEST_DISK");
	char *buf = mem + 8 * page;
	unsigned int i, k;
	int f;

	sync_do(POPCORN_IOC_BARRIER, 1, arg[0]);
	if (node == home) {
		f = open(disk, O_RDWR | O_CREAT | O_DIRECT, 0600);
		want(f >= 0);
		for (i = 0; i < arg[1]; i++) {
			memset(buf, i, 4 * page);
			want(pwrite(f, buf, 4 * page, 0) == (ssize_t)(4 * page));
			memset(buf, 255, 4 * page);
			want(pread(f, buf, 4 * page, 0) == (ssize_t)(4 * page));
			for (k = 0; k < 4 * page; k++)
				want(buf[k] == (char)i);
			atomic_store(word(1, 0), i + 1);
		}
		atomic_store(word(1, 4), 1);
	} else {
		while (!atomic_load(word(1, 4)))
			for (k = 0; k < 4; k++)
				atomic_load(word(8 + k, 4 * (k % 4)));
	}
	sync_do(POPCORN_IOC_BARRIER, 1, arg[0]);
}

/* What is wrong is refused, what is odd is survived. */
static void t_wrong(void)
{
	struct popcorn_ioc_region r = { .id = 77, .node = node, .home = home };
	struct popcorn_ioc_advise a = { .offset = 1ull << 60, .bytes = 1, .advice = 1 };
	int g = open("/dev/popcorn", O_RDWR), status;
	char *half;
	pid_t child;

	want(ioctl(fd, POPCORN_IOC_CREATE, &r) && errno == EBUSY);
	want(ioctl(g, POPCORN_IOC_CREATE, &r) && errno == EINVAL);
	r.bytes = ~0ull;
	want(ioctl(g, POPCORN_IOC_CREATE, &r) && errno == EINVAL);
	r.bytes = page;
	r.perm = 07777;
	want(ioctl(g, POPCORN_IOC_CREATE, &r) && errno == EINVAL);
	r.perm = 0;
	r.node = 1000;
	want(ioctl(g, POPCORN_IOC_CREATE, &r) && errno == ENODEV);
	r.node = node;
	want(ioctl(g, POPCORN_IOC_ATTACH, &r) && errno == ENOENT);
	r.home = 63;
	want(ioctl(g, POPCORN_IOC_ATTACH, &r) && errno == EINVAL);
	want(ioctl(g, POPCORN_IOC_STAT, &a) && errno == ENXIO);
	want(ioctl(g, 0x1234, &a) && errno == ENXIO);
	want(ioctl(fd, 0x1234, &a) && errno == ENOTTY);
	want(ioctl(fd, POPCORN_IOC_CREATE, (void *)8) && errno == EBUSY);
	want(ioctl(g, POPCORN_IOC_CREATE, (void *)8) && errno == EFAULT);
	want(ioctl(fd, POPCORN_IOC_ADVISE, &a) && errno == EINVAL);
	want(mmap(NULL, page, PROT_READ, MAP_SHARED, g, 0) == MAP_FAILED && errno == ENXIO);
	want(mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
	want(mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 1ull << 40) == MAP_FAILED);
	/* Half of it unmapped, the rest moved, mapped twice. */
	half = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	want(half != MAP_FAILED);
	half[0] = 5;
	half[3 * page] = 6;
	want(mem[0] == 5 && mem[3 * page] == 6);
	want(!munmap(half + page, page));
	want(half[0] == 5 && half[3 * page] == 6);
	half = mremap(half, page, page, MREMAP_MAYMOVE);
	want(half != MAP_FAILED && half[0] == 5);
	want(mremap(half, page, 2 * page, MREMAP_MAYMOVE) == MAP_FAILED);
	want(!madvise(mem, 4 * page, MADV_DONTNEED) && mem[3 * page] == 6);
	want(!msync(mem, page, MS_SYNC));
	/* A child has no mapping, but the file. */
	child = fork();
	if (!child) {
		char c[1];

		want(mincore(mem, page, (void *)c) && errno == ENOMEM);
		half = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 3 * page);
		_exit(half != MAP_FAILED && half[0] == 6 ? 0 : 1);
	}
	want(waitpid(child, &status, 0) == child && status == 0);
	/* Core of a process that has it mapped. */
	child = fork();
	if (!child) {
		mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 3 * page);
		abort();
	}
	want(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	close(g);
}

static sigjmp_buf jump;
static void *lost_at;

static void on_bus(int sig, siginfo_t *si, void *c)
{
	(void)sig, (void)c;
	lost_at = si->si_addr;
	siglongjmp(jump, 1);
}

/*
 * PAGES: node 1 writes some, then waits to be killed; node 0 finds them lost, others not. It makes the file
 * DSMTEST_MARK when they are written, and goes on when that is gone.
 */
static void t_death(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER };
	const char *mark = getenv("DSMTEST_MARK");
	volatile unsigned int i, lost = 0;

	if (node == 1) {
		until(word(0, 0), 1);
		for (i = 0; i < arg[0]; i++)
			atomic_store(word(1 + i, 0), i);
		atomic_store(word(0, 4), 1);
		sync_do(POPCORN_IOC_BARRIER, 5, 2);
		for (;;)
			pause();
	}
	for (i = 0; i < arg[0]; i++)
		atomic_store(word(100 + i, 0), i);
	atomic_store(word(0, 0), 1);
	until(word(0, 4), 1);
	sync_do(POPCORN_IOC_BARRIER, 5, 2);
	printf("written\n");
	fflush(stdout);
	sigaction(SIGBUS, &sa, NULL);
	want(!close(open(mark, O_CREAT | O_WRONLY, 0600)));
	while (!access(mark, F_OK))
		usleep(1000);
	for (i = 1; i < arg[0]; i++)
		if (!sigsetjmp(jump, 1)) {
			atomic_store(word(200, 0), atomic_load(word(1 + i, 0)));
		} else {
			want(lost_at == (void *)word(1 + i, 0));
			lost++;
		}
	printf("lost %u\n", lost);
	/* Nobody waits for the dead one, however late. */
	want(barrier_error(5, 2) == EOWNERDEAD && barrier_error(5, 2) == EOWNERDEAD);
	want(!barrier_error(5, 1));
	for (i = 0; i < arg[0]; i++)
		want(atomic_load(word(100 + i, 0)) == i);
}

/* PAGES SECONDS: node 1 writes and goes, within SECONDS; what it wrote is still there. */
static void t_leave(void)
{
	unsigned int i;

	if (node == 1) {
		for (i = 0; i < arg[0]; i++)
			atomic_store(word(1 + i, 16), i + 1);
		atomic_store(word(0, 4), 1);
		return;
	}
	until(word(0, 4), 1);
	sleep(arg[1]);
	for (i = 0; i < arg[0]; i++)
		want(atomic_load(word(1 + i, 16)) == i + 1);
}

/* PAGES, all of the region: node 1 gives up what it has, and finds it again. */
static void t_drop(void)
{
	struct popcorn_ioc_advise a = { .bytes = arg[0] * page };
	struct popcorn_ioc_stat s;
	unsigned int i, k;

	if (node == home)
		for (i = 0; i < arg[0]; i++)
			atomic_store(word(i, 16), i);
	sync_do(POPCORN_IOC_BARRIER, 1, 2);
	for (k = 0; k < 3 && node != home; k++) {
		a.advice = POPCORN_ADVISE_WILLNEED;
		want(!ioctl(fd, POPCORN_IOC_ADVISE, &a));
		for (i = 0; i < arg[0]; i++) {
			want(atomic_load(word(i, 16)) == i + k);
			if (i % 2 || k)
				atomic_fetch_add(word(i, 16), 1);
			else
				atomic_store(word(i, 16), i + 1);
		}
		a.advice = POPCORN_ADVISE_DONTNEED;
		for (i = 0; i < 200; i++) {
			want(!ioctl(fd, POPCORN_IOC_ADVISE, &a));
			want(!ioctl(fd, POPCORN_IOC_STAT, &s));
			if (!s.resident)
				break;
			usleep(10000);
		}
		want(!s.resident && s.dropped >= arg[0]);
	}
	sync_do(POPCORN_IOC_BARRIER, 1, 2);
	for (i = 0; i < arg[0]; i++)
		want(atomic_load(word(i, 16)) == i + 3);
}

/* Number in kB after a word at a line's beginning in a file of /proc. */
static unsigned long proc_kb(const char *file, const char *what)
{
	FILE *f = fopen(file, "r");
	unsigned long kb = 0;
	char line[256];

	want(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, what, strlen(what)))
			kb = strtoul(line + strlen(what), NULL, 10);
	fclose(f);
	return kb;
}

/* Pages of files that this process has mapped, kB. Linux 6.1 counts them after 64 faults of a thread. */
static unsigned long rss_kb(void)
{
	const size_t n = 128 * page;
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	want(p != MAP_FAILED && !madvise(p, n, MADV_NOHUGEPAGE));
	for (size_t at = 0; at < n; at += page)
		*(volatile char *)(p + at) = 1;
	munmap(p, n);
	return proc_kb("/proc/self/status", "RssFile:");
}

/* Write one page after the other until there is no memory: then SIGBUS, and the rest lives. */
static void t_fill(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER };
	volatile unsigned int i = 0, k;

	sigaction(SIGBUS, &sa, NULL);
	if (!sigsetjmp(jump, 1))
		for (i = 0; i < arg[0]; i++)
			atomic_store(word(i, 8), i);
	printf("filled %u rss %lu\n", i, rss_kb());
	for (k = 0; k < i; k++)
		want(atomic_load(word(k, 8)) == k);
}

/* PAGES ROUNDS: the home writes all, node 1 reads all ROUNDS times, writes all; the home finds it. */
static void t_span(void)
{
	struct popcorn_ioc_stat s;
	unsigned int i, k;

	if (node == home)
		for (i = 0; i < arg[0]; i++)
			atomic_store(word(i, 16), i);
	sync_do(POPCORN_IOC_BARRIER, 1, 2);
	if (node != home) {
		for (k = 0; k < arg[1]; k++)
			for (i = 0; i < arg[0]; i++)
				want(atomic_load(word(i, 16)) == i);
		for (i = 0; i < arg[0]; i++)
			atomic_store(word(i, 16), i + 7);
		want(!ioctl(fd, POPCORN_IOC_STAT, &s) && s.dropped);
		printf("rss %lu\n", rss_kb());
	}
	sync_do(POPCORN_IOC_BARRIER, 1, 2);
	if (node == home)
		for (i = 0; i < arg[0]; i++)
			want(atomic_load(word(i, 16)) == i + 7);
}

/*
 * PAGES MIB ROUNDS: node 1 has copies of all, when another process there takes MIB more than
 * is free; it lives, and node 1 finds all pages again.
 */
static void t_pressure(void)
{
	struct popcorn_ioc_stat before, after;
	unsigned int i, k;
	int status;

	if (node == home)
		for (i = 0; i < arg[0]; i++)
			atomic_store(word(i, 16), i);
	sync_do(POPCORN_IOC_BARRIER, 1, 2);
	for (k = 0; k < arg[2] && node != home; k++) {
		for (i = 0; i < arg[0]; i++)
			want(atomic_load(word(i, 16)) == i);
		want(!ioctl(fd, POPCORN_IOC_STAT, &before));
		want((rss_kb() << 10) / page + 64 > before.resident);
		if (!fork()) {
			size_t n = (proc_kb("/proc/meminfo", "MemAvailable:") << 10) + (arg[1] << 20);
			char *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			want(p != MAP_FAILED);
			for (size_t at = 0; at < n; at += page)
				p[at] = 1;
			_exit(0);
		}
		want(wait(&status) > 0);
		want(status == 0);
		want(!ioctl(fd, POPCORN_IOC_STAT, &after));
		printf("resident %llu then %llu of %lu\n", before.resident, after.resident, arg[0]);
		want(after.resident < before.resident);
	}
	sync_do(POPCORN_IOC_BARRIER, 1, 2);
}

/* PAGES: nanoseconds of a read fault, a write fault and an upgrade, medians, at node 1. */
static int cmp(const void *a, const void *b)
{
	uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void t_cost(void)
{
	static const char *const name[] = { "read_fault", "upgrade", "write_fault", "local" };
	uint64_t *ns = calloc(arg[0], 8), began;
	unsigned int i, k;

	for (k = 0; k < 4; k++) {
		if (node == home && k != 1)
			for (i = 0; i < arg[0]; i++)
				atomic_store(word(16 + i, 0), i);
		sync_do(POPCORN_IOC_BARRIER, 1, 2);
		usleep(20000);
		if (node != home || k == 3) {
			for (i = 0; i < arg[0]; i++) {
				volatile uint32_t *w = (void *)word(16 + i, 0);

				if (k == 3)
					w = (void *)word(1000 + 500 * node + i, 0);
				began = now_ns();
				if (k == 0)
					(void)*w;
				else
					*w = 1;
				ns[i] = now_ns() - began;
			}
			qsort(ns, arg[0], 8, cmp);
			printf("%s median %llu min %llu\n", name[k], (long long)ns[arg[0] / 2],
			       (long long)ns[0]);
		}
		sync_do(POPCORN_IOC_BARRIER, 1, 2);
	}
}

/* Write a page, and wait for ever for one that nobody gives: to be killed. */
static void t_touch(void)
{
	printf("touched %u\n", atomic_fetch_add(word(arg[0], 0), 1) + 1);
	fflush(stdout);
	for (;;)
		pause();
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "basic", t_basic },
	{ "atomic", t_atomic },
	{ "false_sharing", t_false_sharing },
	{ "peterson", t_peterson },
	{ "message", t_message },
	{ "supply", t_supply },
	{ "lock", t_lock },
	{ "syscalls", t_syscalls },
	{ "direct", t_direct },
	{ "wrong", t_wrong },
	{ "death", t_death },
	{ "touch", t_touch },
	{ "leave", t_leave },
	{ "ended", t_ended },
	{ "drop", t_drop },
	{ "fill", t_fill },
	{ "span", t_span },
	{ "pressure", t_pressure },
	{ "cost", t_cost },
};

int main(int argc, char **argv)
{
	unsigned int i;
	int k;

	if (argc < 6)
		die("see the head of dsmtest.c");
	page = sysconf(_SC_PAGESIZE);
	node = atoi(argv[1]);
	home = atoi(argv[2]);
	for (k = 6; k < argc && n_arg < 4; k++)
		arg[n_arg++] = strtoul(argv[k], NULL, 0);
	if (getenv("DSMTEST_LIMIT"))
		limit = atoi(getenv("DSMTEST_LIMIT"));
	alarm(limit * 2);
	if (getenv("DSMTEST_UID") && setuid(atoi(getenv("DSMTEST_UID"))))
		die("setuid");
	attach(strtoul(argv[3], NULL, 0), strtoul(argv[4], NULL, 0));
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (!strcmp(argv[5], tests[i].name)) {
			uint64_t began = now_ms();

			tests[i].run();
			printf("ok %s node %d %llu ms\n", argv[5], node,
			       (unsigned long long)(now_ms() - began));
			stat_print();
			/* The home stays until all have looked. */
			if (node == home)
				sleep(limit / 120);
			return 0;
		}
	die("no test %s", argv[5]);
}
