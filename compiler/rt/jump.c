// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * longjmp(), and the signal mask of sigsetjmp(). setjmp() itself is made by the compiler where it is called: it names
 * the activation by the address of its frame on the shadow stack, not by native registers, and longjmp() lets every
 * frame return until the one that is meant. So they may move as they like.
 *
 * Out of a signal handler this ends at what the signal has interrupted, which stands between any two instructions and
 * can't return. So the frames from there inwards are left at once, as on any machine: the frame that is meant is
 * entered by the native registers that it has put into its landing, and goes on as it does behind a callee that
 * returned because of longjmp(). Invariant: whenever a handler can run, the landing of each frame that is named by
 * a jmp_buf is of this ISA and of the native frame in which it stands now. The frame fills it at setjmp(), and again
 * when it resumes, during which all signals are blocked.
 */
#include "runtime.h"

/* The C library's jmp_buf. */
struct jump {
	void *frame;		/* the two are written by instrumented code */
	u32 site;
	u32 unused[49];
	u64 has_mask;
	u64 mask;
};

_Static_assert(offsetof(struct jump, has_mask) == 26 * 8, "jmp_buf");

void longjmp(struct jump *j, int value);
void _longjmp(struct jump *j, int value);
int __popcorn_sigsetjmp(struct jump *j, int save, int value);
_Noreturn void popcorn_jump(const struct popcorn_landing *l);

/**
 * longjmp - sets the thread unwinding and returns; each frame then returns at once until the one that is meant
 * @j: from a setjmp() in a function that hasn't returned
 * @value: what setjmp() returns, 1 for 0
 */
void longjmp(struct jump *j, int value)
{
	struct popcorn_thread *t = &__popcorn_self;

	t->jump_frame = j->frame;
	t->jump_site = j->site;
	t->jump_value = value ? value : 1;
	t->unwinding = POPCORN_LONGJMP;
}

void _longjmp(struct jump *j, int value) __attribute__((alias("longjmp")));

/**
 * __popcorn_sigsetjmp - follows each setjmp() that was a sigsetjmp()
 * @j: the same
 * @save: sigsetjmp()'s second argument
 * @value: what setjmp() returned
 */
int __popcorn_sigsetjmp(struct jump *j, int save, int value)
{
	if (!value) {
		j->has_mask = !!save;
		if (save)
			sys(rt_sigprocmask, SYS_SIG_SETMASK, NULL, &j->mask, 8);
	} else if (j->has_mask) {
		sys(rt_sigprocmask, SYS_SIG_SETMASK, &j->mask, NULL, 8);
	}
	return value;
}

/* The handler that is left has found the thread with this shadow stack pointer. */
static _Noreturn void leave_handler(struct popcorn_thread *t, char *ssp)
{
	const struct popcorn_landing *l = t->jump_frame;

	if ((char *)l >= t->ss_map && (char *)l < ssp)
		popcorn_die("longjmp to a function that has returned", NULL);
	t->pins = l->pins;
	t->pin_why = l->pin_why;
	/* What was interrupted may have been about to obey. */
	__atomic_or_fetch(&t->flag, POPCORN_FLAG_ASKED | POPCORN_FLAG_STOP, __ATOMIC_SEQ_CST);
	popcorn_jump(l);
}

void __popcorn_handle(void (*handler)(int sig, void *info, void *context), int sig, void *info, void *context)
{
	struct popcorn_thread *t = &__popcorn_self;
	struct {
		u32 unwinding, site;
		void *frame;
		u64 value;
	} was = { t->unwinding, t->jump_site, t->jump_frame, t->jump_value };
	char *ssp = t->ssp;
	const char *why = __popcorn_pin("a signal handler is running");

	/* It may have come while frames were returning for a longjmp(): its own are not to. */
	t->unwinding = POPCORN_RUN;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	handler(sig, info, context);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (t->unwinding == POPCORN_LONGJMP)
		leave_handler(t, ssp);
	t->jump_value = was.value;
	t->jump_frame = was.frame;
	t->jump_site = was.site;
	__popcorn_unpin(why);
	t->unwinding = was.unwinding;
}

/* Calls of these are code of their own where they stand; here are only their names, for the linker. */
_Noreturn void setjmp(void);
_Noreturn void setjmp(void)
{
	popcorn_die("setjmp() called through a pointer", NULL);
}

void _setjmp(void) __attribute__((alias("setjmp")));
void sigsetjmp(void) __attribute__((alias("setjmp")));
void __sigsetjmp(void) __attribute__((alias("setjmp")));
