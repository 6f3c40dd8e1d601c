// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Locals whose addresses escape: small buffers, out-parameters, arrays of variable length. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __attribute__((noinline)) int split(unsigned int v, int *hi, int *lo)
{
	*hi = v >> 16;
	*lo = v & 0xffff;
	return *hi ^ *lo;
}

static __attribute__((noinline)) int digits(char *to, unsigned int v)
{
	char t[12];
	int n = 0, i;

	do {
		t[n++] = '0' + v % 10;
		v /= 10;
	} while (v);
	for (i = 0; i < n; i++)
		to[i] = t[n - 1 - i];
	to[n] = 0;
	return n;
}

static __attribute__((noinline)) unsigned int window(const unsigned int *v, int n, int k)
{
	unsigned int w[k], s = 0;

	memset(w, 0, sizeof(w));
	for (int i = 0; i < n; i++) {
		w[i % k] = v[i];
		s += w[(i + 1) % k];
	}
	return s;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 60000;
	unsigned int x = 1, s = 0, v[32] = { 0 };

	for (int i = 0; i < rounds; i++) {
		char text[16];
		int hi, lo;

		x = x * 1664525 + 1013904223;
		s += split(x, &hi, &lo) + hi * 3 + lo;
		s += digits(text, x) * text[0];
		v[i & 31] = x;
		if (!(i & 31))
			s += window(v, 32, (x >> 28) + 1);
	}
	printf("%u\n", s);
	return 0;
}
