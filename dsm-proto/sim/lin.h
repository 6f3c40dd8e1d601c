/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Could one memory cell, used by one thread after the other, have given these values? */
#ifndef PD_LIN_H
#define PD_LIN_H

#include <transport/core/compat.h>

/**
 * struct lin_op - a read, a write or both at once, of one cell
 * @start:  when it began; no two times are equal, none is 0
 * @end:    when it was over; LIN_NEVER: its thread died. A read that never ended says nothing
 * @reads:  the value that it read, if @read; 0 is what the cell holds at first
 * @writes: the value that it wrote, else 0; each is written once
 */
struct lin_op {
	u64 start;
	u64 end;
	u64 reads;
	u64 writes;
	bool read;
};

#define LIN_NEVER	(~0ull)

/**
 * lin_check - is there an order of the operations that explains what was read?
 * An order that agrees with time: what was over before another began comes first.
 * @ops: reordered
 * @why: what is wrong
 * Return: 0; -EINVAL: there is none; -ENOMEM. Time is O(n log n).
 */
int lin_check(struct lin_op *ops, u32 n, const char **why);

#endif
