// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Weak symbols, there and missing, aliases of functions and data, and a definition that beats the libc's. */
#include "try.h"

extern int missing(int n) __attribute__((weak));
extern int nothing __attribute__((weak));

__attribute__((weak, noinline)) int fallback(int n)
{
	return n ? fallback(n - 1) + 2 : 1;
}

int real_function(int n)
{
	return n ? real_function(n - 1) * 2 % 997 : 3;
}

int other_name(int n) __attribute__((alias("real_function")));
int weak_name(int n) __attribute__((weak, alias("real_function")));

int value = 5;
extern int same_value __attribute__((alias("value")));
static int hidden_target(int n) { return n - 7; }
int exported(int n) __attribute__((alias("hidden_target")));

__attribute__((visibility("hidden"))) int invisible = 12;

int main(void)
{
	int (*f)(int) = HIDE(1) ? other_name : weak_name;

	printf("missing %d %d\n", missing ? missing(1) : -1, &nothing ? nothing : -1);
	printf("fallback %d\n", fallback(HIDE(8)));
	printf("alias %d %d %d\n", f(HIDE(30)), weak_name(HIDE(31)), other_name(4));
	same_value += HIDE(3);
	printf("value %d same %d\n", value, &value == &same_value);
	printf("exported %d invisible %d\n", exported(HIDE(9)), invisible);
	printf("equal %d\n", (void *)other_name == (void *)real_function);
	return 0;
}
