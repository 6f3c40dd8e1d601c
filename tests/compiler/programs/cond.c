// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Conditions and barriers: a bounded queue, a ring of turns, phases, and waits that run out of time. */
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include "try.h"

#define ITEMS 150
#define SLOTS 4
#define WORKERS 3
#define PHASES 12

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER, items = PTHREAD_COND_INITIALIZER;
static int queue[SLOTS], head, filled, done;
static long eaten;
static pthread_barrier_t barrier;
static int cells[WORKERS][PHASES + 1], serials;

static NOINLINE int cook(int n)
{
	return n ? cook(n - 1) + 1 : 0;
}

static NOINLINE void put(int v)
{
	pthread_mutex_lock(&lock);
	while (filled == SLOTS)
		pthread_cond_wait(&room, &lock);
	queue[(head + filled++) % SLOTS] = v;
	pthread_cond_signal(&items);
	pthread_mutex_unlock(&lock);
}

static NOINLINE int take(void)
{
	int v = -1;

	pthread_mutex_lock(&lock);
	while (!filled && !done)
		pthread_cond_wait(&items, &lock);
	if (filled) {
		v = queue[head];
		head = (head + 1) % SLOTS;
		filled--;
		pthread_cond_signal(&room);
	}
	pthread_mutex_unlock(&lock);
	return v;
}

static void *producer(void *arg)
{
	for (int i = 0; i < ITEMS; i++)
		put(*(int *)arg * 1000 + i + cook(i % 5));
	return NULL;
}

static void *consumer(void *arg)
{
	int v;

	(void)arg;
	while ((v = take()) >= 0)
		__atomic_fetch_add(&eaten, v + cook(v % 7), __ATOMIC_RELAXED);
	return NULL;
}

static void *phases(void *arg)
{
	int id = *(int *)arg;

	for (int p = 1; p <= PHASES; p++) {
		cells[id][p] = cells[(id + 1) % WORKERS][p - 1] * 3 + id + cook(p);
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			__atomic_fetch_add(&serials, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static NOINLINE int late(void)
{
	struct timespec t;
	int r = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < 3; i++) {
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 3000000;
		if (t.tv_nsec >= 1000000000)
			t.tv_sec++, t.tv_nsec -= 1000000000;
		r += pthread_cond_timedwait(&room, &lock, &t) == ETIMEDOUT;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

int main(void)
{
	pthread_t p[2], c[2], w[WORKERS];
	int id[] = { 0, 1, 2 };
	uint64_t s = 0;

	for (int i = 0; i < 2; i++)
		if (pthread_create(&p[i], NULL, producer, &id[i + 1]) || pthread_create(&c[i], NULL, consumer, NULL))
			return 1;
	for (int i = 0; i < 2; i++)
		pthread_join(p[i], NULL);
	pthread_mutex_lock(&lock);
	done = 1;
	pthread_cond_broadcast(&items);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 2; i++)
		pthread_join(c[i], NULL);
	printf("eaten %ld late %d\n", eaten, late());
	pthread_barrier_init(&barrier, NULL, WORKERS);
	for (int i = 0; i < WORKERS; i++)
		if (pthread_create(&w[i], NULL, phases, &id[i]))
			return 1;
	for (int i = 0; i < WORKERS; i++)
		pthread_join(w[i], NULL);
	for (int i = 0; i < WORKERS; i++)
		for (int k = 0; k <= PHASES; k++)
			s = try_mix(s, cells[i][k]);
	try_say("phases", s);
	printf("serial %d\n", serials);
	return 0;
}
