// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Common symbols (-fcommon): tentative definitions, several of one name, arrays, structs, aligned. */
#include "try.h"

int tentative;
int tentative;
int tentative;
long table[100];
double numbers[7];
struct { int a; char b[30]; } record;
_Alignas(128) char block[200];
int *pointer;
int defined;
int defined = 9;

static NOINLINE int fill(int n)
{
	if (n < 0)
		return tentative;
	tentative += n;
	table[n % 100] += tentative;
	numbers[n % 7] += n / 4.0;
	record.a ^= n;
	record.b[n % 30]++;
	block[n % 200] = n;
	pointer = n & 1 ? &tentative : &defined;
	*pointer += 1;
	return fill(n - 1);
}

int main(void)
{
	uint64_t s;

	printf("%d %ld %d\n", tentative, table[50], pointer == NULL);
	printf("%d\n", fill(HIDE(300)));
	s = try_mix_bytes(0, table, sizeof(table));
	s = try_mix_bytes(s, numbers, sizeof(numbers));
	s = try_mix_bytes(s, record.b, sizeof(record.b));
	s = try_mix_bytes(s, block, sizeof(block));
	try_say("sum", try_mix(s, record.a));
	printf("%d %d %d\n", defined, *pointer, (int)((uintptr_t)block & 127));
	return 0;
}
