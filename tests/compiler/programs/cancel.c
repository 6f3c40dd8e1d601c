// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Cancellation at a blocked call and by test, cleanup handlers, pthread_exit() from deep, detached threads. */
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>
#include "try.h"

static int cleaned, pipes[2];
static sem_t ready, ended;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_key_t key;
static int keys;

static NOINLINE int point(int n)
{
	return n ? point(n - 1) : 0;
}

static void clean(void *arg)
{
	cleaned = cleaned * 10 + *(int *)arg + point(3);
}

static void unlock(void *arg)
{
	cleaned += 1000;
	pthread_mutex_unlock(arg);
}

static void freed(void *v)
{
	keys += *(int *)v;
	free(v);
}

static NOINLINE int block(int n)
{
	char c;
	int r;

	if (n) {
		pthread_cleanup_push(clean, &n);
		r = block(n - 1);
		pthread_cleanup_pop(0);
		return r;
	}
	sem_post(&ready);
	return read(pipes[0], &c, 1);
}

static void *reads(void *arg)
{
	int *v = malloc(sizeof(*v));

	(void)arg;
	*v = 7;
	pthread_setspecific(key, v);
	block(3);
	return NULL;
}

static void *waits(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	pthread_cleanup_push(unlock, &lock);
	sem_post(&ready);
	for (;;)
		pthread_cond_wait(&never, &lock);
	pthread_cleanup_pop(1);
	return NULL;
}

static void *tests(void *arg)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	sem_post(&ready);
	for (int i = 0; i < 50; i++) {
		point(i);
		pthread_testcancel();
	}
	sem_wait(&ended);
	pthread_setcancelstate(old, NULL);
	pthread_testcancel();
	return arg;
}

static NOINLINE void leave(int n, void *v)
{
	if (!n)
		pthread_exit(v);
	pthread_cleanup_push(clean, &n);
	leave(n - 1, v);
	pthread_cleanup_pop(0);
}

static void *leaves(void *arg)
{
	leave(4, arg);
	return NULL;
}

static void *detached(void *arg)
{
	(void)arg;
	point(20);
	sem_post(&ended);
	return NULL;
}

static void run(const char *name, void *(*f)(void *))
{
	pthread_t t;
	void *r;

	cleaned = 0;
	if (pthread_create(&t, NULL, f, "result"))
		exit(1);
	if (f != leaves) {
		sem_wait(&ready);
		pthread_cancel(t);
		if (f == tests)
			sem_post(&ended);
	}
	pthread_join(t, &r);
	printf("%s %s cleaned %d keys %d\n", name, r == PTHREAD_CANCELED ? "canceled" : (char *)r, cleaned, keys);
}

int main(void)
{
	pthread_attr_t attr;
	pthread_t t;

	if (pipe(pipes) || sem_init(&ready, 0, 0) || sem_init(&ended, 0, 0) || pthread_key_create(&key, freed))
		return 1;
	run("reads", reads);
	run("waits", waits);
	printf("lock %d\n", pthread_mutex_trylock(&lock));
	run("tests", tests);
	run("leaves", leaves);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 1 << 18);
	for (int i = 0; i < 5; i++)
		if (pthread_create(&t, &attr, detached, NULL))
			return 1;
	for (int i = 0; i < 5; i++)
		sem_wait(&ended);
	puts("done");
	return 0;
}
