// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Sequential streams. Two faults at neighbouring pages begin one. The window doubles each
 * time half of it has been used, and halves when a page of it is passed over or taken away.
 */
#include "stream.h"

/* How far is @to from @from, in the run's direction? Negative: behind. */
static s64 ahead(const struct pd_run *r, u32 from, u32 to)
{
	return r->down ? (s64)from - to : (s64)to - from;
}

/* The run that has @page next, or, if none has, the one that was used least lately. */
static struct pd_run *find(struct pd_stream *s, u32 page, bool *goes_on)
{
	struct pd_run *oldest = &s->run[0], *begins = NULL, *r;

	*goes_on = true;
	for (r = s->run; r < s->run + PD_STREAMS; r++) {
		if (r->used < oldest->used)
			oldest = r;
		if (!r->used)
			continue;
		if (r->win && ahead(r, r->last, page) >= 0 && ahead(r, r->edge, page) <= 1)
			return r;
		if (!r->win && (page == r->last || page == r->last + 1 || page + 1 == r->last))
			begins = r;
	}
	*goes_on = begins;
	return begins ? begins : oldest;
}

static u32 fetch(struct pd_run *r, u32 page, u32 pages, u32 *first)
{
	u32 room = r->down ? page : pages - 1 - page;	/* to the end of the region */
	s64 have = ahead(r, page, r->edge);
	u32 n, from;

	if (have < 0) {
		have = 0;
		r->edge = page;
	}
	if (have > r->win / 2)
		return 0;
	from = have;
	n = r->win < room ? r->win : room;
	if (n <= from)
		return 0;
	*first = r->down ? page - n : page + from + 1;
	r->edge = r->down ? page - n : page + n;
	return n - from;
}

u32 pd_stream_fault(struct pd_stream *s, u32 page, u32 pages, u32 *first)
{
	bool goes_on;
	struct pd_run *r;

	if (page >= pages)
		return 0;
	r = find(s, page, &goes_on);
	if (!++s->faults) {
		/* Once in 2^32: begin anew. */
		*s = (struct pd_stream){ .faults = 1, .least = s->least };
		goes_on = false;
		r = &s->run[0];
	}
	r->used = s->faults;
	if (!goes_on) {
		r->last = r->edge = page;
		r->win = 0;
		r->len = 1;
		return 0;
	}
	if (page == r->last)
		return 0;
	if (!r->win) {
		r->len = r->down == (page < r->last) ? r->len + 1 : 2;
		r->down = page < r->last;
		r->edge = page;
		if (r->len >= s->least)
			r->win = PD_STREAM_MIN;
	} else if (ahead(r, r->last, page) > 1) {
		r->win = r->win / 2 > PD_STREAM_MIN ? r->win / 2 : PD_STREAM_MIN;
	} else if (ahead(r, page, r->edge) <= r->win / 2 && r->win < PD_STREAM_MAX) {
		r->win *= 2;
	}
	r->last = page;
	if (!r->win)
		return 0;
	return fetch(r, page, pages, first);
}

/* The run that goes on at @page, and has fetched ahead. */
static const struct pd_run *goes_on_at(const struct pd_stream *s, u32 page)
{
	const struct pd_run *r;

	for (r = s->run; r < s->run + PD_STREAMS; r++)
		if (r->win && ahead(r, r->last, page) >= 0 && ahead(r, r->last, page) <= 1 &&
		    ahead(r, page, r->edge) >= 0)
			return r;
	return NULL;
}

u32 pd_stream_around(const struct pd_stream *s, u32 page, bool *down)
{
	const struct pd_run *r = goes_on_at(s, page);

	*down = r && r->down;
	return r ? ahead(r, page, r->edge) : 0;
}

void pd_stream_used(struct pd_stream *s, u32 page, u32 n)
{
	const struct pd_run *r = goes_on_at(s, page);

	if (r && n)
		s->run[r - s->run].last = r->down ? page - (n - 1) : page + (n - 1);
}

void pd_stream_unused(struct pd_stream *s, u32 page)
{
	struct pd_run *r;

	for (r = s->run; r < s->run + PD_STREAMS; r++) {
		if (!r->win || ahead(r, r->last, page) <= 0 || ahead(r, page, r->edge) < 0)
			continue;
		r->win /= 2;
		if (r->win < PD_STREAM_MIN) {
			r->win = 0;
			r->len = 1;
			r->edge = r->last;
		}
		return;
	}
}
