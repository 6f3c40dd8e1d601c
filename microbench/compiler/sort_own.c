// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Sorting: quick, heap and merge sorts of its own, the last through a pointer to a comparison. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 20000

static int a[N], b[N], c[N], t[N];

static void quick(int *v, int lo, int hi)
{
	while (lo < hi) {
		int i = lo, j = hi, p = v[(lo + hi) >> 1];

		while (i <= j) {
			while (v[i] < p)
				i++;
			while (v[j] > p)
				j--;
			if (i <= j) {
				int x = v[i];

				v[i++] = v[j];
				v[j--] = x;
			}
		}
		if (j - lo < hi - i) {
			quick(v, lo, j);
			lo = i;
		} else {
			quick(v, i, hi);
			hi = j;
		}
	}
}

static void sift(int *v, int at, int n)
{
	int x = v[at], k;

	for (; (k = 2 * at + 1) < n; at = k) {
		k += k + 1 < n && v[k] < v[k + 1];
		if (x >= v[k])
			break;
		v[at] = v[k];
	}
	v[at] = x;
}

static void heap(int *v, int n)
{
	for (int i = n / 2; i--;)
		sift(v, i, n);
	for (int i = n; --i > 0;) {
		int x = v[0];

		v[0] = v[i];
		v[i] = x;
		sift(v, 0, i);
	}
}

static int up(int x, int y) { return x < y; }
static int down(int x, int y) { return x > y; }

static void merge(int *v, int n, int (*before)(int, int))
{
	int h = n / 2, i = 0, j = h, k = 0;

	if (n < 2)
		return;
	merge(v, h, before);
	merge(v + h, n - h, before);
	while (i < h && j < n)
		t[k++] = before(v[j], v[i]) ? v[j++] : v[i++];
	while (i < h)
		t[k++] = v[i++];
	memcpy(v, t, k * sizeof(*v));
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 3, bad = 0;
	int (*volatile order[2])(int, int) = { up, down };
	uint32_t x = 99;

	for (int n = 0; n < rounds; n++) {
		for (int i = 0; i < N; i++) {
			x = x * 1664525 + 1013904223;
			a[i] = b[i] = c[i] = x >> 8;
		}
		quick(a, 0, N - 1);
		heap(b, N);
		merge(c, N, order[n & 1]);
		for (int i = 0; i < N; i++)
			bad += a[i] != b[i] || a[i] != c[n & 1 ? N - 1 - i : i];
	}
	printf("%d %d\n", bad, a[N / 2]);
	return bad != 0;
}
