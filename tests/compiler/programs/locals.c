// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Addresses of locals passed down, stored away, compared and given back; all frames see one memory. */
#include "try.h"

static int *kept[64];
static int keeps;

static NOINLINE void keep(int *p)
{
	kept[keeps++] = p;
}

static NOINLINE void bump(int n)
{
	for (int i = 0; i < keeps; i++)
		*kept[i] += n + i;
}

/* Each depth's local is changed by all frames below it. */
static NOINLINE int deep(int n)
{
	int mine = n * 100, other = n;
	int r = 0;

	keep(&mine);
	if (n)
		r = deep(n - 1);
	bump(n);
	keeps--;
	return r + mine - other;
}

static NOINLINE void swap(int *a, int *b)
{
	int t = *a;

	*a = *b;
	*b = t;
}

static NOINLINE int *choose(int *a, int *b, int n)
{
	if (!n)
		return a;
	return choose(b, a, n - 1);
}

struct node { int v; struct node *l, *r; };

/* A tree all of whose nodes are locals of the frames. */
static NOINLINE int tree(struct node *root, int depth)
{
	struct node l = { root->v * 2, NULL, NULL }, r = { root->v * 2 + 1, NULL, NULL };
	int s;

	root->l = &l;
	root->r = &r;
	if (!depth)
		return root->l->v + root->r->v;
	s = tree(&l, depth - 1) + tree(&r, depth - 1);
	return s + l.l->v * 0 + root->r->v - root->l->v;
}

static NOINLINE void out(int *a, double *d, char *s, struct node *n)
{
	*a += 5;
	*d *= 1.5;
	strcat(s, "x");
	n->v ^= *a;
}

static NOINLINE int conditional(int n)
{
	int a = n, b = n * 2, *p = n & 1 ? &a : &b;
	int **pp = &p;

	for (int i = 0; i < 5; i++) {
		swap(&a, &b);
		**pp += i;
		*pp = choose(&a, &b, i);
	}
	return a * 1000 + b + (p == &a) * 100000;
}

/* A local whose address is only taken in the loop, beside ones whose never is. */
static NOINLINE int loops(int n)
{
	int s = 0, never = n;

	for (int i = 0; i < n; i++) {
		int once = i, arr[4] = { i, i + 1, i + 2, i + 3 };

		if (i % 3 == 0)
			keep(&once), bump(1), keeps--;
		swap(&arr[i & 3], &arr[3 - (i & 3)]);
		s += once + arr[0] * 2 + arr[3] + never;
	}
	return s;
}

static NOINLINE int params(int a, double d, struct node n, int depth)
{
	char s[32] = "";

	out(&a, &d, s, &n);
	if (depth)
		a += params(a % 50, d, n, depth - 1);
	out(&a, &d, s, &n);
	return a + (int)d + (int)strlen(s) + n.v % 10;
}

int main(void)
{
	struct node root = { 1, NULL, NULL };
	int s = 0;

	printf("deep %d\n", deep(HIDE(30)));
	for (int i = 0; i < 20; i++)
		s = s * 3 % 100003 + conditional(i) % 1000;
	printf("conditional %d\n", s);
	printf("loops %d\n", loops(HIDE(50)));
	printf("tree %d\n", tree(&root, HIDE(7)));
	printf("params %d\n", params(3, 1.25, root, HIDE(10)));
	return 0;
}
