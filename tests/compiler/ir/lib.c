/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The little of a C library that the bed's programs use. Compiled and instrumented with them. */
#include "bed.h"

static void put(const char *s, size_t n)
{
	sys_write(1, s, n);
}

static int number(char *to, unsigned __int128 v, unsigned base)
{
	char b[48];
	int i = sizeof(b), n = 0;

	do {
		b[--i] = "0123456789abcdef"[(int)(v % base)];
		v /= base;
	} while (v);
	while (i < (int)sizeof(b))
		to[n++] = b[i++];
	return n;
}

/* %d %u %x %X (as %x) %c %s %p %f (in units of 1e-6), with l and, for __int128, w. */
static int vprint(const char *fmt, va_list ap)
{
	char line[512];
	int n = 0;

	for (; *fmt; fmt++) {
		int wide = 0;

		if (*fmt != '%') {
			line[n++] = *fmt;
			continue;
		}
		for (fmt++; *fmt == 'l'; fmt++)
			wide = 1;
		if (*fmt == 'w') {
			wide = 2;
			fmt++;
		}
		if (*fmt == 'd') {
			__int128 v = wide == 2 ? va_arg(ap, __int128) : wide ? va_arg(ap, long) : va_arg(ap, int);

			if (v < 0)
				line[n++] = '-';
			n += number(line + n, v < 0 ? -v : v, 10);
		} else if (*fmt == 'u' || *fmt == 'x' || *fmt == 'X') {
			unsigned __int128 v = wide == 2 ? va_arg(ap, unsigned __int128) :
					      wide ? va_arg(ap, unsigned long) : va_arg(ap, unsigned);

			n += number(line + n, v, *fmt == 'u' ? 10 : 16);
		} else if (*fmt == 'f') {
			double d = va_arg(ap, double);

			if (d < 0) {
				line[n++] = '-';
				d = -d;
			}
			n += number(line + n, (unsigned long)(d * 1e6 + 0.5), 10);
			line[n++] = 'u';
		} else if (*fmt == 'c') {
			line[n++] = va_arg(ap, int);
		} else if (*fmt == 's') {
			const char *s = va_arg(ap, const char *);

			while (*s)
				line[n++] = *s++;
		} else {
			line[n++] = *fmt;
		}
		if (n > 400) {
			put(line, n);
			n = 0;
		}
	}
	put(line, n);
	return n;
}

int printf(const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vprint(fmt, ap);
	va_end(ap);
	return n;
}

static char heap[4 << 20] __attribute__((aligned(16)));
static size_t used;

void *malloc(size_t n)
{
	void *p = heap + used;

	used += (n + 15) & ~15ul;
	return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
	char *t = to;
	const char *f = from;

	while (n--)
		*t++ = *f++;
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	char *t = to;
	const char *f = from;

	if (t < f)
		return memcpy(to, from, n);
	while (n--)
		t[n] = f[n];
	return to;
}

void *memset(void *to, int c, size_t n)
{
	char *t = to;

	while (n--)
		*t++ = c;
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

static void sift(char *base, size_t root, size_t n, size_t size, int (*cmp)(const void *, const void *))
{
	char t[256];

	for (size_t child; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && cmp(base + child * size, base + (child + 1) * size) < 0)
			child++;
		if (cmp(base + root * size, base + child * size) >= 0)
			return;
		memcpy(t, base + root * size, size);
		memcpy(base + root * size, base + child * size, size);
		memcpy(base + child * size, t, size);
	}
}

void qsort(void *b, size_t n, size_t size, int (*cmp)(const void *, const void *))
{
	char t[256], *base = b;

	for (size_t i = n / 2; i--;)
		sift(base, i, n, size, cmp);
	while (n-- > 1) {
		memcpy(t, base, size);
		memcpy(base, base + n * size, size);
		memcpy(base + n * size, t, size);
		sift(base, 0, n, size, cmp);
	}
}
