/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Every handler of the program is called from here: the frame that the kernel makes for it is of this machine, so that
 * the thread can't move until the handler has returned.
 */
#include "popcorn_impl.h"

struct popcorn_handler __popcorn_handlers[_NSIG];

void __popcorn_on_signal(int sig, siginfo_t *si, void *context)
{
	struct popcorn_thread *t = &__popcorn_self;
	const char *why = t->pin_why;

	t->pin_why = "a signal handler is running";
	t->pins++;
	__popcorn_handled++;
	__popcorn_handlers[sig].handler(sig, si, context);
	t->pins--;
	t->pin_why = why;
}
