/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Gives the threads of timers, which serve several callbacks, fresh TLS but for what describes the thread itself. */
#include <string.h>
#include "popcorn_impl.h"

void __reset_tls(void)
{
	struct __pthread *td = __pthread_self();
	struct popcorn_thread self = __popcorn_self;
	char *image = __popcorn_image_of(td);

	memcpy(image, __popcorn_tls.image, __popcorn_tls.len);
	memset(image + __popcorn_tls.len, 0, __popcorn_tls.size - __popcorn_tls.len);
	__popcorn_self = self;
	__popcorn_pthread = td;
}
