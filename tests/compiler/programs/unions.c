// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Unions: punning, tagged values, anonymous members, flexible arrays, compound literals, designators. */
#include "try.h"

union num { double d; uint64_t u; float f[2]; unsigned char c[8]; };

struct value {
	enum { INT, REAL, TEXT, LIST } type;
	union {
		long i;
		double r;
		const char *s;
		struct { struct value *items; int n; };
	};
};

struct buf { int n; struct { short k; char v[6]; } item[]; };

static NOINLINE double total(const struct value *v)
{
	double t = 0;

	switch (v->type) {
	case INT: return v->i;
	case REAL: return v->r;
	case TEXT: return strlen(v->s);
	case LIST:
		for (int i = 0; i < v->n; i++)
			t = t * 1.5 + total(&v->items[i]);
	}
	return t;
}

static NOINLINE union num twist(union num v, int n)
{
	unsigned char c = v.c[0];

	v.c[0] = v.c[5];
	v.c[5] = c;
	v.u ^= (uint64_t)n << 20;
	return n ? twist(v, n - 1) : v;
}

static NOINLINE int sum(const int *v, int n)
{
	return n ? *v + sum(v + 1, n - 1) : 0;
}

int main(void)
{
	union num v = { .d = HIDE(1.5) };
	struct value leaf[] = { { REAL, .r = 2.5 }, { TEXT, .s = "seven..", }, { INT, .i = -3 } };
	struct value list = { LIST, { .items = (struct value[]) { { INT, .i = 9 }, { LIST, { .items = leaf, .n = 3 } },
							   { TEXT, .s = "" } } } };
	struct buf *b = malloc(sizeof(*b) + 5 * sizeof(b->item[0]));
	int t[] = { [3] = 5, [1] = 2, 7, [6 ... 8] = 4 };

	if (!b)
		return 1;
	list.n = 3;
	v = twist(v, HIDE(9));
	printf("num %016llx %.6f\n", (unsigned long long)v.u, (double)(v.f[1] / v.f[1]));
	printf("total %.6f\n", total(&list));
	b->n = 5;
	for (int i = 0; i < b->n; i++) {
		b->item[i].k = i * 3;
		memcpy(b->item[i].v, "abcdefgh" + i % 3, 6);
	}
	for (int i = 0, k = 0; i < b->n; i++)
		printf("%d%.6s ", b->item[i].k + (k += sum(t, 9)), b->item[i].v);
	free(b);
	printf("%d %zu\n", sum((int[]) { 1, 2, HIDE(3), 4 }, 4), ARRAY_SIZE(t));
	return 0;
}
