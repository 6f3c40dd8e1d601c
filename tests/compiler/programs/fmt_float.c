// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Floating point in text: %f %e %g %a and their long forms, with values from all over the range. */
#include <float.h>
#include <math.h>
#include "try.h"

static uint64_t sum;

static NOINLINE int show(int print, const char *f, double v)
{
	char s[600];
	int n = snprintf(s, sizeof(s), f, v);

	sum = try_mix_bytes(sum, s, n);
	if (print)
		printf("%s ", s);
	return n;
}

int main(void)
{
	static const char *const formats[] = { "%f", "%.0f", "%.17g", "%e", "%.3e", "%g", "%+.40f", "%#.0f",
					       "%020.5f", "%-20.3f|", "%.100e", "%G", "%a", "%A" };
	static const double values[] = { 0, -0.0, 1, -1, 0.1, 1.0 / 3, 2.5, 3.5, 123456.789, 1e15, 1e16, 1e22, 1e23,
					 9.995, 0.5, 1.5, 1e-5, 1e-300, 5e-324, DBL_MAX, DBL_MIN, INFINITY,
					 -INFINITY, 4503599627370497.5, 0.000123456789 };
	int bytes = 0;

	for (size_t v = 0; v < ARRAY_SIZE(values); v++)
		for (size_t f = 0; f < ARRAY_SIZE(formats) - 2 * (fpclassify(values[v]) == FP_SUBNORMAL); f++)
			bytes += show(f < 6 && v < 14, formats[f], values[v]);
	printf("\nbytes %d\n", bytes);
	for (int i = 0; i < 60; i++) {
		uint64_t u = try_random();
		double d;

		memcpy(&d, &u, sizeof(d));
		if (fpclassify(d) == FP_NORMAL)		/* what %a makes of others is the libc's choice */
			bytes += show(0, "%.17g", d) + show(0, "%f", d) + show(0, "%a", d);
	}
	printf("bytes %d\n", bytes);
	try_say("sum", sum);
	for (int i = -30; i < 31; i += 6)
		printf("%Lf %Lg ", 1.25L * powl(10, i / 3), -2.5L * powl(2, i));
	printf("\n%.30Lf %.20Le\n", 0.5L, 1024.0L);
	printf("%f %f %F %e\n", (double)NAN, (double)INFINITY, -(double)INFINITY, (double)INFINITY);
	return 0;
}
