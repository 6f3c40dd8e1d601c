// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Regular expressions, fnmatch, trees and hash tables of the libc with callbacks, and its string functions. */
#define _GNU_SOURCE
#include <fnmatch.h>
#include <regex.h>
#include <search.h>
#include <strings.h>
#include "try.h"

static NOINLINE void match(const char *pattern, const char *text)
{
	regmatch_t m[4];
	regex_t re;
	char why[60];
	int r = regcomp(&re, pattern, REG_EXTENDED | REG_ICASE);

	if (r) {
		regerror(r, &re, why, sizeof(why));
		printf("bad pattern %d\n", why[0] != 0);
		return;
	}
	r = regexec(&re, text, 4, m, 0);
	printf("%d", r);
	for (int i = 0; i < 4 && !r; i++)
		printf(" %d-%d", (int)m[i].rm_so, (int)m[i].rm_eo);
	puts("");
	regfree(&re);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static uint64_t walked;
static int freed;

static void walk(const void *n, VISIT v, int depth)
{
	(void)depth;
	if (v == postorder || v == leaf)
		walked = try_mix_bytes(walked, *(char *const *)n, strlen(*(char *const *)n));
}

static void count_free(void *p)
{
	(void)p;
	freed++;
}

static NOINLINE void trees(void)
{
	static char keys[60][12];
	void *root = NULL;
	int found = 0;

	for (int i = 0; i < 60; i++) {
		snprintf(keys[i], sizeof(keys[i]), "key %d", i * 37 % 61);
		tsearch(keys[i], &root, by_text);
	}
	for (int i = 0; i < 60; i += 3)
		tdelete(keys[i], &root, by_text);
	for (int i = 0; i < 60; i++)
		found += tfind(keys[i], &root, by_text) != NULL;
	twalk(root, walk);
	tdestroy(root, count_free);
	printf("tree %d freed %d\n", found, freed);
	try_say("walked", walked);
	hcreate(100);
	for (int i = 0; i < 60; i++)
		hsearch((ENTRY) { keys[i], (void *)(intptr_t)i }, ENTER);
	found = 0;
	for (int i = 59; i >= 0; i -= 7) {
		ENTRY *e = hsearch((ENTRY) { keys[i], NULL }, FIND);

		found += e && (intptr_t)e->data == i;
	}
	hdestroy();
	printf("hash %d\n", found);
}

static NOINLINE void strings(void)
{
	char a[100] = "one,two;;three", *save, *p, b[20];

	for (p = strtok_r(a, ",;", &save); p; p = strtok_r(NULL, ",;", &save))
		printf("%s ", p);
	p = a;
	strcpy(a, "x:y::z");
	while (p)
		printf("[%s]", strsep(&p, ":"));
	printf(" %d %d ", (int)strspn("aabbc", "ab"), (int)strcspn("hello", "lo"));
	printf("%s %s %d\n", strstr("haystack with needle", "needle"), strrchr("a/b/c", '/'), strcasecmp("ABC", "abd"));
	p = strdup("duplicate");
	printf("%s %s %d ", p, stpncpy(b, "stop", 10) - b == 4 ? b : "", memcmp("abc", "abd", 3) < 0);
	free(p);
	printf("%s %d\n", (char *)memmem("binary data", 11, "dat", 3), strverscmp("f9", "f10") < 0);
}

int main(void)
{
	match("([a-z]+)@([a-z]+)\\.org", "mail to Someone@Example.org now");
	match("^(a|b)*c{2,3}$", "abbabccc");
	match("x?x?x?x?xxxx", "xxxx");
	match("(foo|bar)+([0-9]*)", "xxfoobarfoo123");
	match("[[:alpha:]]+[^[:space:]]", "12 ab9 c");
	match("a(b", "ab");
	printf("%d %d %d\n", fnmatch("*.[ch]", "file.c", 0), fnmatch("a?c", "abd", 0), fnmatch("*/b", "a/b", FNM_PATHNAME));
	trees();
	strings();
	return 0;
}
