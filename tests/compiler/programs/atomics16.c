// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Atomics of 16 bytes and of odd sizes: load, store, exchange and compare, by several threads. */
#include <pthread.h>
#include <stdatomic.h>
#include "try.h"

#define THREADS 3
#define ROUNDS 200

struct two { uint64_t a, b; };
struct odd { char c[19]; };	/* below 16 bytes clang compares padding, and keeps what it expected */
struct wide { uint64_t v[5]; };

static _Atomic(struct two) two;
static _Atomic(struct odd) odd;
static _Atomic(struct wide) wide;
static _Atomic __int128 number;
static atomic_int torn;

static NOINLINE void step(int id)
{
	struct two old = atomic_load(&two), new;
	struct odd o, p;
	struct wide w, x;

	do {
		if (old.b != old.a * 3)
			torn++;
		new.a = old.a + id;
		new.b = new.a * 3;
	} while (!atomic_compare_exchange_weak(&two, &old, new));
	o = atomic_load(&odd);
	do {
		for (int i = 0; i < 19; i++)
			p.c[i] = o.c[i] + 1;
		if (o.c[0] != o.c[18])
			torn++;
	} while (!atomic_compare_exchange_strong(&odd, &o, p));
	w = wide;
	do {
		for (int i = 0; i < 5; i++)
			x.v[i] = w.v[i] + i;
	} while (!atomic_compare_exchange_weak(&wide, &w, x));
	atomic_fetch_add(&number, (__int128)1 << 63);
}

static void *thread(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		step(*(int *)arg);
	return NULL;
}

int main(void)
{
	pthread_t t[THREADS];
	int id[THREADS];
	struct two v, w = { 5, 6 };
	struct wide x;
	struct odd o;
	__int128 n;

	for (int i = 0; i < THREADS; i++) {
		id[i] = i + 1;
		if (pthread_create(&t[i], NULL, thread, &id[i]))
			return 1;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	v = atomic_exchange(&two, w);
	n = atomic_load(&number);
	printf("%llu %llu torn %d\n", (unsigned long long)v.a, (unsigned long long)v.b, torn);
	o = atomic_load(&odd);
	x = atomic_load(&wide);
	printf("%d %d\n", o.c[0], o.c[18]);
	printf("%llu %llx %llx\n", (unsigned long long)x.v[4], (unsigned long long)(n >> 64),
	       (unsigned long long)n);
	v = atomic_load(&two);
	printf("%llu %llu\n", (unsigned long long)v.a, (unsigned long long)v.b);
	return 0;
}
