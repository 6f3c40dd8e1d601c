/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * System calls that may block. A thread that is to move leaves the call, or doesn't enter it, comes to a point here,
 * and makes the call again wherever it is then, with the time that was left.
 */
#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include "popcorn_impl.h"
#include "syscall.h"

_Thread_local unsigned __popcorn_handled;	/* signal handlers of the program that have run */

static volatile int never;

static long long now(void)
{
	struct timespec t;

	__syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Which argument is a relative timeout that the kernel doesn't update by itself: 1 to 6, or 0. */
static int timeout_of(syscall_arg_t nr, const syscall_arg_t *a)
{
	switch (nr) {
	case SYS_nanosleep:
		return 1;
	case SYS_clock_nanosleep:
		return a[1] & TIMER_ABSTIME ? 0 : 3;
	case SYS_futex:
		return (a[1] & 127) == FUTEX_WAIT ? 4 : 0;
	case SYS_rt_sigtimedwait:
		return 3;
	case SYS_semtimedop:
	case SYS_epoll_pwait:	/* in milliseconds */
		return 4;
	case SYS_recvmmsg:
		return 5;
	}
	return 0;
}

static int has_timeout(syscall_arg_t nr, const syscall_arg_t *a, int i)
{
	return i && (nr == SYS_epoll_pwait ? (int)a[i - 1] > 0 : a[i - 1] != 0);
}

/* What is left of a timeout after @ns; a timeout that is over is not more than over. */
static void shorten(syscall_arg_t nr, syscall_arg_t *timeout, struct timespec *left, long long ns)
{
	if (nr == SYS_epoll_pwait) {
		*timeout = *timeout > ns / 1000000 ? *timeout - ns / 1000000 : 0;
		return;
	}
	ns = left->tv_sec * 1000000000ll + left->tv_nsec - ns;
	if (ns < 0)
		ns = 0;
	left->tv_sec = ns / 1000000000;
	left->tv_nsec = ns % 1000000000;
}

/* Timeouts of more than this many seconds, 100 years, are left alone. */
#define FOR_EVER (100 * 365 * 86400ll)

long __popcorn_blocking(volatile int *cancel, syscall_arg_t nr, syscall_arg_t u, syscall_arg_t v,
			syscall_arg_t w, syscall_arg_t x, syscall_arg_t y, syscall_arg_t z)
{
	syscall_arg_t a[6] = { u, v, w, x, y, z };
	int i = timeout_of(nr, a), timed = has_timeout(nr, a, i);
	struct timespec left;
	long long start = 0;
	long r;

	if (timed && nr != SYS_epoll_pwait) {
		left = *(struct timespec *)a[i - 1];
		if ((unsigned long)left.tv_nsec > 999999999 || left.tv_sec < 0 || left.tv_sec > FOR_EVER)
			timed = 0;
		else
			a[i - 1] = (syscall_arg_t)&left;
	}
	for (;;) {
		/* A pinned thread can't move: it isn't to run round in circles here. */
		int stop = !__popcorn_self.pins;
		unsigned handled = __popcorn_handled;

		if (timed)
			start = now();
		r = __popcorn_syscall_stop(cancel ? cancel : &never,
					   stop ? &__popcorn_self.flag : (volatile uint32_t *)&never,
					   nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		/* Interrupted, and by no handler of the program: by what has set the flag. */
		if (r == -EINTR && stop && handled == __popcorn_handled &&
		    (__popcorn_self.flag & ~POPCORN_FLAG_EVERY_BIT))
			r = POPCORN_STOPPED;
		if (r != POPCORN_STOPPED)
			return r;
		if (timed)
			shorten(nr, &a[i - 1], &left, now() - start);
		__popcorn_point();
	}
}
