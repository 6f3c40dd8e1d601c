/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the libc's signal handlers do to the context that they interrupted. */
#include "../../rt/rt.h"
#include "shim.h"

/*
 * The fields that matter here. Before them struct sigcontext has: x86-64 16 registers, aarch64 the fault address and
 * 31 registers with sp, riscv64 none.
 */
struct context {
	unsigned long flags;
	struct context *link;
	struct {
		void *sp;
		int flags;
		size_t size;
	} stack;
#if defined __x86_64__
	uint64_t regs[15], sp, pc, eflags, segments, err, trap, oldmask, cr2, fpstate, reserved[8];
	uint64_t sigmask;
#elif defined __aarch64__
	uint64_t sigmask, sigmask_room[15];
	uint64_t fault_address __attribute__((aligned(16)));
	uint64_t regs[31], sp, pc;
#else
	uint64_t sigmask, sigmask_room[15];
	uint64_t pc __attribute__((aligned(16)));
	uint64_t ra, sp;
#endif
};

/** __popcorn_on_signal - what the kernel calls instead of a handler of the program: that frame is of this ISA */
void __popcorn_on_signal(int sig, void *info, void *context)
{
	__popcorn_handled++;
	__popcorn_handle(__popcorn_handlers[sig].handler, sig, info, context);
}

/**
 * __popcorn_signal_restart - a system call that hasn't been entered tests its words again
 * @context: the handler's
 *
 * Returns whether the thread was on its way into one.
 */
int __popcorn_signal_restart(void *context)
{
	struct context *c = context;
	uint64_t begin;

	begin = __popcorn_stop_begin(c->pc);
	if (!begin)
		return 0;
	c->pc = begin;
	return 1;
}

/** __popcorn_signal_block - @sig stays blocked after the handler */
void __popcorn_signal_block(void *context, int sig)
{
	((struct context *)context)->sigmask |= 1ul << (sig - 1);
}

/** __popcorn_signal_call - the interrupted code goes on with @fn, which must not return */
void __popcorn_signal_call(void *context, void (*fn)(void))
{
	struct context *c = context;

	__popcorn_pin("cancelled at an arbitrary instruction");
	c->sp = (c->sp - 256) & -16ul;
#if defined __x86_64__
	c->sp -= 8;
#endif
	c->pc = (uint64_t)fn;
}

void __popcorn_libc_interrupt(void *context)
{
	__popcorn_signal_restart(context);
}
