// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* long double: arithmetic, conversions, comparison, arguments in numbers, arrays, the libc's functions. */
#include <float.h>
#include <math.h>
#include "try.h"

static NOINLINE long double series(long double x, int n, int k)
{
	return n ? x / k - series(x * x / 2, n - 1, k + 1) : x;
}

static NOINLINE long double many(long double a, int i, long double b, double c, long double d, float e,
				 long double f, long double g, long double h, long double k, int n)
{
	long double r = a - b * i + c / d + e * f - g / h + k;

	return n ? many(b, i + 1, d, c / 2, f, e * 2, g, h, k, r / 1000, n - 1) + r : r;
}

static NOINLINE int order(const void *a, const void *b)
{
	long double x = *(const long double *)a, y = *(const long double *)b;

	return x < y ? -1 : x > y;
}

static NOINLINE long double newton(long double x, long double g, int n)
{
	return n ? newton(x, (g + x / g) / 2, n - 1) : g;
}

static NOINLINE void matrix(long double m[3][3], int n)
{
	long double r[3][3] = { { 0 } };

	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
			for (int k = 0; k < 3; k++)
				r[i][j] += m[i][k] * m[k][j] / 4;
	memcpy(m, r, sizeof(r));
	if (n)
		matrix(m, n - 1);
}

int main(void)
{
	long double v[12], s = 0, m[3][3] = { { 1, 2, 0.5L }, { 0.25L, 1, 3 }, { 2, 1.5L, 1 } };
	long double e;
	int x;

	printf("series %.16Lg\n", series(HIDE(1.5L), 12, 1));
	printf("many %.15Lg\n", many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, HIDE(20)));
	printf("newton %.17Lg\n", newton(HIDE(2.0L), 1, 8));
	for (int i = 0; i < 12; i++)
		v[i] = (long double)(int64_t)try_random() / (1LL << 50);
	qsort(v, 12, sizeof(v[0]), order);
	for (int i = 0; i < 12; i++)
		s = s / 2 + v[i];
	printf("sorted %.15Lg\n", s);
	matrix(m, 3);
	printf("matrix %.15Lg %.15Lg\n", m[0][0], m[2][1]);
	printf("to int %d %lld %llu\n", (int)HIDE(-3.9L), (long long)HIDE(1e15L), (unsigned long long)HIDE(1.8e19L));
	printf("to float %.6g %.16g\n", (double)(float)HIDE(0.1L), (double)HIDE(0.1L));
	printf("compare %d %d %d %d\n", HIDE(1.0L) < 2, HIDE(1.0L) == 1, HIDE(1.0L) != 1, HIDE((long double)NAN) < 1);
	printf("%.15Lg %.15Lg %.15Lg\n", sqrtl(HIDE(3.0L)), powl(1.5L, HIDE(10.5L)), fmodl(HIDE(100.5L), 7));
	printf("%.15Lg %.15Lg %.15Lg\n", sinl(HIDE(1.0L)), expl(HIDE(2.5L)), logl(HIDE(10.0L)));
	printf("%.15Lg %.15Lg %ld\n", floorl(HIDE(-2.5L)), roundl(HIDE(2.5L)), lrintl(HIDE(3.5L)));
	e = frexpl(HIDE(100.0L), &x);
	printf("%.15Lg %d %.15Lg\n", e, x, ldexpl(HIDE(0.75L), 12));
	printf("%d %d %d\n", isinf(HIDE(LDBL_MAX) * 2) != 0, isnan(HIDE((long double)NAN)) != 0, signbit(HIDE(-0.0L)) != 0);
	return 0;
}
