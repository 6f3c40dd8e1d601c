/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the runtime's files share. All that it keeps beside popcorn_thread is private to the process
 * (POPCORN_PRIVATE): what is to move is written into an image and rebuilt from it.
 */
#ifndef POPCORN_RT_RUNTIME_H
#define POPCORN_RT_RUNTIME_H

#include "mapset.h"
#include "rt.h"
#include "sys.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* popcorn_thread.flag is not 0 for one of these reasons. */
enum popcorn_flag {
	POPCORN_FLAG_ASKED = 1,		/* signal 35 */
	POPCORN_FLAG_STOP = 2,		/* all threads are to stop */
	POPCORN_FLAG_EVERY = 4,		/* POPCORN_EVERY: each point counts */
	POPCORN_FLAG_GO = 8,		/* migrate() or a proposal: to_nid */
};

enum popcorn_thread_state {
	POPCORN_THREAD_NEW,		/* has not run yet */
	POPCORN_THREAD_RUNS,
	POPCORN_THREAD_STOPPED,		/* captured, waits until all go on */
};

enum popcorn_action {
	POPCORN_ACTION_MOVE,		/* this thread alone, to to_nid */
	POPCORN_ACTION_STOP,		/* with all others, until the agent has done what it was made for */
};

#define POPCORN_SIGNAL 35	/* asks a thread to come to its next point */

/* The reserved addresses, the same on all ISAs. */
#define POPCORN_BRK_START 0x1000000000ull
#define POPCORN_MAP_START 0x1400000000ull
#define POPCORN_MAP_END 0x3000000000ull
#define POPCORN_MAP_ALIGN 0x10000ull

struct popcorn_lock {
	u32 word;		/* 0 free, 1 taken, 2 taken and waited for */
	u64 sigmask;
};

/*
 * Where complete states go. Called at the root of a captured thread with all signals blocked; when it returns, the
 * thread goes on from the records in it, which may be others than before if it has been elsewhere meanwhile.
 */
struct popcorn_engine {
	const char *name;
	/* May @t go to node @nid? 0, or -errno and a reason for the user. Called before capture. */
	int (*may)(struct popcorn_thread *t, int nid, const char **why);
	/* The node that somebody has proposed for @t, or -1. */
	int (*proposed)(struct popcorn_thread *t);
	/* @t is complete and goes to t->to_nid. Result: 0, or -errno if it could not leave. */
	int (*move)(struct popcorn_thread *t);
};

struct popcorn_stats {
	u64 points;		/* calls of __popcorn_point() */
	u64 moves;		/* captures that ended in a resume somewhere */
	u64 refused;		/* moves refused because of a pin */
	u64 images;		/* files written */
};

/* A descriptor that the process started with: the program's parent's, like 0 to 2. */
struct popcorn_inherited {
	s32 fd;
	u64 ino;
};

#define POPCORN_INHERITED 32
#define POPCORN_LEAVING 64

struct popcorn_process {
	struct popcorn_thread *threads;
	u32 nthreads;
	struct popcorn_lock lock;	/* threads, map */
	struct popcorn_mapset map;
	u64 brk;
	long *start;		/* argc, argv, environ and auxiliary vector in common memory */
	u64 auxv;		/* index of the auxiliary vector in start */
	const struct popcorn_engine *engine;
	struct popcorn_stats stats;

	s32 leaving[POPCORN_LEAVING];	/* kernel's ids of threads on their way out, maybe over by now */

	/* Stopping all threads: stop.c. */
	u32 phase;		/* enum popcorn_phase; a futex */
	u32 stopped;		/* threads stopped by now; a futex */
	u32 agent;		/* not 0: the agent runs; cleared by the kernel when it has ended */
	char *agent_stack;
	int agent_sock;		/* to the tool, or -1 */

	char program[4096];	/* path without the ISA: another one is to find its own */
	struct popcorn_inherited inherited[POPCORN_INHERITED];
	u32 ninherited;

	u64 nodes;		/* POPCORN_NODES, or 0 */
	const char *schedule;	/* POPCORN_SCHEDULE */
	u64 every;		/* POPCORN_EVERY, or 0 */
	const char *every_file;	/* POPCORN_FILE: every n-th point writes it and ends, or NULL */
	const char *stats_file;	/* POPCORN_STATS */
	u64 wait_ms;		/* how long a stop may take */
};

extern struct popcorn_process popcorn;

/* The common data in whole pages. */
static inline u64 popcorn_data_end(void)
{
	return ((u64)_end + 4095) & ~4095ull;
}

/* lock.c: holders have all signals blocked, so that a handler may map memory. */
void popcorn_lock(struct popcorn_lock *l);
void popcorn_unlock(struct popcorn_lock *l);
void popcorn_futex_wait(u32 *word, u32 value, u64 ms);
void popcorn_futex_wake(u32 *word, int n);
u64 popcorn_now_ms(void);

/* line.c: one line to standard error, written at once. */
struct popcorn_line {
	u32 len;
	char text[500];
};
void popcorn_line_str(struct popcorn_line *l, const char *s);
void popcorn_line_num(struct popcorn_line *l, s64 n);
void popcorn_line_hex(struct popcorn_line *l, u64 n);
void popcorn_line_write(struct popcorn_line *l, int fd);
_Noreturn void popcorn_die(const char *what, const char *object);

/* records.c */
int popcorn_records_prepare(struct popcorn_thread *t, u64 bytes);
void popcorn_records_free(struct popcorn_thread *t);
u64 popcorn_records_bytes(const struct popcorn_thread *t);
int popcorn_records_copy(const struct popcorn_thread *t,
			 int (*out)(void *ctx, const void *p, u64 len), void *ctx);

/* map.c */
long popcorn_map_at(u64 start, u64 end, u32 kind, u32 prot);
void *popcorn_map_anon(u64 len, u32 kind);
void popcorn_map_gone(void *addr, u64 len);
void *popcorn_private_pages(u64 len);

/* thread.c */
void popcorn_capture(struct popcorn_thread *t, u32 action, void *resume);
void popcorn_arrive(struct popcorn_thread *t);
void popcorn_go_on(struct popcorn_thread *t);
void popcorn_point_resumed(char *record);
void popcorn_thread_add(struct popcorn_thread *t);

/* migrate.c */
extern struct popcorn_engine popcorn_engine_here;
void popcorn_arrived(struct popcorn_thread *t);

/* entry.S */
long popcorn_clone(u64 flags, void *stack, void (*fn)(void *arg), void *arg, void *tp, u32 *ctid);
void popcorn_sigreturn(void);

/* stop.c */
int popcorn_has_left(s32 tid);
int popcorn_stop_begin(u64 request);
void popcorn_stop(struct popcorn_thread *t);
void popcorn_signal_init(void);

/* dump.c */
void popcorn_inherit(void);
int popcorn_dump(int fd, const char **why, s64 *number);

/* ask.c */
int popcorn_ask_connect(u64 request, int *image, char *what);
void popcorn_ask_answer(int sock, const struct popcorn_line *l);

/* restore.c */
_Noreturn void popcorn_restore(const char *name, long *sp);
void popcorn_auxv_refresh(long *start, u64 auxv, const long *sp);

/* Of a whole image. */
#define POPCORN_ENDED_FOR_IMAGE 75	/* exit status after POPCORN_FILE has been written */

#endif
