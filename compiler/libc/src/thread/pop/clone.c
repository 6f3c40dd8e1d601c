/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* clone() of a function that runs on the caller's state until it execs or exits, as posix_spawn() needs it. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include "popcorn_impl.h"

int __clone(int (*func)(void *), void *stack, int flags, void *arg, ...)
{
	if (flags & (CLONE_THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID))
		return -ENOSYS;
	return __popcorn_clone_function(func, arg, flags);
}
