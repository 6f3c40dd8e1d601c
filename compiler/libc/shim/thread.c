/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Threads: each has a native stack, which is this ISA's and never moves, beside its shadow stack, which does.
 */
#include "../../rt/rt.h"
#include "generic.h"
#include "shim.h"

enum { PROT_RW = 3, MAP_PRIVATE_ANON_NORESERVE = 0x4022, PAGE = 0x10000 };

#if defined __x86_64__
enum { NR_mmap = 9, NR_mprotect = 10, NR_munmap = 11, NR_exit = 60 };
#else
enum { NR_mmap = 222, NR_mprotect = 226, NR_munmap = 215, NR_exit = 93 };
#endif

struct first_call {
	void *(*fn)(void *);
	void *arg;
};

static char *stack_new(uint64_t bytes)
{
	long map = __popcorn_kernel(NR_mmap, 0, bytes, PROT_RW, MAP_PRIVATE_ANON_NORESERVE, -1, 0);

	if (map < 0 && map > -4096)
		return NULL;
	__popcorn_kernel(NR_mprotect, map, PAGE, 0, 0, 0, 0);
	return (char *)map;
}

static void thread_entry(void *p)
{
	struct first_call call = *(struct first_call *)p;

	__popcorn_run(call.fn, call.arg);
	__builtin_trap();
}

/**
 * __popcorn_clone - starts a thread that __popcorn_thread_new() has prepared
 * @fn: an instrumented function that doesn't return
 *
 * @flags as for clone(); @ptid and @ctid too. The result is the kernel's.
 */
long __popcorn_clone(void *(*fn)(void *), void *arg, struct popcorn_thread *t, long flags, int *ptid, int *ctid)
{
	uint64_t bytes = t->ss_bytes + 4 * PAGE;
	char *map = stack_new(bytes);
	struct first_call *call;
	long ret;

	if (!map)
		return -12;
	t->stack_map = map;
	t->stack_bytes = bytes;
	call = (struct first_call *)(map + bytes - 64);
	*call = (struct first_call){ fn, arg };
	ret = __popcorn_kernel_clone(flags, call, ptid, __popcorn_tp_of(t->tls), ctid, thread_entry, call);
	if (ret < 0) {
		__popcorn_kernel(NR_munmap, (long)map, bytes, 0, 0, 0, 0);
		t->stack_map = NULL;
	}
	return ret;
}

/**
 * __popcorn_thread_exit - ends the calling thread
 * @map: what it leaves to be unmapped, its TLS included, or NULL
 *
 * With all signals blocked.
 */
_Noreturn void __popcorn_thread_exit(void *map, uint64_t bytes)
{
	char *stack = __popcorn_self.stack_map;
	uint64_t stack_bytes = __popcorn_self.stack_bytes;

	__popcorn_thread_gone();
	if (map)
		__popcorn_munmap(map, bytes);
	__popcorn_kernel_leave(stack, stack_bytes);
}

struct function_call {
	int (*fn)(void *);
	void *arg;
};

static void function_entry(void *p)
{
	struct function_call *call = p;

	__popcorn_kernel(NR_exit, call->fn(call->arg), 0, 0, 0, 0, 0);
}

/**
 * __popcorn_clone_function - clone() of a process that calls @fn and ends
 *
 * With CLONE_VM it runs on this thread's TLS, so that this thread must wait for it (CLONE_VFORK); neither
 * moves meanwhile.
 */
long __popcorn_clone_function(int (*fn)(void *), void *arg, long flags)
{
	enum { CLONE_VM = 0x100, CLONE_VFORK = 0x4000, BYTES = 1 << 20 };
	struct function_call call = { fn, arg };
	struct popcorn_thread *self = &__popcorn_self;
	char *ssp = self->ssp;
	const char *why;
	char *map;
	long ret;

	if ((flags & CLONE_VM) && !(flags & CLONE_VFORK))
		return -38;
	map = stack_new(BYTES);
	if (!map)
		return -12;
	why = __popcorn_pin("a process is being started");
	ret = __popcorn_kernel_clone(flags, map + BYTES, NULL, NULL, NULL, function_entry, &call);
	__popcorn_unpin(why);
	self->ssp = ssp;
	__popcorn_kernel(NR_munmap, (long)map, BYTES, 0, 0, 0, 0);
	return ret;
}
