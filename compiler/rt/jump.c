// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * longjmp(), and the signal mask of sigsetjmp(). setjmp() itself is made by the compiler where it is called:
 * it names the activation, not native registers. So the frames below it may move as they like.
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

/* Calls of these are code of their own where they stand; here are only their names, for the linker. */
_Noreturn void setjmp(void);
_Noreturn void setjmp(void)
{
	popcorn_die("setjmp() called through a pointer", NULL);
}

void _setjmp(void) __attribute__((alias("setjmp")));
void sigsetjmp(void) __attribute__((alias("setjmp")));
void __sigsetjmp(void) __attribute__((alias("setjmp")));
