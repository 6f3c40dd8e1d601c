/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * System calls that may block. A thread that is to move leaves the call, or doesn't enter it, comes to a point here,
 * and makes the call again wherever it is then.
 */
#include <errno.h>
#include "popcorn_impl.h"
#include "syscall.h"

void __popcorn_point(void);

long __popcorn_blocking(volatile int *cancel, syscall_arg_t nr, syscall_arg_t u, syscall_arg_t v,
			syscall_arg_t w, syscall_arg_t x, syscall_arg_t y, syscall_arg_t z)
{
	static volatile int never;
	long r;

	for (;;) {
		r = __popcorn_syscall_stop(cancel ? cancel : &never, &__popcorn_self.flag, nr, u, v, w, x, y,
					   z);
		if (r != POPCORN_STOPPED)
			return r;
		__popcorn_point();
	}
}
