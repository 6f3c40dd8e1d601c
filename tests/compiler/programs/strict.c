// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What C leaves open and -fpopcorn-strict doesn't: out-of-range conversions, division, shifts, the bits of NaN. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include "try.h"

static sigjmp_buf wrong;

static void on_fpe(int sig)
{
	siglongjmp(wrong, sig);
}

static NOINLINE void conversions(double d, float f)
{
	printf("%d %u %lld %llu ", (int)d, (unsigned int)d, (long long)d, (unsigned long long)d);
	printf("%d %u %d %lld\n", (signed char)d, (unsigned short)f, (int)f, (long long)f);
}

static NOINLINE int divide(int a, int b)
{
	return a / b;
}

static NOINLINE uint64_t rest(uint64_t a, uint64_t b)
{
	return a % b;
}

static NOINLINE long left(long a, long b)
{
	return a % b;
}

static NOINLINE void division(int a, int b, uint64_t c, uint64_t d)
{
	int sig;

	sig = sigsetjmp(wrong, 1);
	printf("%d ", sig ? -sig : divide(a, b));
	sig = sigsetjmp(wrong, 1);
	printf("%d ", sig ? -sig : (int)rest(c, d));
	sig = sigsetjmp(wrong, 1);
	printf("%d\n", sig ? -sig : (int)left((long)c, (long)d));
}

static NOINLINE void shifts(int v, uint64_t w, int by)
{
	printf("%d %d %llx %llx\n", v << by, v >> by, (unsigned long long)(w << by), (unsigned long long)(w >> by));
}

static NOINLINE uint32_t bits(float f)
{
	uint32_t v;

	memcpy(&v, &f, sizeof(v));
	return v;
}

static NOINLINE void nans(double zero, double inf, double nan, float fnan)
{
	static double v[8];
	int i = 0;

	v[i++] = zero / zero;
	v[i++] = inf - inf;
	v[i++] = zero * -inf + 1;
	v[i++] = nan + 1;
	v[i++] = sqrt(zero - 1);
	v[i++] = fmod(inf, 3);
	v[i++] = (float)(nan * 3);
	v[i++] = fabs(nan * 2);
	for (i = 0; i < 8; i++)
		printf("%llx ", (unsigned long long)try_bits(v[i]));
	printf("%x %x %x\n", bits(fnan * 2), bits((float)(zero / zero)), bits(fnan));
}

int main(void)
{
	const double v[] = { 0.5, -1.5, 3e9, -3e9, 1e19, 2e19, -1e30, 1e300, INFINITY, -INFINITY, NAN };
	uint64_t payload = HIDE(0xfff8000000000123u);
	double nan;

	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		conversions(HIDE(v[i]), HIDE((float)v[i]));
	signal(SIGFPE, on_fpe);
	division(HIDE(7), HIDE(2), HIDE(99ull), HIDE(10ull));
	division(HIDE(7), HIDE(0), HIDE(99ull), HIDE(0ull));
	division(HIDE(-2147483647 - 1), HIDE(-1), HIDE(1ull) << 63, HIDE(-1ull));
	for (int i = 0; i < 140; i += 35)
		shifts(HIDE(-77), HIDE(0x123456789abcdefull), HIDE(i));
	memcpy(&nan, &payload, sizeof(nan));
	nans(HIDE(0.0), HIDE((double)INFINITY), nan, (float)HIDE(NAN));
	return 0;
}
