/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the programs here share: values the compiler can't foresee, and a trail of what was computed. */
#ifndef TRY_H
#define TRY_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static volatile int try_zero;

/* The same value, of which the compiler knows nothing. */
#define HIDE(x) ((x) + (__typeof__(x))try_zero)

static uint64_t try_state = 0x9e3779b97f4a7c15u;

static inline uint64_t try_random(void)
{
	try_state ^= try_state << 13;
	try_state ^= try_state >> 7;
	try_state ^= try_state << 17;
	return try_state;
}

static inline uint64_t try_mix(uint64_t sum, uint64_t v)
{
	sum = (sum ^ v) * 0xff51afd7ed558ccdu;
	return sum ^ sum >> 29;
}

static inline uint64_t try_mix_bytes(uint64_t sum, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = try_mix(sum, ((const unsigned char *)p)[i]);
	return sum;
}

static inline uint64_t try_bits(double d)
{
	uint64_t v;

	memcpy(&v, &d, sizeof(v));
	return v;
}

static inline void try_say(const char *what, uint64_t v)
{
	printf("%s %016llx\n", what, (unsigned long long)v);
}

#endif
