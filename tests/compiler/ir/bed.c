// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What an instrumented program needs to run by itself, without a C library: the thread's state, capture and resume
 * within the process at every n-th point, and a little output. Compiled natively for each ISA.
 *
 * First argument: at every which point to move (0: never). The second: that many points before the first.
 * Between capture and resume the native stack is overwritten, and so is what the shadow stack no longer holds.
 */
#include <stdint.h>

struct state {
	uint32_t flag, unwinding;
	char *ssp, *ss_end;
	uint32_t pins, jump_site;
	void *jump_frame;
	const char *pin_why;
	uint64_t jump_value;
	void *rewind;
};

struct record {
	void *resume;
	uint32_t site, bytes;
};

_Thread_local struct state __popcorn_self __attribute__((tls_model("local-exec"), aligned(16)));
#define self (&__popcorn_self)

static char shadow[1 << 20] __attribute__((aligned(4096)));
static char records[2][4 << 20] __attribute__((aligned(16)));
static uint64_t top;		/* records grow down, the last saved is the outermost */
static char *next;
static int area;
static char *ssp_at_point;
static uint64_t every, left, moves, refused, frames;
static struct record innermost;

int main(void);
long sys_write(int fd, const void *p, uint64_t n);
_Noreturn void sys_exit(int code);

static void say(const char *s, uint64_t v)
{
	char b[80];
	int n = 0, i = 80;

	while (s[n])
		n++;
	sys_write(2, s, n);
	b[--i] = '\n';
	do {
		b[--i] = '0' + v % 10;
		v /= 10;
	} while (v);
	sys_write(2, b + i, 80 - i);
}

#ifdef __riscv
#define COLD
#else
#define COLD __attribute__((preserve_most))
#endif

COLD void __popcorn_point(void)
{
	if (self->unwinding) {
		say("bed: a point while unwinding ", self->unwinding);
		sys_exit(99);
	}
	if (!every || --left)
		return;
	left = every;
	if (self->pins) {
		refused++;
		return;
	}
	area ^= 1;
	top = sizeof(records[0]);
	ssp_at_point = self->ssp;
	self->unwinding = 1;
}

COLD char *__popcorn_save(uint64_t bytes)
{
	struct record *r;

	if (self->unwinding != 1) {	/* a longjmp() on its way: this frame is left for good */
		static char waste[1 << 15] __attribute__((aligned(16)));

		return waste;
	}
	bytes = (bytes + 15) & ~15ull;
	if (bytes > top || bytes < sizeof(*r))
		sys_exit(98);
	top -= bytes;
	r = (struct record *)(records[area] + top);
	r->bytes = bytes;
	frames++;
	return (char *)r;
}

static void resume_innermost(char *r)
{
	(void)r;
}

char *__popcorn_next(void)
{
	struct record *r = (struct record *)next;

	if (next == records[area] + sizeof(records[0])) {
		innermost.resume = resume_innermost;
		self->ssp = ssp_at_point;
		return (char *)&innermost;
	}
	next += r->bytes;
	return (char *)r;
}

/* No signals here. */
int __popcorn_land(void *l)
{
	(void)l;
	return 0;
}

_Noreturn void __popcorn_ss_overflow(void)
{
	say("bed: shadow stack overflow", 0);
	sys_exit(97);
}

struct jump {
	void *frame;
	uint32_t site;
};

void longjmp(struct jump *j, int v)
{
	self->jump_frame = j->frame;
	self->jump_site = j->site;
	self->jump_value = v ? v : 1;
	self->unwinding = 2;
}

int __popcorn_sigsetjmp(struct jump *j, int save, int value)
{
	(void)j;
	return value + save * 0;
}

/* Nothing that a frame left in the native stack may be looked at again. */
static __attribute__((noinline)) void dirty_stack(void)
{
	volatile char big[32 << 10];

	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = 0x5a;
}

static uint64_t number(const char *s)
{
	uint64_t v = 0;

	while (s && *s)
		v = v * 10 + *s++ - '0';
	return v;
}

