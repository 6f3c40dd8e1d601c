// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Threads that share their memory work where a schedule sends them: pi, by the area of a quarter of a circle.
 *
 *	make && POPCORN_NODES=2 POPCORN_SCHEDULE='0:1:1,0:3:1,1:*:0' ./threads
 *
 * Region 0 is the work: threads 1 and 3 do theirs on node 1. Region 1 comes after it: all are on node 0 again.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include <popcorn/migrate.h>

#define THREADS 4
#define STEPS 400000

enum region { WORK, REPORT };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static double area;
static int worked_on[THREADS], reported_on[THREADS];

static void *work(void *arg)
{
	int self = (int)(long)arg, i;
	double mine = 0;

	migrate_schedule(WORK, self, NULL, NULL);
	worked_on[self] = current_nid();
	for (i = self; i < STEPS; i += THREADS) {
		double x = (i + 0.5) / STEPS;

		mine += sqrt(1 - x * x) / STEPS;
	}
	migrate_schedule(REPORT, self, NULL, NULL);
	reported_on[self] = current_nid();
	pthread_mutex_lock(&lock);
	area += mine;
	pthread_mutex_unlock(&lock);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	int i;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(long)i)) {
			perror("threads: pthread_create");
			return 1;
		}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < THREADS; i++)
		printf("thread %d worked on node %d, reported on node %d\n", i, worked_on[i], reported_on[i]);
	printf("pi is about %.6f\n", 4 * area);
	return 0;
}
