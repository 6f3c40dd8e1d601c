// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Litmus tests across nodes: a thread of each test is a node, its variables lie on pages
 * of their own. The orders given are those under which both x86-64 and aarch64 forbid the
 * outcome that a test names. Uses popcorn.h alone: both modes.
 *
 * usage: litmus TEST RUNS, on as many nodes as the test has threads
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <popcorn/popcorn.h>

#define PAGE	4096
#define VARS	2	/* x and y */
#define PLACES	4	/* pages that each of them moves between */
#define THREADS	4
#define OPS	2
#define BOUND_S	100

enum { X, Y };

/* What a thread does: W stores its value, R loads into a register of its own. */
struct op {
	enum { NONE, W, R } what;
	int var;
	unsigned int value;	/* W: 1 or 2, R: what it must not have read, with all others */
	memory_order order;
};

#define SEQ	memory_order_seq_cst
#define ACQ	memory_order_acquire
#define REL	memory_order_release
#define ANY	memory_order_relaxed

/**
 * struct test - a test
 * @final:  values that the variables must not have in the end, 0: any
 * The outcome that is forbidden: every R has read its value, and every variable with a
 * final one has that. (A variable's value before the run counts as 0.)
 */
static const struct test {
	const char *name;
	unsigned int threads;
	struct op op[THREADS][OPS];
	unsigned int final[VARS];
} tests[] = {
	/* Both stores are seen too late by the other. */
	{ "SB", 2, { { { W, X, 1, SEQ }, { R, Y, 0, SEQ } },
		     { { W, Y, 1, SEQ }, { R, X, 0, SEQ } } }, { 0 } },
	/* The message is announced, and isn't there. */
	{ "MP", 2, { { { W, X, 1, ANY }, { W, Y, 1, REL } },
		     { { R, Y, 1, ACQ }, { R, X, 0, ANY } } }, { 0 } },
	/* Both read what is stored afterwards. */
	{ "LB", 2, { { { R, X, 1, ACQ }, { W, Y, 1, REL } },
		     { { R, Y, 1, ACQ }, { W, X, 1, REL } } }, { 0 } },
	/* Two readers see two stores in different orders. */
	{ "IRIW", 4, { { { W, X, 1, SEQ } }, { { W, Y, 1, SEQ } },
		       { { R, X, 1, SEQ }, { R, Y, 0, SEQ } },
		       { { R, Y, 1, SEQ }, { R, X, 0, SEQ } } }, { 0 } },
	/* A variable goes back. */
	{ "CoRR", 2, { { { W, X, 1, ANY } },
		       { { R, X, 1, ANY }, { R, X, 0, ANY } } }, { 0 } },
	/* Each variable ends with the store that came first. */
	{ "2+2W", 2, { { { W, X, 1, SEQ }, { W, Y, 2, SEQ } },
		       { { W, Y, 1, SEQ }, { W, X, 2, SEQ } } }, { 1, 1 } },
};

static _Atomic unsigned int *var(unsigned char *mem, int v, unsigned int run)
{
	return (void *)(mem + (1 + v * PLACES + (run / 7 + v) % PLACES) * PAGE + run % 61 * 64);
}

/* Values of a run are its own: nothing need be cleared. */
static unsigned int stamp(unsigned int run, unsigned int value)
{
	return (run + 1) * 4 + value;
}

static unsigned int value_of(unsigned int run, unsigned int v)
{
	return v / 4 == run + 1 ? v % 4 : 0;
}

static void store(_Atomic unsigned int *at, unsigned int v, memory_order order)
{
	if (order == SEQ)
		atomic_store_explicit(at, v, memory_order_seq_cst);
	else if (order == REL)
		atomic_store_explicit(at, v, memory_order_release);
	else
		atomic_store_explicit(at, v, memory_order_relaxed);
}

static unsigned int load(_Atomic unsigned int *at, memory_order order)
{
	if (order == SEQ)
		return atomic_load_explicit(at, memory_order_seq_cst);
	if (order == ACQ)
		return atomic_load_explicit(at, memory_order_acquire);
	return atomic_load_explicit(at, memory_order_relaxed);
}

/* One thread's part of a run; @got: what it read. */
static void run_thread(const struct test *t, unsigned int me, unsigned char *mem, unsigned int run,
		       unsigned int *got, unsigned int delay)
{
	const struct op *op = t->op[me];
	_Atomic unsigned int *at[OPS];
	volatile unsigned int wait;
	unsigned int i;

	for (i = 0; i < OPS; i++)
		at[i] = var(mem, op[i].var, run);
	for (wait = 0; wait < delay; wait++)
		;
	for (i = 0; i < OPS; i++) {
		if (op[i].what == W)
			store(at[i], stamp(run, op[i].value), op[i].order);
		else if (op[i].what == R)
			got[i] = load(at[i], op[i].order);
	}
}

static bool forbidden(const struct test *t, unsigned char *mem, unsigned int run,
		      unsigned int (*got)[OPS])
{
	unsigned int i, k;

	for (i = 0; i < t->threads; i++)
		for (k = 0; k < OPS; k++)
			if (t->op[i][k].what == R &&
			    value_of(run, got[i][k]) != t->op[i][k].value)
				return false;
	for (k = 0; k < VARS; k++)
		if (t->final[k] && value_of(run, load(var(mem, k, run), SEQ)) != t->final[k])
			return false;
	return true;
}

static void check(const char *what, int error)
{
	if (!error)
		return;
	printf("%s: %s\n", what, strerror(-error));
	exit(1);
}

int main(int argc, char **argv)
{
	const struct test *t = tests, *end = tests + sizeof(tests) / sizeof(*tests);
	unsigned int runs, i, me, nodes, seed, bad = 0, seen[4] = { 0 };
	unsigned int (*got)[OPS];
	popcorn_region_t *r;
	unsigned char *mem;
	popcorn_t *p;

	while (argc == 3 && t < end && strcmp(t->name, argv[1]))
		t++;
	if (argc != 3 || t == end)
		return 2;
	alarm(BOUND_S);
	runs = strtoul(argv[2], NULL, 10);
	check("open", popcorn_open(NULL, &p));
	me = popcorn_self(p);
	nodes = popcorn_nodes(p);
	if (nodes < t->threads)
		check("nodes", -22);
	check("region", me ? popcorn_attach(p, 0, 1, &r) :
	      popcorn_create(p, 1, (1 + VARS * PLACES) * PAGE, NULL, &r));
	mem = popcorn_map(r, NULL);
	if (!mem)
		check("map", -12);
	got = (void *)mem;
	seed = me * 7919 + 1;
	for (i = 0; i < runs; i++) {
		unsigned int mine[OPS] = { 0 };

		seed = seed * 1103515245 + 12345;
		check("barrier", popcorn_barrier(r, 0, nodes));
		if (me < t->threads) {
			run_thread(t, me, mem, i, mine, (seed >> 16) % (i % 2 ? 4000 : 40));
			memcpy(got[me], mine, sizeof(mine));
		}
		check("barrier", popcorn_barrier(r, 1, nodes));
		if (me)
			continue;
		bad += forbidden(t, mem, i, got);
		seen[value_of(i, got[t->threads - 1][0]) * 2 + value_of(i, got[t->threads - 1][1])]++;
	}
	check("barrier", popcorn_barrier(r, 0, nodes));
	if (!me)
		printf("%s: %u runs, %u forbidden; last thread read 00 %u, 01 %u, 10 %u, 11 %u\n",
		       t->name, runs, bad, seen[0], seen[1], seen[2], seen[3]);
	popcorn_close(p);
	return bad != 0;
}
