// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Images: what was written is read, and nothing else is. */
#include "../../core/tap.h"
#include "make_image.h"

jmp_buf tap_out;

static struct memory image;
static const u8 program[32] = "some program";

static int check(const char **why)
{
	u8 *exact = malloc(image.len + !image.len);	/* so that a byte too far is noticed */
	int err;

	memcpy(exact, image.bytes, image.len);
	err = popcorn_image_check(exact, image.len, program, why);
	free(exact);
	return err;
}

static void crc(void)
{
	/* the test vector of RFC 3720 */
	CHECK_EQ(popcorn_crc32c(0, "123456789", 9), 0xe3069283);
	CHECK_EQ(popcorn_crc32c(popcorn_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void whole(void)
{
	static const u32 order[] = { 1, 2, 2, 3, 3, 4, 5, 6, 7 };
	struct popcorn_image_part s;
	struct popcorn_image_in in;
	const char *why = NULL;
	u32 i = 0;

	CHECK_EQ(make_image(&image), 0);
	CHECK_EQ(check(&why), 0);
	popcorn_image_open(&in, image.bytes, image.len);
	while (popcorn_image_next(&in, &s))
		CHECK_EQ(s.type, order[i++]);
	CHECK_EQ(i, 9);
}

static void any_bit(void)
{
	const char *why = NULL;
	u64 i;

	make_image(&image);
	for (i = 0; i < image.len; i++) {
		image.bytes[i] ^= 1 << i % 8;
		CHECK(check(&why) < 0);
		CHECK(why && *why);
		image.bytes[i] ^= 1 << i % 8;
	}
}

static void any_length(void)
{
	const char *why = NULL;
	u64 len;

	make_image(&image);
	for (len = image.len; image.len--;)
		CHECK(check(&why) < 0);
	image.len = len;
	memset(image.bytes + len, 0, 64);
	for (image.len = len + 1; image.len < len + 64; image.len++)
		CHECK(check(&why) < 0);
}

static void others(void)
{
	const char *why = NULL;

	make_image(&image);
	CHECK_EQ(popcorn_image_check(image.bytes, image.len, NULL, &why), 0);
	CHECK_EQ(popcorn_image_check(image.bytes, image.len, (const u8 *)"another program of thirty-two by", &why),
		 -SYS_EINVAL);
	CHECK(strstr(why, "another program"));
	image.bytes[8]++;
	CHECK_EQ(check(&why), -SYS_EINVAL);
	CHECK(strstr(why, "version"));
}

static void wrong_length_is_an_error(void)
{
	static const u8 id[32];
	struct popcorn_image_out o = { .write = to_memory, .ctx = &image };

	image.len = 0;
	popcorn_image_begin(&o, id, "x86-64");
	popcorn_image_section(&o, POPCORN_IMAGE_PROCESS, 8);
	popcorn_image_put(&o, id, 4);
	popcorn_image_close(&o);
	CHECK_EQ(popcorn_image_finish(&o), -SYS_EINVAL);
}

static const struct tap_test tests[] = {
	TEST(crc), TEST(whole), TEST(any_bit), TEST(any_length), TEST(others), TEST(wrong_length_is_an_error),
};
TAP_MAIN(tests)
