// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Numeric: conjugate gradients with a sparse matrix in rows. */
#include <stdio.h>
#include <stdlib.h>

#define N 2000
#define PER 7

static int col[N * PER];
static double val[N * PER], x[N], r[N], p[N], q[N];

static void multiply(double *to, const double *from)
{
	for (int i = 0; i < N; i++) {
		double s = 0;

		for (int k = i * PER; k < (i + 1) * PER; k++)
			s += val[k] * from[col[k]];
		to[i] = s;
	}
}

static double dot(const double *a, const double *b)
{
	double s = 0;

	for (int i = 0; i < N; i++)
		s += a[i] * b[i];
	return s;
}

static void add(double *a, const double *b, double by)
{
	for (int i = 0; i < N; i++)
		a[i] += b[i] * by;
}

int main(int argc, char **argv)
{
	static const int apart[PER] = { 0, 1, N - 1, 17, N - 17, 101, N - 101 };
	int rounds = argc > 1 ? atoi(argv[1]) : 80;
	double rho;

	for (int i = 0; i < N; i++) {
		for (int k = 0; k < PER; k++) {
			col[i * PER + k] = (i + apart[k]) % N;
			val[i * PER + k] = k ? -0.5 : 4;
		}
		r[i] = p[i] = i % 5 - 1.5;
	}
	rho = dot(r, r);
	for (int n = 0; n < rounds; n++) {
		double alpha, next;

		multiply(q, p);
		alpha = rho / (dot(p, q) + 1e-12);
		add(x, p, alpha);
		add(r, q, -alpha);
		next = dot(r, r);
		for (int i = 0; i < N; i++)
			p[i] = r[i] + p[i] * (next / (rho + 1e-300));
		rho = next + 1e-9;
	}
	printf("%.9f\n", dot(x, x));
	return 0;
}
