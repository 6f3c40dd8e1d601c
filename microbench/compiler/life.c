// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Integer loop nest over bytes: the game of life on a torus, with neighbours by function. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 128

static unsigned char a[N][N], b[N][N];

static int around(unsigned char (*g)[N], int y, int x)
{
	int n = 0;

	for (int dy = -1; dy <= 1; dy++)
		for (int dx = -1; dx <= 1; dx++)
			if (dy || dx)
				n += g[(y + dy + N) % N][(x + dx + N) % N];
	return n;
}

static void step(unsigned char (*to)[N], unsigned char (*from)[N])
{
	for (int y = 0; y < N; y++)
		for (int x = 0; x < N; x++) {
			int n = around(from, y, x);

			to[y][x] = n == 3 || (n == 2 && from[y][x]);
		}
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 15, n = 0;

	for (int y = 0; y < N; y++)
		for (int x = 0; x < N; x++)
			a[y][x] = (y * 7 + x * x * 3) % 5 == 0;
	for (int r = 0; r < rounds; r++) {
		step(b, a);
		step(a, b);
	}
	for (int y = 0; y < N; y++)
		for (int x = 0; x < N; x++)
			n += a[y][x] * (x + y);
	printf("%d\n", n);
	return 0;
}
