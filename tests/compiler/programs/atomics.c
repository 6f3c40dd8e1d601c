// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Atomics of 1 to 8 bytes, of C11 and of the compiler, with threads that count, swap and hand on tickets. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include "try.h"

#define THREADS 3
#define ROUNDS 300

static _Atomic uint8_t a8;
static _Atomic uint16_t a16;
static _Atomic uint32_t a32;
static _Atomic uint64_t a64;
static atomic_bool gate;
static atomic_flag spin = ATOMIC_FLAG_INIT;
static _Atomic double real;
static _Atomic(struct pair { float a; int b; }) pair;
static long guarded, plain;
static atomic_int turn;

static NOINLINE void locked(long n)
{
	while (atomic_flag_test_and_set_explicit(&spin, memory_order_acquire))
		sched_yield();
	guarded += n;
	atomic_flag_clear_explicit(&spin, memory_order_release);
}

static NOINLINE void add_real(double d)
{
	double old = atomic_load(&real);

	while (!atomic_compare_exchange_weak(&real, &old, old + d))
		;
}

static NOINLINE void add_pair(int n)
{
	struct pair old = atomic_load(&pair), new;

	do {
		new.a = old.a + n;
		new.b = old.b - n;
	} while (!atomic_compare_exchange_weak(&pair, &old, new));
}

static void *thread(void *arg)
{
	int id = *(int *)arg;

	while (!atomic_load(&gate))
		sched_yield();
	for (int i = 0; i < ROUNDS; i++) {
		a8 += 3;
		atomic_fetch_sub(&a16, id);
		atomic_fetch_xor_explicit(&a32, 1u << (i % 32), memory_order_relaxed);
		atomic_fetch_add(&a64, 1ull << 33);
		__atomic_fetch_add(&plain, i, __ATOMIC_SEQ_CST);
		locked(i);
		add_real(0.5);
		add_pair(id);
	}
	for (int i = 0; i < 20; i++) {
		while (atomic_load(&turn) % THREADS != id)
			sched_yield();
		atomic_fetch_add(&turn, 1);
	}
	return NULL;
}

static NOINLINE void alone(void)
{
	_Atomic int v = HIDE(5);
	int old = 6, r[8];

	r[0] = atomic_exchange(&v, 9);
	r[1] = atomic_compare_exchange_strong(&v, &old, 1);
	r[2] = old;
	r[3] = atomic_fetch_or(&v, 0x30);
	r[4] = atomic_fetch_and(&v, 0x1c);
	r[5] = __sync_fetch_and_xor((int *)&v, 8);
	r[6] = __sync_lock_test_and_set((int *)&v, 77);
	r[7] = __atomic_sub_fetch((int *)&v, 7, __ATOMIC_ACQ_REL);
	for (int i = 0; i < 8; i++)
		printf("%d ", r[i]);
	__sync_synchronize();
	atomic_thread_fence(memory_order_seq_cst);
	printf("%d\n", v);
}

int main(void)
{
	pthread_t t[THREADS];
	int id[THREADS];
	struct pair p;

	alone();
	for (int i = 0; i < THREADS; i++) {
		id[i] = i;
		if (pthread_create(&t[i], NULL, thread, &id[i]))
			return 1;
	}
	atomic_store(&gate, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	p = pair;
	printf("%d %d %x %llx\n", a8, a16, a32, (unsigned long long)a64);
	printf("%ld %ld %.1f %.1f %d %d\n", guarded, plain, (double)real, (double)p.a, p.b, turn);
	return 0;
}
