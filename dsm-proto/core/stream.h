/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Which pages to fetch before they are needed: runs of faults at consecutive pages. */
#ifndef PD_STREAM_H
#define PD_STREAM_H

#include <transport/core/compat.h>

#define PD_STREAMS	4	/* that are followed at a time, of all threads of a node */
#define PD_STREAM_MIN	4	/* pages ahead at first */
#define PD_STREAM_MAX	32	/* and at most */
/*
 * Faults in a row before pages are asked for to write. Others lose them, and for good if this
 * node dies: so it never has more of those ahead than it has written to.
 */
#define PD_STREAM_WRITES	8

/**
 * struct pd_run - one stream; all zero: none
 * @last: page of the last fault
 * @edge: the furthest page that was fetched ahead; @last if none was
 * @used: when it last went on, in faults; 0: never
 * @win:  how far ahead, in pages; 0: not known to be a stream yet
 * @down: it goes to lower pages
 * @len:  faults in a row, while @win is 0
 */
struct pd_run {
	u32 last;
	u32 edge;
	u32 used;
	u8 win;
	u8 down;
	u8 len;
};

/**
 * struct pd_stream - the streams of one region at one node; all zero at first, but @least
 * @least: faults in a row that are a stream; 0: two
 * The caller serialises calls.
 */
struct pd_stream {
	u32 faults;
	u8 least;
	struct pd_run run[PD_STREAMS];
};

/**
 * pd_stream_fault - a thread needs a page that isn't mapped
 * To be called for pages that were fetched ahead, too: that is how they are known to be used.
 * @page:  its number
 * @pages: size of the region, pages
 * @first: the lowest page to fetch ahead
 * Return: how many from there on, at most PD_STREAM_MAX; 0: none. Pages that are here
 * already may be among them. Nothing blocks or allocates; any context.
 */
u32 pd_stream_fault(struct pd_stream *s, u32 page, u32 pages, u32 *first);

/**
 * pd_stream_around - which pages may be mapped together with the one of a fault
 * @page: the fault's, which is here
 * @down: set: they are below it, else above
 *
 * Return: how many pages next to it were fetched ahead, by a run that goes on at @page.
 */
u32 pd_stream_around(const struct pd_stream *s, u32 page, bool *down);

/*
 * @n pages from @page on, in its run's direction, are used by a fault at @page, and so is the
 * one behind them: pd_stream_fault() is called for that.
 */
void pd_stream_used(struct pd_stream *s, u32 page, u32 n);

/* @page was fetched ahead, and taken away before it was used: look less far ahead. */
void pd_stream_unused(struct pd_stream *s, u32 page);

#endif
