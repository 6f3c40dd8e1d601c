// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Sequential streams: what is fetched ahead, and what isn't.
 */
#include "../core/tap.h"
#include "../../dsm-proto/core/stream.h"

jmp_buf tap_out;

#define PAGES	1000

static struct pd_stream s;
static u8 here[PAGES];		/* times that a page was fetched ahead */
static u32 most;

static u32 fault(u32 page)
{
	u32 first = 0, n = pd_stream_fault(&s, page, PAGES, &first), i;

	CHECK(n <= PD_STREAM_MAX);
	CHECK(!n || (first < PAGES && n <= PAGES - first));
	for (i = 0; i < n; i++) {
		CHECK(first + i != page);
		here[first + i]++;
	}
	if (n > most)
		most = n;
	return n;
}

static void fresh(void)
{
	memset(&s, 0, sizeof(s));
	memset(here, 0, sizeof(here));
	most = 0;
}

static void each_page_once(int from, int to, int step)
{
	u32 missed = 0;
	int i;

	for (i = from; i != to; i += step) {
		CHECK(here[i] <= 1);
		missed += !here[i];
		fault(i);
	}
	CHECK_EQ(missed, 2);	/* those that told */
	CHECK(most >= PD_STREAM_MAX / 2);
}

/* Faults map up to 15 more pages with theirs. */
static void each_page_once_around(int from, int to, int step)
{
	u32 missed = 0, faults = 0, n;
	bool down;
	int i, k;

	for (i = from; i != to; i += step) {
		CHECK(here[i] <= 1);
		missed += !here[i];
		faults++;
		n = here[i] ? pd_stream_around(&s, i, &down) : 0;
		if (n > 15)
			n = 15;
		CHECK(!n || down == (step < 0));
		for (k = 1; k <= (int)n; k++)
			CHECK_EQ(here[i + k * step], 1);
		pd_stream_used(&s, i, n);
		i += step * (int)n;
		fault(i);
	}
	CHECK_EQ(missed, 2);
	CHECK(faults <= PAGES / 10);
	CHECK(most >= PD_STREAM_MAX / 2);
}

static void around(void)
{
	bool down;

	fresh();
	each_page_once_around(0, PAGES, 1);
	fresh();
	each_page_once_around(PAGES - 1, -1, -1);
	/* Nothing is mapped around a page that no run goes on at. */
	CHECK_EQ(pd_stream_around(&s, 500, &down), 0);
	pd_stream_used(&s, 500, 7);
	CHECK_EQ(fault(507), 0);
}

static void forward(void)
{
	u32 first;

	fresh();
	CHECK_EQ(fault(10), 0);
	CHECK_EQ(pd_stream_fault(&s, 11, PAGES, &first), PD_STREAM_MIN);
	CHECK_EQ(first, 12);
	fresh();
	each_page_once(0, PAGES, 1);
}

static void backward(void)
{
	u32 first;

	fresh();
	CHECK_EQ(fault(10), 0);
	CHECK_EQ(pd_stream_fault(&s, 9, PAGES, &first), PD_STREAM_MIN);
	CHECK_EQ(first, 5);
	fresh();
	each_page_once(PAGES - 1, -1, -1);
}

static void some_at_a_time(void)
{
	u32 i, missed = 0;

	/* c[i] = a[i] + b[i] */
	fresh();
	for (i = 0; i < 300; i++) {
		missed += !here[i] + !here[333 + i] + !here[666 + i];
		fault(i);
		fault(333 + i);
		fault(666 + i);
	}
	CHECK_EQ(missed, 6);
	CHECK(most >= PD_STREAM_MAX / 2);
}

static void not_at_random(void)
{
	u32 i, n = 0;

	fresh();
	for (i = 0; i < 500; i++)
		n += fault(i * 379 % PAGES);
	CHECK_EQ(n, 0);
	/* Nor the same page again and again. */
	for (i = 0; i < 10; i++)
		n += fault(5);
	CHECK_EQ(n, 0);
}

static void the_window_grows_and_shrinks(void)
{
	u32 i;

	fresh();
	for (i = 0; i < 200; i++)
		fault(i);
	CHECK_EQ(s.run[0].win, PD_STREAM_MAX);
	fault(i + 1);		/* one is passed over */
	CHECK_EQ(s.run[0].win, PD_STREAM_MAX / 2);
	pd_stream_unused(&s, i + 3);
	CHECK_EQ(s.run[0].win, PD_STREAM_MAX / 4);
	pd_stream_unused(&s, 900);	/* not one of these */
	CHECK_EQ(s.run[0].win, PD_STREAM_MAX / 4);
	pd_stream_unused(&s, i + 4);
	pd_stream_unused(&s, i + 5);
	CHECK_EQ(s.run[0].win, 0);
	/* It has to prove itself again. */
	CHECK_EQ(fault(i + 2), PD_STREAM_MIN);
}

static void at_the_ends(void)
{
	u32 first;

	fresh();
	CHECK_EQ(fault(PAGES - 2), 0);
	CHECK_EQ(fault(PAGES - 1), 0);
	CHECK_EQ(fault(1), 0);
	CHECK_EQ(fault(0), 0);
	CHECK_EQ(pd_stream_fault(&s, PAGES, PAGES, &first), 0);
	CHECK_EQ(pd_stream_fault(&s, ~0u, PAGES, &first), 0);
	fresh();
	CHECK_EQ(pd_stream_fault(&s, 0, 1, &first), 0);
	CHECK_EQ(pd_stream_fault(&s, 0, 1, &first), 0);
}

static void the_counter_wraps(void)
{
	fresh();
	s.faults = ~0u - 1;
	fault(1);
	fault(2);
	CHECK_EQ(fault(3), PD_STREAM_MIN);
}

/* Pages to write are others' loss: a stream is known by more faults, and begins anew. */
static void writes_are_slow_to_begin(void)
{
	struct pd_stream w = { .least = PD_STREAM_WRITES };
	u32 page, first, n;

	for (page = 10; page < 10 + PD_STREAM_WRITES - 1; page++)
		CHECK_EQ(pd_stream_fault(&w, page, 1000, &first), 0);
	n = pd_stream_fault(&w, page, 1000, &first);
	CHECK_EQ(n, PD_STREAM_MIN);
	CHECK_EQ(first, page + 1);
	pd_stream_unused(&w, first);
	for (n = 1; n < PD_STREAM_WRITES - 1; n++)
		CHECK_EQ(pd_stream_fault(&w, ++page, 1000, &first), 0);
	CHECK_EQ(pd_stream_fault(&w, ++page, 1000, &first), PD_STREAM_MIN);
	/* To and fro is no stream. */
	w = (struct pd_stream){ .least = PD_STREAM_WRITES };
	for (n = 0; n < 100; n++)
		CHECK_EQ(pd_stream_fault(&w, 10 + n % 2, 1000, &first), 0);
}

static const struct tap_test tests[] = {
	TEST(forward), TEST(around), TEST(backward), TEST(some_at_a_time), TEST(not_at_random),
	TEST(the_window_grows_and_shrinks), TEST(at_the_ends), TEST(the_counter_wraps),
	TEST(writes_are_slow_to_begin),
};

TAP_MAIN(tests)
