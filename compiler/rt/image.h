/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * An image: a stopped process as bytes that mean the same on every ISA. Pure: neither system calls nor memory of
 * its own, so that the tool, the runtime and a fuzzer use the same code. All numbers are little-endian.
 *
 *   head | section ... | END
 *
 * A section is a head { type, length }, its payload, zeros up to a multiple of 16, and a tail { crc, type,
 * length }. The CRC-32C covers the payload with its zeros. Order: PROCESS, MAP by address, DATA by address, THREAD,
 * FILE by number, SIGNAL by number, END.
 */
#ifndef POPCORN_RT_IMAGE_H
#define POPCORN_RT_IMAGE_H

#include "sys.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "images are written as they lie in memory");

#define POPCORN_IMAGE_MAGIC "POPCKPT"
#define POPCORN_IMAGE_VERSION 2u
#define POPCORN_IMAGE_PATH 4096		/* longest path, with its end */
#define POPCORN_IMAGE_DATA (1u << 20)	/* longest DATA section */
#define POPCORN_IMAGE_FDS (1u << 20)
#define POPCORN_IMAGE_TIMERS 3		/* of setitimer(): ITIMER_REAL, _VIRTUAL, _PROF */

struct popcorn_image_head {
	char magic[8];
	u32 version;
	u32 bytes;		/* of this head */
	u8 id[32];		/* of the program: __popcorn_program */
	char isa[8];		/* that wrote it: for the user only */
	u32 reserved;
	u32 crc;		/* of the head before it */
};

enum popcorn_image_type {
	POPCORN_IMAGE_PROCESS = 1,
	POPCORN_IMAGE_MAP,
	POPCORN_IMAGE_DATA_RUN,
	POPCORN_IMAGE_THREAD,
	POPCORN_IMAGE_FILE,
	POPCORN_IMAGE_SIGNAL,
	POPCORN_IMAGE_END,
};

struct popcorn_image_section {
	u32 type;
	u32 reserved;
	u64 length;		/* of the payload, without the zeros behind it */
};

struct popcorn_image_tail {
	u32 crc;
	u32 type;
	u64 length;
};

struct popcorn_image_process {
	u64 data_start, data_end;
	u64 brk;
	u64 start;		/* argc, argv, ... in common memory */
	u64 auxv;		/* index in start */
	u64 stats[4];		/* struct popcorn_stats */
	u64 every;
	s64 monotonic;		/* CLOCK_MONOTONIC in ns */
	struct {
		s64 interval_s, interval_us, left_s, left_us;
	} timer[POPCORN_IMAGE_TIMERS];
	u64 pending;		/* signals of the process, blocked by all: bit n - 1 for signal n */
	u32 nthreads;
	u32 umask;
	/* then two strings: the program's path without the ISA, and the working directory */
};

struct popcorn_image_map {
	u64 start, end;
	u32 kind;		/* enum popcorn_map_kind */
	u32 prot;
};

struct popcorn_image_data {
	u64 addr;
	u64 bytes;
	/* then the bytes; pages that no DATA names are zero */
};

struct popcorn_image_thread {
	u64 self;		/* its struct popcorn_thread */
	u64 tls;
	u64 sigmask;
	u64 alt_sp, alt_bytes;	/* alternate stack for signals */
	u32 alt_flags;
	u32 fenv;		/* rounding mode and flags, as fenv_t */
	u64 pending;		/* signals for this thread alone */
	/* then its records, the outermost first */
};

struct popcorn_image_file {
	s32 fd;
	s32 same;		/* number before this one with which it shares the offset, or -1 */
	u32 flags;		/* as of x86-64 */
	u32 cloexec;
	s64 offset;		/* -1: has none */
	/* then its path */
};

struct popcorn_image_signal {
	u32 number;
	u32 reserved;
	u64 handler;
	u64 flags;
	u64 mask;
};

struct popcorn_image_end {
	u64 sections;		/* before this one */
	u64 bytes;		/* of the image before this section */
};

u32 popcorn_crc32c(u32 crc, const void *p, u64 len);

/* Writing: sections one after the other. The first error stays. */
struct popcorn_image_out {
	int (*write)(void *ctx, const void *p, u64 len);	/* 0 or -errno */
	void *ctx;
	int err;
	u32 type, crc;
	u64 length, left, sections, bytes;
};

void popcorn_image_begin(struct popcorn_image_out *o, const u8 id[32], const char *isa);
void popcorn_image_section(struct popcorn_image_out *o, u32 type, u64 length);
void popcorn_image_put(struct popcorn_image_out *o, const void *p, u64 len);
void popcorn_image_close(struct popcorn_image_out *o);
int popcorn_image_finish(struct popcorn_image_out *o);

/* Reading: an image that has been checked is walked through without further checks. */
struct popcorn_image_in {
	const u8 *p;
	u64 left;
};

struct popcorn_image_part {
	u32 type;
	const u8 *payload;
	u64 length;
};

int popcorn_image_check(const u8 *p, u64 len, const u8 *id, const char **why);
void popcorn_image_open(struct popcorn_image_in *in, const u8 *p, u64 len);
int popcorn_image_next(struct popcorn_image_in *in, struct popcorn_image_part *part);

#endif
