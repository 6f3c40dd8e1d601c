/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Test programs that print TAP: a table of functions, and CHECK() inside them.
 * A failed check ends its test; the program goes on with the next.
 */
#ifndef TAP_H
#define TAP_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tap_test {
	const char *name;
	void (*fn)(void);
};

#define TEST(fn) { #fn, fn }

extern jmp_buf tap_out;		/* pair.c */

/* Fuzzers have no next test to go on with. */
#ifdef TAP_ABORT
#define tap_end() (fflush(stdout), abort())
#else
#define tap_end() longjmp(tap_out, 1)
#endif

#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond); \
			tap_end(); \
		} \
	} while (0)

#define CHECK_EQ(a, b) \
	do { \
		long long tap_a = (long long)(a), tap_b = (long long)(b); \
		if (tap_a != tap_b) { \
			printf("# %s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #a, \
			       tap_a, tap_b); \
			tap_end(); \
		} \
	} while (0)

static inline int tap_run(const struct tap_test *t, int n)
{
	volatile int i, failed = 0;

	printf("1..%d\n", n);
	for (i = 0; i < n; i++) {
		if (setjmp(tap_out)) {
			printf("not ok %d - %s\n", i + 1, t[i].name);
			failed++;
		} else {
			t[i].fn();
			printf("ok %d - %s\n", i + 1, t[i].name);
		}
		fflush(stdout);
	}
	return failed != 0;
}

#define TAP_MAIN(tests) \
	int main(void) { return tap_run(tests, sizeof(tests) / sizeof(tests[0])); }

#endif