void bed_start(long *sp)
{
	long argc = sp[0];
	char **argv = (char **)(sp + 1);
	int r;

	every = argc > 1 ? number(argv[1]) : 0;
	left = argc > 2 ? number(argv[2]) : every;
	self->ssp = shadow + sizeof(shadow);
	self->ss_end = shadow;
	self->flag = !!every;
	r = main();
	while (self->unwinding == 1) {
		struct record *outer = (struct record *)(records[area] + top);

		self->unwinding = 0;
		moves++;
		dirty_stack();
		for (char *p = ssp_at_point; p > shadow && p > ssp_at_point - 4096;)
			*--p = 0x5a;
		next = (char *)outer + outer->bytes;
		self->ssp = 0;
		r = ((int (*)(char *))outer->resume)((char *)outer);
	}
	if (self->unwinding) {
		say("bed: ended while unwinding ", self->unwinding);
		sys_exit(96);
	}
	if (self->ssp != shadow + sizeof(shadow)) {
		say("bed: shadow stack not empty: ", shadow + sizeof(shadow) - self->ssp);
		sys_exit(95);
	}
	if (self->pins) {
		say("bed: pinned at the end: ", self->pins);
		sys_exit(94);
	}
	say("moves ", moves);
	say("frames ", frames);
	say("refused ", refused);
	sys_exit(r & 63);
}

/* System calls and the start, per ISA. Thread-local storage is one static block. */

extern char tls_start[], tls_data_end[], tls_end[];
static char tls[1 << 16] __attribute__((aligned(64)));

static void copy_tls(char *to, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		to[i] = tls_start[i];
}

#if defined(__x86_64__)
long sys_write(int fd, const void *p, uint64_t n)
{
	long r;

	asm volatile("syscall" : "=a"(r) : "0"(1L), "D"(fd), "S"(p), "d"(n) : "rcx", "r11", "memory");
	return r;
}

_Noreturn void sys_exit(int code)
{
	for (;;)
		asm volatile("syscall" : : "a"(231L), "D"(code) : "rcx", "r11");
}

void start_c(long *sp)
{
	uint64_t size = (tls_end - tls_start + 63) & ~63ull;
	char *tp = tls + size;
	long r;

	copy_tls(tp - size, tls_data_end - tls_start);
	*(void **)tp = tp;
	asm volatile("syscall" : "=a"(r) : "0"(158L), "D"(0x1002L), "S"(tp) : "rcx", "r11", "memory");
	bed_start(sp);
}

asm(".globl _start\n_start: mov %rsp,%rdi\nand $-16,%rsp\ncall start_c\n");
#elif defined(__aarch64__)
long sys_write(int fd, const void *p, uint64_t n)
{
	register long x8 asm("x8") = 64, x0 asm("x0") = fd, x1 asm("x1") = (long)p, x2 asm("x2") = n;

	asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}

_Noreturn void sys_exit(int code)
{
	register long x8 asm("x8") = 94, x0 asm("x0") = code;

	for (;;)
		asm volatile("svc 0" : : "r"(x8), "r"(x0));
}

void start_c(long *sp)
{
	char *tp = tls + 1024;

	copy_tls(tp + 64, tls_data_end - tls_start);
	asm volatile("msr tpidr_el0, %0" : : "r"(tp));
	bed_start(sp);
}

asm(".globl _start\n_start: mov x0, sp\nb start_c\n");
#elif defined(__riscv)
long sys_write(int fd, const void *p, uint64_t n)
{
	register long a7 asm("a7") = 64, a0 asm("a0") = fd, a1 asm("a1") = (long)p, a2 asm("a2") = n;

	asm volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
	return a0;
}

_Noreturn void sys_exit(int code)
{
	register long a7 asm("a7") = 94, a0 asm("a0") = code;

	for (;;)
		asm volatile("ecall" : : "r"(a7), "r"(a0));
}

void start_c(long *sp)
{
	copy_tls(tls, tls_data_end - tls_start);
	asm volatile("mv tp, %0" : : "r"(tls));
	bed_start(sp);
}

asm(".globl _start\n_start: mv a0, sp\ntail start_c\n");
#endif
