// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* User sections walked from __start_ to __stop_: data, pointers to functions, and functions. */
#include "try.h"

struct command { const char *name; int (*run)(int); };

#define COMMAND(n, e)									\
	static int run_##n(int a) { return e; }						\
	static const struct command cmd_##n						\
	__attribute__((section("commands"), used, aligned(sizeof(void *)))) = { #n, run_##n }

static NOINLINE int rec(int a)
{
	return a > 0 ? rec(a - 1) + a : 0;
}

COMMAND(add, a + 10);
COMMAND(twice, a * 2);
COMMAND(sum, rec(a % 30));
COMMAND(negate, -a);

extern const struct command __start_commands[], __stop_commands[];

static volatile int counts[4] __attribute__((section("counters"), aligned(4))) = { 1, 2, 3, 4 };
static volatile int more __attribute__((section("counters"), used, aligned(4))) = 9;
extern volatile int __start_counters[], __stop_counters[];

__attribute__((section("hot_text"), noinline)) static int placed(int n)
{
	return n ? placed(n - 1) * 3 % 1009 : 1;
}

int main(void)
{
	int v = HIDE(5), k = 0;
	uint64_t sum = 0;

	for (const struct command *c = __start_commands; c < __stop_commands; c++)
		k += strlen(c->name);
	for (int i = 0; i < 20; i++)
		for (const struct command *c = __start_commands; c < __stop_commands; c++)
			sum += try_mix(i, c->run(v + i) * (int)strlen(c->name));
	printf("%zu commands, names %d\n", (size_t)(__stop_commands - __start_commands), k);
	try_say("sum", sum);
	counts[2] += HIDE(10);
	for (volatile int *p = __start_counters; p < __stop_counters; p++)
		k += (*p)++;
	printf("%zu counters, %d, %d %d\n", (size_t)(__stop_counters - __start_counters), k, more, counts[0]);
	printf("placed %d\n", placed(HIDE(50)));
	return 0;
}
