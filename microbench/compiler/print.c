// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Formatted output and input: integers, strings, floating point, and reading them back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 3000;
	unsigned int sum = 0;
	char s[200], w[20];

	for (int i = 0; i < rounds; i++) {
		int n = snprintf(s, sizeof(s), "%d %s %08x %.3f %g %-10s|%5c", i * 37, "text", i * 77777, i / 7.0,
				 i * 1e-5, "left", 'c'), a;
		double d;

		for (int k = 0; k < n; k++)
			sum = sum * 31 + s[k];
		if (sscanf(s, "%d %19s %*x %lf", &a, w, &d) == 3)
			sum += a + (int)d + strlen(w);
		sum += strtol(s, NULL, 10) + (int)strtod(s, NULL);
	}
	printf("%u\n", sum);
	return 0;
}
