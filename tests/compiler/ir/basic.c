/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Recursion, loops, pointers to locals, function pointers, switches, structs by value. */
#include "bed.h"

struct node {
	struct node *next;
	const char *name;
	double v;
	int (*op)(int);
};
struct pair { double a, b; };
struct big { long a[5]; };

static int twice(int x) { return 2 * x; }
static int thrice(int x) { return 3 * x; }
static int (*ops[2])(int) = { twice, thrice };
static struct node *head;
static long calls;

static __attribute__((noinline)) double rec(int d, double x, double *acc, long *up)
{
	long loc[4] = { d, d * 2, d * 3, up ? up[0] : 0 };
	double y = x * 1.5 + d, r, r2;

	*acc += y;
	if (!d)
		return y;
	r = rec(d - 1, x + 0.25, acc, loc);
	*acc += loc[1];
	r2 = d & 1 ? rec(d < 2 ? 0 : d - 2, y, acc, loc) : 1.0;
	return r * 0.5 + y + loc[2] + r2;
}

static __attribute__((noinline)) struct pair make(int n, struct big b)
{
	struct pair p = { 0, 0 };

	for (int i = 0; i < n; i++)
		p.a += rec(i % 5, b.a[i % 5], &p.b, 0);
	return p;
}

static int by_value(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;

	calls++;
	return x->v < y->v ? -1 : x->v > y->v;
}

static __attribute__((noinline)) int choose(int k)
{
	switch (k) {
	case 0: return 5;
	case 1: return choose(0) + 1;
	case 2: return choose(1) * 2;
	case 3: return choose(2) - 9;
	case 4: return choose(3) ^ 77;
	case 7: return choose(4) + choose(3);
	default: return choose(k & 3);
	}
}

static __attribute__((noinline)) unsigned nested(unsigned n)
{
	unsigned s = 0, t[8] = { 0 };

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n; j++) {
			for (unsigned k = 0; k < 3; k++)
				t[(i + j + k) & 7] += i * j + k;
			s = s * 31 + t[j & 7];
		}
	return s;
}

static __attribute__((noinline)) int tail(int n)
{
	return n < 3 ? n : choose(n);
}

int main(void)
{
	struct node **v;
	double sum = 0;
	int n = 0;

	for (int i = 0; i < 12; i++) {
		struct node *x = malloc(sizeof(*x));

		*x = (struct node){ head, i & 1 ? "odd" : "even", (i * 37 % 41) * 0.5, ops[i % 2] };
		head = x;
	}
	v = malloc(12 * sizeof(*v));
	for (struct node *x = head; x; x = x->next)
		v[n++] = x;
	qsort(v, n, sizeof(*v), by_value);
	for (int it = 0; it < 3; it++) {
		struct big b = { { 1, 2, 3, it, 5 } };
		struct pair p = make(6, b);
		int q = v[it * 3]->op(it + 4);

		sum += p.a * p.b;
		printf("%d: %f %f op %d %s %f sum %f\n", it, p.a, p.b, q, v[it * 3]->name, v[it]->v, sum);
	}
	printf("calls %ld choose %d %d nested %u tail %d %d\n", calls, choose(7), choose(13), nested(7), tail(2),
	       tail(7));
	return 7;
}
