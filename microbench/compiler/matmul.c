// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Numeric loop nest: the product of dense matrices, plain and in blocks. */
#include <stdio.h>
#include <stdlib.h>

#define N 96

static double a[N][N], b[N][N], c[N][N];

static void plain(void)
{
	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			double s = 0;

			for (int k = 0; k < N; k++)
				s += a[i][k] * b[k][j];
			c[i][j] = s;
		}
}

static void blocked(void)
{
	for (int ii = 0; ii < N; ii += 16)
		for (int kk = 0; kk < N; kk += 16)
			for (int i = ii; i < ii + 16; i++)
				for (int k = kk; k < kk + 16; k++)
					for (int j = 0; j < N; j++)
						c[i][j] += a[i][k] * b[k][j];
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 4;
	double s = 0;

	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++) {
			a[i][j] = (i * 7 + j) % 13 / 4.0;
			b[i][j] = (i + j * 3) % 11 / 8.0;
		}
	for (int r = 0; r < rounds; r++) {
		plain();
		blocked();
		for (int i = 0; i < N; i++)
			s += c[i][(i * 5 + r) % N];
		a[r % N][3] += 0.25;
	}
	printf("%.6f\n", s);
	return 0;
}
