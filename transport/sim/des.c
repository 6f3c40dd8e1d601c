// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Discrete events, chance and memory: the parts of the simulator that make a
 * run follow from its seed and from nothing else.
 */
#include <stdarg.h>

#include "sim.h"

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->ord < b->ord;
}

/* Let @fn(@arg, @tag) happen at time @at; in the order of the calls if it's the same. */
void sim_at(struct sim *s, u64 at, void (*fn)(struct sim *, void *, u64), void *arg, u64 tag)
{
	struct event e = { at < s->now ? s->now : at, s->ord++, fn, arg, tag };
	size_t i = s->heap_n++;

	if (s->heap_n > s->heap_max) {
		s->heap_max = s->heap_max ? 2 * s->heap_max : 1024;
		s->heap = realloc(s->heap, s->heap_max * sizeof(*s->heap));
		if (!s->heap)
			abort();
	}
	for (; i && before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = e;
}

/* The next event up to time @until. Return: false if there is none. */
bool sim_step(struct sim *s, u64 until)
{
	struct event top, last;
	size_t i = 0, c;

	if (!s->heap_n || s->heap[0].at > until) {
		s->now = until;
		return false;
	}
	top = s->heap[0];
	last = s->heap[--s->heap_n];
	while ((c = 2 * i + 1) < s->heap_n) {
		if (c + 1 < s->heap_n && before(&s->heap[c + 1], &s->heap[c]))
			c++;
		if (!before(&s->heap[c], &last))
			break;
		s->heap[i] = s->heap[c];
		i = c;
	}
	s->heap[i] = last;
	s->now = top.at;
	s->st.events++;
	top.fn(s, top.arg, top.tag);
	return true;
}

/* Finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
u64 sim_mix(u64 x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

u64 sim_rand(struct sim *s)
{
	s->rng += 0x9e3779b97f4a7c15ull;
	return sim_mix(s->rng);
}

u64 sim_spread(struct sim *s, u64 lo, u64 hi)
{
	u64 span = hi - lo, bits = 0;

	if (hi <= lo)
		return lo;
	while (span >> bits)
		bits++;
	span = sim_below(s, 1ull << sim_below(s, bits + 1));
	return lo + (span < hi - lo ? span : hi - lo);
}

/* Zeroed, counted; the size sits in front. */
void *sim_alloc(struct sim *s, size_t size)
{
	u64 *p = calloc(1, size + 16);

	if (!p)
		abort();
	p[0] = size;
	s->mem += size;
	if (s->mem > s->mem_max)
		s->mem_max = s->mem;
	return p + 2;
}

void sim_free(struct sim *s, void *p)
{
	u64 *q = p;

	if (!p)
		return;
	s->mem -= q[-2];
	free(q - 2);
}

void sim_log(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (s->verbose <= 0)
		return;
	printf("%12.6f ", s->now / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	printf("seed %llu: at %.6f s: ", (unsigned long long)s->seed, s->now / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nrun it again: %s\n", s->rerun);
	fflush(stdout);
	_Exit(1);
}
