// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Deep recursion: 100,000 frames, with and without locals whose address is known below. */
#include "try.h"

static NOINLINE uint64_t plain(int n, uint64_t a)
{
	return n ? try_mix(plain(n - 1, a + n), n) : a;
}

static NOINLINE uint64_t linked(int n, int *outer)
{
	int mine = n ^ *outer;
	uint64_t r;

	if (!n)
		return mine;
	r = linked(n - 1, &mine);
	*outer += mine & 3;
	return try_mix(r, mine);
}

int main(void)
{
	int top = HIDE(5);

	try_say("plain", plain(HIDE(100000), 1));
	try_say("linked", linked(HIDE(30000), &top));
	printf("top %d\n", top);
	return 0;
}
