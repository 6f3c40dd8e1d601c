// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Bit-fields: signed and not, over storage units, of width 0, 64 bits, _Bool, packed, beside other members. */
#include <stdbool.h>
#include "try.h"

struct a { unsigned int x : 3, y : 13, z : 16; };
struct b { int s : 5; unsigned int u : 5; int t : 22; };
struct c { long l : 40; unsigned char d; long m : 24; };
struct d { unsigned long long w : 63; unsigned long long one : 1; };
struct e { char c; int f : 7; int : 0; int g : 9; short s; };
struct __attribute__((packed)) p { unsigned int a : 7; unsigned long b : 37; unsigned char c : 4; short d; };
struct f { bool yes : 1, no : 1; enum { RED, GREEN, BLUE } col : 2; signed char n : 4; };

static NOINLINE struct a fa(struct a v, int n)
{
	v.x += n;
	v.y += v.x * 5;
	v.z -= v.y;
	return n ? fa(v, n - 1) : v;
}

static NOINLINE struct b fb(struct b v, int n)
{
	v.s = (v.s + 1) & 15;
	v.u += 3;
	v.t = v.t / 2 - v.s;
	return n ? fb(v, n - 1) : v;
}

static NOINLINE struct c fc(struct c v, int n)
{
	v.l = v.l / 3 + n;
	v.d++;
	v.m = -v.m / 2 + v.d;
	return n ? fc(v, n - 1) : v;
}

static NOINLINE void fp(struct p *v, int n)
{
	v->a += 5;
	v->b = v->b * 3 + v->a;
	v->c ^= n;
	v->d--;
	if (n)
		fp(v, n - 1);
	v->b ^= v->c;
}

int main(void)
{
	struct a a = fa((struct a) { 1, 2, 3 }, HIDE(20));
	struct b b = fb((struct b) { -16, 31, 1 << 20 }, HIDE(20));
	struct c c = fc((struct c) { -(1L << 39), 250, 1 << 22 }, HIDE(12));
	struct d d = { HIDE(~0ull) >> 1, 1 };
	struct e e = { 'c', HIDE(-64), 255, 7 };
	struct p p = { 127, (1ull << 37) - 1, 15, -32768 + 100 };
	struct f f = { true, false, GREEN, -8 };

	printf("a %d %d %d\n", a.x, a.y, a.z);
	printf("b %d %d %d\n", b.s, b.u, b.t);
	printf("c %ld %d %ld\n", (long)c.l, c.d, (long)c.m);
	d.w += HIDE(3);
	d.one += HIDE(1);
	printf("d %llx %d\n", (unsigned long long)d.w, (int)d.one);
	e.f = e.f + HIDE(10);
	e.g--;
	printf("e %c %d %d %d size %zu\n", e.c, e.f, e.g, e.s, sizeof(e));
	fp(&p, HIDE(30));
	printf("p %d %lx %d %d size %zu\n", p.a, (unsigned long)p.b, p.c, p.d, sizeof(p));
	for (int i = 0; i < 5; i++) {
		f.yes = !f.no;
		f.no = f.col == BLUE;
		f.col = (f.col + 1) % 3;
		f.n = -f.n + (i & 1) - (f.n == -8);
		printf("%d%d%d%d ", f.yes, f.no, f.col, f.n);
	}
	printf("sizes %zu %zu %zu %zu\n", sizeof(a), sizeof(b), sizeof(c), sizeof(d));
	return 0;
}
