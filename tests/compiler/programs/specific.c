// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Thread-specific data with destructors that set it again, and the threads of C11. */
#include <pthread.h>
#include <threads.h>
#include "try.h"

static pthread_key_t a, b;
static int freed_a, freed_b, rounds;
static tss_t tss;
static mtx_t mtx;
static cnd_t cnd;
static once_flag flag = ONCE_FLAG_INIT;
static thread_local int mine;
static int total, turn, onces;

static NOINLINE int point(int n)
{
	return n ? point(n - 1) : 0;
}

static void free_a(void *v)
{
	freed_a += *(int *)v;
	free(v);
}

/* The first two times it leaves a value behind once more. */
static void free_b(void *v)
{
	freed_b++;
	point(4);
	if (rounds++ < 2)
		pthread_setspecific(b, v);
}

static void *thread(void *arg)
{
	int *v = malloc(sizeof(*v));

	*v = *(int *)arg;
	pthread_setspecific(a, v);
	pthread_setspecific(b, arg);
	point(10);
	return *(int *)pthread_getspecific(a) == *(int *)arg ? arg : NULL;
}

static void first(void)
{
	onces++;
}

static void tss_free(void *v)
{
	total += *(int *)v;
}

static int worker(void *arg)
{
	int id = *(int *)arg;

	call_once(&flag, first);
	tss_set(tss, arg);
	for (int i = 0; i < 15; i++) {
		mtx_lock(&mtx);
		while (turn != id)
			cnd_wait(&cnd, &mtx);
		mine += i + point(3);
		turn = (turn + 1) % 3;
		cnd_broadcast(&cnd);
		mtx_unlock(&mtx);
		thrd_yield();
	}
	if (id == 2)
		thrd_exit(mine * 2);
	return mine + *(int *)tss_get(tss);
}

int main(void)
{
	int id[] = { 0, 1, 2 }, r, sum = 0;
	pthread_t p;
	thrd_t t[3];
	void *v;

	pthread_key_create(&a, free_a);
	pthread_key_create(&b, free_b);
	for (int i = 0; i < 3; i++) {
		if (pthread_create(&p, NULL, thread, &id[i]))
			return 1;
		pthread_join(p, &v);
		sum += v == &id[i];
	}
	printf("specific %d freed %d %d\n", sum, freed_a, freed_b);
	if (tss_create(&tss, tss_free) || mtx_init(&mtx, mtx_plain) || cnd_init(&cnd))
		return 1;
	for (int i = 0; i < 3; i++)
		if (thrd_create(&t[i], worker, &id[i]) != thrd_success)
			return 1;
	for (int i = 0; i < 3; i++) {
		thrd_join(t[i], &r);
		printf("%d ", r);
	}
	printf("total %d once %d main %d\n", total, onces, mine);
	return 0;
}
