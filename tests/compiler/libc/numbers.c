// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Reads and writes the numbers that it is given, a line each: "MODE TYPE TEXT" is read as f, d or L (float, double, long
 * double) in rounding mode 0 to 3 of <fenv.h>; "MODE TYPE FORMAT BITS" writes the d or L that has these bits.
 */
#include <errno.h>
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void read_number(char type, const char *text)
{
	unsigned long long bits[2] = { 0 };
	char *end;

	errno = 0;
	if (type == 'f') {
		float x = strtof(text, &end);

		memcpy(bits, &x, sizeof(x));
	} else if (type == 'd') {
		double x = strtod(text, &end);

		memcpy(bits, &x, sizeof(x));
	} else {
		long double x = strtold(text, &end);

		memcpy(bits, &x, sizeof(x));
	}
	printf("%llx%016llx %s%s\n", bits[1], bits[0], errno == ERANGE ? "range" : errno ? "error" : "-",
	       *end ? " not all" : "");
}

static void write_number(char type, const char *format, const char *hex)
{
	unsigned long long bits[2] = { 0 };
	long double l;
	double d;

	sscanf(hex, "%16llx%16llx", &bits[1], &bits[0]);
	memcpy(&l, bits, sizeof(l));
	memcpy(&d, bits, sizeof(d));
	if (type == 'L')
		printf(format, l);
	else
		printf(format, d);
	putchar('\n');
}

int main(void)
{
	static char line[40000], first[40000];
	char hex[40], type;
	int mode, n;

	while (fgets(line, sizeof(line), stdin)) {
		n = sscanf(line, "%d %c %s %s", &mode, &type, first, hex);
		fesetround(mode);
		if (n == 4)
			write_number(type, first, hex);
		else
			read_number(type, first);
	}
	return 0;
}
