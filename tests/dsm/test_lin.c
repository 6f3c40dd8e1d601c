// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The simulator's judge: histories of one cell that must be accepted, and others that
 * must be refused; small ones against trying all orders.
 */
#include "../core/tap.h"
#include "../../dsm-proto/sim/lin.h"

jmp_buf tap_out;

#define R(s, e, v)	{ .start = s, .end = e, .reads = v, .read = true }
#define W(s, e, v)	{ .start = s, .end = e, .writes = v }
#define RW(s, e, r, w)	{ .start = s, .end = e, .reads = r, .writes = w, .read = true }

#define LIN(...) \
	({ \
		struct lin_op o[] = { __VA_ARGS__ }; \
		const char *why; \
		lin_check(o, sizeof(o) / sizeof(o[0]), &why); \
	})
#define OK(...)  CHECK_EQ(LIN(__VA_ARGS__), 0)
#define BAD(...) CHECK_EQ(LIN(__VA_ARGS__), -EINVAL)

static void one_after_the_other(void)
{
	const char *why;

	CHECK_EQ(lin_check(NULL, 0, &why), 0);
	OK(R(1, 2, 0));
	OK(R(1, 2, 0), W(3, 4, 7), R(5, 6, 7), W(7, 8, 9), R(9, 10, 9));
	BAD(R(1, 2, 0), W(3, 4, 7), R(5, 6, 0));
	BAD(W(1, 2, 7), W(3, 4, 9), R(5, 6, 7));
	BAD(R(1, 2, 7), W(3, 4, 7));
	BAD(R(1, 2, 7));
	BAD(W(1, 2, 7), W(3, 4, 7));
}

static void at_the_same_time(void)
{
	OK(W(1, 10, 7), R(2, 3, 0), R(4, 5, 7));
	BAD(W(1, 10, 7), R(2, 3, 7), R(4, 5, 0));
	/* Two writers, and readers that see either order, but one. */
	OK(W(1, 10, 7), W(2, 11, 9), R(3, 4, 7), R(5, 6, 9));
	OK(W(1, 10, 7), W(2, 11, 9), R(3, 4, 9), R(5, 6, 7));
	BAD(W(1, 20, 7), W(2, 21, 9), R(3, 4, 9), R(5, 6, 7), R(7, 8, 9));
	BAD(W(1, 20, 7), W(2, 21, 9), R(3, 4, 0), R(5, 6, 7), R(7, 8, 0));
	/* A short write inside the time in which another value was certainly there. */
	BAD(W(1, 2, 7), W(3, 4, 9), R(5, 6, 7));
	OK(W(1, 2, 7), W(3, 6, 9), R(4, 5, 7));
	OK(W(1, 2, 7), W(3, 8, 9), R(4, 5, 7), R(6, 7, 9));
}

static void changes(void)
{
	OK(RW(1, 2, 0, 7), RW(3, 4, 7, 9), R(5, 6, 9));
	OK(RW(1, 10, 7, 9), RW(2, 11, 0, 7));
	BAD(RW(1, 2, 0, 7), RW(3, 4, 0, 9));
	BAD(RW(1, 10, 0, 7), RW(2, 11, 0, 9));
	BAD(W(1, 2, 5), RW(3, 10, 5, 7), RW(4, 11, 5, 9));
	BAD(RW(1, 10, 9, 7), RW(2, 11, 7, 9));
	/* Nothing comes between a change and what it read. */
	OK(W(1, 2, 5), RW(3, 10, 5, 7), W(4, 9, 6), R(11, 12, 6));
	BAD(W(1, 2, 5), W(3, 4, 6), RW(5, 10, 5, 7));
	BAD(W(1, 2, 5), RW(3, 20, 5, 7), W(4, 9, 6), R(10, 11, 6), R(12, 13, 7));
	BAD(W(1, 2, 5), RW(3, 4, 5, 7), R(5, 6, 5));
	OK(W(1, 2, 5), RW(3, 6, 5, 7), R(4, 5, 5));
}

static void who_died_on_the_way(void)
{
	OK(W(1, LIN_NEVER, 7), R(2, 3, 0));
	OK(W(1, LIN_NEVER, 7), R(2, 3, 0), R(4, 5, 7));
	BAD(W(1, LIN_NEVER, 7), R(2, 3, 0), R(4, 5, 7), R(6, 7, 0));
	OK(RW(1, LIN_NEVER, 0, 7), RW(2, 3, 0, 9), R(4, 5, 9));
	BAD(RW(1, LIN_NEVER, 0, 7), RW(2, 3, 0, 9), R(4, 5, 9), R(6, 7, 7));
	OK(R(1, LIN_NEVER, 99));
	/* Unseen, and only seen by one who wasn't seen. */
	OK(RW(1, LIN_NEVER, 0, 7), RW(2, LIN_NEVER, 7, 8), RW(3, 4, 0, 9));
}

/* Is there an order? Try them all. */
static bool tried(const struct lin_op *o, u32 n, u32 done, u64 value)
{
	u32 i, j;
	bool rest = false;

	for (i = 0; i < n; i++)
		rest |= !(done & 1u << i) && o[i].end != LIN_NEVER;
	if (!rest)
		return true;
	for (i = 0; i < n; i++) {
		if (done & 1u << i || (o[i].read && o[i].reads != value))
			continue;
		for (j = 0; j < n; j++)
			if (!(done & 1u << j) && o[j].end < o[i].start)
				break;
		if (j == n && tried(o, n, done | 1u << i, o[i].writes ? o[i].writes : value))
			return true;
	}
	return false;
}

static u32 draw(u32 below)
{
	static u64 x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % below;
}

static void all_orders_agree(void)
{
	u32 round, i, j, good = 0, bad = 0;

	for (round = 0; round < 60000; round++) {
		struct lin_op o[7], sorted[7];
		u32 n = 2 + draw(6), at = 1, writes = 0, open = 0, begun = 0;
		const char *why;
		int r;

		memset(o, 0, sizeof(o));
		while (begun < n || open) {
			if (begun < n && draw(2)) {
				o[begun].start = at++;
				o[begun].end = LIN_NEVER;
				open |= 1u << begun;
				if (draw(3))
					o[begun].writes = ++writes;
				begun++;
			} else if (open) {
				do
					i = draw(n);
				while (!(open & 1u << i));
				open &= ~(1u << i);
				if (draw(12))
					o[i].end = at++;
			}
		}
		for (i = 0; i < n; i++) {
			if (o[i].writes && draw(2))
				continue;
			o[i].read = true;
			j = draw(3) ? writes : 0;
			o[i].reads = j ? draw(j + 1) : 0;
			if (o[i].writes && o[i].reads == o[i].writes)
				o[i].reads = 0;
		}
		memcpy(sorted, o, sizeof(o));
		r = lin_check(sorted, n, &why);
		CHECK_EQ(r, tried(o, n, 0, 0) ? 0 : -EINVAL);
		good += !r;
		bad += !!r;
	}
	printf("# %u accepted, %u refused\n", good, bad);
	CHECK(good > 5000 && bad > 5000);
}

static const struct tap_test tests[] = {
	TEST(one_after_the_other), TEST(at_the_same_time), TEST(changes),
	TEST(who_died_on_the_way), TEST(all_orders_agree),
};

TAP_MAIN(tests)
