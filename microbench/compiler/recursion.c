// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Recursion: fib, tak, Ackermann's function and Hanoi's towers. */
#include <stdio.h>
#include <stdlib.h>

static int fib(int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static int tak(int x, int y, int z)
{
	return y >= x ? z : tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y));
}

static int ack(int m, int n)
{
	return !m ? n + 1 : n ? ack(m - 1, ack(m, n - 1)) : ack(m - 1, 1);
}

static unsigned int hanoi(int n, int a, int b, int c)
{
	return n ? hanoi(n - 1, a, c, b) * 3 + a - b + hanoi(n - 1, c, b, a) : 1;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 27;

	printf("%d %d %d %u\n", fib(n), tak(n - 9, n - 15, n - 21), ack(2, n * 12), hanoi(n - 9, 0, 1, 2));
	return 0;
}
