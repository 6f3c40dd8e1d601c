/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Which processor a node of a benchmark runs on; its includer has _GNU_SOURCE and sched.h. */
#ifndef BENCH_PIN_H
#define BENCH_PIN_H

/* The calling process to the @nth, round and round, of those that it may use. */
static void pin(unsigned int nth)
{
	cpu_set_t all, one;
	int cpu;

	if (sched_getaffinity(0, sizeof(all), &all) || !CPU_COUNT(&all))
		return;
	nth %= CPU_COUNT(&all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !nth--)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

#endif
