// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A histogram of many values, counted by all nodes of a cluster.
 *
 *	popcorn run --nodes local:4 example-histogram 10000000
 *
 * The nodes take parts of the work from a common counter until there are none, count into
 * memory of their own, and add that to the shared histogram under a lock. Counting
 * straight into the shared bins would be right, too, but every page of bins would move
 * at almost every count: share results, not scratch space.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <popcorn/popcorn.h>

#define BINS	256
#define PART	10000
#define LOCK	0
#define BARRIER	0

/* What is written often by several nodes, each on a page of its own. */
struct shared {
	_Atomic unsigned long next __attribute__((aligned(4096)));
	unsigned long bin[BINS] __attribute__((aligned(4096)));
};

static void need(const char *what, int error)
{
	if (!error)
		return;
	fprintf(stderr, "histogram: %s: %s\n", what, strerror(-error));
	exit(1);
}

/* The values: any function of their number will do. */
static unsigned char value(unsigned long i)
{
	return (i * 2654435761u) >> 24;
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000, from, i, sum = 0;
	unsigned long own[BINS] = { 0 };
	popcorn_region_t *r;
	struct shared *s;
	popcorn_t *p;

	need("open", popcorn_open(NULL, &p));
	if (popcorn_self(p) == 0)
		need("create", popcorn_create(p, 1, sizeof(*s), NULL, &r));
	else
		need("attach", popcorn_attach(p, 0, 1, &r));
	s = popcorn_map(r, NULL);
	if (!s) {
		perror("histogram: map");
		return 1;
	}
	while ((from = atomic_fetch_add(&s->next, PART)) < n)
		for (i = from; i < n && i < from + PART; i++)
			own[value(i)]++;
	need("lock", popcorn_lock(r, LOCK));
	for (i = 0; i < BINS; i++)
		s->bin[i] += own[i];
	need("unlock", popcorn_unlock(r, LOCK));
	need("barrier", popcorn_barrier(r, BARRIER, popcorn_nodes(p)));
	for (i = 0; i < BINS; i++)
		sum += s->bin[i];
	if (popcorn_self(p) == 0)
		printf("%lu values on %u nodes in %s mode, %lu of them %u: %s\n", n, popcorn_nodes(p),
		       popcorn_mode(p), s->bin[7], 7, sum == n ? "right" : "WRONG");
	need("barrier", popcorn_barrier(r, BARRIER, popcorn_nodes(p)));
	popcorn_close(p);
	return sum != n;
}
