/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the libc calls: start of the process, threads, and mappings in the memory that is common to all ISAs.
 * None of these functions is instrumented or has a point; all are safe before the libc is initialised
 * and use only system calls. Results are those of system calls: -errno on failure.
 */
#ifndef POPCORN_RT_H
#define POPCORN_RT_H

#include "state.h"

/**
 * __popcorn_start - the first thing in a process, before the libc touches anything, without TLS
 * @sp: what the kernel left on the stack: argc, argv, environ, auxiliary vector
 *
 * Returns the same in common memory (strings too; the vDSO left out), for the libc to use in its place.
 * In a process that is to be restored it does not return.
 */
long *__popcorn_start(long *sp);

/**
 * __popcorn_thread_new - prepares a thread that is about to be started
 * @t: its __popcorn_self, zeroed, in its TLS image
 * @tls: where its TLS image starts
 * @libc: whatever the libc wants to find in t->libc
 * @stack: size of its shadow stack in bytes, 0 for the usual 8 MiB
 *
 * Returns 0 or -ENOMEM. Undone by __popcorn_thread_free().
 */
int __popcorn_thread_new(struct popcorn_thread *t, void *tls, void *libc, uint64_t stack);

/**
 * __popcorn_run - calls the first function of a thread, and again after each capture
 * @fn: an instrumented function
 * @arg: in common memory
 *
 * The caller's frame is not part of what moves: it must have nothing to do afterwards that matters, since a
 * thread that was restored in another process returns from that process's __popcorn_run(). Best is an fn that
 * doesn't return. Each thread runs in exactly one, the first as well as those that pthread_create() makes.
 */
void *__popcorn_run(void *(*fn)(void *arg), void *arg);

/**
 * __popcorn_thread_gone - the calling thread is about to end
 *
 * With all signals blocked. After it the thread reaches no point and its shadow stack is gone: to be called
 * by code that isn't instrumented.
 */
void __popcorn_thread_gone(void);

/** __popcorn_thread_free - undoes __popcorn_thread_new() for a thread that was never started */
void __popcorn_thread_free(struct popcorn_thread *t);

/**
 * __popcorn_fork - round fork(), with all signals blocked
 * @when: -1 before it, 0 after it in the parent (also if it failed), 1 in the child, of which the calling
 *        thread is the only one
 */
void __popcorn_fork(int when);

/**
 * __popcorn_monotonic - nanoseconds to add to the kernel's CLOCK_MONOTONIC
 *
 * So that it never goes back for a program that was restored in a machine that started later.
 */
extern int64_t __popcorn_monotonic;

/** __popcorn_exit - right before the process ends of its own accord (exit_group) */
void __popcorn_exit(void);

/**
 * __popcorn_pin, __popcorn_unpin - the frames from here inwards can't move (signal handlers, foreign code)
 * @why: for the user, a string that stays; __popcorn_unpin() takes what __popcorn_pin() returned
 */
static inline const char *__popcorn_pin(const char *why)
{
	const char *old = __popcorn_self.pin_why;

	__popcorn_self.pin_why = why;
	__popcorn_self.pins++;
	return old;
}

static inline void __popcorn_unpin(const char *old)
{
	__popcorn_self.pins--;
	__popcorn_self.pin_why = old;
}

/**
 * __popcorn_handle - calls a handler of the program
 * @handler: an instrumented function, which may leave by longjmp(): then this doesn't return
 * @sig, @info, @context: what the kernel has passed
 *
 * The thread can't move meanwhile. For a handler that the kernel calls, code that isn't instrumented.
 */
void __popcorn_handle(void (*handler)(int sig, void *info, void *context), int sig, void *info, void *context);

/*
 * Mappings. As the system calls of these names, in the common memory: without MAP_FIXED the runtime chooses
 * an address that is free on every ISA, aligned to 64 KiB. A hint that is free there is honoured.
 */
long __popcorn_mmap(void *addr, uint64_t len, int prot, int flags, int fd, int64_t off);
long __popcorn_munmap(void *addr, uint64_t len);
long __popcorn_mprotect(void *addr, uint64_t len, int prot);
long __popcorn_mremap(void *addr, uint64_t old, uint64_t len, int flags, void *to);

/** __popcorn_brk - the system call brk: returns the current end, also where it could not be moved */
long __popcorn_brk(void *end);

/*
 * What the libc gives the runtime, for each ISA; none is instrumented.
 */

/**
 * __popcorn_tp_of - the thread pointer of this ISA for a TLS image that starts at @tls
 *
 * Called without TLS, also for threads that ran on another ISA: what this ISA wants to find at its thread pointer
 * is to be there afterwards.
 */
void *__popcorn_tp_of(char *tls);

/**
 * __popcorn_libc_restored - in each restored thread before it goes on, all signals blocked
 * @t: the thread itself; t->tid is the kernel's
 *
 * For what the kernel keeps for a thread: robust list, address to clear at exit, virtual to real tid.
 */
void __popcorn_libc_restored(struct popcorn_thread *t);

/* Rounding mode and flags of the calling thread in a form that is the same on all ISAs, as in <fenv.h>. */
int fegetenv(unsigned int *env);
int fesetenv(const unsigned int *env);

/**
 * __popcorn_libc_interrupt - in the handler of signal 35, which has just set the thread's flag
 * @context: the handler's ucontext_t
 *
 * For a thread on its way into a system call that blocks: it must not enter it before its next point.
 */
void __popcorn_libc_interrupt(void *context);

/*
 * What the link gives: the writable data that are common to all ISAs, and a hash of what was linked (bitcode
 * and layout), the same in the binaries of all ISAs and in no other program's.
 */
extern char __popcorn_data[], _end[];
extern const unsigned char __popcorn_program[32];

#endif
