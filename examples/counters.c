// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A mistake to find with popcorn dsm-prof: each node counts for itself, but the counters
 * lie side by side, so their page moves at every turn. `apart` mends it.
 *
 *	popcorn dsm-prof record popcorn run --nodes local:2 example-counters
 *	popcorn dsm-prof report
 *	popcorn run --nodes local:2 example-counters 1000 apart
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <popcorn/popcorn.h>

#define PAGE	4096
#define EACH	(PAGE / sizeof(unsigned long))
#define BARRIER	0

static void need(const char *what, int error)
{
	if (!error)
		return;
	fprintf(stderr, "counters: %s: %s\n", what, strerror(-error));
	exit(1);
}

/* Functions of their own, so that the report tells who waited. */
static __attribute__((noinline)) void count_own(unsigned long *own)
{
	++*(volatile unsigned long *)own;
}

static __attribute__((noinline)) void count_all(_Atomic unsigned long *all)
{
	atomic_fetch_add(all, 1);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000, sum = 0, i;
	int ok;
	size_t step = argc > 2 && !strcmp(argv[2], "apart") ? EACH : 1;
	_Atomic unsigned long *all;
	unsigned int self, nodes;
	unsigned long *own;
	popcorn_region_t *r;
	popcorn_t *p;
	char *at;

	need("open", popcorn_open(NULL, &p));
	self = popcorn_self(p);
	nodes = popcorn_nodes(p);
	if (self == 0)
		need("create", popcorn_create(p, 1, (1 + nodes) * PAGE, NULL, &r));
	else
		need("attach", popcorn_attach(p, 0, 1, &r));
	at = popcorn_map(r, NULL);
	if (!at) {
		perror("counters: map");
		return 1;
	}
	all = (void *)at;
	own = (void *)(at + PAGE);
	need("name", popcorn_name(r, all, sizeof(*all), "all"));
	need("name", popcorn_name(r, own, nodes * step * sizeof(*own), "own"));
	for (i = 0; i < rounds; i++) {
		need("barrier", popcorn_barrier(r, BARRIER, nodes));
		count_own(&own[self * step]);
		count_all(all);
	}
	need("barrier", popcorn_barrier(r, BARRIER, nodes));
	for (i = 0; i < nodes; i++)
		sum += own[i * step];
	ok = sum == rounds * nodes && *all == sum;
	if (self == 0)
		printf("%lu rounds of %u nodes: %s\n", rounds, nodes, ok ? "right" : "WRONG");
	need("barrier", popcorn_barrier(r, BARRIER, nodes));
	popcorn_close(p);
	return !ok;
}
