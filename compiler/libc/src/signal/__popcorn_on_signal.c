/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Which handler of the program is for which signal. The kernel calls __popcorn_on_signal() for all of them. */
#include "popcorn_impl.h"

struct popcorn_handler __popcorn_handlers[_NSIG];
