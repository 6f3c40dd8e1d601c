// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* __int128: all operators, division, shifts by variables, conversions, arguments, results, in arrays. */
#include "try.h"

typedef __int128 i128;
typedef unsigned __int128 u128;

static void say(const char *s, u128 v)
{
	printf("%s %016llx%016llx\n", s, (unsigned long long)(v >> 64), (unsigned long long)v);
}

static NOINLINE u128 power(u128 b, unsigned int e)
{
	return e ? (e & 1 ? b : 1) * power(b * b, e / 2) : 1;
}

static NOINLINE u128 gcd(u128 a, u128 b)
{
	return b ? gcd(b, a % b) : a;
}

static NOINLINE i128 ops(int x, i128 a, long y, i128 b, int n)
{
	i128 r = (a ^ b) + (i128)x * y;

	if (n & 1)
		r = r / ((b & 0xffff) + 3) - (a >> (n & 63));
	else
		r = r % (((i128)1 << 100) + x) + ((u128)b << (n & 31) >> 40);
	return n ? ops(x + 1, b, y * 3 % 1000003, r, n - 1) : r;
}

static NOINLINE char *decimal(char *p, u128 v)
{
	*--p = '0' + (int)(v % 10);
	return v >= 10 ? decimal(p, v / 10) : p;
}

static NOINLINE int order(const void *a, const void *b)
{
	i128 x = *(const i128 *)a, y = *(const i128 *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	char text[50] = "";
	i128 v[20];
	u128 s = 0;

	say("power", power(HIDE(3u), 80));
	say("gcd", gcd(power(6, 40), power(HIDE(10u), 30)));
	say("ops", ops(HIDE(5), ((i128)0x123456789abcdefLL << 60) + 77, 99, -((i128)1 << 90) + 5, 60));
	puts(decimal(text + 49, power(HIDE(2u), 127)));
	for (int i = 0; i < 20; i++)
		v[i] = (i128)((u128)try_random() << 64 | try_random()) >> (i * 5);
	qsort(v, 20, sizeof(v[0]), order);
	for (int i = 0; i < 20; i++)
		s = s * 31 + v[i];
	say("sorted", s);
	printf("%.6e %.6e %d\n", (double)v[0], (double)(u128)v[19], (int)(i128)HIDE(-3.7));
	say("from double", (u128)HIDE(1e30));
	say("from negative", (i128)HIDE(-1e25));
	printf("%d %d\n", (i128)HIDE(-1) < (i128)0, (u128)HIDE(-1) < (u128)5);
	return 0;
}
