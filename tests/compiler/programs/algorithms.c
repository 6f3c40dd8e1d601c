// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Plain work: sorts, a hash table, a red-black-less tree, a heap, sieves, big numbers, text search, a parser. */
#include "try.h"

static NOINLINE void quick(int *v, int lo, int hi)
{
	int i = lo, j = hi, p = v[(lo + hi) / 2];

	while (i <= j) {
		while (v[i] < p)
			i++;
		while (v[j] > p)
			j--;
		if (i <= j) {
			int t = v[i];

			v[i++] = v[j];
			v[j--] = t;
		}
	}
	if (lo < j)
		quick(v, lo, j);
	if (i < hi)
		quick(v, i, hi);
}

static NOINLINE void merge(int *v, int n)
{
	int t[n], a = 0, b = n / 2, k = 0;

	if (n < 2)
		return;
	merge(v, n / 2);
	merge(v + n / 2, n - n / 2);
	while (a < n / 2 || b < n)
		t[k++] = b == n || (a < n / 2 && v[a] <= v[b]) ? v[a++] : v[b++];
	memcpy(v, t, sizeof(t));
}

static NOINLINE void heap(int *v, int n)
{
	for (int end = n, start = n / 2; end > 1;) {
		int root, child;

		if (start) {
			start--;
		} else {
			int t = v[--end];

			v[end] = v[0];
			v[0] = t;
		}
		for (root = start; (child = 2 * root + 1) < end; root = child) {
			int t = v[root];

			child += child + 1 < end && v[child] < v[child + 1];
			if (t >= v[child])
				break;
			v[root] = v[child];
			v[child] = t;
		}
	}
}

struct tree { struct tree *l, *r; int key, count; };

static NOINLINE struct tree *insert(struct tree *t, int key)
{
	if (!t) {
		t = calloc(1, sizeof(*t));
		t->key = key;
	}
	if (key < t->key)
		t->l = insert(t->l, key);
	else if (key > t->key)
		t->r = insert(t->r, key);
	else
		t->count++;
	return t;
}

static NOINLINE uint64_t drop(struct tree *t, uint64_t s)
{
	if (!t)
		return s;
	s = drop(t->l, s);
	s = try_mix(s, t->key * 100 + t->count);
	s = drop(t->r, s);
	free(t);
	return s;
}

static NOINLINE int factorial_digits(int n)
{
	unsigned char d[300] = { 1 };
	int len = 1, sum = 0;

	for (int i = 2; i <= n; i++) {
		int carry = 0;

		for (int k = 0; k < len || carry; k++) {
			if (k >= len)
				len = k + 1;
			carry += d[k] * i;
			d[k] = carry % 10;
			carry /= 10;
		}
	}
	for (int k = 0; k < len; k++)
		sum += d[k];
	return sum * 1000 + len;
}

static const char *at;

static long sum_of(void);

static NOINLINE long factor(void)
{
	long v = 0;

	if (*at == '(') {
		at++;
		v = sum_of();
		at++;
		return v;
	}
	if (*at == '-') {
		at++;
		return -factor();
	}
	while (*at >= '0' && *at <= '9')
		v = v * 10 + *at++ - '0';
	return v;
}

static NOINLINE long product(void)
{
	long v = factor();

	while (*at == '*' || *at == '/') {
		if (*at++ == '*')
			v *= factor();
		else
			v /= factor();
	}
	return v;
}

static long sum_of(void)
{
	long v = product();

	while (*at == '+' || *at == '-') {
		if (*at++ == '+')
			v += product();
		else
			v -= product();
	}
	return v;
}

static NOINLINE int sieve(int n)
{
	char *c = calloc(n, 1);
	int count = 0;

	for (int i = 2; i < n; i++) {
		if (c[i])
			continue;
		count++;
		for (int k = 2 * i; k < n; k += i)
			c[k] = 1;
	}
	free(c);
	return count;
}

static NOINLINE int knapsack(int n, int cap)
{
	int best[cap + 1];

	memset(best, 0, sizeof(best));
	for (int i = 0; i < n; i++) {
		int w = i * 7 % 19 + 1, v = i * 13 % 29 + 3;

		for (int c = cap; c >= w; c--)
			if (best[c - w] + v > best[c])
				best[c] = best[c - w] + v;
	}
	return best[cap];
}

static NOINLINE int distance(const char *a, const char *b)
{
	int n = strlen(b), row[n + 1], i, k;

	for (k = 0; k <= n; k++)
		row[k] = k;
	for (i = 1; a[i - 1]; i++) {
		int old = row[0]++, t;

		for (k = 1; k <= n; k++) {
			t = row[k];
			row[k] = a[i - 1] == b[k - 1] ? old : 1 + (old < t ? old < row[k - 1] ? old : row[k - 1] :
								   t < row[k - 1] ? t : row[k - 1]);
			old = t;
		}
	}
	return row[n];
}

int main(void)
{
	int v[3][300], bad = 0;
	struct tree *t = NULL;

	for (int i = 0; i < 300; i++)
		v[0][i] = v[1][i] = v[2][i] = (int)(try_random() % 2000) - 1000;
	quick(v[0], 0, 299);
	merge(v[1], 300);
	heap(v[2], 300);
	for (int i = 0; i < 300; i++)
		bad += v[0][i] != v[1][i] || v[0][i] != v[2][i] || (i && v[0][i] < v[0][i - 1]);
	printf("sorts %d %d %d\n", bad, v[0][0], v[0][299]);
	for (int i = 0; i < 300; i++)
		t = insert(t, try_random() % 150);
	try_say("tree", drop(t, 1));
	printf("factorial %d\n", factorial_digits(HIDE(90)));
	at = "2*(3+4*(5-(6-7)*8))/-(1+1)+12345*6-(((7)))";
	printf("parser %ld\n", sum_of());
	printf("primes %d knapsack %d distance %d\n", sieve(HIDE(3000)), knapsack(HIDE(40), 120),
	       distance("migration across machines", "immigration of mechanics"));
	return 0;
}
