// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Numeric: bodies that attract each other, in structs, with square roots. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct body { double x[3], v[3], m; };

#define N 24

static struct body b[N];

static void push(double dt)
{
	for (int i = 0; i < N; i++)
		for (int j = i + 1; j < N; j++) {
			double d[3], r2 = 0.01, f;

			for (int k = 0; k < 3; k++) {
				d[k] = b[i].x[k] - b[j].x[k];
				r2 += d[k] * d[k];
			}
			f = dt / (r2 * sqrt(r2));
			for (int k = 0; k < 3; k++) {
				b[i].v[k] -= d[k] * b[j].m * f;
				b[j].v[k] += d[k] * b[i].m * f;
			}
		}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 3; k++)
			b[i].x[k] += dt * b[i].v[k];
}

static double energy(void)
{
	double e = 0;

	for (int i = 0; i < N; i++)
		for (int k = 0; k < 3; k++)
			e += 0.5 * b[i].m * b[i].v[k] * b[i].v[k];
	return e;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 2500;
	double e = 0;

	for (int i = 0; i < N; i++) {
		for (int k = 0; k < 3; k++) {
			b[i].x[k] = (i * (k + 3) * 7) % 23 - 11.0;
			b[i].v[k] = (i + k) % 3 - 1.0;
		}
		b[i].m = 1 + i % 4;
	}
	for (int n = 0; n < rounds; n++) {
		push(0.001);
		e += energy();
	}
	printf("%.9f\n", e);
	return 0;
}
