// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Numeric loop nest: relaxation on a cube and its residual. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N 34

static double u[N][N][N], v[N][N][N], f[N][N][N];

static void relax(double (*to)[N][N], double (*from)[N][N])
{
	for (int i = 1; i < N - 1; i++)
		for (int j = 1; j < N - 1; j++)
			for (int k = 1; k < N - 1; k++)
				to[i][j][k] = (from[i - 1][j][k] + from[i + 1][j][k] + from[i][j - 1][k] +
					       from[i][j + 1][k] + from[i][j][k - 1] + from[i][j][k + 1] +
					       f[i][j][k]) * (1.0 / 6);
}

static double residual(void)
{
	double s = 0;

	for (int i = 1; i < N - 1; i++)
		for (int j = 1; j < N - 1; j++)
			for (int k = 1; k < N - 1; k++) {
				double d = u[i][j][k] - v[i][j][k];

				s += d * d;
			}
	return sqrt(s);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20;
	double s = 0;

	for (int i = 0; i < N; i++)
		for (int j = 0; j < N; j++)
			for (int k = 0; k < N; k++)
				f[i][j][k] = (i * j + k) % 7 - 3;
	for (int r = 0; r < rounds; r++) {
		relax(v, u);
		relax(u, v);
		s += residual();
	}
	printf("%.9f\n", s);
	return 0;
}
