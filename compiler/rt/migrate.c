// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The calls of <popcorn/migrate.h>, and an engine that makes nodes of one process (POPCORN_NODES). */
#include "../../include/popcorn/migrate.h"
#include "runtime.h"

int popcorn_migrate_resumed(char *record);

/* Why not? NULL if @t may go to @nid. */
static int may(struct popcorn_thread *t, int nid, const char **why)
{
	if (!popcorn.engine || nid < 0) {
		*why = nid == t->nid ? NULL : "there is no such node";
		return *why ? -SYS_EINVAL : 0;
	}
	if (t->pins) {
		*why = t->pin_why ? t->pin_why : "a frame on its stack is not instrumented";
		return -SYS_EBUSY;
	}
	return popcorn.engine->may(t, nid, why);
}

/* Unlike a point, it has the caller's frame return a result when the thread has arrived. */
int migrate(int nid, void (*callback)(void *arg), void *arg)
{
	struct popcorn_thread *t = &__popcorn_self;
	const char *why = NULL;
	int err = may(t, nid, &why);

	t->why = why;
	if (err) {
		popcorn.stats.refused++;
		return err;
	}
	t->arrived = callback;
	t->arrived_arg = arg;
	if (nid == t->nid) {
		if (callback)
			popcorn_arrived(t);
		return 0;
	}
	t->to_nid = nid;
	popcorn_capture(t, POPCORN_ACTION_MOVE, popcorn_migrate_resumed);
	return 0;
}

/** popcorn_arrived - calls the callback of a thread that has arrived; its frames have this one below them */
void popcorn_arrived(struct popcorn_thread *t)
{
	void (*callback)(void *arg) = t->arrived;
	const char *old = __popcorn_pin("migrate() has called a function");

	t->arrived = NULL;
	callback(t->arrived_arg);
	__popcorn_unpin(old);
}

int popcorn_migrate_resumed(char *record)
{
	struct popcorn_thread *t = &__popcorn_self;

	(void)record;
	popcorn_arrive(t);
	if (t->arrived)
		popcorn_arrived(t);
	return t->moved;
}

int check_migrate(void (*callback)(void *arg), void *arg)
{
	struct popcorn_thread *t = &__popcorn_self;
	u32 asked = POPCORN_FLAG_ASKED | POPCORN_FLAG_GO;

	if (!popcorn.engine || !(__atomic_fetch_and(&t->flag, ~asked, __ATOMIC_SEQ_CST) & asked))
		return 0;
	return migrate(popcorn.engine->proposed(t), callback, arg);
}

static const char *number_at(const char *s, u64 *n)
{
	*n = ~0ull;
	if (*s == '*')
		return s + 1;
	for (*n = 0; *s >= '0' && *s <= '9'; s++)
		*n = *n * 10 + *s - '0';
	return s;
}

int migrate_schedule(size_t region, int tid, void (*callback)(void *arg), void *arg)
{
	const char *s = popcorn.schedule;

	while (s && *s) {
		u64 r, who, nid;

		s = number_at(s, &r);
		if (*s++ != ':')
			break;
		s = number_at(s, &who);
		if (*s++ != ':')
			break;
		s = number_at(s, &nid);
		if (r == region && (who == ~0ull || who == (u64)tid))
			return migrate((int)nid, callback, arg);
		if (*s == ',')
			s++;
	}
	return 0;
}

int current_nid(void)
{
	return __popcorn_self.nid;
}

const char *migrate_reason(void)
{
	return __popcorn_self.why ? __popcorn_self.why : "";
}

/*
 * POPCORN_NODES=N: N nodes that are this process. A thread that goes to another is captured and resumed, and
 * nothing else changes: for tests, and for programs to be tried without a second machine.
 */
static int here_may(struct popcorn_thread *t, int nid, const char **why)
{
	(void)t;
	if ((u64)nid < popcorn.nodes)
		return 0;
	*why = "there is no such node";
	return -SYS_EINVAL;
}

static int here_proposed(struct popcorn_thread *t)
{
	return (t->nid + 1) % popcorn.nodes;
}

static int here_move(struct popcorn_thread *t)
{
	if (t->to_nid >= 0)
		t->nid = t->to_nid;
	return 0;
}

struct popcorn_engine popcorn_engine_here POPCORN_PRIVATE_DATA = {
	.name = "here", .may = here_may, .proposed = here_proposed, .move = here_move,
};
