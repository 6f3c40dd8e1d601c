// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Sorting: the libc's qsort() and bsearch() with callbacks, over integers, records and strings. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rec { int key; double w; char name[20]; };

#define N 12000

static int v[N];
static struct rec r[N];
static const char *s[N];

static int ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int recs(const void *a, const void *b)
{
	const struct rec *x = a, *y = b;

	return x->w < y->w ? -1 : x->w > y->w ? 1 : x->key - y->key;
}

static int strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 3;
	uint32_t x = 12345, sum = 0;

	for (int n = 0; n < rounds; n++) {
		for (int i = 0; i < N; i++) {
			x = x * 1664525 + 1013904223;
			v[i] = x >> 12;
			r[i].key = i;
			r[i].w = (x >> 16) / 8.0;
			for (int k = 0; k < 12; k++)
				r[i].name[k] = 'a' + (x >> (k * 2) & 15);
			s[i] = r[i].name;
		}
		qsort(s, N, sizeof(s[0]), strings);
		sum = sum * 31 + s[N / 3][2];
		qsort(v, N, sizeof(v[0]), ints);
		qsort(r, N, sizeof(r[0]), recs);
		for (int i = 0; i < N; i += 3) {
			int key = i * 77;

			sum += bsearch(&key, v, N, sizeof(v[0]), ints) != NULL;
		}
		sum = sum * 31 + v[N / 2] + r[N / 4].key;
	}
	printf("%u\n", sum);
	return 0;
}
