/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the fuzzers share: an input that is read byte by byte, and zeros after
 * its end, so that every prefix of an input is an input.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "../core/pair.h"

struct input {
	const u8 *data;
	size_t left;
};

static inline u8 in8(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

static inline u16 in16(struct input *in)
{
	u16 lo = in8(in);

	return lo | in8(in) << 8;
}

static inline u32 in32(struct input *in)
{
	u32 lo = in16(in);

	return lo | (u32)in16(in) << 16;
}

static inline void in_bytes(struct input *in, void *buf, u32 len)
{
	u8 *p = buf;

	while (len--)
		*p++ = in8(in);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#endif
