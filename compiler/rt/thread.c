// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Threads: their first function, what a point decides, capture, and going on. A captured thread is complete
 * at its root, __popcorn_run(): from there it goes wherever it is to go.
 */
#include "runtime.h"

#define SHADOW_BYTES (8ull << 20)
#define SHADOW_GUARD 0x10000ull

_Thread_local struct popcorn_thread __popcorn_self;
struct popcorn_process popcorn POPCORN_PRIVATE;

/** popcorn_thread_add - a thread becomes one of the process's */
void popcorn_thread_add(struct popcorn_thread *t)
{
	popcorn_lock(&popcorn.lock);
	t->next = popcorn.threads;
	popcorn.threads = t;
	popcorn.nthreads++;
	if (popcorn.phase)
		t->flag |= POPCORN_FLAG_STOP;
	popcorn_unlock(&popcorn.lock);
}

static void thread_remove(struct popcorn_thread *t)
{
	struct popcorn_thread **p;

	popcorn_lock(&popcorn.lock);
	for (p = &popcorn.threads; *p && *p != t; p = &(*p)->next)
		;
	if (*p) {
		*p = t->next;
		popcorn.nthreads--;
	}
	popcorn_unlock(&popcorn.lock);
	__atomic_add_fetch(&popcorn.stopped, 1, __ATOMIC_SEQ_CST);	/* who waits for all counts again */
	popcorn_futex_wake(&popcorn.stopped, 1);
}

int __popcorn_thread_new(struct popcorn_thread *t, void *tls, void *libc, uint64_t stack)
{
	u64 bytes = (stack ? stack : SHADOW_BYTES) + SHADOW_GUARD;
	int err;

	bytes = (bytes + POPCORN_MAP_ALIGN - 1) & ~(POPCORN_MAP_ALIGN - 1);
	*t = (struct popcorn_thread){
		.tls = tls, .libc = libc, .to_nid = -1, .due = popcorn.every,
		.flag = popcorn.every ? POPCORN_FLAG_EVERY : 0, .state = POPCORN_THREAD_NEW,
	};
	t->ss_map = popcorn_map_anon(bytes, POPCORN_KIND_SHADOW);
	if (!t->ss_map)
		return -SYS_ENOMEM;
	t->ss_bytes = bytes;
	err = popcorn_records_prepare(t, 0);
	if (err || __popcorn_mprotect(t->ss_map, SHADOW_GUARD, SYS_PROT_NONE)) {
		popcorn_map_gone(t->ss_map, bytes);
		popcorn_records_free(t);
		return -SYS_ENOMEM;
	}
	t->ss_end = t->ss_map + SHADOW_GUARD;
	t->ssp = t->ss_map + bytes;
	popcorn_thread_add(t);
	return 0;
}

void __popcorn_thread_free(struct popcorn_thread *t)
{
	thread_remove(t);
	popcorn_records_free(t);
	if (t->ss_map)
		popcorn_map_gone(t->ss_map, t->ss_bytes);
	t->ss_map = NULL;
}

/*
 * Until the kernel has ended it, a thread still changes memory: it gives up its TLS, and the kernel clears the lock of
 * the libc's list of threads for it. Nothing is written before that.
 */
static void leave(s32 tid)
{
	u32 i;

	for (;;) {
		popcorn_lock(&popcorn.lock);
		for (i = 0; i < POPCORN_LEAVING; i++)
			if (!popcorn.leaving[i] || popcorn_has_left(popcorn.leaving[i])) {
				popcorn.leaving[i] = tid;
				popcorn_unlock(&popcorn.lock);
				return;
			}
		popcorn_unlock(&popcorn.lock);
		popcorn_futex_wait(&popcorn.stopped, popcorn.stopped, 1);
	}
}

void __popcorn_thread_gone(void)
{
	__popcorn_self.flag = 0;
	leave(__popcorn_self.tid);
	__popcorn_thread_free(&__popcorn_self);
}

void __popcorn_fork(int when)
{
	struct popcorn_thread *t = &__popcorn_self;

	if (when < 0) {
		popcorn_lock(&popcorn.lock);
		return;
	}
	if (when) {
		t->next = NULL;
		t->tid = sys(gettid, 0);
		popcorn.threads = t;
		popcorn.nthreads = 1;
		popcorn.phase = 0;
		popcorn.agent = 0;
		__builtin_memset(popcorn.leaving, 0, sizeof(popcorn.leaving));
	}
	popcorn_unlock(&popcorn.lock);
}

_Noreturn void __popcorn_ss_overflow(void)
{
	popcorn_die("a thread's shadow stack is exhausted: recursion without end, or objects too large "
		    "for it", NULL);
}

