// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What it costs to capture a thread's stack and to resume it, without the way in between: POPCORN_NODES=2 makes
 * two nodes of this process. Prints, in nanoseconds: cold, the first time with 10 frames; warm, the median
 * with 10 frames; frame, what each of 1000 more adds.
 */
#include <popcorn/migrate.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FEW 10
#define MORE 1000
#define ROUNDS 501

static double took[ROUNDS];
static double *slot;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

/* Each frame has something to keep: what it adds to the result. */
__attribute__((noinline)) static long down(int frames, long weight)
{
	double start;

	if (frames > 1)
		return down(frames - 1, weight + frames) * 3 ^ weight;
	start = now();
	if (migrate(!current_nid(), NULL, NULL))
		exit(1);
	*slot = now() - start;
	return weight;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(int frames)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		slot = &took[i];
		down(frames, i);
	}
	qsort(took, ROUNDS, sizeof(*took), ascending);
	return took[ROUNDS / 2];
}

int main(void)
{
	double cold, few;

	slot = &cold;
	down(FEW, 1);
	few = median(FEW);
	printf("cold %.1f\nwarm %.1f\nframe %.2f\n", cold, few, (median(FEW + MORE) - few) / MORE);
	return 0;
}
