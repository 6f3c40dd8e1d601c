/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A long double as an integer and an exponent: with 128 bits its arithmetic is a call on every ISA, so what reads and
 * writes numbers calculates with integers and rounds by itself, in the mode that is set.
 */
#ifndef POPCORN_EXACT_H
#define POPCORN_EXACT_H

#include <fenv.h>
#include "libm.h"

typedef unsigned __int128 u128;

/* What was cut off below the last bit, in units of it. */
enum rest { NOTHING, BELOW_HALF, HALF, ABOVE_HALF };

static inline int rounds_up(int negative, int odd, enum rest rest)
{
	if (rest == NOTHING)
		return 0;
	switch (fegetround()) {
	case FE_TONEAREST:
		return rest == ABOVE_HALF || (rest == HALF && odd);
	case FE_UPWARD:
		return !negative;
	case FE_DOWNWARD:
		return negative;
	}
	return 0;
}

static inline int length(u128 m)
{
	return m >> 64 ? 128 - __builtin_clzll(m >> 64) : 64 - __builtin_clzll((uint64_t)m | !m);
}

/* The n lowest bits of m go, 0 <= n < 128; below them there was *rest already. */
static inline u128 cut(u128 m, int n, enum rest *rest)
{
	u128 low = m & (((u128)1 << n) - 1), half = n ? (u128)1 << (n - 1) : 0;

	if (n && low == half)
		*rest = *rest ? ABOVE_HALF : HALF;
	else if (n && (low || *rest))
		*rest = low > half ? ABOVE_HALF : BELOW_HALF;
	return m >> n;
}

/* |y| = the result / 2^112 * 2^*e; the result has bit 112, unless it is 0. y is finite. */
static inline u128 ld_split(long double y, int *e)
{
	union ldshape u = { y };
	u128 m = (u128)(u.i2.hi & 0xffffffffffff) << 64 | u.i2.lo;
	int biased = u.i.se & 0x7fff, shift;

	if (biased) {
		*e = biased - 16383;
		return m | (u128)1 << 112;
	}
	shift = m ? 113 - length(m) : 0;
	*e = m ? -16382 - shift : 0;
	return m << shift;
}

/* m * 2^e; the caller sees to it that m has at most 113 bits, and that no bit is worth less than 2^-16494. */
static inline long double ld_join(int negative, u128 m, long long e)
{
	int shift = 113 - length(m);
	union ldshape u = { 0 };

	if (e - shift > 16383 - 112) {
		u.i.se = 0x7ffe | negative << 15;
		return u.f * LDBL_MAX;
	}
	if (m) {
		m = shift < 0 ? m >> -shift : m << shift;
		e += 112 - shift + 16383;
		if (e <= 0) {
			m >>= 1 - e;
			e = 0;
		}
		u.i2.lo = m;
		u.i2.hi = m >> 64;
		u.i.se = e;
	}
	u.i.se |= negative << 15;
	return u.f;
}

#endif
