// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* An interpreter of byte code, once by computed goto and once by switch. */
#include <stdio.h>
#include <stdlib.h>

enum { PUSH, LOAD, STORE, ADD, SUB, MUL, LESS, JZ, JMP, DUP, HALT };

/* i = n; s = 0; while (0 < i) { s = s * 3 + i; i = i - 1; } */
static const int code[] = {
	PUSH, 0, STORE, 1,
	PUSH, 0, LOAD, 0, LESS, JZ, 27,
	LOAD, 1, PUSH, 3, MUL, LOAD, 0, ADD, STORE, 1,
	LOAD, 0, PUSH, 1, SUB, JMP, 28, STORE, 0, JMP, 4,
};

static unsigned int fast(const int *prog, unsigned int n)
{
	static const void *const ops[] = { &&push, &&load, &&store, &&add, &&sub, &&mul, &&less, &&jz, &&jmp, &&dup,
					   &&halt };
	unsigned int stack[16], *sp = stack, var[4] = { n };
	const int *pc = prog;

#define NEXT goto *ops[*pc++]
	NEXT;
push:	*sp++ = *pc++; NEXT;
load:	*sp++ = var[*pc++]; NEXT;
store:	var[*pc++] = *--sp; NEXT;
add:	sp--; sp[-1] += *sp; NEXT;
sub:	sp--; sp[-1] -= *sp; NEXT;
mul:	sp--; sp[-1] *= *sp; NEXT;
less:	sp--; sp[-1] = sp[-1] < *sp; NEXT;
jz:	if (!*--sp)
		return var[1];
	pc++;
	NEXT;
jmp:	pc = prog + *pc; NEXT;
dup:	*sp = sp[-1]; sp++; NEXT;
halt:	return var[1];
}

static unsigned int slow(const int *prog, unsigned int n)
{
	unsigned int stack[16], *sp = stack, var[4] = { n };

	for (const int *pc = prog;;)
		switch (*pc++) {
		case PUSH: *sp++ = *pc++; break;
		case LOAD: *sp++ = var[*pc++]; break;
		case STORE: var[*pc++] = *--sp; break;
		case ADD: sp--; sp[-1] += *sp; break;
		case SUB: sp--; sp[-1] -= *sp; break;
		case MUL: sp--; sp[-1] *= *sp; break;
		case LESS: sp--; sp[-1] = sp[-1] < *sp; break;
		case JZ:
			if (!*--sp)
				return var[1];
			pc++;
			break;
		case JMP: pc = prog + *pc; break;
		case DUP: *sp = sp[-1]; sp++; break;
		default: return var[1];
		}
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 120000;

	printf("%u %u\n", fast(code, n), slow(code, n));
	return 0;
}
