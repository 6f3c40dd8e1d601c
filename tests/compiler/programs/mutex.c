// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Threads with mutexes of all kinds, reader-writer and spin locks, semaphores, and pthread_once(). */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include "try.h"

#define THREADS 3
#define ROUNDS 120

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER, recursive, checking;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t sem;
static long counts[5];
static int onces, data[16], bad;

static void init(void)
{
	onces++;
}

static NOINLINE void nested(int n)
{
	pthread_mutex_lock(&recursive);
	counts[1]++;
	if (n)
		nested(n - 1);
	pthread_mutex_unlock(&recursive);
}

static NOINLINE void write_all(int v)
{
	pthread_rwlock_wrlock(&rw);
	for (int i = 0; i < 16; i++)
		data[i] = v;
	pthread_rwlock_unlock(&rw);
}

static NOINLINE void read_all(void)
{
	pthread_rwlock_rdlock(&rw);
	for (int i = 1; i < 16; i++)
		if (data[i] != data[0])
			__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
	pthread_rwlock_unlock(&rw);
}

static void *thread(void *arg)
{
	int id = *(int *)arg;

	pthread_once(&once, init);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&plain);
		counts[0] += id;
		pthread_mutex_unlock(&plain);
		nested(i % 5);
		pthread_spin_lock(&spin);
		counts[2]++;
		pthread_spin_unlock(&spin);
		if (i % 4 == id)
			write_all(i * 10 + id);
		else
			read_all();
		sem_wait(&sem);
		__atomic_fetch_add(&counts[3], 1, __ATOMIC_RELAXED);
		sem_post(&sem);
		if (pthread_mutex_lock(&checking) || pthread_mutex_lock(&checking) != EDEADLK)
			__atomic_fetch_add(&bad, 1, __ATOMIC_RELAXED);
		counts[4]++;
		pthread_mutex_unlock(&checking);
	}
	return arg;
}

int main(void)
{
	struct timespec soon = { 0 };
	pthread_mutexattr_t attr;
	pthread_t t[THREADS];
	int id[THREADS], v;
	void *r;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&recursive, &attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&checking, &attr);
	pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
	sem_init(&sem, 0, 2);
	for (int i = 0; i < THREADS; i++) {
		id[i] = i + 1;
		if (pthread_create(&t[i], NULL, thread, &id[i]))
			return 1;
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], &r);
		printf("%d ", *(int *)r);
	}
	for (int i = 0; i < 5; i++)
		printf("%ld ", counts[i]);
	sem_getvalue(&sem, &v);
	printf("once %d bad %d semaphore %d\n", onces, bad, v);
	pthread_mutex_lock(&plain);
	printf("%d ", pthread_mutex_trylock(&plain) == EBUSY);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 2000000;
	if (soon.tv_nsec >= 1000000000)
		soon.tv_sec++, soon.tv_nsec -= 1000000000;
	printf("%d ", pthread_mutex_timedlock(&plain, &soon) == ETIMEDOUT);
	printf("%d %d\n", pthread_mutex_unlock(&checking) == EPERM, sem_trywait(&sem));
	return 0;
}
