// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Text to numbers: strtod, strtof, strtold, strtol and their kin, sscanf, atof; and back without loss. */
#include <errno.h>
#include <stdlib.h>
#include "try.h"

static NOINLINE double parse(const char *s, int *used)
{
	char *end;
	double d = strtod(s, &end);

	*used = end - s;
	return d;
}

int main(void)
{
	static const char *const texts[] = {
		"0", "-0", "1", "3.14159", "1e10", "1e-10", "123456789012345678901234567890", "0x1.8p3", "1e400",
		"-1e400", "1e-400", "2.2250738585072011e-308", "5e-324", "inf", "-Infinity", "  12.5xyz", "abc", "",
		".5", "5.", "1e", "1e+", "0x", "0x.8", "9007199254740993", "1.7976931348623159e308",
		"0.1000000000000000055511151231257827021181583404541015625",
	};
	int used, wrong = 0;
	long l;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		double d;

		errno = 0;
		d = parse(texts[i], &used);
		printf("%016llx %d %d\n", (unsigned long long)try_bits(d), used, errno == ERANGE);
	}
	for (int i = 0; i < 150; i++) {
		uint64_t u = try_random();
		char s[40];
		double d, back;

		memcpy(&d, &u, sizeof(d));
		if (d != d)
			continue;
		snprintf(s, sizeof(s), "%.17g", d);
		back = parse(s, &used);
		wrong += back != d || s[used];
		snprintf(s, sizeof(s), "%a", d);
		wrong += parse(s, &used) != d;
		snprintf(s, sizeof(s), "%.9g", (double)(float)d);
		wrong += strtof(s, NULL) != (float)d;
	}
	printf("wrong %d\n", wrong);
	printf("%.15Lg %.15Lg\n", strtold("1.25e100", NULL), strtold("0x1p-20", NULL));
	for (int base = 0; base < 37; base += 4)
		printf("%ld ", base == 1 ? 0 : strtol("-0123zz", NULL, base));
	errno = 0;
	l = strtol("99999999999999999999", NULL, 10);
	printf("\n%ld %d\n", l, errno == ERANGE);
	printf("%llu %lld\n", strtoull("-1", NULL, 10), strtoll("0x7fffffffffffffff", NULL, 0));
	printf("%d %.3f %ld\n", atoi(" 42x"), atof("2.5e3"), atol("-7"));
	return wrong;
}
