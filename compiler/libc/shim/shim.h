/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Between the libc, which is the same on all ISAs, and what is compiled for each ISA by itself: the TLS layout,
 * system calls, threads.
 *
 * A block of TLS is one piece of common memory:
 *
 *	pthread | room for aarch64's thread control block | TLS image | room for x86-64's
 *
 * The image is at one address on all ISAs; the thread pointer is each ISA's own (__popcorn_tp_of()).
 */
#ifndef POPCORN_LIBC_SHIM_H
#define POPCORN_LIBC_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* The program's TLS segment, at one address and of one size on all ISAs. */
struct popcorn_tls {
	const void *image;
	uint64_t len;		/* bytes that are not 0 */
	uint64_t size;
	uint64_t align;		/* at least 16 */
};

extern struct popcorn_tls __popcorn_tls;

#define POPCORN_TCB 64		/* on either side of the image; a multiple of its alignment is taken */

static inline uint64_t popcorn_tls_round(uint64_t n)
{
	return (n + __popcorn_tls.align - 1) & -__popcorn_tls.align;
}

/* Bytes of a block, and of its front, at whose end the image starts. */
static inline uint64_t popcorn_tls_front(uint64_t description)
{
	return popcorn_tls_round(description + POPCORN_TCB);
}

static inline uint64_t popcorn_tls_bytes(uint64_t description)
{
	return popcorn_tls_front(description) + popcorn_tls_round(__popcorn_tls.size) + POPCORN_TCB +
	       __popcorn_tls.align;
}

/* For system calls that may block: what __popcorn_syscall_stop() returns instead of a result. */
#define POPCORN_CANCELLED (-4097)	/* *cancel was set before the call was entered */
#define POPCORN_STOPPED (-4098)		/* the thread's flag was set before the call was entered */

void *__popcorn_tp_of(char *tls);
void __popcorn_set_tp(void *tp);
long __popcorn_syscall(long n, long a, long b, long c, long d, long e, long f);
long __popcorn_syscall_stop(volatile int *cancel, volatile uint32_t *flag, long n, long a, long b, long c,
			    long d, long e, long f);
struct popcorn_thread;
long __popcorn_clone(void *(*fn)(void *), void *arg, struct popcorn_thread *t, long flags, int *ptid, int *ctid);
long __popcorn_clone_function(int (*fn)(void *), void *arg, long flags);
_Noreturn void __popcorn_thread_exit(void *map, uint64_t bytes);

/* What a signal is to do, where it isn't what the kernel is told. */
struct popcorn_handler {
	void (*volatile handler)(int sig, void *info, void *context);
	volatile int siginfo;		/* SA_SIGINFO was asked for */
};

extern struct popcorn_handler __popcorn_handlers[];
extern _Thread_local unsigned __popcorn_handled __attribute__((tls_model("local-exec")));
void __popcorn_on_signal(int sig, void *info, void *context);
int __popcorn_signal_restart(void *context);
void __popcorn_signal_block(void *context, int sig);
void __popcorn_signal_call(void *context, void (*fn)(void));

/* the assembly's */
long __popcorn_kernel(long n, long a, long b, long c, long d, long e, long f);
long __popcorn_kernel_stop(volatile int *cancel, volatile uint32_t *flag, long n, long a, long b, long c,
			   long d, long e, long f);
long __popcorn_kernel_clone(long flags, void *stack, int *ptid, void *tp, int *ctid, void (*fn)(void *),
			    void *arg);
_Noreturn void __popcorn_kernel_leave(void *map, uint64_t bytes);
void __popcorn_restore(void);
uint64_t __popcorn_stop_begin(uint64_t pc);

#endif
