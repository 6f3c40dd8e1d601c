// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The libm over many arguments, classification, rounding in all modes, vectors, float and half-way cases. */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include "try.h"

typedef float v4 __attribute__((vector_size(16)));
typedef int i4 __attribute__((vector_size(16)));

static int near_enough(double a, double b)
{
	return fabs(a - b) <= 1e-9 * (1 + fabs(b));
}

static NOINLINE int identities(double x)
{
	double y;
	int bad = 0, e;

	bad += !near_enough(sin(x) * sin(x) + cos(x) * cos(x), 1);
	bad += !near_enough(exp(log(x)), x);
	bad += !near_enough(pow(x, 0.5), sqrt(x)) || !near_enough(cbrt(x) * cbrt(x) * cbrt(x), x);
	bad += !near_enough(tan(atan(x)), x) || !near_enough(sinh(x / 10), (exp(x / 10) - exp(-x / 10)) / 2);
	bad += !near_enough(log2(x) * log(2), log(x)) || !near_enough(log1p(x), log(1 + x));
	bad += !near_enough(hypot(x, 2 * x), x * sqrt(5)) || !near_enough(tgamma(x / 20 + 1), exp(lgamma(x / 20 + 1)));
	bad += !near_enough(erf(x) + erfc(x), 1) || !near_enough(atan2(x, 1), atan(x));
	bad += !near_enough(fma(x, x, 1), x * x + 1) || !near_enough(remainder(x, 3), x - 3 * rint(x / 3));
	y = frexp(x, &e);
	bad += ldexp(y, e) != x || modf(x, &y) + y != x || copysign(x, -1) != -x;
	return bad + (nextafter(x, INFINITY) <= x) + (fmod(x, 1) != x - floor(x));
}

static NOINLINE v4 vectors(v4 a, v4 b, int n)
{
	i4 m = a < b;
	v4 r = (v4)(((i4)a & ~m) | ((i4)(a * 0.5f + b) & m));

	return n ? vectors(b, r * (v4) { 1, 0.5f, 0.25f, 2 }, n - 1) - a : r;
}

static NOINLINE double scalar(float f, double d, int n)
{
	float g = f * 1.1f + (float)d;

	return n ? scalar(g / 3, d * 0.7 + f, n - 1) + g : g;
}

int main(void)
{
	static const double odd[] = { 0.0, -0.0, 1, INFINITY, -INFINITY, NAN, DBL_MIN / 2, DBL_MAX };
	volatile double half = 2.5, third = 1, three = 3;
	v4 v = { HIDE(1.0f), 2, 3, 4 };
	int bad = 0;

	for (double x = 0.1; x < 40; x *= 1.07)
		bad += identities(x);
	printf("bad %d\n", bad);
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
		printf("%d%d%d%d ", fpclassify(odd[i]) == FP_NORMAL, isfinite(odd[i]) != 0, signbit(odd[i]) && odd[i] == odd[i],
		       isnan(odd[i] * 0) != 0);
	printf("\n%d %d %d %d\n", (int)floor(-half), (int)ceil(half), (int)trunc(-half), (int)round(half));
	printf("%d %ld %lld %d\n", (int)rint(half), lrint(-half), llround(-half), ilogb(1000));
	v = vectors(v, (v4) { 2, 1, 0.5f, 8 }, HIDE(9));
	printf("%.4f %.4f %.4f %.4f\n", (double)v[0], (double)v[1], (double)v[2], (double)v[3]);
	printf("%.6f\n", scalar(HIDE(1.5f), 2.5, 20));
	feclearexcept(FE_ALL_EXCEPT);
	third = third / three;
	printf("inexact %d overflow %d ", !!fetestexcept(FE_INEXACT), !!fetestexcept(FE_OVERFLOW));
	third = DBL_MAX;
	third = third * three;
	printf("%d mode %d\n", !!fetestexcept(FE_OVERFLOW), fegetround() == FE_TONEAREST);
	printf("%.10f %.10f\n", j0(HIDE(1.5)), y1(HIDE(2.5)));
	return bad;
}
