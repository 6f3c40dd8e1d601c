// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The buffer in which a thread's frames leave their records: pieces of growing size, each
 * filled from its end downwards. The oldest piece stays for the next capture.
 */
#include "runtime.h"

#define PIECE_BYTES 0x10000ull
#define PIECE_BYTES_MAX 0x1000000ull

struct popcorn_piece {
	struct popcorn_piece *older, *newer;
	char *older_rec;	/* where the older piece ended when this one was begun */
	u64 bytes;
};

#define PIECE_HEAD ((sizeof(struct popcorn_piece) + 15) & ~15ull)

static void piece_enter(struct popcorn_thread *t, struct popcorn_piece *p, char *rec)
{
	t->piece = p;
	t->rec_low = (char *)p + PIECE_HEAD;
	t->rec_top = (char *)p + p->bytes;
	t->rec = rec ? rec : t->rec_top;
}

static struct popcorn_piece *piece_new(u64 bytes)
{
	struct popcorn_piece *p = popcorn_map_anon(bytes, POPCORN_KIND_RECORDS);

	if (p) {
		p->older = NULL;
		p->newer = NULL;
		p->older_rec = NULL;
		p->bytes = bytes;
	}
	return p;
}

static void pieces_free(struct popcorn_piece *p)
{
	while (p) {
		struct popcorn_piece *newer = p->newer;

		popcorn_map_gone(p, p->bytes);
		p = newer;
	}
}

/**
 * popcorn_records_prepare - a buffer with room for records
 * @t: a thread that has none
 * @bytes: at least so many in one piece
 *
 * Returns 0 or -ENOMEM.
 */
int popcorn_records_prepare(struct popcorn_thread *t, u64 bytes)
{
	struct popcorn_piece *p;

	bytes = (bytes + PIECE_HEAD + PIECE_BYTES - 1) & ~(PIECE_BYTES - 1);
	p = piece_new(bytes);
	if (!p)
		return -SYS_ENOMEM;
	piece_enter(t, p, NULL);
	return 0;
}

/** popcorn_records_free - gives the buffer of a thread back */
void popcorn_records_free(struct popcorn_thread *t)
{
	struct popcorn_piece *p = t->piece;

	while (p && p->older)
		p = p->older;
	pieces_free(p);
	t->piece = NULL;
	t->rec = t->rec_low = t->rec_top = NULL;
}

/* The next piece for @bytes: kept from the last time if it is large enough. */
static void piece_next(struct popcorn_thread *t, u64 bytes)
{
	struct popcorn_piece *old = t->piece, *p = old->newer;
	u64 size = old->bytes;

	if (p && p->bytes - PIECE_HEAD < bytes) {
		pieces_free(p);
		old->newer = p = NULL;
	}
	if (!p) {
		if (size < PIECE_BYTES_MAX)
			size *= 2;
		while (size - PIECE_HEAD < bytes)
			size *= 2;
		p = piece_new(size);
		if (!p)
			popcorn_die("no memory for the state of a thread", NULL);
		p->older = old;
		old->newer = p;
	}
	p->older_rec = t->rec;
	piece_enter(t, p, NULL);
}

char *POPCORN_COLD __popcorn_save(u64 bytes)
{
	struct popcorn_thread *t = &__popcorn_self;
	struct popcorn_record *r;

	if (unlikely(t->unwinding != POPCORN_CAPTURE && t->unwinding)) {
		/* longjmp() leaves this frame for good: it writes what nobody reads */
		static char waste[POPCORN_RECORD_MAX] __attribute__((aligned(16)));

		return waste;
	}
	bytes = (bytes + 15) & ~15ull;
	if (unlikely((u64)(t->rec - t->rec_low) < bytes))
		piece_next(t, bytes);
	t->rec -= bytes;
	r = (struct popcorn_record *)t->rec;
	r->bytes = bytes;
	return (char *)r;
}

char *__popcorn_next(void)
{
	struct popcorn_thread *t = &__popcorn_self;
	char *rec = t->rec;

	if (unlikely(rec == t->rec_top)) {
		if (!t->piece->older)
			popcorn_die("a frame has no record to resume from", NULL);
		piece_enter(t, t->piece->older, t->piece->older_rec);
		rec = t->rec;
	}
	t->rec = rec + ((struct popcorn_record *)rec)->bytes;
	return rec;
}

/** popcorn_records_bytes - all records of a captured thread together, in bytes */
u64 popcorn_records_bytes(const struct popcorn_thread *t)
{
	const struct popcorn_piece *p = t->piece;
	u64 n = t->rec_top - t->rec;

	for (; p->older; p = p->older)
		n += (char *)p->older + p->older->bytes - p->older_rec;
	return n;
}

/** popcorn_records_copy - all records of a captured thread, the outermost first */
int popcorn_records_copy(const struct popcorn_thread *t,
			 int (*out)(void *ctx, const void *p, u64 len), void *ctx)
{
	const struct popcorn_piece *p = t->piece;
	int err = out(ctx, t->rec, t->rec_top - t->rec);

	for (; !err && p->older; p = p->older)
		err = out(ctx, p->older_rec, (char *)p->older + p->older->bytes - p->older_rec);
	return err;
}
