/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the test programs of the bed know of the world: output, by a printf() that is instrumented like they are. */
#ifndef BED_H
#define BED_H

#include <stdarg.h>
#include <stddef.h>

int printf(const char *fmt, ...);
void *malloc(size_t n);
void qsort(void *base, size_t n, size_t size, int (*cmp)(const void *, const void *));
long sys_write(int fd, const void *p, unsigned long n);

typedef struct {
	unsigned long w[8];
} jmp_buf[1];
int setjmp(jmp_buf b) __attribute__((returns_twice));
int sigsetjmp(jmp_buf b, int save) __attribute__((returns_twice));
_Noreturn void longjmp(jmp_buf b, int v);

#endif
