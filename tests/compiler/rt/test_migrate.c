// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * <popcorn/migrate.h> on an engine made for the test: nodes 0 to 3, of which 2 is down and 3 is lost on the way. A
 * capture is played: the thread leaves and resumes within popcorn_capture().
 */
#include <errno.h>

#include "../../../compiler/rt/migrate.c"
#include "../../core/tap.h"

jmp_buf tap_out;

_Thread_local struct popcorn_thread __popcorn_self;
struct popcorn_process popcorn;

static int played, asked = -1, moves, called_at;
static void *called_with;

static int test_may(struct popcorn_thread *t, int nid, const char **why)
{
	(void)t;
	if (nid > 3) {
		*why = "there is no such node";
		return -EINVAL;
	}
	if (nid == 2) {
		*why = "node 2 is down";
		return -EHOSTDOWN;
	}
	return 0;
}

static int test_proposed(struct popcorn_thread *t)
{
	(void)t;
	return asked;
}

static int test_move(struct popcorn_thread *t)
{
	moves++;
	if (t->to_nid == 3) {
		t->why = "node 3 did not answer";
		return -ETIMEDOUT;
	}
	t->nid = t->to_nid;
	return 0;
}

static struct popcorn_engine test_engine = {
	.name = "test", .may = test_may, .proposed = test_proposed, .move = test_move,
};

void popcorn_capture(struct popcorn_thread *t, u32 action, void *resume)
{
	t->action = action;
	t->moved = popcorn.engine->move(t);
	t->to_nid = -1;
	played = ((int (*)(char *))resume)(NULL);
}

void popcorn_arrive(struct popcorn_thread *t)
{
	(void)t;
}

static void arrived(void *arg)
{
	called_at = current_nid();
	called_with = arg;
	CHECK(__popcorn_self.pins == 1);
}

/* What migrate() returns in the end. */
static int result(int ret)
{
	return ret ? ret : played;
}

static int go(int nid)
{
	played = 0;
	called_at = -1;
	called_with = NULL;
	return result(migrate(nid, arrived, &moves));
}

static void test_migrate(void)
{
	CHECK(go(1) == 0 && current_nid() == 1 && moves == 1);
	CHECK(called_at == 1 && called_with == &moves);
	CHECK(!*migrate_reason());
	CHECK(go(1) == 0 && moves == 1 && called_at == 1);
	CHECK(result(migrate(0, NULL, NULL)) == 0 && current_nid() == 0);
}

static void test_refusals(void)
{
	const char *old;

	moves = 0;
	CHECK(go(2) == -EHOSTDOWN && !strcmp(migrate_reason(), "node 2 is down"));
	CHECK(go(4) == -EINVAL && go(-1) == -EINVAL);
	old = __popcorn_pin("the test holds it");
	CHECK(go(1) == -EBUSY && !strcmp(migrate_reason(), "the test holds it"));
	__popcorn_unpin(old);
	CHECK(!moves && called_at < 0 && current_nid() == 0);
	CHECK(popcorn.stats.refused == 4);
	CHECK(go(3) == -ETIMEDOUT && current_nid() == 0 && moves == 1);
	CHECK(!strcmp(migrate_reason(), "node 3 did not answer"));
	CHECK(go(1) == 0 && !*migrate_reason());
}

static void test_asked(void)
{
	CHECK(check_migrate(arrived, NULL) == 0 && current_nid() == 1);
	asked = 0;
	__popcorn_self.flag = POPCORN_FLAG_ASKED | POPCORN_FLAG_EVERY;
	CHECK(result(check_migrate(arrived, NULL)) == 0 && current_nid() == 0);
	CHECK(__popcorn_self.flag == POPCORN_FLAG_EVERY);
	asked = 2;
	__popcorn_self.flag = POPCORN_FLAG_GO;
	CHECK(check_migrate(NULL, NULL) == -EHOSTDOWN);
}

static int region(size_t r, int tid)
{
	played = 0;
	return result(migrate_schedule(r, tid, NULL, NULL));
}

static void test_schedule(void)
{
	popcorn.schedule = "0:1:1,7:*:0,8:2:2,9:2";
	CHECK(region(0, 0) == 0 && current_nid() == 0);
	CHECK(region(0, 1) == 0 && current_nid() == 1);
	CHECK(region(7, 5) == 0 && current_nid() == 0);
	CHECK(region(8, 2) == -EHOSTDOWN);
	CHECK(region(9, 2) == 0 && region(1, 1) == 0);
	popcorn.schedule = NULL;
	CHECK(region(0, 1) == 0);
}

static void test_no_engine(void)
{
	popcorn.engine = NULL;
	__popcorn_self.nid = 0;
	__popcorn_self.flag = POPCORN_FLAG_ASKED;
	CHECK(go(0) == 0 && go(1) == -EINVAL);
	CHECK(check_migrate(NULL, NULL) == 0);
}

int main(void)
{
	static const struct tap_test tests[] = {
		TEST(test_migrate), TEST(test_refusals), TEST(test_asked), TEST(test_schedule), TEST(test_no_engine),
	};

	popcorn.engine = &test_engine;
	__popcorn_self.to_nid = -1;
	return tap_run(tests, sizeof(tests) / sizeof(tests[0]));
}