/**
 * popcorn_capture - begins to capture the calling thread
 * @action: enum popcorn_action
 * @resume: the innermost record's resume function, of the type of the function that captures
 *
 * All signals are blocked until popcorn_arrive(). The caller returns at once.
 */
void popcorn_capture(struct popcorn_thread *t, u32 action, void *resume)
{
	u64 all = ~0ull;
	struct popcorn_record *r;

	sys(rt_sigprocmask, SYS_SIG_SETMASK, &all, &t->sigmask, 8);
	t->action = action;
	r = (struct popcorn_record *)__popcorn_save(sizeof(*r));
	r->resume = resume;
	r->site = 0;
	t->unwinding = POPCORN_CAPTURE;
}

/** popcorn_arrive - all frames have resumed: the thread runs as before */
void popcorn_arrive(struct popcorn_thread *t)
{
	sys(rt_sigprocmask, SYS_SIG_SETMASK, &t->sigmask, NULL, 8);
}

void popcorn_point_resumed(char *record)
{
	(void)record;
	popcorn_arrive(&__popcorn_self);
}

static int every(struct popcorn_thread *t)
{
	if (--t->due)
		return 0;
	t->due = popcorn.every;
	return 1;
}

void POPCORN_COLD __popcorn_point(void)
{
	struct popcorn_thread *t = &__popcorn_self;
	u32 flag = __atomic_exchange_n(&t->flag, popcorn.every ? POPCORN_FLAG_EVERY : 0,
				       __ATOMIC_SEQ_CST);
	u32 action;
	int moves = popcorn.every && every(t);

	popcorn.stats.points++;
	if (moves && popcorn.every_file) {
		if (t->pins) {
			popcorn.stats.refused++;
			return;
		}
		popcorn_stop_begin(0);
	}
	if (__atomic_load_n(&popcorn.phase, __ATOMIC_ACQUIRE) &&
	    ((flag & POPCORN_FLAG_STOP) || (moves && popcorn.every_file))) {
		action = POPCORN_ACTION_STOP;
		if (t->pins) {	/* perhaps not at the next point any more */
			__atomic_or_fetch(&t->flag, POPCORN_FLAG_STOP, __ATOMIC_SEQ_CST);
			return;
		}
	} else {
		action = POPCORN_ACTION_MOVE;
		t->to_nid = -1;
		if (popcorn.engine && (flag & (POPCORN_FLAG_GO | POPCORN_FLAG_ASKED))) {
			t->to_nid = popcorn.engine->proposed(t);
			moves = 1;
		}
		if (!moves || popcorn.every_file)
			return;
		if (t->pins) {
			t->why = t->pin_why;
			if (t->to_nid >= 0)	/* who asked waits for it */
				__atomic_or_fetch(&t->flag, flag & POPCORN_FLAG_ASKED, __ATOMIC_SEQ_CST);
			else
				popcorn.stats.refused++;
			return;
		}
	}
	popcorn_capture(t, action, popcorn_point_resumed);
}

/* A complete thread at its root, all signals blocked. */
static void captured(struct popcorn_thread *t)
{
	t->unwinding = POPCORN_RUN;
	if (t->action == POPCORN_ACTION_MOVE) {
		t->moved = popcorn.engine ? popcorn.engine->move(t) : 0;
		t->to_nid = -1;
		popcorn.stats.moves++;
	} else {
		popcorn_stop(t);
	}
}

/* Frames that return without a record for longjmp() have missed theirs. */
static void check(const struct popcorn_thread *t)
{
	if (t->unwinding != POPCORN_CAPTURE)
		popcorn_die("longjmp to a function that has returned", NULL);
}

static void *go_on(struct popcorn_thread *t)
{
	struct popcorn_record *r;
	void *ret;

	do {
		r = (struct popcorn_record *)__popcorn_next();
		ret = ((void *(*)(char *))r->resume)((char *)r);
		if (!t->unwinding)
			return ret;
		check(t);
		captured(t);
	} while (1);
}

/** popcorn_go_on - a restored thread resumes, as the one that __popcorn_run() had called */
void popcorn_go_on(struct popcorn_thread *t)
{
	t->state = POPCORN_THREAD_RUNS;
	go_on(t);
	popcorn_die("a restored thread has left its first function", NULL);
}

void *__popcorn_run(void *(*fn)(void *arg), void *arg)
{
	struct popcorn_thread *t = &__popcorn_self;
	void *ret;

	t->tid = sys(gettid, 0);
	t->state = POPCORN_THREAD_RUNS;
	ret = fn(arg);
	if (!t->unwinding)
		return ret;
	check(t);
	captured(t);
	return go_on(t);
}
