/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What instrumented code and the runtime know of each other: a thread's part of it, the records that
 * frames leave when a thread is captured, and the functions that instrumented code calls.
 */
#ifndef POPCORN_RT_STATE_H
#define POPCORN_RT_STATE_H

#include <stddef.h>
#include <stdint.h>

/* popcorn_thread.unwinding: not 0 only between a callee's return and its caller's test. */
enum popcorn_unwinding {
	POPCORN_RUN = 0,
	POPCORN_CAPTURE = 1,	/* each frame saves its record and returns */
	POPCORN_LONGJMP = 2,	/* frames return until the one that is meant */
};

/*
 * The state of a thread, in its TLS: local-exec on every ISA, at one address on all of them.
 * Instrumented code knows the offsets below 64; what follows is the runtime's own.
 */
struct popcorn_thread {
	uint32_t flag;		/* not 0: call __popcorn_point() at the next point; signal 35 sets it.
				   The highest bit is the plugin's: a frame resumes in its own function */
	uint32_t unwinding;	/* enum popcorn_unwinding */
	char *ssp;		/* shadow stack pointer: grows down, 16-aligned */
	char *ss_end;		/* lowest address that ssp may have */
	uint32_t pins;		/* frames on the stack that can't move */
	uint32_t jump_site;	/* POPCORN_LONGJMP: which setjmp() of the frame that is meant */
	void *jump_frame;	/* POPCORN_LONGJMP: the activation that is meant, as its setjmp() named it */
	const char *pin_why;	/* what pinned last, for the user: who pins keeps and puts back the older */
	uint64_t jump_value;	/* POPCORN_LONGJMP: what setjmp() returns */
	void *rewind;		/* the record of a frame that resumes in its own function: the plugin's */

	/* The buffer of records, offset 64. They grow down: the outermost, saved last, is the lowest. */
	char *rec;		/* on capture the record saved last, on resume the one that is next */
	char *rec_low;		/* lowest address that rec may have in this piece of the buffer */
	char *rec_top;		/* end of this piece */
	struct popcorn_piece *piece;

	char *ss_map;		/* the shadow stack with its guard page */
	uint64_t ss_bytes;
	char *tls;		/* start of this thread's TLS image */
	void *libc;		/* the libc's own description of the thread */
	struct popcorn_thread *next;	/* all threads of the process, under the runtime's lock */
	uint64_t sigmask;	/* of a captured thread: bit n - 1 for signal n */
	uint64_t due;		/* points to go until the next move of its own accord (POPCORN_EVERY) */
	uint32_t state;		/* enum popcorn_thread_state */
	uint32_t action;	/* why it was captured: enum popcorn_action */
	int32_t tid;		/* the kernel's, of the process that runs now */
	int32_t nid;		/* node that it runs on */
	int32_t to_nid;		/* node that it is asked to go to, or -1 */
	int32_t moved;		/* how the last move ended: 0 or -errno */
	const char *why;	/* why the last move failed, or NULL */
	void (*arrived)(void *arg);	/* migrate()'s callback: called where the thread has arrived */
	void *arrived_arg;
	struct {		/* of a stopped thread: its stack for signals, as in sigaltstack() */
		uint64_t sp;
		int32_t flags, pad;
		uint64_t bytes;
	} alt;
	uint64_t pending;	/* of a stopped thread: signals that wait for it to unblock them */
	uint32_t fenv;		/* of a stopped thread: its floating-point environment */
	char *stack_map;	/* native stack with its guard, NULL if the kernel made it: private to this ISA */
	uint64_t stack_bytes;
};

#define POPCORN_OFFSET(field, off) \
	_Static_assert(offsetof(struct popcorn_thread, field) == (off), #field)
POPCORN_OFFSET(flag, 0);
POPCORN_OFFSET(unwinding, 4);
POPCORN_OFFSET(ssp, 8);
POPCORN_OFFSET(ss_end, 16);
POPCORN_OFFSET(pins, 24);
POPCORN_OFFSET(jump_site, 28);
POPCORN_OFFSET(jump_frame, 32);
POPCORN_OFFSET(pin_why, 40);
POPCORN_OFFSET(jump_value, 48);
POPCORN_OFFSET(rewind, 56);
POPCORN_OFFSET(rec, 64);
#undef POPCORN_OFFSET

/* Instrumented code touches its first cache line only. */
extern _Thread_local struct popcorn_thread __popcorn_self
	__attribute__((tls_model("local-exec"), aligned(64)));

/*
 * What a frame leaves when it is captured. resume() belongs to the frame's function, is of type
 * RET (*)(char *record), RET being what the function returns, and lies at one address on all ISAs. It loads
 * the live values, calls the next record's resume() in place of the call at which the frame stood, and goes
 * on behind that call.
 */
struct popcorn_record {
	void *resume;		/* written by the frame */
	uint32_t site;		/* written by the frame: which of the function's calls */
	uint32_t bytes;		/* written by __popcorn_save(): all of the record, a multiple of 16 */
	/* live values at offsets that only the frame's function knows */
};

_Static_assert(sizeof(struct popcorn_record) == 16, "a record's head");
#define POPCORN_RECORD_MAX 0x8000	/* bytes; a function with larger ones is pinned */

/*
 * A frame that calls setjmp() has one in its part of the shadow stack; a jmp_buf names the frame by its address.
 * It is how longjmp() comes out of a signal handler: compiler/rt/jump.c. The registers are this ISA's.
 */
struct popcorn_landing {
	uint64_t regs[26];	/* written by __popcorn_land(), as the other two by instrumented code */
	const char *pin_why;	/* as they were in the thread at setjmp() */
	uint32_t pins, unused;
};

_Static_assert(sizeof(struct popcorn_landing) == 224, "a landing");
_Static_assert(offsetof(struct popcorn_landing, pin_why) == 208, "a landing");

/*
 * Called by instrumented code. None of them is instrumented, and none changes unwinding but
 * __popcorn_point(), which sets it to POPCORN_CAPTURE to move.
 */

/* These two are called from cold paths of hot functions and save all of the caller's general registers. */
#if defined(__riscv) || !defined(__clang__)	/* elsewhere the runtime is clang's */
#define POPCORN_COLD
#else
#define POPCORN_COLD __attribute__((preserve_most))
#endif

/** __popcorn_point - a migration point whose flag is set: decides whether the thread is captured */
void POPCORN_COLD __popcorn_point(void);

/**
 * __popcorn_save - room for one frame's record
 * @bytes: size with the head, at most POPCORN_RECORD_MAX; rounded up to 16
 *
 * Called from the innermost frame to the outermost. Returns the record, 16-aligned, with its size written;
 * never NULL: without memory the process ends with one line that says so.
 */
char *POPCORN_COLD __popcorn_save(uint64_t bytes);

/** __popcorn_next - the next record on resume, the outermost first; always there */
char *__popcorn_next(void);

/**
 * __popcorn_land - makes the calling frame one that a signal handler can jump into
 * @l: its landing, which is good until the frame is left or moves
 *
 * Returns 0, and once more 1 for each such jump, as setjmp() does. A frame that resumes calls it again before it
 * calls anything else.
 */
int __popcorn_land(struct popcorn_landing *l) __attribute__((returns_twice));

/** __popcorn_ss_overflow - the shadow stack is exhausted: one line, and the end of the process */
_Noreturn void __popcorn_ss_overflow(void);

#endif
