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
 * With the libc's list of threads locked and all signals blocked. After it the thread reaches no point, and its shadow
 * stack is gone: to be called by code that isn't instrumented.
 */
void __popcorn_thread_gone(void);

/** __popcorn_thread_free - undoes __popcorn_thread_new() for a thread that was never started */
void __popcorn_thread_free(struct popcorn_thread *t);

/** __popcorn_forked - in the child of fork(): the calling thread is the only one now */
void __popcorn_forked(void);

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

/*
 * Mappings. As the system calls of these names, in the common memory: without MAP_FIXED the runtime chooses an
 * address that is free on every ISA, aligned to 64 KiB. A hint that is free in the common area is honoured.
 */
long __popcorn_mmap(void *addr, uint64_t len, int prot, int flags, int fd, int64_t off);
long __popcorn_munmap(void *addr, uint64_t len);
long __popcorn_mprotect(void *addr, uint64_t len, int prot);
long __popcorn_mremap(void *addr, uint64_t old, uint64_t len, int flags, void *to);

/** __popcorn_brk - the system call brk: returns the current end, also where it could not be moved */
long __popcorn_brk(void *end);

/*
 * What the libc (per ISA) gives the runtime.
 */

/** __popcorn_tp_of - the thread pointer of this ISA for a TLS image that starts at @tls */
void *__popcorn_tp_of(char *tls);

/**
 * __popcorn_libc_restored - called in each restored thread before it goes on, without points
 * @t: the thread itself: kernel's tid in t->tid
 *
 * For what the kernel keeps for a thread: robust list, address to clear at exit, virtual to real tid.
 */
void __popcorn_libc_restored(struct popcorn_thread *t);

#endif
