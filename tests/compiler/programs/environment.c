// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Arguments and environment, getopt, locale, wide characters, time, random numbers, names of the system. */
#define _GNU_SOURCE
#include <ctype.h>
#include <getopt.h>
#include <locale.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>
#include "try.h"

extern char **environ;

static NOINLINE void variables(void)
{
	char name[20], value[30];
	int n = 0, ok = 0;

	clearenv();
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "NAME_%d", i);
		snprintf(value, sizeof(value), "value %d", i * i);
		setenv(name, value, i & 1);
	}
	setenv("NAME_3", "kept", 0);
	setenv("NAME_5", "changed", 1);
	putenv("PUT=here");
	unsetenv("NAME_7");
	for (char **e = environ; *e; e++)
		n++;
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "NAME_%d", i);
		ok += getenv(name) != NULL;
	}
	printf("%d %d %s %s %s\n", n, ok, getenv("NAME_3"), getenv("NAME_5"), getenv("PUT"));
}

static NOINLINE void options(void)
{
	static const struct option longs[] = { { "verbose", no_argument, NULL, 'v' },
					       { "size", required_argument, NULL, 's' }, { 0 } };
	char *argv[] = { "prog", "-v", "file", "--size=12", "-x7", "--verbose", "last", NULL };
	int c;

	while ((c = getopt_long(7, argv, "vs:x:", longs, NULL)) != -1)
		printf("%c%s ", c, optarg ? optarg : "");
	printf("rest");
	while (optind < 7)
		printf(" %s", argv[optind++]);
	puts("");
}

static NOINLINE void times(void)
{
	time_t t = 1000000000;
	struct tm tm, back = { 0 };
	struct timespec a, b;
	char s[80];

	setenv("TZ", "XYZ-3", 1);
	tzset();
	for (int i = 0; i < 12; i++) {
		t += 40000003;
		localtime_r(&t, &tm);
		strftime(s, sizeof(s), "%Y-%m-%d %H:%M:%S %j %a", &tm);
		if (i % 4 == 0)
			printf("%s ", s);
		if (mktime(&tm) != t)
			puts("mktime differs");
	}
	gmtime_r(&t, &tm);
	strftime(s, sizeof(s), "%c", &tm);
	printf("%s\n", s);
	printf("%d ", strptime("2024-02-29 12:34:56", "%Y-%m-%d %H:%M:%S", &back) != NULL);
	t = timegm(&back);
	printf("%d %d %ld\n", back.tm_yday, back.tm_wday, (long)t);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 20; i++) {
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec))
			puts("the clock went back");
		a = b;
	}
	printf("%d %d\n", time(NULL) > 1600000000, clock() >= 0);
}

static NOINLINE void wide(void)
{
	const char *u = "gr\xc3\xbc\xc3\xa5 \xe2\x82\xac \xf0\x9f\x98\x80";
	wchar_t w[40];
	char s[60];
	size_t n;

	printf("%s ", setlocale(LC_ALL, "C.UTF-8") ? "utf-8" : "none");
	n = mbstowcs(w, u, 40);
	printf("%d %x %x ", (int)n, (unsigned int)w[2], (unsigned int)w[7]);
	for (size_t i = 0; i < n; i++)
		w[i] = towupper(w[i]);
	n = wcstombs(s, w, sizeof(s));
	printf("%s %d\n", s, (int)n);
	swprintf(w, 40, L"%ls|%5d|%s", L"wide", 42, "narrow");
	printf("%ls %d %d\n", w, iswalpha(0xe9) != 0, isalpha('e') != 0);
	printf("%s %ld\n", localeconv()->decimal_point, wcstol(L"-77x", NULL, 10));
}

int main(int argc, char **argv)
{
	struct rlimit r;
	struct utsname un;

	printf("%d %d\n", argc, argv[argc] == NULL);
	options();
	variables();
	times();
	wide();
	srand(5);
	printf("%d ", rand() == rand());
	printf("%d %d %d\n", getrlimit(RLIMIT_NOFILE, &r), uname(&un), sysconf(_SC_NPROCESSORS_ONLN) > 0);
	printf("%d %d\n", (int)sysconf(_SC_PAGESIZE) >= 4096, getpid() > 0 && getppid() >= 0);
	return 0;
}
