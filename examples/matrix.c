// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A product of two matrices, computed by all nodes of a cluster in one memory.
 *
 *	popcorn run --nodes local:4 example-matrix 512
 *
 * Node 0 makes the region and fills in both matrices. Every node computes a block of
 * rows of the product: rows of A and all of B are read where they are used (pages come once
 * and stay), the block of C is written by this node alone. Nothing is sent by hand.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <popcorn/popcorn.h>

static void need(const char *what, int error)
{
	if (!error)
		return;
	fprintf(stderr, "matrix: %s: %s\n", what, strerror(-error));
	exit(1);
}

static void multiply(const double *a, const double *b, double *c, size_t n, size_t from,
		     size_t to)
{
	size_t i, j, k;

	for (i = from; i < to; i++) {
		memset(c + i * n, 0, n * sizeof(*c));
		for (k = 0; k < n; k++)
			for (j = 0; j < n; j++)
				c[i * n + j] += a[i * n + k] * b[k * n + j];
	}
}

/* B is twice the unit matrix: C must be twice A. */
static int right(const double *a, const double *c, size_t n)
{
	size_t i;

	for (i = 0; i < n * n; i++)
		if (c[i] != 2 * a[i])
			return 0;
	return 1;
}

int main(int argc, char **argv)
{
	size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 256, i;
	unsigned int self, nodes;
	popcorn_region_t *r;
	double *a, *b, *c;
	popcorn_t *p;
	int ok = 1;

	if (!n || n > 20000) {
		fprintf(stderr, "usage: matrix [N], N up to 20000\n");
		return 2;
	}
	need("open", popcorn_open(NULL, &p));
	self = popcorn_self(p);
	nodes = popcorn_nodes(p);
	if (self == 0)
		need("create", popcorn_create(p, 1, 3 * n * n * sizeof(double), NULL, &r));
	else
		need("attach", popcorn_attach(p, 0, 1, &r));
	a = popcorn_map(r, NULL);
	if (!a) {
		perror("matrix: map");
		return 1;
	}
	b = a + n * n;
	c = b + n * n;
	if (self == 0) {
		for (i = 0; i < n * n; i++)
			a[i] = i % 1000;
		for (i = 0; i < n; i++)
			b[i * n + i] = 2;
	}
	need("barrier", popcorn_barrier(r, 0, nodes));
	multiply(a, b, c, n, n * self / nodes, n * (self + 1) / nodes);
	need("barrier", popcorn_barrier(r, 0, nodes));
	if (self == 0) {
		ok = right(a, c, n);
		printf("%zu x %zu on %u nodes in %s mode: %s\n", n, n, nodes, popcorn_mode(p),
		       ok ? "right" : "WRONG");
	}
	/* Node 0's is the region: it ends when all others have read what they want. */
	need("barrier", popcorn_barrier(r, 0, nodes));
	popcorn_close(p);
	return !ok;
}
