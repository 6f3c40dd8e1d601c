// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Structs by value, as argument and result, in every class that an ABI tells apart. */
#include "try.h"

struct i1 { char a; };
struct i2 { short a; };
struct i3 { char a[3]; };
struct i4 { int a; };
struct i5 { int a; char b; };
struct i8 { long a; };
struct i12 { int a, b, c; };
struct i16 { long a, b; };
struct i24 { long a, b, c; };
struct f4 { float a; };
struct f8 { float a, b; };
struct f12 { float a, b, c; };
struct f16 { float a, b, c, d; };
struct d8 { double a; };
struct d16 { double a, b; };
struct d32 { double a, b, c, d; };
struct d40 { double a[5]; };
struct if8 { int a; float b; };
struct fi8 { float a; int b; };
struct id16 { int a; double b; };
struct di16 { double a; char b; };
struct fd16 { float a; double b; };
struct c7 { char a[7]; };
struct c15 { char a[15]; };
struct c17 { char a[17]; };
struct big { char a[200]; };
struct nest { struct f8 f; struct i4 i; };
struct one { struct { struct { double a; } b; } c; };
struct ptr { void *p; int n; };
struct mix { char a; double b; short c; float d; int e; long long f; };
struct __attribute__((packed)) packed { char a; long b; short c; };
struct aligned { int a; } __attribute__((aligned(32)));
struct empty { };
union iu { int a; float b; };
union lu { double a; char b[12]; };
struct ld { long double a; };
struct ldi { long double a; int b; };

#define ALL(X) X(i1) X(i2) X(i3) X(i4) X(i5) X(i8) X(i12) X(i16) X(i24) X(f4) X(f8) X(f12) X(f16) X(d8) X(d16) \
	X(d32) X(d40) X(if8) X(fi8) X(id16) X(di16) X(fd16) X(c7) X(c15) X(c17) X(big) X(nest) X(one) \
	X(mix) X(packed) X(aligned)

static NOINLINE int point(int n)
{
	return n ? point(n - 1) + 1 : 0;
}

/* Bytes of padding differ, so values are made of whole bytes and then set by copying members. */
#define TRY(T)										\
static NOINLINE struct T back_##T(struct T v, int n)					\
{											\
	struct T w = v;									\
											\
	if (!n)										\
		return v;								\
	((unsigned char *)&w)[0] ^= n & 0x80;						\
	w = back_##T(w, n - 1);								\
	return n & 1 ? w : v;								\
}											\
static NOINLINE struct T many_##T(int a, struct T v, double d, struct T w, long l,	\
				  float f, struct T x, struct T y, int n)		\
{											\
	int k = point(n);								\
											\
	switch ((a + (int)d + l + (long)f + k) % 4) {					\
	case 0: return v;								\
	case 1: return w;								\
	case 2: return back_##T(x, 3);							\
	default: return y;								\
	}										\
}											\
static NOINLINE void run_##T(void)							\
{											\
	struct T v[4], r;								\
	struct T (*f)(int, struct T, double, struct T, long, float, struct T, struct T,	\
		      int) = try_zero ? NULL : many_##T;				\
	uint64_t sum = sizeof(struct T);						\
											\
	memset(v, 0, sizeof(v));							\
	for (size_t i = 0; i < sizeof(v); i++)						\
		((unsigned char *)v)[i] = i * 7 % 0x3f;					\
	for (int i = 0; i < 8; i++) {							\
		r = f(i, v[0], 2.5, v[1], i * 3, 1.25f, v[2], v[3], i);			\
		int k = 0;								\
		while (k < 3 && same_##T(&r, &v[k]))					\
			k++;								\
		sum = try_mix(sum, k + 10 * same_##T(&r, &v[k]));			\
		v[i % 4] = back_##T(r, i);						\
	}										\
	try_say(#T, sum);								\
}

/* Compare members, never padding. */
#define SAME(T, e) static int same_##T(struct T *a, struct T *b) { return !(e); }
#define M(f) (a->f == b->f)
#define B(f) (!memcmp(a->f, b->f, sizeof(a->f)))
SAME(i1, M(a)) SAME(i2, M(a)) SAME(i3, B(a)) SAME(i4, M(a)) SAME(i5, M(a) && M(b)) SAME(i8, M(a))
SAME(i12, M(a) && M(b) && M(c)) SAME(i16, M(a) && M(b)) SAME(i24, M(a) && M(b) && M(c)) SAME(f4, M(a))
SAME(f8, M(a) && M(b)) SAME(f12, M(a) && M(b) && M(c)) SAME(f16, M(a) && M(b) && M(c) && M(d)) SAME(d8, M(a))
SAME(d16, M(a) && M(b)) SAME(d32, M(a) && M(b) && M(c) && M(d)) SAME(d40, B(a)) SAME(if8, M(a) && M(b))
SAME(fi8, M(a) && M(b)) SAME(id16, M(a) && M(b)) SAME(di16, M(a) && M(b)) SAME(fd16, M(a) && M(b))
SAME(c7, B(a)) SAME(c15, B(a)) SAME(c17, B(a)) SAME(big, B(a)) SAME(nest, M(f.a) && M(f.b) && M(i.a))
SAME(one, M(c.b.a)) SAME(mix, M(a) && M(b) && M(c) && M(d) && M(e) && M(f)) SAME(packed, M(a) && M(b) && M(c))
SAME(aligned, M(a))

ALL(TRY)

static NOINLINE struct ptr walk(struct ptr p, int n)
{
	struct ptr q = { (char *)p.p + 1, p.n - 1 };

	return n ? walk(q, n - 1) : p;
}

static NOINLINE union iu turn(union iu u, int n)
{
	u.a ^= n;
	return n ? turn(u, n - 1) : u;
}

static NOINLINE union lu grow(union lu u, int n)
{
	u.b[n % 12]++;
	return n ? grow(u, n - 1) : u;
}

static NOINLINE struct ld third(struct ld v, int n)
{
	struct ld r = { v.a / 3 };

	return n ? third(r, n - 1) : r;
}

static NOINLINE struct ldi thirds(int a, struct ldi v, struct empty e, int n)
{
	struct ldi r = { v.a / 3 + a, v.b + n };

	return n ? thirds(a + 1, r, e, n - 1) : r;
}

int main(void)
{
	char text[] = "abcdefghij";
	struct ptr p = walk((struct ptr) { text, 10 }, 6);
	union iu u = { HIDE(77) };
	union lu l = { .b = "hello world" };
	struct ldi t;

#define CALL(T) run_##T();
	ALL(CALL)
	printf("ptr %s %d\n", (char *)p.p, p.n);
	printf("union %d\n", turn(u, 9).a);
	l = grow(l, 20);
	printf("union %.12s\n", l.b);
	printf("long double %.17Lg\n", third((struct ld) { 1e6L }, 5).a);
	t = thirds(1, (struct ldi) { HIDE(5) + 0.5L, 3 }, (struct empty) { }, 6);
	printf("long double and int %.17Lg %d\n", t.a, t.b);
	return 0;
}
