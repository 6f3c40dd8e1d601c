/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the libc's own files use of the shims (shim/shim.h) and of the runtime (rt/rt.h, rt/state.h).
 */
#ifndef POPCORN_IMPL_H
#define POPCORN_IMPL_H

#include <stddef.h>
#include <stdint.h>
#include "pthread_impl.h"
#include "rt/state.h"
#include "libc/shim/shim.h"

hidden void *__popcorn_main(void *sp);
hidden int __popcorn_thread_new(struct popcorn_thread *t, void *tls, void *libc, uint64_t stack);
hidden void __popcorn_thread_free(struct popcorn_thread *t);
void __popcorn_point(void);

/* Set all the time while each n-th point moves of itself: no reason to leave a system call. */
#define POPCORN_FLAG_EVERY_BIT 4u

/* The start of a thread's TLS image is where musl keeps its vector of TLS modules, of which there is one. */
static inline char *__popcorn_image_of(struct __pthread *td)
{
	return (char *)td->dtv;
}

/* A TLS variable of another thread, by the calling thread's. */
static inline void *__popcorn_tls_of(struct __pthread *td, const void *mine)
{
	return __popcorn_image_of(td) + ((const char *)mine - __popcorn_self.tls);
}

static inline struct popcorn_thread *__popcorn_thread_of(struct __pthread *td)
{
	return __popcorn_tls_of(td, &__popcorn_self);
}

#endif
