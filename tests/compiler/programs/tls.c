// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Thread-local variables: initialised and not, aligned, arrays, static, in functions, their addresses kept. */
#include <pthread.h>
#include "try.h"

_Thread_local int counter = 100;
static _Thread_local double acc = 1.5;
static _Thread_local char text[30] = "thread";
_Thread_local _Alignas(64) struct { int a[10]; } aligned = { { 1, 2, 3 } };
_Thread_local long zero[20];
static _Thread_local int *own;
__thread unsigned char byte = 7;

static NOINLINE int next(void)
{
	static _Thread_local int calls;

	return ++calls;
}

static NOINLINE int work(int n, int *p)
{
	counter += n;
	acc = acc * 1.01 + n;
	aligned.a[n % 10] += *p;
	zero[n % 20] ^= counter;
	byte = byte * 5 + 1;
	next();
	if (n)
		work(n - 1, p == &counter ? own : &counter);
	return counter;
}

struct out { uint64_t sum; int id; };

static void *thread(void *arg)
{
	struct out *o = arg;
	uint64_t s = o->id;

	own = &aligned.a[o->id % 10];
	snprintf(text + 6, 20, " %d", o->id);
	for (int i = 0; i < 10; i++)
		work(o->id + i, &counter);
	s = try_mix(s, counter);
	s = try_mix(s, try_bits(acc));
	s = try_mix_bytes(s, text, sizeof(text));
	s = try_mix_bytes(s, &aligned, sizeof(aligned));
	s = try_mix_bytes(s, zero, sizeof(zero));
	s = try_mix(s, byte + next() + ((uintptr_t)&aligned & 63));
	o->sum = s;
	return o;
}

int main(void)
{
	struct out o[5];
	pthread_t t[5];

	for (int i = 1; i < 5; i++) {
		o[i].id = i;
		if (pthread_create(&t[i], NULL, thread, &o[i]))
			return 1;
	}
	o[0].id = 0;
	thread(&o[0]);
	for (int i = 1; i < 5; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 5; i++)
		try_say("thread", o[i].sum);
	printf("%d %.6f %s %d\n", counter, acc, text, next());
	return 0;
}
