// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What integer division comes to where it has no result, in programs that are compiled with -fpopcorn-strict. */
#include "runtime.h"

_Noreturn void __popcorn_division(void);

/** __popcorn_division - SIGFPE as from the processors that have it: it isn't returned from, but may be jumped out of */
void __popcorn_division(void)
{
	const struct sys_sigaction by_default = { .handler = 0 };
	u64 fpe = 1ull << (SYS_SIGFPE - 1);

	sys(tgkill, sys(getpid, 0), __popcorn_self.tid, SYS_SIGFPE);
	/* The handler has returned, or the signal is blocked or ignored. */
	sys(rt_sigaction, SYS_SIGFPE, &by_default, NULL, 8);
	sys(rt_sigprocmask, SYS_SIG_UNBLOCK, &fpe, NULL, 8);
	sys(tgkill, sys(getpid, 0), __popcorn_self.tid, SYS_SIGFPE);
	popcorn_die("division by zero", NULL);
}
