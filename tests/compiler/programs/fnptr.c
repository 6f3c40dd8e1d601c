// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Function pointers: tables, operations in structs, results that are functions, comparison, casts. */
#include "try.h"

typedef int (*op)(int, int);

static int add(int a, int b) { return a + b; }
static int sub(int a, int b) { return a - b; }
static int mul(int a, int b) { return a * b; }
static int max(int a, int b) { return a > b ? a : b; }
static int rec(int a, int b) { return a > 0 ? rec(a - 1, b) + b : b; }

static const op ops[] = { add, sub, mul, max, rec };

static NOINLINE op pick(int i)
{
	return ops[i % 5];
}

static NOINLINE op (*picker(int i))(int)
{
	return i >= 0 ? pick : NULL;
}

struct shape {
	const struct shape_ops *ops;
	double a, b;
};

struct shape_ops {
	const char *name;
	double (*area)(const struct shape *s);
	void (*scale)(struct shape *s, double by);
};

static double rect_area(const struct shape *s) { return s->a * s->b; }
static double disc_area(const struct shape *s) { return 3.14159 * s->a * s->a; }
static void rect_scale(struct shape *s, double by) { s->a *= by; s->b *= by; }
static void disc_scale(struct shape *s, double by) { s->a *= by; }

static const struct shape_ops rect = { "rect", rect_area, rect_scale };
static const struct shape_ops disc = { "disc", disc_area, disc_scale };

static NOINLINE double both(struct shape *s, double (*f)(const struct shape *), int n)
{
	double v = f(s);

	s->ops->scale(s, 1.5);
	return n ? v + both(s, f, n - 1) : v;
}

/* Curried by hand: a chain of calls through pointers that live in the frames. */
struct link { int (*f)(struct link *, int); struct link *next; int n; };

static NOINLINE int follow(struct link *l, int v)
{
	struct link mine = { l->f, l->next, l->n + 1 };

	if (!l->next)
		return v * 3 + l->n;
	return mine.next->f(mine.next, v + mine.n) - mine.n;
}

static NOINLINE int chain(int depth, struct link *outer, int v)
{
	struct link l = { follow, outer, depth };

	return depth ? chain(depth - 1, &l, v) + l.n : l.f(&l, v);
}

int main(void)
{
	struct shape shapes[] = { { &rect, 2, 3 }, { &disc, 1.5, 0 }, { &rect, 0.5, 8 } };
	unsigned int sum = 0, at = 0;

	for (int i = 0; i < 200; i++) {
		op f = picker(i)(i), g = pick(i * 7 + 3);

		sum = f(i % 20, g(3, i) % 1000) ^ sum << 1;
		at += f == add || g == mul;
	}
	printf("ops %u equal %u\n", sum, at);
	for (int n = 0; n < 30; n++)
		for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
			struct shape s = shapes[i];

			if (n % 10 == 0)
				printf("%s %.4f\n", s.ops->name, both(&s, s.ops->area, n / 3));
			else
				sum += (int)both(&s, s.ops->area, 3);
		}
	printf("sum %u chain %d\n", sum, chain(HIDE(12), NULL, 5));
	printf("null %d\n", picker(HIDE(-1)) == NULL);
	return 0;
}
