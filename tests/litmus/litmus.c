// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Litmus tests across nodes: a thread of each test is a node, its variables lie on pages
 * of their own. The orders given are those under which both x86-64 and aarch64 forbid the
 * outcome that a test names. Uses popcorn.h alone: both modes.
 *
 * Before a run each thread looks at some of the variables, so that its node has their pages mapped, or
 * not: an order that is wrong for one of them only shows. What it sees there is the end of the run
 * before, about which all must agree: a page that stayed mapped shows by itself.
 *
 * usage: litmus TEST RUNS [HOLD_US], on as many nodes as the test has threads, or more. TEST may be "all":
 * those that the nodes are enough for. HOLD_US: how long a page is kept; since messages between two nodes
 * stay in order, a write that doesn't wait for acks shows only where an invalidation is put off.
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
#define BOUND_S	500

enum { X, Y };

/*
 * What a thread does: W stores its value, R loads into a register of its own, SWAP does both in
 * one, CAS swaps in a loop of load and compare-and-exchange.
 */
struct op {
	enum { NONE, W, R, SWAP, CAS } what;
	int var;
	unsigned int value;	/* 1 or 2; R: what it must not have read, with all others; others: 0 */
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
	/* The message goes on by way of a third, and is there before what it announces. */
	{ "WRC", 3, { { { W, X, 1, ANY } },
		      { { R, X, 1, ACQ }, { W, Y, 1, REL } },
		      { { R, Y, 1, ACQ }, { R, X, 0, ANY } } }, { 0 } },
	/* Both swaps are the first one. */
	{ "SWAP", 2, { { { SWAP, X, 1, SEQ } }, { { SWAP, X, 2, SEQ } } }, { 0 } },
	{ "CAS", 2, { { { CAS, X, 1, SEQ } }, { { CAS, X, 2, SEQ } } }, { 0 } },
	/* As SB, the stores are swaps. */
	{ "SWAP+R", 2, { { { SWAP, X, 1, SEQ }, { R, Y, 0, SEQ } },
			 { { SWAP, Y, 1, SEQ }, { R, X, 0, SEQ } } }, { 0 } },
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

static unsigned int cas(_Atomic unsigned int *at, unsigned int v)
{
	unsigned int old = atomic_load(at);

	while (!atomic_compare_exchange_weak(at, &old, v))
		;
	return old;
}

/* What a node says of a run. */
struct said {
	unsigned int run;		/* + 1 */
	unsigned int got[OPS];		/* what its loads read */
	unsigned int looked;		/* bit n: at variable n before the run */
	unsigned int before[VARS];	/* which ended the last run so */
};

static unsigned int xorshift(unsigned int *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* Look at some variables as the last run left them. */
static void look(unsigned char *mem, unsigned int run, unsigned int which, struct said *mine)
{
	unsigned int k;

	mine->looked = which;
	for (k = 0; k < VARS; k++)
		if (which & (1u << k)) {
			mine->before[k] = run ? load(var(mem, k, run - 1), SEQ) : 0;
			load(var(mem, k, run), ANY);
		}
}

/* One thread's part of a run. */
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
		else if (op[i].what == SWAP)
			got[i] = atomic_exchange(at[i], stamp(run, op[i].value));
		else if (op[i].what == CAS)
			got[i] = cas(at[i], stamp(run, op[i].value));
	}
}

static bool forbidden(const struct test *t, unsigned char *mem, unsigned int run,
		      const struct said *said)
{
	unsigned int i, k;

	for (i = 0; i < t->threads; i++)
		for (k = 0; k < OPS; k++) {
			const struct op *op = &t->op[i][k];
			unsigned int not = op->what == R ? op->value : 0;

			if (op->what != NONE && op->what != W && value_of(run, said[i].got[k]) != not)
				return false;
		}
	for (k = 0; k < VARS; k++)
		if (t->final[k] && value_of(run, load(var(mem, k, run), SEQ)) != t->final[k])
			return false;
	return true;
}

/* Have all who looked at a variable after the last run seen the same? */
static bool agreed(const struct test *t, unsigned int run, const struct said *said)
{
	unsigned int i, k, seen;

	for (k = 0; k < VARS; k++) {
		seen = t->threads;
		for (i = 0; i < t->threads; i++) {
			if (said[i].run != run + 1)
				return false;
			if (!(said[i].looked & (1u << k)))
				continue;
			if (seen < i && said[seen].before[k] != said[i].before[k])
				return false;
			seen = i;
		}
	}
	return true;
}

static void check(const char *what, int error)
{
	if (!error)
		return;
	printf("%s: %s\n", what, strerror(-error));
	exit(1);
}

/* A test, on its own part of memory. Return: runs with an outcome that is forbidden, at node 0. */
static unsigned int litmus(const struct test *t, popcorn_region_t *r, unsigned char *mem,
			   unsigned int me, unsigned int nodes, unsigned int runs)
{
	static const unsigned int delays[] = { 1, 40, 4000, 60000 };
	unsigned int i, bad = 0, stale = 0, seed = me * 7919 + 1, seen[4] = { 0 };
	struct said *said = (void *)mem, mine = { 0 };

	for (i = 0; i < runs; i++) {
		unsigned int delay = xorshift(&seed) % delays[i % 4];

		if (me < t->threads)
			look(mem, i, xorshift(&seed) >> 8, &mine);
		check("barrier", popcorn_barrier(r, 0, nodes));
		if (me < t->threads) {
			run_thread(t, me, mem, i, mine.got, delay);
			mine.run = i + 1;
			said[me] = mine;
		}
		check("barrier", popcorn_barrier(r, 1, nodes));
		if (me)
			continue;
		bad += forbidden(t, mem, i, said);
		stale += !agreed(t, i, said);
		seen[value_of(i, said[t->threads - 1].got[0]) % 2 * 2 +
		     value_of(i, said[t->threads - 1].got[1]) % 2]++;
	}
	check("barrier", popcorn_barrier(r, 0, nodes));
	if (!me)
		printf("%s: %u runs, %u forbidden, %u stale; last thread read 00 %u, 01 %u, 10 %u, 11 %u\n",
		       t->name, runs, bad, stale, seen[0], seen[1], seen[2], seen[3]);
	return bad + stale;
}

int main(int argc, char **argv)
{
	const struct test *t, *end = tests + sizeof(tests) / sizeof(*tests);
	const size_t part = (1 + VARS * PLACES) * PAGE;
	unsigned int runs, me, nodes, done = 0, bad = 0;
	struct popcorn_region_opts opts = { 0 };
	popcorn_region_t *r;
	unsigned char *mem;
	popcorn_t *p;

	if (argc < 3)
		return 2;
	if (argc > 3)
		opts.hold_us = strtoul(argv[3], NULL, 10);
	alarm(BOUND_S);
	runs = strtoul(argv[2], NULL, 10);
	check("open", popcorn_open(NULL, &p));
	me = popcorn_self(p);
	nodes = popcorn_nodes(p);
	check("region", me ? popcorn_attach(p, 0, 1, &r) :
	      popcorn_create(p, 1, part * (end - tests), &opts, &r));
	mem = popcorn_map(r, NULL);
	if (!mem)
		check("map", -12);
	for (t = tests; t < end; t++) {
		if (strcmp(argv[1], "all") ? strcmp(argv[1], t->name) : nodes < t->threads)
			continue;
		if (nodes < t->threads)
			check("nodes", -22);
		bad += litmus(t, r, mem + (t - tests) * part, me, nodes, runs);
		done++;
	}
	popcorn_close(p);
	return done ? bad != 0 : 2;
}
