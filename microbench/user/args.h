/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Values of a benchmark program's options, checked; its includer has _GNU_SOURCE. What is wrong
 * ends the program with 2, as getopt_long()'s complaints do.
 */
#ifndef BENCH_ARGS_H
#define BENCH_ARGS_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (see --help)\n");
	exit(2);
}

/* @s as a number from @least to @most. */
static unsigned int number(const char *name, const char *s, unsigned int least, unsigned int most)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || end == s || *s == '-' || v < least || v > most)
		wrong("--%s takes a number from %u to %u, not '%s'", name, least, most, s);
	return v;
}

/* Position of @s in a list of @n names. */
static unsigned int choice(const char *name, const char *s, const char *const *list,
			   unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (!strcmp(s, list[i]))
			return i;
	wrong("--%s doesn't know '%s'", name, s);
}

#endif
