// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Recursion: one and two calls a frame, mutual, with many live values, and with arrays in the frame. */
#include "try.h"

static NOINLINE int fib(int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static NOINLINE int tak(int x, int y, int z)
{
	return y >= x ? z : tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y));
}

static NOINLINE int ack(int m, int n)
{
	if (!m)
		return n + 1;
	return n ? ack(m - 1, ack(m, n - 1)) : ack(m - 1, 1);
}

static int odd(unsigned int n);

static NOINLINE int even(unsigned int n)
{
	return n ? !!odd(n - 1) * 1 : 1;
}

static NOINLINE int odd(unsigned int n)
{
	return n ? !!even(n - 1) * 1 : 0;
}

static NOINLINE uint64_t hanoi(int n, int from, int to, int by, uint64_t sum)
{
	if (!n)
		return sum;
	sum = hanoi(n - 1, from, by, to, sum);
	sum = try_mix(sum, n * 9 + from * 3 + to);
	return hanoi(n - 1, by, to, from, sum);
}

/* Sixteen integers and eight doubles live over each call. */
static NOINLINE double wide(int n, double f)
{
	int64_t v[16];
	double d[8];
	double r;

	for (int i = 0; i < 16; i++)
		v[i] = (int64_t)try_random() >> (i + 3);
	for (int i = 0; i < 8; i++)
		d[i] = f / (i + 1) + v[i] % 1000;
	r = n ? wide(n - 1, f + 1) : f;
	for (int i = 0; i < 16; i++)
		r += v[i] % 17;
	for (int i = 0; i < 8; i++)
		r += d[i] * (i + 1);
	return r;
}

static int queens(int n, int row, unsigned int cols, unsigned int left, unsigned int right)
{
	int count = 0;

	if (row == n)
		return 1;
	for (unsigned int at = ~(cols | left | right) & ((1u << n) - 1); at; at &= at - 1) {
		unsigned int bit = at & -at;

		count += queens(n, row + 1, cols | bit, (left | bit) << 1, (right | bit) >> 1);
	}
	return count;
}

static NOINLINE int permute(char *s, int n, int at, uint64_t *sum)
{
	int count = 0;

	if (at == n) {
		*sum = try_mix_bytes(*sum, s, n);
		return 1;
	}
	for (int i = at; i < n; i++) {
		char c = s[at];

		s[at] = s[i];
		s[i] = c;
		count += permute(s, n, at + 1, sum);
		c = s[at];
		s[at] = s[i];
		s[i] = c;
	}
	return count;
}

int main(void)
{
	char letters[] = "abcdef";
	uint64_t sum = 1;

	printf("fib %d\n", fib(HIDE(17)));
	printf("tak %d\n", tak(HIDE(9), 5, 2));
	printf("ack %d\n", ack(2, HIDE(12)));
	printf("even %d odd %d\n", even(HIDE(500u)), odd(HIDE(500u)));
	try_say("hanoi", hanoi(HIDE(10), 0, 1, 2, 7));
	printf("wide %.6f\n", wide(HIDE(20), 1.5));
	printf("queens %d\n", queens(HIDE(6), 0, 0, 0, 0));
	printf("permutations %d\n", permute(letters, 6, 0, &sum));
	try_say("order", sum);
	return 0;
}
