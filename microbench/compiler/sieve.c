// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Integer loops: primes by a sieve of bits, and their gaps. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 1000000

static uint64_t bits[N / 64 + 1];

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 3, count = 0, gap = 0;

	for (int r = 0; r < rounds; r++) {
		int last = 2;

		memset(bits, 0, sizeof(bits));
		for (int i = 2; i * i < N; i++)
			if (!(bits[i / 64] >> i % 64 & 1))
				for (int k = i * i; k < N; k += i)
					bits[k / 64] |= 1ull << k % 64;
		for (int i = 2; i < N; i++)
			if (!(bits[i / 64] >> i % 64 & 1)) {
				count++;
				gap = i - last > gap ? i - last : gap;
				last = i;
			}
	}
	printf("%d %d\n", count, gap);
	return 0;
}
