// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Calls foreign(), which isn't C, and moves below it. */
#include <setjmp.h>
#include <stdio.h>

struct s { long v[5]; };

long foreign(const struct s *s, int n);
jmp_buf buffer;

int work(int n)
{
	volatile int m = n;

	return m ? work(m - 1) + 1 : 0;
}

int jumps(int n)
{
	longjmp(buffer, work(n) + 1);
}

int main(void)
{
	static const struct s s = { { 1, 2, 3, 40, 5 } };
	long sum = 0;

	for (int i = 0; i < 50; i++)
		sum += foreign(&s, i);
	printf("%ld %d\n", sum, work(20));
	return 0;
}
