// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Memory of the user engine, with a way for tests to make any allocation fail. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

#include "engine.h"

static _Atomic u32 countdown;

/**
 * ue_fail_alloc() - make one of the next allocations fail
 * @nth: which, from 1; 0 for none
 *
 * Descriptors and threads count as allocations.
 * Return: how many were still to come of those set before.
 */
u32 ue_fail_alloc(u32 nth)
{
	return atomic_exchange(&countdown, nth);
}

/**
 * ue_inject() - should this allocation fail?
 *
 * Return: 0, or -ENOMEM with errno set to it.
 */
int ue_inject(void)
{
	u32 left = atomic_load(&countdown);

	while (left && !atomic_compare_exchange_weak(&countdown, &left, left - 1))
		;
	if (left != 1)
		return 0;
	errno = ENOMEM;
	return -ENOMEM;
}

/**
 * ue_alloc() - zeroed memory for free(), aligned to a cache line
 * @size: bytes
 *
 * Return: the memory or NULL.
 */
void *ue_alloc(size_t size)
{
	void *p;

	if (ue_inject())
		return NULL;
	size = (size + 63) & ~(size_t)63;
	p = aligned_alloc(64, size);
	return p ? memset(p, 0, size) : NULL;
}

/**
 * ue_map() - zeroed memory for munmap() that costs nothing until it is touched
 * @size: bytes
 *
 * Return: the memory or NULL.
 */
void *ue_map(size_t size)
{
	void *p;

	if (ue_inject())
		return NULL;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}
