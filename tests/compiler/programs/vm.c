// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* An interpreter of byte code, threaded by computed goto, with calls, memory and callbacks into C. */
#include "try.h"

enum { PUSH, ADD, SUB, MUL, MOD, DUP, SWAP, OVER, DROP, LOAD, STORE, JMP, JZ, LT, CALL, RET, HOST, PRINT, HALT };

struct vm {
	long stack[256], memory[64];
	int ret[128];
	long (*host[4])(struct vm *vm, long v);
	uint64_t steps;
};

static NOINLINE long run(struct vm *vm, const short *code)
{
	static const void *const ops[] = {
		&&push, &&add, &&sub, &&mul, &&mod, &&dup, &&swap, &&over, &&drop, &&load, &&store, &&jmp,
		&&jz, &&lt, &&call, &&ret, &&host, &&print, &&halt,
	};
	const short *pc = code;
	long *sp = vm->stack, t;
	int *rp = vm->ret;

#define NEXT do { vm->steps++; goto *ops[*pc++]; } while (0)
	NEXT;
push:	*sp++ = *pc++; NEXT;
add:	sp--; sp[-1] += sp[0]; NEXT;
sub:	sp--; sp[-1] -= sp[0]; NEXT;
mul:	sp--; sp[-1] *= sp[0]; NEXT;
mod:	sp--; sp[-1] %= sp[0]; NEXT;
dup:	sp[0] = sp[-1]; sp++; NEXT;
swap:	t = sp[-1]; sp[-1] = sp[-2]; sp[-2] = t; NEXT;
over:	sp[0] = sp[-2]; sp++; NEXT;
drop:	sp--; NEXT;
load:	*sp++ = vm->memory[*pc++]; NEXT;
store:	vm->memory[*pc++] = *--sp; NEXT;
jmp:	pc = code + *pc; NEXT;
jz:	pc = *--sp ? pc + 1 : code + *pc; NEXT;
lt:	sp--; sp[-1] = sp[-1] < sp[0]; NEXT;
call:	*rp++ = pc + 1 - code; pc = code + *pc; NEXT;
ret:	pc = code + *--rp; NEXT;
host:	t = vm->host[*pc++](vm, sp[-1]); sp[-1] = t; NEXT;
print:	printf("%ld ", *--sp); NEXT;
halt:
	return sp[-1];
#undef NEXT
}

static long collatz(struct vm *vm, long v)
{
	(void)vm;
	return v == 1 ? 0 : collatz(vm, v & 1 ? 3 * v + 1 : v / 2) + 1;
}

/* The interpreter inside the interpreter. */
static long again(struct vm *vm, long v)
{
	static const short square[] = { LOAD, 0, DUP, MUL, PUSH, 97, MOD, HALT };
	struct vm inner = { .memory = { v } };
	long r = run(&inner, square);

	vm->steps += inner.steps;
	return r;
}

/* for (i = 0; i < 60; i++) sum += host1(i) + host0(i + 1), and fib(14) by recursion on the stack. */
static const short program[] = {
	PUSH, 0, STORE, 0, PUSH, 0, STORE, 1,
	/* 8 */ LOAD, 0, PUSH, 60, LT, JZ, 36,
	/* 15 */ LOAD, 0, HOST, 1, LOAD, 0, PUSH, 1, ADD, HOST, 0, ADD,
	/* 27 */ LOAD, 1, ADD, STORE, 1, JMP, 50,
	/* 34 */ JMP, 8,
	/* 36 */ LOAD, 1, PRINT, PUSH, 14, CALL, 64, PRINT, PUSH, 7, PUSH, 5, SWAP, HALT,
	/* 50 */ LOAD, 0, PUSH, 1, ADD, STORE, 0, JMP, 34, 0, 0, 0, 0, 0,
	/* 64: fib */ DUP, PUSH, 2, LT, JZ, 71, RET,
	/* 71 */ DUP, PUSH, 1, SUB, CALL, 64, SWAP, PUSH, 2, SUB, CALL, 64, ADD, RET,
};

int main(void)
{
	struct vm vm = { .host = { collatz, again } };
	long r = run(&vm, program);

	printf("result %ld steps %llu\n", r, (unsigned long long)vm.steps);
	return 0;
}
