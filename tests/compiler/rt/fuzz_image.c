// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Images that are wrong in a way that checksums don't see: some bytes are changed, then all checksums are made
 * right. Whatever passes the check must be safe to walk through as a restore does.
 */
#include <stdlib.h>

#include "make_image.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* Checksums of all sections that can be found, and of the head. */
static void mend(u8 *p, u64 len)
{
	struct popcorn_image_head h;
	struct popcorn_image_part s;
	struct popcorn_image_in in;

	if (len < sizeof(h))
		return;
	memcpy(&h, p, sizeof(h));
	h.crc = popcorn_crc32c(0, &h, offsetof(struct popcorn_image_head, crc));
	memcpy(p, &h, sizeof(h));
	popcorn_image_open(&in, p, len);
	while (popcorn_image_next(&in, &s)) {
		u64 n = (s.length + 15) & ~15ull;
		struct popcorn_image_tail t = { popcorn_crc32c(0, s.payload, n), s.type, s.length };

		memcpy((u8 *)s.payload + n, &t, sizeof(t));
	}
}

static u64 sum;

static void walk(const u8 *p, u64 len)
{
	struct popcorn_image_part s;
	struct popcorn_image_in in;
	u64 i;

	popcorn_image_open(&in, p, len);
	while (popcorn_image_next(&in, &s)) {
		for (i = 0; i < s.length; i++)
			sum += s.payload[i];
		if (s.type == POPCORN_IMAGE_FILE)
			sum += strlen((const char *)s.payload + sizeof(struct popcorn_image_file));
		if (s.type == POPCORN_IMAGE_PROCESS) {
			const char *path = (const char *)s.payload + sizeof(struct popcorn_image_process);

			sum += strlen(path + strlen(path) + 1);
		}
		for (i = sizeof(struct popcorn_image_thread); s.type == POPCORN_IMAGE_THREAD && i < s.length;) {
			struct popcorn_record r;

			memcpy(&r, s.payload + i, sizeof(r));
			sum += s.payload[i + r.bytes - 1];
			i += r.bytes;
		}
	}
}

/* The input: changes { place (3 bytes), value }, then maybe the length. */
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct memory image;
	const char *why = NULL;
	u8 *exact;
	u64 len;

	make_image(&image);
	len = image.len;
	for (; size >= 4; data += 4, size -= 4)
		image.bytes[(data[0] | data[1] << 8 | data[2] << 16) % len] = data[3];
	if (size == 2)
		len = (data[0] | data[1] << 8) % (len + 1);
	exact = malloc(len + !len);
	memcpy(exact, image.bytes, len);
	mend(exact, len);
	if (!popcorn_image_check(exact, len, NULL, &why))
		walk(exact, len);
	else if (!why)
		abort();
	free(exact);
	return 0;
}
