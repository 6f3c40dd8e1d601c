// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Callbacks with recursion both ways, tail calls, functions without prototypes, noreturn ones, inline asm that is a barrier. */
#include "try.h"

typedef uint64_t (*visitor)(void *ctx, int depth, int i);

static NOINLINE uint64_t each(int n, visitor f, void *ctx, int depth)
{
	uint64_t s = depth;

	for (int i = 0; i < n; i++)
		s = try_mix(s, f(ctx, depth, i));
	return s;
}

struct ctx { int fan; uint64_t seen; struct ctx *outer; };

static uint64_t descend(void *p, int depth, int i)
{
	struct ctx *c = p, mine = { c->fan, 0, c };
	uint64_t s;

	c->seen += i;
	if (!depth)
		return i;
	s = each(c->fan, descend, &mine, depth - 1);
	for (struct ctx *o = &mine; o; o = o->outer)
		s = try_mix(s, o->seen);
	return s;
}

static int odd(unsigned int n, int acc);

/* Calls in tail position that must not grow the stack where the compiler promises so. */
static NOINLINE int even(unsigned int n, int acc)
{
	if (!n)
		return acc;
	return odd(n - 1, acc + 1);
}

static NOINLINE int odd(unsigned int n, int acc)
{
	if (!n)
		return -acc;
	return even(n - 1, acc ^ 3);
}

struct state { int n; uint64_t s; };

static NOINLINE uint64_t step_b(struct state *st);

static NOINLINE uint64_t step_a(struct state *st)
{
	st->s = try_mix(st->s, st->n);
	return st->n-- > 0 ? step_b(st) : st->s;
}

static NOINLINE uint64_t step_b(struct state *st)
{
	st->s += st->n;
	return st->n-- > 0 ? step_a(st) : st->s;
}

/* Old style: arguments promoted, order of declarations free. */
static NOINLINE double old_style(c, f, n, p)
	int n;
	char c;
	float f;
	char *p;
{
	return n ? old_style(c + 1, f / 2, n - 1, p + 1) + c : f + *p;
}

static int (*unknown)();

static int takes(int a, double b, char *c)
{
	return a + (int)b + c[0];
}

static NOINLINE int barriers(int n)
{
	volatile int v = n;
	int s = 0, x = n;

	for (int i = 0; i < n; i++) {
		__asm__ volatile("" ::: "memory");
		s += v;
		v = v + 1;
		__asm__ volatile("" : "+r"(x));
		x += s & 1;
		__asm__ volatile("" : : "r"(&s) : "memory");
	}
	return s + x;
}

static _Noreturn void leave(int code)
{
	printf("leaving\n");
	exit(code);
}

static inline __attribute__((always_inline)) int inlined(int n)
{
	return n * 2 + (int)each(0, NULL, NULL, n);
}

int main(void)
{
	struct ctx top = { 3, 0, NULL };
	struct state st = { HIDE(200), 1 };

	try_say("callbacks", each(3, descend, &top, 5));
	printf("tail %d %d\n", even(HIDE(2000u), 1), odd(HIDE(1501u), 7));
	try_say("steps", step_a(&st));
	printf("old style %.4f\n", old_style('a', HIDE(100.0f), 8, "abcdefghijk"));
	unknown = takes;
	printf("no prototype %d\n", unknown(HIDE(4), 2.5, "A"));
	printf("barriers %d inlined %d\n", barriers(HIDE(60)), inlined(HIDE(5)));
	if (HIDE(1))
		leave(3);
	return 0;
}
