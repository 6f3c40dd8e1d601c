// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A va_list handed to the libc: vprintf and its kin behind wrappers of wrappers, and a scanf the same way. */
#include <stdarg.h>
#include "try.h"

static int depth;

static NOINLINE int vlog(int n, const char *f, va_list ap)
{
	int r;

	if (n)
		return vlog(n - 1, f, ap) + 1;
	depth++;
	r = vprintf(f, ap);
	return r;
}

static NOINLINE __attribute__((format(printf, 2, 3))) int say(int n, const char *f, ...)
{
	va_list ap;
	int r;

	va_start(ap, f);
	r = vlog(n, f, ap);
	va_end(ap);
	return r;
}

/* Measures with a copy, then prints into exactly that much. */
static NOINLINE __attribute__((format(printf, 1, 2))) char *text(const char *f, ...)
{
	va_list ap, aq;
	char *s;
	int n;

	va_start(ap, f);
	va_copy(aq, ap);
	n = vsnprintf(NULL, 0, f, aq);
	va_end(aq);
	s = malloc(n + 1);
	if (s)
		vsnprintf(s, n + 1, f, ap);
	va_end(ap);
	return s;
}

static NOINLINE __attribute__((format(scanf, 2, 3))) int parse(const char *s, const char *f, ...)
{
	va_list ap;
	int n;

	va_start(ap, f);
	n = vsscanf(s, f, ap);
	va_end(ap);
	return n;
}

int main(void)
{
	int a = 0, b = 0, n = 0, sum = 0;
	double d = 0;
	char word[20], *s;

	sum += say(0, "%d %s %c %%\n", 42, "text", 'x');
	sum += say(3, "%5d|%-5d|%05d|%+d|% d\n", 42, 42, 42, 42, 42);
	sum += say(7, "%x %X %#x %o %#o %u\n", 255, 255, 255, 8, 8, 3000000000u);
	sum += say(1, "%hhd %hd %ld %lld %zu %jd %td\n", (signed char)44, (short)4464, 1L << 40, -(1LL << 50),
		   (size_t)7, (intmax_t)8, (ptrdiff_t)-9);
	sum += say(2, "%.3f %e %g %G %a\n", 3.14159, 31415.9, 1e-10, 1e20, 1.0);
	sum += say(2, "%.5Lf %Lg\n", 2.5L, 1e30L);
	sum += say(2, "%*d|%-*d|%.*f|%.*s\n", 8, 1, 8, 2, 2, 3.14159, 3, "abcdef");
	sum += say(4, "%s%n %s\n", "count", &n, "after");
	sum += say(2, "%2$s %1$d %2$s\n", 5, "five");
	printf("sum %d n %d depth %d\n", sum, n, depth);
	s = text("%s-%08.3f-%#llx-%c", "abc", -2.5, 0xdeadbeefcafeull, 'z');
	puts(s);
	free(s);
	s = text("%1000d", 5);
	printf("%zu\n", strlen(s));
	free(s);
	n = parse("12 -7 3.5e2 hello", "%d %d %lf %19s", &a, &b, &d, word);
	printf("%d: %d %d %.1f %s\n", n, a, b, d, word);
	n = parse("0x1f:077,abc", "%i:%i,%[a-b]", &a, &b, word);
	printf("%d: %d %d %s\n", n, a, b, word);
	return 0;
}
