// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Variable arguments: all types, va_copy, a va_list handed on, kept in a struct, many arguments, structs. */
#include <stdarg.h>
#include "try.h"

struct small { int a; short b; };
struct floats { float x, y; };
struct large { long v[5]; double d; };
typedef __int128 wide;

static NOINLINE int point(int n)
{
	return n ? point(n - 1) : 0;
}

static NOINLINE long sum(int n, ...)
{
	long s = 0;
	va_list ap;

	va_start(ap, n);
	for (int i = 0; i < n; i++)
		s = s * 3 + va_arg(ap, int) + point(1);
	va_end(ap);
	return s;
}

static NOINLINE double by_format(const char *f, va_list ap)
{
	double r = 0;

	for (; *f; f++) {
		struct floats fl;
		struct small sm;
		struct large la;

		point(2);
		switch (*f) {
		case 'i': r += va_arg(ap, int); break;
		case 'l': r += va_arg(ap, long); break;
		case 'q': r += va_arg(ap, unsigned long long) % 1000; break;
		case 'd': r += va_arg(ap, double); break;
		case 'D': r += (double)va_arg(ap, long double); break;
		case 'w': r += (double)va_arg(ap, wide); break;
		case 's': r += strlen(va_arg(ap, char *)); break;
		case 'S': sm = va_arg(ap, struct small); r += sm.a * 10 + sm.b; break;
		case 'F': fl = va_arg(ap, struct floats); r += fl.x * fl.y; break;
		case 'L': la = va_arg(ap, struct large); r += la.v[0] + la.v[4] + la.d; break;
		case 'c': r += __real__ va_arg(ap, _Complex double); break;
		case 'f': r += va_arg(ap, double (*)(double))(2); break;
		case '(': r += by_format(f + 1, ap); return r;
		}
		r *= 1.25;
	}
	return r;
}

static NOINLINE double eval(const char *f, ...)
{
	va_list ap, aq, ar;
	double a, b, c;

	va_start(ap, f);
	va_copy(aq, ap);
	a = by_format(f, ap);
	va_copy(ar, aq);
	b = by_format(f, aq);
	c = by_format(f, ar);
	va_end(ap);
	va_end(aq);
	va_end(ar);
	return a == b && b == c ? a : -1;
}

static double half(double d)
{
	return d / 2;
}

struct reader { va_list ap; int left; };

static NOINLINE int next(struct reader *r)
{
	point(1);
	return r->left-- ? va_arg(r->ap, int) : -1;
}

static NOINLINE int read_all(int n, ...)
{
	struct reader r = { .left = n };
	int v, s = 0;

	va_start(r.ap, n);
	while ((v = next(&r)) >= 0)
		s = s * 7 + v;
	va_end(r.ap);
	return s;
}

/* Takes one, and hands on the rest by pointer. */
static NOINLINE int take(va_list *ap)
{
	point(1);
	return va_arg(*ap, int);
}

static NOINLINE int takes(const char *s, ...)
{
	int r = 0;
	va_list ap;

	va_start(ap, s);
	for (; *s; s++)
		r = *s == 't' ? r * 2 + take(&ap) : r - (int)va_arg(ap, double);
	va_end(ap);
	return r;
}

static NOINLINE struct large by_value(int n, ...)
{
	struct large r = { { 0 }, 0.5 };
	va_list ap;

	va_start(ap, n);
	for (int i = 0; i < n; i++) {
		struct large v = va_arg(ap, struct large);

		for (int k = 0; k < 5; k++)
			r.v[k] += v.v[k];
		r.d *= v.d + point(1);
	}
	va_end(ap);
	return r;
}

/* Recursion with different arguments at each depth. */
static NOINLINE long down(int n, ...)
{
	va_list ap;
	long a;
	double d;

	va_start(ap, n);
	a = va_arg(ap, long);
	d = va_arg(ap, double);
	va_end(ap);
	return n ? a + down(n - 1, a * 3 % 1001, d / 2) + (long)(d * 4) : a;
}

int main(void)
{
	struct small sm = { 5, -3 };
	struct floats fl = { 1.5f, 2.25f };
	struct large la = { { 1, 2, 3, 4, 5 }, 6.5 };
	long (*f)(int, ...) = try_zero ? NULL : sum;
	_Complex double z = 3.5;

	printf("sum %ld %ld %ld\n", sum(0), sum(3, 1, 2, 3), f(12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
	printf("mixed %.6f\n", eval("idlsiD", 1, 2.5, 3L, "four", 5, 6.25L));
	printf("structs %.6f\n", eval("SFLSiFdL", sm, fl, la, sm, 7, fl, 1.5, la));
	printf("wide %.6f\n", eval("iwiDiwq", 1, (wide)1 << 70, 2, 1.5L, 3, (wide)-9, ~0ull));
	printf("doubles %.6f\n", eval("dddddddddddd", 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.));
	printf("complex, function %.6f\n", eval("icf(dd", 1, z, half, 5.5, 1.25));
	printf("reader %d takes %d\n", read_all(6, 6, 5, 4, 3, 2, 1), takes("ttdtd", 4, 5, 2.5, 6, 1.0));
	la = by_value(3, la, la, la);
	printf("large %ld %ld %.4f\n", la.v[0], la.v[4], la.d);
	printf("down %ld\n", down(12, 77L, 1000.0));
	return 0;
}
