// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Calls through pointers: objects with tables of operations, and visitors. */
#include <stdio.h>
#include <stdlib.h>

struct shape;
struct ops { double (*area)(const struct shape *); void (*grow)(struct shape *, double); };
struct shape { const struct ops *ops; double a, b; };

static double rect_area(const struct shape *s) { return s->a * s->b; }
static void rect_grow(struct shape *s, double by) { s->a += by; s->b += by; }
static double disc_area(const struct shape *s) { return 3.25 * s->a * s->a; }
static void disc_grow(struct shape *s, double by) { s->a += by / 2; }
static double tri_area(const struct shape *s) { return s->a * s->b / 2; }
static void tri_grow(struct shape *s, double by) { s->b += by; }

static const struct ops kinds[] = { { rect_area, rect_grow }, { disc_area, disc_grow }, { tri_area, tri_grow } };

static double each(struct shape *s, int n, double (*f)(struct shape *, void *), void *ctx)
{
	double r = 0;

	for (int i = 0; i < n; i++)
		r += f(&s[i], ctx);
	return r;
}

static double visit(struct shape *s, void *ctx)
{
	double *limit = ctx, a = s->ops->area(s);

	if (a < *limit)
		s->ops->grow(s, 0.125);
	return a;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1500;
	static struct shape s[300];
	double r = 0, limit = 50;

	for (int i = 0; i < 300; i++)
		s[i] = (struct shape) { &kinds[i * 7 % 3], i % 5 + 1, i % 7 + 1 };
	for (int n = 0; n < rounds; n++) {
		r += each(s, 300, visit, &limit);
		limit += 0.01;
	}
	printf("%.6f\n", r);
	return 0;
}
