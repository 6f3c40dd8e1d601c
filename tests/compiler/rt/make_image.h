/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* A small image in memory, with a section of each type: for the unit test and the fuzzer. */
#ifndef MAKE_IMAGE_H
#define MAKE_IMAGE_H

#include <string.h>

#include "../../../compiler/rt/image.h"
#include "../../../compiler/rt/mapset.h"
#include "../../../compiler/rt/state.h"

struct memory {
	u8 bytes[1 << 16];
	u64 len;
};

static int to_memory(void *ctx, const void *p, u64 len)
{
	struct memory *m = ctx;

	if (len > sizeof(m->bytes) - m->len)
		return -28;
	memcpy(m->bytes + m->len, p, len);
	m->len += len;
	return 0;
}

static void put(struct popcorn_image_out *o, u32 type, const void *p, u64 len, const void *more, u64 n)
{
	popcorn_image_section(o, type, len + n);
	popcorn_image_put(o, p, len);
	if (n)
		popcorn_image_put(o, more, n);
	popcorn_image_close(o);
}

static int make_image(struct memory *m)
{
	static const u8 id[32] = "some program", page[4096] = "page";
	static const char strings[] = "/bin/prog\0/tmp", path[] = "/etc/motd";
	struct popcorn_image_out o = { .write = to_memory, .ctx = m };
	struct popcorn_image_process p = {
		.data_start = 0x30000000, .data_end = 0x30004000, .nthreads = 1,
	};
	struct popcorn_image_map map[2] = {
		{ 0x1400000000, 0x1400010000, POPCORN_KIND_ANON, 3 },
		{ 0x1400020000, 0x1400030000, POPCORN_KIND_SHADOW, 3 },
	};
	struct popcorn_image_data d[2] = { { 0x30001000, 4096 }, { 0x1400021000, 4096 } };
	struct popcorn_image_thread t = { .self = 0x1400000100, .tls = 0x1400000000 };
	struct {
		struct popcorn_record r;
		u64 live[2];
	} records[2] = {
		{ { (void *)0x10000040, 0, 32 }, { 1, 2 } }, { { (void *)0x10000080, 1, 32 }, { 3, 4 } },
	};
	struct popcorn_image_file f = { .fd = 3, .same = -1, .offset = 7 };
	struct popcorn_image_signal g = { .number = 10, .handler = 0x10000100 };
	int i;

	m->len = 0;
	popcorn_image_begin(&o, id, "riscv64");
	put(&o, POPCORN_IMAGE_PROCESS, &p, sizeof(p), strings, sizeof(strings));
	for (i = 0; i < 2; i++)
		put(&o, POPCORN_IMAGE_MAP, &map[i], sizeof(map[i]), NULL, 0);
	for (i = 0; i < 2; i++)
		put(&o, POPCORN_IMAGE_DATA_RUN, &d[i], sizeof(d[i]), page, sizeof(page));
	put(&o, POPCORN_IMAGE_THREAD, &t, sizeof(t), records, sizeof(records));
	put(&o, POPCORN_IMAGE_FILE, &f, sizeof(f), path, sizeof(path));
	put(&o, POPCORN_IMAGE_SIGNAL, &g, sizeof(g), NULL, 0);
	return popcorn_image_finish(&o);
}

#endif
