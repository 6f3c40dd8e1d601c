// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Variable arguments, structs by value and setjmp() in loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct vec { double x, y, z; };

static __attribute__((noinline)) long sum(int n, ...)
{
	long s = 0;
	va_list ap;

	va_start(ap, n);
	while (n--)
		s += va_arg(ap, int);
	va_end(ap);
	return s;
}

static __attribute__((noinline)) struct vec cross(struct vec a, struct vec b)
{
	return (struct vec) { a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x };
}

static jmp_buf env;

static __attribute__((noinline)) int risky(int i)
{
	if (i % 64 == 0)
		longjmp(env, i | 1);
	return i;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 120000;
	struct vec v = { 1, 2, 3 }, w = { 0.5, -1, 0.25 };
	volatile long s = 0;
	volatile int i;

	for (i = 1; i < rounds; i++) {
		int k = i;

		s += sum(5, k, 2, 3, k & 15, 5);
		v = cross(v, w);
		v.x = v.x * 0.25 + 1;
		v.y *= 0.5;
		v.z *= 0.25;
		if (i % 16 == 0) {
			if (!setjmp(env))
				s += risky(k);
			else
				s += 7;
		}
	}
	printf("%ld %.6f\n", s, v.x + v.y + v.z);
	return 0;
}
