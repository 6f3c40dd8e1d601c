// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Numeric: a recursive Fourier transform with tables, there and back. */
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N 4096

static double re[N], im[N], tr[N], ti[N], cs[N], sn[N];

static void fft(double *r, double *i, double *sr, double *si, int n, int step, int sign)
{
	int h = n / 2;

	if (n == 1)
		return;
	for (int k = 0; k < h; k++) {
		sr[k] = r[2 * k];
		si[k] = i[2 * k];
		sr[h + k] = r[2 * k + 1];
		si[h + k] = i[2 * k + 1];
	}
	fft(sr, si, r, i, h, step * 2, sign);
	fft(sr + h, si + h, r + h, i + h, h, step * 2, sign);
	for (int k = 0; k < h; k++) {
		double c = cs[k * step], s = sign * sn[k * step];
		double x = c * sr[h + k] - s * si[h + k], y = c * si[h + k] + s * sr[h + k];

		r[k] = sr[k] + x;
		i[k] = si[k] + y;
		r[h + k] = sr[k] - x;
		i[h + k] = si[k] - y;
	}
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 12;
	double s = 0;

	for (int k = 0; k < N; k++) {
		cs[k] = cos(2 * 3.14159265358979323846 * k / N);
		sn[k] = sin(2 * 3.14159265358979323846 * k / N);
		re[k] = k % 17 - 8;
		im[k] = k % 5;
	}
	for (int n = 0; n < rounds; n++) {
		fft(re, im, tr, ti, N, 1, -1);
		s += re[n * 7] / N;
		fft(re, im, tr, ti, N, 1, 1);
		for (int k = 0; k < N; k++) {
			re[k] /= N;
			im[k] /= N;
		}
	}
	printf("%.6f %.6f\n", s, re[5] + im[9]);
	return 0;
}
