// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Waiting: the runtime's lock, futexes and the clock that bounds them. */
#include "runtime.h"

void popcorn_futex_wait(u32 *word, u32 value, u64 ms)
{
	struct sys_timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	sys(futex, word, SYS_FUTEX_WAIT_PRIVATE, value, ms ? &ts : NULL);
}

void popcorn_futex_wake(u32 *word, int n)
{
	sys(futex, word, SYS_FUTEX_WAKE_PRIVATE, n);
}

u64 popcorn_now_ms(void)
{
	struct sys_timespec ts = { 0, 0 };

	sys(clock_gettime, SYS_CLOCK_MONOTONIC, &ts);
	return ts.sec * 1000 + ts.nsec / 1000000;
}

/** popcorn_lock - takes a lock; all signals are blocked until popcorn_unlock(). Doesn't nest. */
void popcorn_lock(struct popcorn_lock *l)
{
	u64 all = ~0ull, old = 0;
	u32 seen = 0;

	sys(rt_sigprocmask, SYS_SIG_SETMASK, &all, &old, 8);
	if (!__atomic_compare_exchange_n(&l->word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE))
			popcorn_futex_wait(&l->word, 2, 0);
	l->sigmask = old;
}

/** popcorn_unlock - gives the lock back, and the signals as they were */
void popcorn_unlock(struct popcorn_lock *l)
{
	u64 old = l->sigmask;

	if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)
		popcorn_futex_wake(&l->word, 1);
	sys(rt_sigprocmask, SYS_SIG_SETMASK, &old, NULL, 8);
}
