/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Loops that points are placed in by rules of their own: counted, left early, over pointers, halving, interpreters. */
#include "bed.h"

#define LONG 9000

static unsigned v[LONG];
static unsigned char bytes[200];

static __attribute__((noinline)) unsigned find(const unsigned *p, unsigned n, unsigned x)
{
	for (unsigned i = 0; i < n; i++)
		if (p[i] == x)
			return i;
	return n;
}

static __attribute__((noinline)) unsigned until(const unsigned *p, const unsigned *end, unsigned most)
{
	unsigned s = 0;

	for (; p != end; p++) {
		s += *p;
		if (s > most)
			break;
	}
	return s;
}

static __attribute__((noinline)) unsigned steps(int from, int to, int by)
{
	unsigned s = 0;

	for (int i = from; i < to; i += by)
		s = s * 5 + i;
	for (int i = to; i > from; i -= by)
		s = s * 3 + i;
	for (long i = from; i != to; i++)
		s ^= s << 1 ^ i;
	for (unsigned char c = from; c != (unsigned char)to; c++)
		s = s * 7 + c;
	return s;
}

static __attribute__((noinline)) unsigned digits(unsigned long x)
{
	unsigned s = 0;

	do
		s = s * 11 + x % 10;
	while (x /= 10);
	for (x = s * 0x123456789ul; x; x >>= 1)
		s += x & 3;
	for (int i = 0; x + i < sizeof(bytes); i++)
		bytes[i] += s >> (i & 15);
	return s;
}

static __attribute__((noinline)) unsigned nest(unsigned n)
{
	unsigned s = 0;

	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < 7; j++)
			for (unsigned k = j; k < 11; k++)
				s = s * 7 + (i ^ j * k) + bytes[k];
	return s;
}

enum { PUSH, LOAD, STORE, ADD, SUB, MUL, DUP, SKIP, JUMP_NOT, JUMP, END };

static __attribute__((noinline)) unsigned run(const int *code, unsigned n)
{
	unsigned stack[16], var[4] = { n }, *sp = stack;

	for (const int *pc = code;;)
		switch (*pc++) {
		case PUSH: *sp++ = *pc++; break;
		case LOAD: *sp++ = var[*pc++]; break;
		case STORE: var[*pc++] = *--sp; break;
		case ADD: sp--; sp[-1] += *sp; break;
		case SUB: sp--; sp[-1] -= *sp; break;
		case MUL: sp--; sp[-1] *= *sp; break;
		case DUP: *sp = sp[-1]; sp++; break;
		case SKIP: pc += *pc; break;
		case JUMP_NOT: pc = *--sp ? pc + 1 : code + *pc; break;
		case JUMP: pc = code + *pc; break;
		default: return var[1];
		}
}

/* i = n; do { s = s * 3 + i * i; i = i - 1; } while (i); */
static const int code[] = {
	PUSH, 0, STORE, 1,
	LOAD, 1, PUSH, 3, MUL, LOAD, 0, DUP, MUL, ADD, STORE, 1,
	LOAD, 0, PUSH, 1, SUB, STORE, 0, SKIP, 2, END,
	LOAD, 0, JUMP_NOT, 32, JUMP, 4, END,
};

int main(void)
{
	for (unsigned i = 0; i < LONG; i++)
		v[i] = i * 2654435761u >> 7;
	for (unsigned n = 1; n <= LONG; n += LONG / 3 - 1)
		printf("%u %u %u %u\n", find(v, n, v[n - 1]), find(v, n, 1), until(v, v + n, -1u >> 1), until(v, v + n, v[n / 2]));
	printf("%u %u %u\n", steps(0, 9000, 1), steps(-3, 14, 4), steps(200, 200, 3));
	printf("%u %u %u\n", digits(0), digits(1234567890123456789ul), digits(77));
	printf("%u %u\n", nest(1), nest(50));
	printf("%u %u\n", run(code, 1), run(code, 400));
	return 0;
}
