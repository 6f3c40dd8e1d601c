/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * memcpy() where memory may be read and written at any address: in pieces that overlap, without a loop up to 32 bytes.
 * Nobody moves in it, so it may differ. On riscv64 such accesses can be traps; the library's own has none.
 */
#if defined __riscv
#include "../musl/src/string/memcpy.c"
#else
#include <stddef.h>

typedef unsigned char block __attribute__((vector_size(16)));

#define MOVE(type, at) \
	do { \
		type v; \
		__builtin_memcpy(&v, s + (at), sizeof(v)); \
		__builtin_memcpy(d + (at), &v, sizeof(v)); \
	} while (0)

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	unsigned char *d = to;
	const unsigned char *s = from;

	if (n > 16) {
		/* all but the last 1 to 32 bytes */
		for (; n > 32; n -= 32, s += 32, d += 32) {
			MOVE(block, 0);
			MOVE(block, 16);
		}
		if (n > 16)
			MOVE(block, 0);
		MOVE(block, (ptrdiff_t)n - 16);
	} else if (n >= 8) {
		MOVE(unsigned long, 0);
		MOVE(unsigned long, n - 8);
	} else if (n >= 4) {
		MOVE(unsigned, 0);
		MOVE(unsigned, n - 4);
	} else if (n) {
		d[0] = s[0];
		if (n > 1) {
			d[n - 1] = s[n - 1];
			d[1] = s[1];
		}
	}
	return to;
}
#endif
