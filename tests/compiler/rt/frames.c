// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A program as popcorn-cc would make it, by hand and without a libc: so the runtime is tested alone. A
 * recursion whose frames save and resume themselves, on the stack of one thread or of several, prints what it
 * finds; frames.ld gives one layout on every ISA.
 */
#include "compiler/rt/rt.h"
#include "compiler/rt/sys.h"

#define DEPTH 30
#define ROUNDS 8
#define SLEEP_MS 100	/* for each unit of the third argument, in each round */
#define MAX_THREADS 4
#define TLS_ROOM 1024

extern char tls_size[];		/* of frames.ld */

static struct {
	char tls[MAX_THREADS][TLS_ROOM] __attribute__((aligned(64)));
	u64 sum[MAX_THREADS];
	u64 *heap;
	u32 left;
	u32 nthreads;
	s32 pinned;
	u64 sleep_ms;
	u64 rounds[MAX_THREADS];
} state __attribute__((section(".data.state")));

const unsigned char __popcorn_program[32] = "frames";

void *memcpy(void *to, const void *from, size_t n)
{
	char *t = to;
	const char *f = from;

	while (n--) {
		*t++ = *f++;
		__asm__ volatile("" ::: "memory");
	}
	return to;
}

void *memset(void *to, int c, size_t n)
{
	char *t = to;

	while (n--) {
		*t++ = c;
		__asm__ volatile("" ::: "memory");
	}
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++)
		if (*a != *b || !*a)
			return *a - *b;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		__asm__ volatile("" ::: "memory");
	return n;
}

void *__popcorn_tp_of(char *tls)
{
#if defined __x86_64__
	char *tp = tls + (((u64)tls_size + 63) & ~63ull);

	*(char **)tp = tp;
	return tp;
#elif defined __aarch64__
	return tls - 64;
#else
	return tls;
#endif
}

void __popcorn_libc_restored(struct popcorn_thread *t)
{
	(void)t;
}

int fegetenv(unsigned int *env)
{
	*env = 0;
	return 0;
}

int fesetenv(const unsigned int *env)
{
	return *env != 0;
}

void __popcorn_libc_interrupt(void *context)
{
	(void)context;
}

static void print(const char *what, u64 who, u64 n)
{
	char line[64];
	int i = sizeof(line), k = 0;

	line[--i] = '\n';
	do
		line[--i] = '0' + n % 10;
	while (n /= 10);
	line[--i] = ' ';
	line[--i] = '0' + who;
	line[--i] = ' ';
	while (what[k])
		k++;
	while (k)
		line[--i] = what[--k];
	sys(write, 1, line + i, sizeof(line) - i);
}

/* Until the time is over; a signal ends it, unless the thread is pinned. */
static void nap(void)
{
	long ret;

	do {
		struct sys_timespec ts = { state.sleep_ms / 1000, state.sleep_ms % 1000 * 1000000 };

		ret = sys(ppoll, NULL, 0, &ts, NULL, 0);
	} while (ret && __popcorn_self.pins);
}

/* The record of climb(): what lives across its two sites. */
struct climb_record {
	struct popcorn_record head;
	u64 n, who;
	double weight;
};

u64 climb_resume(char *record);

static void climb_save(u32 site, u64 n, u64 who, double weight)
{
	struct climb_record *r = (struct climb_record *)__popcorn_save(sizeof(*r));

	r->head.resume = climb_resume;
	r->head.site = site;
	r->n = n;
	r->who = who;
	r->weight = weight;
}

static u64 climb_below(u64 n, u64 who, double weight, u64 below)
{
	state.heap[who * DEPTH + n] += below;
	return below + n * (u64)(weight * 4);
}

__attribute__((noinline)) u64 climb(u64 n, u64 who, double weight)
{
	u64 below;

	if (__popcorn_self.flag) {
		__popcorn_point();
		if (__popcorn_self.unwinding) {
			climb_save(0, n, who, weight);
			return 0;
		}
	}
	if (!n)
		return 1;
	below = climb(n - 1, who, weight + 0.25);
	if (__popcorn_self.unwinding) {
		climb_save(1, n, who, weight);
		return 0;
	}
	return climb_below(n, who, weight, below);
}

__attribute__((noinline)) u64 climb_resume(char *record)
{
	struct climb_record r = *(struct climb_record *)record;
	struct popcorn_record *next = (struct popcorn_record *)__popcorn_next();
	u64 below;

	if (!r.head.site) {
		((void (*)(char *))next->resume)((char *)next);
		if (__popcorn_self.unwinding) {
			climb_save(0, r.n, r.who, r.weight);
			return 0;
		}
		if (!r.n)
			return 1;
		below = climb(r.n - 1, r.who, r.weight + 0.25);
	} else {
		below = ((u64 (*)(char *))next->resume)((char *)next);
	}
	if (__popcorn_self.unwinding) {
		climb_save(1, r.n, r.who, r.weight);
		return 0;
	}
	return climb_below(r.n, r.who, r.weight, below);
}

