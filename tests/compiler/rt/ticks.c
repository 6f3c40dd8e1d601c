// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Two seconds in which one thread sleeps and three wait for it: whenever it is stopped, all are blocked. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICKS 20
#define WAITERS 3

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t tick = PTHREAD_COND_INITIALIZER;
static int ticks;

static void *waiter(void *arg)
{
	pthread_mutex_lock(&lock);
	while (ticks < TICKS)
		pthread_cond_wait(&tick, &lock);
	pthread_mutex_unlock(&lock);
	return arg;
}

int main(void)
{
	char *marks = malloc(TICKS * 4096);
	pthread_t threads[WAITERS];
	long sum = 0;
	int i;

	for (i = 0; i < WAITERS; i++)
		pthread_create(&threads[i], NULL, waiter, (void *)(long)i);
	for (i = 0; i < TICKS; i++) {
		usleep(100000);
		marks[i * 4096] = i;
		pthread_mutex_lock(&lock);
		ticks++;
		pthread_cond_broadcast(&tick);
		pthread_mutex_unlock(&lock);
		printf("tick %d\n", i);
		fflush(stdout);
	}
	for (i = 0; i < WAITERS; i++) {
		void *ret;

		pthread_join(threads[i], &ret);
		sum += (long)ret;
	}
	for (i = 0; i < TICKS; i++)
		sum += marks[i * 4096];
	printf("sum %ld %.3f\n", sum, sum / 7.0);
	return 7;
}
