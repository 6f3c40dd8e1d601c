/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A thread is described by a TLS variable and not by its thread pointer: the thread pointer's distance from the TLS
 * block is each ISA's own, the addresses of TLS variables are not.
 */
#ifndef POPCORN_PTHREAD_ARCH_H
#define POPCORN_PTHREAD_ARCH_H

extern hidden _Thread_local struct __pthread *__popcorn_pthread
	__attribute__((tls_model("local-exec")));

#undef __pthread_self
#define __pthread_self() __popcorn_pthread

#endif
