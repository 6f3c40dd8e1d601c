// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Loops of each kind, so many rounds of it: how many points does a thread pass? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

static NOINLINE long counted(long n)
{
	long s = 1;

	for (long i = 0; i < n; i++)
		s = s * 31 ^ i;
	return s;
}

static NOINLINE long stepped(long n, long step)
{
	long s = 1;

	for (long i = 0; i < n * step; i += step)
		s = s * 31 ^ i;
	return s;
}

static NOINLINE long uncounted(long n)
{
	unsigned long s = 1;

	do
		s = s * 6364136223846793005 + 1442695040888963407;
	while (--n > (long)(s >> 63) - 1);
	return s;
}

static NOINLINE long fixed(long n)
{
	long s = n;

	for (int i = 0; i < 4000; i++)
		s = s * 31 ^ i;
	return s;
}

static NOINLINE long recursive(long n)
{
	return n > 0 ? recursive(n - 1) * 31 ^ n : 1;
}

int main(int argc, char **argv)
{
	const char *kind = argv[1];
	long n = atol(argv[2]);

	printf("%ld\n", !strcmp(kind, "counted") ? counted(n) : !strcmp(kind, "stepped") ? stepped(n, argc) :
	       !strcmp(kind, "uncounted") ? uncounted(n) : !strcmp(kind, "fixed") ? fixed(n) : recursive(n));
	return 0;
}
