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
#include <time.h>
#include <unistd.h>

#include <popcorn/uapi.h>

#define LIMIT	120	/* s that a wait may last */

static int fd, node, home;
static char *mem;
static size_t page;

#define die(...) do { fprintf(stderr, "dsmtest: " __VA_ARGS__); \
		      fprintf(stderr, " (%s)\n", strerror(errno)); exit(1); } while (0)
#define want(cond) do { if (!(cond)) die("line %d: not " #cond, __LINE__); } while (0)

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
	uint64_t end = now_ms() + LIMIT * 1000;

	while (atomic_load(w) != value) {
		if (now_ms() > end)
			die("word is %u, not %u", atomic_load(w), value);
		usleep(1000);
	}
}

static void attach(uint32_t id, uint64_t pages)
{
	struct popcorn_ioc_region r = { .id = id, .node = node, .home = home, .perm = 0600 };
	uint64_t end = now_ms() + 20000;

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
	uint64_t end = now_ms() + LIMIT * 1000;

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
			uint64_t end = now_ms() + LIMIT * 1000;

			while (atomic_load_explicit(word(2, 0), memory_order_acquire) < i)
				if (now_ms() > end)
					die("no message %u", i);
			want(atomic_load_explicit(word(1, 0), memory_order_relaxed) >= i);
		}
		meet(arg[0]);
	}
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
	alarm(LIMIT * 2);
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
				sleep(1);
			return 0;
		}
	die("no test %s", argv[5]);
}
