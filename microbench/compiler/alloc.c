// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Allocation: trees and lists built and dropped, buffers that grow, blocks of many sizes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tree { struct tree *l, *r; int v; };

static struct tree *build(int depth)
{
	struct tree *t = malloc(sizeof(*t));

	if (!t)
		exit(1);
	t->v = depth;
	t->l = depth ? build(depth - 1) : NULL;
	t->r = depth ? build(depth - 1) : NULL;
	return t;
}

static int drop(struct tree *t)
{
	int n = 1;

	if (!t)
		return 0;
	n += drop(t->l) + drop(t->r);
	free(t);
	return n;
}

static unsigned int churn(int n)
{
	void *slot[64] = { 0 };
	uint32_t x = 5, sum = 0;

	for (int i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		if (slot[x >> 26]) {
			sum += *(unsigned char *)slot[x >> 26];
			free(slot[x >> 26]);
			slot[x >> 26] = NULL;
		} else {
			uint32_t size = (x >> 8) % 700 + 1;

			slot[x >> 26] = malloc(size);
			memset(slot[x >> 26], i, size < 64 ? size : 64);
		}
	}
	for (int i = 0; i < 64; i++)
		free(slot[i]);
	return sum;
}

static unsigned int grow(int n)
{
	size_t size = 0, used = 0;
	unsigned int s = 0;
	char *p = NULL;

	for (int i = 0; i < n; i++) {
		if (used == size) {
			size = size * 2 + 16;
			p = realloc(p, size);
			if (!p)
				exit(1);
		}
		p[used++] = i;
	}
	for (size_t i = 0; i < used; i += 17)
		s = s * 31 + p[i];
	free(p);
	return s;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 6;
	unsigned int s = 0;

	for (int r = 0; r < rounds; r++) {
		s = s * 31 + drop(build(12));
		s = s * 31 + churn(15000) + grow(50000);
	}
	printf("%u\n", s);
	return 0;
}
