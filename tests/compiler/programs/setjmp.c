// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* setjmp() and longjmp(): out of many frames, in loops, nested, with values, and back into the same one. */
#include <setjmp.h>
#include "try.h"

static jmp_buf top;

static NOINLINE void thrower(int depth, int v, jmp_buf to)
{
	volatile int here = depth;

	if (!depth)
		longjmp(to, v);
	thrower(depth - 1, v, to);
	printf("not reached %d\n", here);
}

static NOINLINE int catcher(int n)
{
	volatile int tries = 0;
	jmp_buf b;
	int v = setjmp(b);

	tries++;
	if (v < n)
		thrower(v % 7, v + 1, b);
	return v * 100 + tries;
}

/* longjmp(b, 0) makes setjmp() return 1. */
static NOINLINE int zero(void)
{
	jmp_buf b;

	switch (setjmp(b)) {
	case 0:
		thrower(3, 0, b);
		return -1;
	case 1:
		return 1;
	default:
		return 2;
	}
}

/* Each level has its own, and throws on to the next one out. */
static NOINLINE int nested(int depth, jmp_buf outer)
{
	jmp_buf b;
	volatile int mine = depth * 3;
	int v;

	v = setjmp(b);
	if (!v) {
		if (depth)
			nested(depth - 1, b);
		thrower(2, 1000, b);
	}
	printf("level %d got %d\n", mine / 3, v);
	thrower(depth & 3, v + mine, outer);
	return 0;
}

static NOINLINE int two(int which)
{
	jmp_buf a, b;
	volatile int path = 0;

	if (setjmp(a)) {
		path += 10;
		if (path > 30)
			return path;
		longjmp(b, 5);
	}
	if (setjmp(b)) {
		path += 1;
		thrower(which, 7, a);
	}
	thrower(which, 7, a);
	return -1;
}

static NOINLINE int skips(void)
{
	jmp_buf inner;
	volatile int n = 0;

	if (!setjmp(top)) {
		for (;;) {
			int v = setjmp(inner);

			n += v;
			if (n > 20)
				thrower(5, 1, top);
			thrower(n % 3, 3, inner);
		}
	}
	return n;
}

/* In a loop: the same buffer filled again and again, and the loop's own variables kept. */
static NOINLINE int loop(int n)
{
	volatile int i, caught = 0, passed = 0;
	jmp_buf b;

	for (i = 0; i < n; i++) {
		if (setjmp(b)) {
			caught += i;
			continue;
		}
		if (i % 3 == 0)
			thrower(i % 5, i + 1, b);
		passed += i;
	}
	return caught * 10000 + passed;
}

struct guard { jmp_buf b; struct guard *outer; };
static struct guard *guards;

static NOINLINE void raise_it(int v)
{
	longjmp(guards->b, v);
}

static NOINLINE int protect(int (*f)(int), int arg)
{
	struct guard g;
	int v;

	g.outer = guards;
	guards = &g;
	v = setjmp(g.b);
	if (!v)
		v = f(arg);
	else
		v = -v;
	guards = g.outer;
	return v;
}

static int risky(int n)
{
	if (n % 4 == 3)
		raise_it(n);
	return n > 8 ? protect(risky, n - 5) + n : n;
}

static NOINLINE int arrays(int n)
{
	volatile int vla[n];
	jmp_buf b;

	for (int i = 0; i < n; i++)
		vla[i] = i;
	if (setjmp(b) < 5) {
		vla[2] += 7;
		thrower(4, vla[2] / 7 + 1, b);
	}
	return vla[2] + vla[n - 1];
}

int main(void)
{
	int v;

	printf("catcher %d\n", catcher(HIDE(40)));
	printf("zero %d\n", zero());
	v = setjmp(top);
	if (!v)
		nested(HIDE(6), top);
	printf("top %d\n", v);
	printf("two %d\n", two(HIDE(3)));
	printf("skips %d\n", skips());
	printf("loop %d\n", loop(HIDE(60)));
	for (int i = 0; i < 16; i++)
		printf("%d ", protect(risky, HIDE(i)));
	printf("\narrays %d\n", arrays(HIDE(9)));
	return 0;
}
