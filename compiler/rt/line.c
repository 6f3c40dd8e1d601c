// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Lines for the user, put together without a libc and written at once. */
#include "runtime.h"

void popcorn_line_str(struct popcorn_line *l, const char *s)
{
	while (*s && l->len < sizeof(l->text) - 1)
		l->text[l->len++] = *s++;
}

static void digits(struct popcorn_line *l, u64 n, u32 base)
{
	char d[24];
	int i = sizeof(d);

	d[--i] = 0;
	do
		d[--i] = "0123456789abcdef"[n % base];
	while (n /= base);
	popcorn_line_str(l, d + i);
}

void popcorn_line_num(struct popcorn_line *l, s64 n)
{
	if (n < 0)
		popcorn_line_str(l, "-");
	digits(l, n < 0 ? -(u64)n : (u64)n, 10);
}

void popcorn_line_hex(struct popcorn_line *l, u64 n)
{
	popcorn_line_str(l, "0x");
	digits(l, n, 16);
}

/** popcorn_line_write - the line and its end to a descriptor */
void popcorn_line_write(struct popcorn_line *l, int fd)
{
	l->text[l->len] = '\n';
	sys(write, fd, l->text, l->len + 1);
}

/** popcorn_die - one line, and the end of the process: what the program can't go on without is missing */
_Noreturn void popcorn_die(const char *what, const char *object)
{
	struct popcorn_line l = { .len = 0 };

	popcorn_line_str(&l, "popcorn: ");
	popcorn_line_str(&l, what);
	if (object) {
		popcorn_line_str(&l, ": ");
		popcorn_line_str(&l, object);
	}
	popcorn_line_write(&l, 2);
	for (;;)
		sys(exit_group, 134);
}
