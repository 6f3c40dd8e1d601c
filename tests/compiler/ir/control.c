/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Variable-length arrays, alloca(), computed gotos, setjmp() and longjmp(), tail calls. */
#include "bed.h"

static __attribute__((noinline)) long step(long x)
{
	return x * 3 + (x & 1 ? step(x / 2) : 1);
}

static __attribute__((noinline)) long fill(long *p, int n)
{
	long s = 0;

	for (int i = 0; i < n; i++)
		p[i] = step(i), s += p[i];
	return s;
}

static __attribute__((noinline)) long vla(int n)
{
	long s = 0;

	for (int i = 1; i < n; i++) {
		long a[i], b[2][i];

		s += fill(a, i) + fill(b[1], i);
		for (int j = 0; j < i; j++)
			s += a[j] ^ b[1][j];
		if (i == 4)
			continue;
		s ^= step(s & 255);
	}
	return s;
}

static __attribute__((noinline)) long grow(int n)
{
	long *last = 0, s = 0;

	for (int i = 1; i < n; i++) {
		long *p = __builtin_alloca(i * sizeof(*p));

		fill(p, i);
		s += p[i - 1] + (last ? last[0] + last[i - 2] : 0);
		last = p;
	}
	return s;
}

static __attribute__((noinline)) long aligned(int k)
{
	char a[3] __attribute__((aligned(64))) = { k, k + 1, k + 2 };
	long b[k + 1];

	fill(b, k + 1);
	return step(a[1]) + ((unsigned long)a & 63) + b[k] + (k ? aligned(k - 1) : 0) + a[2];
}

static __attribute__((noinline)) long interpret(const unsigned char *code)
{
	static void *const table[] = { &&inc, &&dbl, &&call, &&loop, &&end };
	static const int near[] = { &&inc - &&inc, &&dbl - &&inc, &&call - &&inc, &&loop - &&inc, &&end - &&inc };
	long acc = 1, left = 3, n = 0;

	goto *table[*code];
inc:
	acc += 7;
	goto *table[*++code];
dbl:
	acc *= 2;
	goto *(&&inc + near[*++code]);
call:
	acc = step(acc & 1023);
	n++;
	goto *table[*++code];
loop:
	if (left--) {
		code -= 3;
		goto *table[*code];
	}
	code++;
	goto *table[*code];
end:
	return acc * 10 + n;
}

static jmp_buf outer, inner;

static __attribute__((noinline)) int thrower(int depth, int what)
{
	volatile char pad[100];

	pad[depth] = what;
	if (!depth) {
		if (what & 1)
			longjmp(inner, what);
		if (what & 2)
			longjmp(outer, what);
		return what;
	}
	return thrower(depth - 1, what) + pad[depth];
}

static __attribute__((noinline)) int catcher(int what)
{
	volatile int seen = 10;
	long keep = step(what);
	int r = setjmp(inner);

	if (r) {
		seen += r;
		return seen + step(keep & 31) + (r < 8 ? thrower(2, 16) : 0);
	}
	seen++;
	seen += thrower(3, what);
	return -seen;
}

static __attribute__((noinline)) int catchers(void)
{
	int total = 0;

	for (volatile int i = 0; i < 8; i++) {
		int r = sigsetjmp(outer, i & 1);

		if (r) {
			total += 1000 * r + step(i);
			continue;
		}
		total += catcher(i);
	}
	return total;
}

static __attribute__((noinline)) int retry(int n)
{
	jmp_buf b;
	volatile int tries = 0;
	int vla[n + 1];

	vla[n] = n;
	if (setjmp(b) < 5) {
		int more[n * 2];

		more[n] = 3;
		tries += step(more[n] & 1);
		longjmp(b, tries);
	}
	return tries * 100 + vla[n];
}

static __attribute__((noinline)) int even(int n);

static __attribute__((noinline)) int odd(int n)
{
	if (!n)
		return 0;
	__attribute__((musttail)) return even(n - 1);
}

static __attribute__((noinline)) int even(int n)
{
	int local[4] = { n };

	if (step(n) < 0)
		local[1] = fill((long *)local, 1);
	if (!n)
		return 1 + local[1];
	__attribute__((musttail)) return odd(n - 1);
}

int main(void)
{
	static const unsigned char code[] = { 0, 1, 2, 3, 1, 2, 0, 4 };

	printf("vla %ld grow %ld aligned %ld\n", vla(7), grow(7), aligned(4));
	printf("goto %ld\n", interpret(code));
	printf("jump %d retry %d\n", catchers(), retry(5));
	printf("even %d odd %d\n", even(10), odd(10));
	asm volatile("" ::: "memory");
	return 5;
}
