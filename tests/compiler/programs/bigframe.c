// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Large structs and arrays in frames: copied, passed by value, returned, kept over calls. */
#include "try.h"

struct large { int v[2000]; double d[300]; char name[100]; };

static NOINLINE struct large make(int n)
{
	struct large l;

	for (int i = 0; i < 2000; i++)
		l.v[i] = i * n;
	for (int i = 0; i < 300; i++)
		l.d[i] = (double)i / (n + 1);
	memset(l.name, 0, sizeof(l.name));
	snprintf(l.name, sizeof(l.name), "large %d", n);
	return l;
}

static NOINLINE struct large both(struct large a, struct large b, int n)
{
	struct large c = n & 1 ? a : b;

	for (int i = n; i < 2000; i += 7)
		c.v[i] = a.v[i] - b.v[i];
	c.d[n] += a.d[n] * b.d[n];
	if (strlen(c.name) + strlen(a.name) < sizeof(c.name))
		strcat(c.name, a.name + 5);
	return n ? both(c, a, n - 1) : c;
}

static NOINLINE uint64_t sum(const struct large *l)
{
	uint64_t s = try_mix_bytes(0, l->name, strlen(l->name));

	for (int i = 0; i < 2000; i++)
		s = try_mix(s, l->v[i]);
	for (int i = 0; i < 300; i++)
		s = try_mix(s, try_bits(l->d[i]));
	return s;
}

static NOINLINE int stack(int n)
{
	char a[30000];
	int r;

	memset(a, n, sizeof(a));
	r = n ? stack(n - 1) : 0;
	return r + a[n * 100] + a[29999];
}

int main(void)
{
	struct large a = make(HIDE(3)), b = make(HIDE(5)), c;

	c = both(a, b, HIDE(6));
	try_say("both", sum(&c));
	try_say("a", sum(&a));
	puts(c.name);
	printf("stack %d\n", stack(HIDE(40)));
	return 0;
}
