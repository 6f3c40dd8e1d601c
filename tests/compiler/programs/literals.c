// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* String literals and constants by address, as far as C allows: one object has one address for ever. */
#include <wchar.h>
#include "try.h"

static const char *const names[] = { "one", "two", "three", "four" };
static const char own[] = "own";

static NOINLINE const char *name(int i)
{
	return i < 4 ? names[i] : own;
}

/* The same literal each time it is evaluated. */
static NOINLINE const char *same(int n)
{
	return n ? same(n - 1) : "the same";
}

static NOINLINE const char *pick(int i)
{
	switch (i % 5) {
	case 0: return "zero";
	case 1: return "eleven";
	case 2: return "twenty-two";
	case 3: return "\0hidden" + 1;
	default: return __func__;
	}
}

static NOINLINE int index_of(const char *s)
{
	for (int i = 0; i < 4; i++)
		if (names[i] == s)
			return i;
	return s == own ? 4 : -1;
}

static NOINLINE const int *table(int i)
{
	static const int a[] = { 1, 2, 3 }, b[] = { 4, 5, 6 };

	return i & 1 ? a : b;
}

int main(void)
{
	const char *first = same(HIDE(3)), *kept[25];
	const wchar_t *w = L"wide \u00e9";
	int s = 0, equal = 0;

	for (int i = 0; i < 50; i++) {
		s = s * 5 % 10007 + index_of(name(HIDE(i % 5)));
		equal += same(HIDE(i % 7)) == first;
	}
	printf("%d equal %d\n", s, equal);
	for (int i = 0; i < 25; i++)
		kept[i] = pick(HIDE(i));
	for (int i = 0; i < 25; i++)
		equal += kept[i] == pick(HIDE(i)) && kept[i] == kept[i % 5];
	printf("equal %d %s %s\n", equal, kept[3], kept[4]);
	printf("%zu %d %d\n", wcslen(w), (int)w[5], table(HIDE(2))[1] * table(HIDE(3))[2]);
	printf("%d\n", table(HIDE(1)) == table(HIDE(3)));
	return 0;
}
