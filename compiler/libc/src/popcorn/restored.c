/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the kernel keeps for a thread, told to the kernel that runs it after a restore. */
#include "popcorn_impl.h"

hidden void __popcorn_libc_restored(struct popcorn_thread *t);

void __popcorn_libc_restored(struct popcorn_thread *t)
{
	struct __pthread *td = t->libc;

	if (!td)
		return;		/* captured before the libc had begun, which does this itself */
	__syscall(SYS_set_tid_address, &__thread_list_lock);
	if (td->robust_list.off)
		__syscall(SYS_set_robust_list, &td->robust_list, 3 * sizeof(long));
}
