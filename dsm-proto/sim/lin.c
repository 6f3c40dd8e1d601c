// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Linearisability of one memory cell whose written values all differ.
 *
 * What was read says which operations belong together: a write and the reads of its
 * value. A read-modify-write must follow the write that it read at once, so it joins
 * that group and its own into a chain. Nothing else comes between the operations of a
 * chain; so each chain has to be explained by itself, and then the chains, as wholes, by
 * an order. Of a chain count only when the first of its operations was over (f) and when
 * the last one began (s). A must come before B if f(A) < s(B); there is an order unless two
 * chains must each come before the other. (That two are enough is P. Gibbons' and E.
 * Korach's result, "Testing Shared Memories", 1997.)
 */
#include <stdlib.h>

#include "lin.h"

struct chain {
	u64 f, s;
};

/* By the value whose group it belongs to; the write of it first, then the reads. */
static u64 group(const struct lin_op *o)
{
	return o->writes ? o->writes : o->reads;
}

static int by_group(const void *pa, const void *pb)
{
	const struct lin_op *a = pa, *b = pb;

	if (group(a) != group(b))
		return group(a) < group(b) ? -1 : 1;
	if (!a->writes != !b->writes)
		return a->writes ? -1 : 1;
	return a->start < b->start ? -1 : a->start > b->start;
}

static int by_f(const void *pa, const void *pb)
{
	const struct chain *a = pa, *b = pb;

	return a->f < b->f ? -1 : a->f > b->f;
}

static u32 find(const struct lin_op *ops, u32 n, u64 value)
{
	u32 lo = 0, hi = n;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (group(&ops[mid]) < value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int no(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

/* Who changed the value that each operation wrote? Positions, in @next; @n: nobody. */
static int follow(const struct lin_op *ops, u32 n, u32 *next, const char **why)
{
	u32 i;

	for (i = 0; i < n; i++)
		next[i] = n;
	for (i = 0; i < n; i++) {
		u32 at;

		if (!ops[i].writes || !ops[i].read)
			continue;
		if (!ops[i].reads)
			continue;	/* of the first value: see lin_check() */
		at = find(ops, n, ops[i].reads);
		if (at == n || ops[at].writes != ops[i].reads)
			return no(why, "a value was read that nobody wrote");
		if (next[at] != n)
			return no(why, "two changed the same value: an update is lost");
		next[at] = i;
	}
	return 0;
}

/* The chain from the write at @at on. */
static int walk(const struct lin_op *ops, u32 n, const u32 *next, u32 at, u8 *seen,
		struct chain *c, const char **why)
{
	while (at < n) {
		u64 v = group(&ops[at]), f = LIN_NEVER, s = 0;
		u32 i;

		for (i = at; i < n && group(&ops[i]) == v; i++) {
			seen[i] = 1;
			if (i > at && ops[i].end < ops[at].start && ops[at].writes)
				return no(why, "a value was read before it was written");
			if (ops[i].end < f)
				f = ops[i].end;
			if (ops[i].start > s)
				s = ops[i].start;
		}
		if (f < c->s)
			return no(why, "a value was read or changed after it had been changed");
		if (f < c->f)
			c->f = f;
		if (s > c->s)
			c->s = s;
		at = ops[at].writes ? next[at] : n;
	}
	return 0;
}

static int order(struct chain *c, u32 n, const char **why)
{
	u64 f = 0, s = 0;	/* of the chain so far with the greatest s */
	u32 i;

	qsort(c, n, sizeof(*c), by_f);
	/* Of two that clash the one with the smaller f has f < s; and no two such clashed so far. */
	for (i = 0; i < n; i++) {
		if (i && s > c[i].f && c[i].s > f)
			return no(why, "an old value was read after a newer one");
		if (c[i].s > s) {
			f = c[i].f;
			s = c[i].s;
		}
	}
	return 0;
}

/*
 * Who died on the way wrote, or didn't: only what was seen counts, by one whose operation
 * was over or was itself seen. Those go to the front. Return: how many.
 */
static u32 seen_only(struct lin_op *ops, u32 n)
{
	u32 i, j, k = 0, before;

	do {
		before = k;
		for (i = k; i < n; i++) {
			bool seen = ops[i].end != LIN_NEVER;
			struct lin_op o = ops[i];

			for (j = 0; !seen && o.writes && j < k; j++)
				seen = ops[j].read && ops[j].reads == o.writes;
			if (seen) {
				ops[i] = ops[k];
				ops[k++] = o;
			}
		}
	} while (k != before);
	return k;
}

int lin_check(struct lin_op *ops, u32 n, const char **why)
{
	struct chain *c;
	u32 i, chains = 0, first, *next;
	u8 *seen;
	int r;

	*why = "";
	if (!n)
		return 0;
	qsort(ops, n, sizeof(*ops), by_group);
	for (i = 1; i < n; i++)
		if (ops[i].writes && ops[i].writes == ops[i - 1].writes)
			return no(why, "a value was written twice");
	n = seen_only(ops, n);
	qsort(ops, n, sizeof(*ops), by_group);
	c = calloc(n + 1, sizeof(*c));
	next = calloc(n + 1, sizeof(*next));
	seen = calloc(n + 1, 1);
	if (!c || !next || !seen) {
		r = -ENOMEM;
		goto out;
	}
	r = follow(ops, n, next, why);
	if (r)
		goto out;

	/* The first value: its reads, and at most one who changed it. */
	first = n;
	for (i = 0; i < n; i++) {
		if (ops[i].writes && ops[i].read && !ops[i].reads) {
			if (first != n) {
				r = no(why, "two changed the same value: an update is lost");
				goto out;
			}
			first = i;
		}
	}
	c[0].f = 0;
	for (i = 0; i < n && !group(&ops[i]); i++) {
		seen[i] = 1;
		if (ops[i].start > c[0].s)
			c[0].s = ops[i].start;
	}
	r = walk(ops, n, next, first, seen, &c[0], why);
	if (r)
		goto out;
	c[0].f = 0;
	chains = 1;
	for (i = 0; i < n; i++) {
		if (!ops[i].writes || ops[i].read)
			continue;
		c[chains] = (struct chain){ .f = LIN_NEVER };
		r = walk(ops, n, next, i, seen, &c[chains], why);
		if (r)
			goto out;
		chains++;
	}
	for (i = 0; i < n; i++) {
		if (!seen[i]) {
			r = no(why, "a value was read that nobody wrote");
			goto out;
		}
	}
	r = order(c, chains, why);
out:
	free(seen);
	free(next);
	free(c);
	return r;
}