struct work_record {
	struct popcorn_record head;
	u64 round, who;
};

void *work_resume(char *record);

static void *work_on(u64 round, u64 who, char *record)
{
	for (; round < state.rounds[who]; round++) {
		u64 top;

		if (record) {
			struct popcorn_record *next = (struct popcorn_record *)__popcorn_next();

			top = ((u64 (*)(char *))next->resume)((char *)next);
			record = NULL;
		} else {
			const char *old = NULL;

			if ((s64)round == state.pinned)
				old = __popcorn_pin("pinned by the test");
			if (state.sleep_ms)
				nap();
			top = climb(DEPTH - 1, who, 0.5 + who);
			if ((s64)round == state.pinned)
				__popcorn_unpin(old);
		}
		if (__popcorn_self.unwinding) {
			struct work_record *r = (struct work_record *)__popcorn_save(sizeof(*r));

			r->head.resume = work_resume;
			r->head.site = 0;
			r->round = round;
			r->who = who;
			return NULL;
		}
		state.sum[who] += top;
		if (state.nthreads == 1)
			print("round", round, top);
	}
	if (__atomic_sub_fetch(&state.left, 1, __ATOMIC_SEQ_CST)) {
		__popcorn_thread_gone();
		for (;;)
			sys(exit, 0);
	}
	for (who = 0; who < state.nthreads; who++) {
		u64 i, all = 0;

		for (i = 0; i < DEPTH; i++)
			all = all * 31 + state.heap[who * DEPTH + i];
		print("sum", who, state.sum[who]);
		print("heap", who, all);
	}
	__popcorn_exit();
	for (;;)
		sys(exit_group, 7);
}

void *work(void *arg)
{
	return work_on(0, (u64)arg, NULL);
}

void *work_resume(char *record)
{
	struct work_record r = *(struct work_record *)record;

	return work_on(r.round, r.who, record);
}

long popcorn_clone(u64 flags, void *stack, void (*fn)(void *arg), void *arg, void *tp, u32 *ctid);

static void thread(void *arg)
{
	__popcorn_run(work, arg);
}

static struct popcorn_thread *prepare(u64 who, void **tp)
{
	char *tls = state.tls[who] + 64;

	*tp = __popcorn_tp_of(tls);
	return (struct popcorn_thread *)((char *)*tp + ((char *)&__popcorn_self -
							(char *)__builtin_thread_pointer()));
}

__attribute__((used)) void start_c(long *sp)
{
	long *own = __popcorn_start(sp);
	char **argv = (char **)(own + 1);
	void *tp;
	u64 i;

	state.nthreads = own[0] > 1 ? argv[1][0] - '0' : 1;
	state.pinned = own[0] > 2 ? argv[2][0] - '0' : -1;	/* '/': none */
	state.sleep_ms = own[0] > 3 ? (argv[3][0] - '0') * SLEEP_MS : 0;
	state.left = state.nthreads;
	state.heap = (u64 *)__popcorn_mmap(NULL, 0x10000, 3, SYS_MAP_PRIVATE | SYS_MAP_ANONYMOUS, -1, 0);
	sys_set_tp(__popcorn_tp_of(state.tls[0] + 64));
	for (i = 0; i < state.nthreads; i++) {
		struct popcorn_thread *t = prepare(i, &tp);
		char *stack = (char *)sys(mmap, NULL, 0x10000, 3, SYS_MAP_PRIVATE | SYS_MAP_ANONYMOUS, -1, 0);

		state.rounds[i] = ROUNDS;
		if (!i && own[0] > 4)	/* the first thread ends sooner */
			state.rounds[0] = argv[4][0] - '0';
		if (__popcorn_thread_new(t, state.tls[i] + 64, NULL, 0x10000))
			sys(exit_group, 3);
		if (i && popcorn_clone(0x50f00 | 0x80000, stack + 0x10000, thread, (void *)i, tp, NULL) < 0)
			sys(exit_group, 4);
	}
	__popcorn_run(work, 0);
}

#if defined __x86_64__
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start_c\n");
#elif defined __aarch64__
__asm__(".globl _start\n_start: mov x0, sp\n bl start_c\n");
#else
__asm__(".globl _start\n_start: mv a0, sp\n call start_c\n");
#endif
