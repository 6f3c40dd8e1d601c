// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* alloca() and arrays of variable length: in loops, in recursion, of two dimensions, as parameters, sizeof. */
#include <alloca.h>
#include "try.h"

static NOINLINE uint64_t fill(int n, int v[n])
{
	uint64_t s = 0;

	for (int i = 0; i < n; i++) {
		v[i] = i * i + n;
		s = try_mix(s, v[i]);
	}
	return s;
}

static NOINLINE uint64_t in_loop(int n)
{
	uint64_t s = 0;

	for (int i = 1; i < n; i++) {
		int v[i];
		char c[i * 3];

		memset(c, i, sizeof(c));
		s ^= fill(i, v);
		s = try_mix(s, v[i - 1] + c[i * 2] + sizeof(v) + sizeof(c));
	}
	return s;
}

static NOINLINE long matrix(int n, int m, long a[n][m])
{
	long t = 0;

	for (int i = 0; i < n; i++)
		for (int j = 0; j < m; j++)
			t += a[i][j] * (i - j);
	return t;
}

static NOINLINE long two(int n, int m)
{
	long a[n][m], b[m][n];

	for (int i = 0; i < n; i++)
		for (int j = 0; j < m; j++)
			a[i][j] = b[j][i] = i * 10 + j;
	return matrix(n, m, a) * 1000 + matrix(m, n, b);
}

/* Every frame keeps a block whose size depends on the depth, linked to the one further out. */
struct block { struct block *outer; int n; char data[]; };

static NOINLINE uint64_t nest(int n, struct block *outer)
{
	struct block *b = alloca(sizeof(*b) + n * 5 + 1);
	uint64_t s = 0;

	b->outer = outer;
	b->n = n * 5 + 1;
	memset(b->data, n, b->n);
	if (n)
		s = nest(n - 1, b);
	for (struct block *p = b; p; p = p->outer)
		s = try_mix_bytes(s, p->data, p->n);
	return s;
}

static NOINLINE uint64_t list(int n)
{
	struct node { struct node *next; int v; } *head = NULL;
	uint64_t s = 0;

	for (int i = 0; i < n; i++) {
		struct node *p = alloca(sizeof(*p));

		p->next = head;
		p->v = i * 3 + (int)(fill(1, (int[1]) { 0 }) & 1);
		head = p;
	}
	for (; head; head = head->next)
		s = try_mix(s, head->v);
	return s;
}

static NOINLINE uint64_t jumps_out(int n)
{
	uint64_t s = 0;
	int i = 0;

again:
	if (i < n) {
		double v[i + 2];

		v[i] = i / 3.0;
		v[i + 1] = fill(1, (int[1]) { 0 });
		s = try_mix(s, (uint64_t)(v[i] * 1000) + (v[i + 1] != 0));
		i++;
		goto again;
	}
	return s;
}

static NOINLINE size_t sizes(int n)
{
	typedef int row[n];
	row a[3];
	size_t s = sizeof(row) + sizeof(a);

	n += 5;
	return s * 100 + sizeof(row) + (char *)&a[2] - (char *)&a[0];
}

static NOINLINE int aligned(int n)
{
	int bad = 0;

	for (int i = 1; i < n; i++) {
		_Alignas(64) char a[64];
		char *p = alloca(i);

		p[0] = i;
		fill(1, (int[1]) { 0 });
		bad += ((uintptr_t)a & 63) != 0 || ((uintptr_t)p & 15) != 0 || p[0] != (char)i;
	}
	return bad;
}

int main(void)
{
	try_say("loop", in_loop(HIDE(40)));
	printf("two %ld\n", two(HIDE(7), HIDE(11)));
	try_say("nest", nest(HIDE(20), NULL));
	try_say("list", list(HIDE(50)));
	try_say("goto", jumps_out(HIDE(30)));
	printf("sizes %zu misaligned %d\n", sizes(HIDE(6)), aligned(HIDE(20)));
	return 0;
}
