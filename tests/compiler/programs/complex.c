// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* _Complex of float, double and long double: arithmetic, division, arguments, results, the libc's functions. */
#include <complex.h>
#include "try.h"

static NOINLINE float _Complex ff(float _Complex a, float _Complex b, int n)
{
	float _Complex r = a * b + 1.0f;

	return n ? ff(r / (b + 2.0f), b, n - 1) - a : r;
}

static NOINLINE double _Complex fd(int x, double _Complex a, double y, double _Complex b, int n)
{
	double _Complex r = a * a + b * y;

	return n ? r / 3 + fd(x + 1, b, y * 0.5, a / (b + x), n - 1) : r + x;
}

static NOINLINE long double _Complex fl(long double _Complex a, int n)
{
	long double _Complex r = a * 0.5L + 1.0Li;

	return n ? fl(r * r / (a + 2), n - 1) + a : r;
}

static NOINLINE double _Complex poly(int n, const double _Complex *c, double _Complex x)
{
	return n ? c[0] + x * poly(n - 1, c + 1, x) : 0;
}

/* The discrete Fourier transform of 16 points, by recursion. */
static NOINLINE void fft(double _Complex *v, int n)
{
	double _Complex e[n / 2 + 1], o[n / 2 + 1];

	if (n == 1)
		return;
	for (int i = 0; i < n / 2; i++) {
		e[i] = v[2 * i];
		o[i] = v[2 * i + 1];
	}
	fft(e, n / 2);
	fft(o, n / 2);
	for (int i = 0; i < n / 2; i++) {
		double _Complex t = cexp(-2i * 3.14159265358979 * i / n) * o[i];

		v[i] = e[i] + t;
		v[i + n / 2] = e[i] - t;
	}
}

int main(void)
{
	float _Complex f = ff(HIDE(1.5f) + 0.5if, 0.25f - 1.0if, 12);
	double _Complex d = fd(1, HIDE(0.5) + 0.25i, 1.5, 2 - 0.5i, 14), v[16], c[] = { 1, 2i, 0.5 - 1i, 3 };
	long double _Complex l = fl(HIDE(1.0L) + 2.0Li, 9);
	float _Complex q = (HIDE(0.4f) * 1.0if) / 1.0f;

	printf("float %.5f %.5f\n", crealf(f), cimagf(f));
	printf("double %.12f %.12f\n", creal(d), cimag(d));
	printf("long double %.15Lf %.15Lf\n", creall(l), cimagl(l));
	printf("quotient %.5f %.5f\n", crealf(q), cimagf(q));
	d = poly(4, c, HIDE(1.5) - 1i);
	printf("poly %.6f %.6f\n", creal(d), cimag(d));
	for (int i = 0; i < 16; i++)
		v[i] = i % 5 - 2 + (i % 3) * 1i;
	fft(v, 16);
	for (int i = 0; i < 16; i += 3)
		printf("%.9f %.9f\n", creal(v[i]), cimag(v[i]));
	printf("%.9f %.9f %.9f\n", cabs(v[1]), carg(v[1]), creal(csqrt(v[2])));
	d = cpow(v[3], 0.3 + 0.1i);
	printf("%.9f %.9f %d\n", creal(d), cimag(d), conj(v[3]) == ~v[3]);
	return 0;
}
