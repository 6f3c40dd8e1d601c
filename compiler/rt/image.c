// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Images of processes, written and checked: see image.h. */
#include "image.h"
#include "mapset.h"
#include "state.h"

#define PAGE 4096ull
#define LIMIT (1ull << 38)	/* of addresses on every ISA */

_Static_assert(sizeof(struct popcorn_image_head) == 64, "the head of an image");
_Static_assert(sizeof(struct popcorn_image_section) == 16, "the head of a section");
_Static_assert(sizeof(struct popcorn_image_tail) == 16, "the tail of a section");

static u32 crc_table[8][256];

static void crc_init(void)
{
	u32 i, k;

	for (i = 0; i < 256; i++) {
		u32 c = i;

		for (k = 0; k < 8; k++)
			c = c >> 1 ^ (c & 1 ? 0x82f63b78 : 0);
		crc_table[0][i] = c;
	}
	for (i = 0; i < 256; i++)
		for (k = 1; k < 8; k++)
			crc_table[k][i] = crc_table[k - 1][i] >> 8 ^
				crc_table[0][crc_table[k - 1][i] & 255];
}

/** popcorn_crc32c - CRC-32C of @len bytes, after those whose CRC is @crc (0 for none) */
u32 popcorn_crc32c(u32 crc, const void *data, u64 len)
{
	const u8 *p = data;

	if (!crc_table[0][1])
		crc_init();
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		u64 v;

		__builtin_memcpy(&v, p, 8);
		v ^= crc;
		crc = crc_table[7][v & 255] ^ crc_table[6][v >> 8 & 255] ^
			crc_table[5][v >> 16 & 255] ^ crc_table[4][v >> 24 & 255] ^
			crc_table[3][v >> 32 & 255] ^ crc_table[2][v >> 40 & 255] ^
			crc_table[1][v >> 48 & 255] ^ crc_table[0][v >> 56];
	}
	while (len--)
		crc = crc >> 8 ^ crc_table[0][(crc ^ *p++) & 255];
	return ~crc;
}

static void out(struct popcorn_image_out *o, const void *p, u64 len)
{
	if (!o->err)
		o->err = o->write(o->ctx, p, len);
	o->bytes += len;
}

/** popcorn_image_begin - the head; o->write and o->ctx are set, all else is zero */
void popcorn_image_begin(struct popcorn_image_out *o, const u8 id[32], const char *isa)
{
	struct popcorn_image_head h = {
		.magic = POPCORN_IMAGE_MAGIC, .version = POPCORN_IMAGE_VERSION, .bytes = sizeof(h),
	};
	u32 i;

	__builtin_memcpy(h.id, id, sizeof(h.id));
	for (i = 0; i < sizeof(h.isa) - 1 && isa[i]; i++)
		h.isa[i] = isa[i];
	h.crc = popcorn_crc32c(0, &h, offsetof(struct popcorn_image_head, crc));
	out(o, &h, sizeof(h));
}

/** popcorn_image_section - begins a section whose payload has @length bytes */
void popcorn_image_section(struct popcorn_image_out *o, u32 type, u64 length)
{
	struct popcorn_image_section s = { .type = type, .length = length };

	o->type = type;
	o->length = o->left = length;
	o->crc = 0;
	out(o, &s, sizeof(s));
}

/** popcorn_image_put - the next bytes of the payload */
void popcorn_image_put(struct popcorn_image_out *o, const void *p, u64 len)
{
	if (len > o->left) {
		o->err = o->err ? o->err : -SYS_EINVAL;
		return;
	}
	o->left -= len;
	o->crc = popcorn_crc32c(o->crc, p, len);
	out(o, p, len);
}

/** popcorn_image_close - ends the section, whose payload has been put */
void popcorn_image_close(struct popcorn_image_out *o)
{
	static const u8 zeros[16];
	u64 pad = -o->length & 15;
	struct popcorn_image_tail t = { .type = o->type, .length = o->length };

	if (o->left && !o->err)
		o->err = -SYS_EINVAL;
	t.crc = popcorn_crc32c(o->crc, zeros, pad);
	if (pad)
		out(o, zeros, pad);
	out(o, &t, sizeof(t));
	o->sections++;
}

/** popcorn_image_finish - the last section. Returns 0 or the first error, -errno. */
int popcorn_image_finish(struct popcorn_image_out *o)
{
	struct popcorn_image_end e = { .sections = o->sections, .bytes = o->bytes };

	popcorn_image_section(o, POPCORN_IMAGE_END, sizeof(e));
	popcorn_image_put(o, &e, sizeof(e));
	popcorn_image_close(o);
	return o->err;
}

/** popcorn_image_open - begins to walk through an image that popcorn_image_check() has found good */
void popcorn_image_open(struct popcorn_image_in *in, const u8 *p, u64 len)
{
	in->p = p + sizeof(struct popcorn_image_head);
	in->left = len - sizeof(struct popcorn_image_head);
}

/** popcorn_image_next - the next section: 1, or 0 behind the last */
int popcorn_image_next(struct popcorn_image_in *in, struct popcorn_image_part *part)
{
	struct popcorn_image_section s;
	u64 bytes;

	if (in->left < sizeof(s) + sizeof(struct popcorn_image_tail))
		return 0;
	__builtin_memcpy(&s, in->p, sizeof(s));
	if (s.length > in->left - sizeof(s) - sizeof(struct popcorn_image_tail))
		return 0;
	bytes = (s.length + 15) & ~15ull;
	if (bytes > in->left - sizeof(s) - sizeof(struct popcorn_image_tail))
		return 0;
	part->type = s.type;
	part->payload = in->p + sizeof(s);
	part->length = s.length;
	bytes += sizeof(s) + sizeof(struct popcorn_image_tail);
	in->p += bytes;
	in->left -= bytes;
	return 1;
}

/* What a check knows of the image so far. */
struct check {
	const u8 *image;
	u64 len;
	struct popcorn_image_process process;
	u64 sections, nmaps;
	const u8 *first_map;	/* maps are of one size, one after the other */
	u64 data_end;		/* DATA before this address has been seen */
	u32 threads, signal;
	s64 fd;
	u32 last;		/* type of the last section */
	const char **why;
};

#define MAP_STEP \
	(sizeof(struct popcorn_image_section) + ((sizeof(struct popcorn_image_map) + 15) & ~15ull) + \
	 sizeof(struct popcorn_image_tail))

static int bad(struct check *c, const char *why)
{
	*c->why = why;
	return -SYS_EBADMSG;
}

/* A string that ends inside the payload: its length with the end, or 0. */
static u64 string_at(const struct popcorn_image_part *s, u64 off)
{
	u64 i;

	for (i = off; i < s->length && i - off < POPCORN_IMAGE_PATH; i++)
		if (!s->payload[i])
			return i + 1 - off;
	return 0;
}

static struct popcorn_image_map map_at(const struct check *c, u64 i)
{
	struct popcorn_image_map m;

	__builtin_memcpy(&m, c->first_map + i * MAP_STEP, sizeof(m));
	return m;
}

/* Does [addr, addr + bytes) lie in the data or in mappings, without a hole? */
static int inside(const struct check *c, u64 addr, u64 bytes)
{
	u64 low = 0, high = c->nmaps, end = addr + bytes;

	if (!bytes || addr >= LIMIT || bytes > LIMIT)
		return 0;
	if (addr >= c->process.data_start && end <= c->process.data_end)
		return 1;
	while (low < high) {
		u64 mid = low + (high - low) / 2;

		if (map_at(c, mid).end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < c->nmaps; low++) {
		struct popcorn_image_map m = map_at(c, low);

		if (m.start > addr)
			return 0;
		if (m.end >= end)
			return 1;
		addr = m.end;
	}
	return 0;
}

static int check_process(struct check *c, const struct popcorn_image_part *s)
{
	struct popcorn_image_process *p = &c->process;
	u64 n, m;

	if (c->sections || s->length < sizeof(*p))
		return bad(c, "damaged: the process is not where it should be");
	__builtin_memcpy(p, s->payload, sizeof(*p));
	n = string_at(s, sizeof(*p));
	m = n ? string_at(s, sizeof(*p) + n) : 0;
	if (!m || sizeof(*p) + n + m != s->length || p->data_start > p->data_end ||
	    p->data_end > LIMIT || p->data_start % PAGE || p->data_end % PAGE || p->brk > LIMIT ||
	    !p->nthreads || p->auxv > LIMIT)
		return bad(c, "damaged: the process makes no sense");
	return 0;
}

static int check_map(struct check *c, const struct popcorn_image_part *s)
{
	struct popcorn_image_map m;

	if (s->length != sizeof(m))
		return bad(c, "damaged: a mapping");
	__builtin_memcpy(&m, s->payload, sizeof(m));
	if (m.start >= m.end || m.end > LIMIT || m.start % PAGE || m.end % PAGE || m.prot > 7 ||
	    (m.kind != POPCORN_KIND_ANON && m.kind != POPCORN_KIND_SHARED &&
	     m.kind != POPCORN_KIND_SHADOW) ||
	    (m.start < c->process.data_end && m.end > c->process.data_start))
		return bad(c, "damaged: a mapping makes no sense");
	if (!c->nmaps)
		c->first_map = s->payload;
	else if (map_at(c, c->nmaps - 1).end > m.start)
		return bad(c, "damaged: mappings overlap");
	c->nmaps++;
	return 0;
}

static int check_data(struct check *c, const struct popcorn_image_part *s)
{
	struct popcorn_image_data d;

	if (s->length < sizeof(d))
		return bad(c, "damaged: data");
	__builtin_memcpy(&d, s->payload, sizeof(d));
	if (d.bytes != s->length - sizeof(d) || d.bytes > POPCORN_IMAGE_DATA || d.addr % PAGE ||
	    d.bytes % PAGE || d.addr < c->data_end || !inside(c, d.addr, d.bytes))
		return bad(c, "damaged: data outside of what is mapped");
	c->data_end = d.addr + d.bytes;
	return 0;
}

static int check_thread(struct check *c, const struct popcorn_image_part *s)
{
	struct popcorn_image_thread t;
	struct popcorn_record r;
	u64 off;

	if (s->length < sizeof(t))
		return bad(c, "damaged: a thread");
	__builtin_memcpy(&t, s->payload, sizeof(t));
	if (t.self % 8 || !inside(c, t.self, sizeof(struct popcorn_thread)))
		return bad(c, "damaged: a thread outside of what is mapped");
	for (off = sizeof(t); off < s->length; off += r.bytes) {
		if (s->length - off < sizeof(r))
			return bad(c, "damaged: a record");
		__builtin_memcpy(&r, s->payload + off, sizeof(r));
		if (r.bytes < sizeof(r) || r.bytes % 16 || r.bytes > s->length - off ||
		    !r.resume || (u64)r.resume >= LIMIT)
			return bad(c, "damaged: a record makes no sense");
	}
	if (off == sizeof(t))
		return bad(c, "damaged: a thread without records");
	c->threads++;
	return 0;
}

static int check_file(struct check *c, const struct popcorn_image_part *s)
{
	struct popcorn_image_file f;

	if (s->length < sizeof(f))
		return bad(c, "damaged: a file");
	__builtin_memcpy(&f, s->payload, sizeof(f));
	if (f.fd <= c->fd || (u32)f.fd >= POPCORN_IMAGE_FDS || f.same < -1 || f.same >= f.fd ||
	    f.offset < -1 || string_at(s, sizeof(f)) != s->length - sizeof(f) ||
	    s->payload[sizeof(f)] != '/')
		return bad(c, "damaged: a file makes no sense");
	c->fd = f.fd;
	return 0;
}

static int check_signal(struct check *c, const struct popcorn_image_part *s)
{
	struct popcorn_image_signal g;

	if (s->length != sizeof(g))
		return bad(c, "damaged: a signal");
	__builtin_memcpy(&g, s->payload, sizeof(g));
	if (g.number <= c->signal || g.number > 64 || g.handler >= LIMIT)
		return bad(c, "damaged: a signal makes no sense");
	c->signal = g.number;
	return 0;
}

static int check_end(struct check *c, const struct popcorn_image_part *s)
{
	struct popcorn_image_end e;

	if (s->length != sizeof(e))
		return bad(c, "damaged: its end");
	__builtin_memcpy(&e, s->payload, sizeof(e));
	if (e.sections != c->sections || e.bytes != (u64)(s->payload - c->image) - 16 ||
	    s->payload - c->image + sizeof(e) + sizeof(struct popcorn_image_tail) != c->len)
		return bad(c, "damaged: its end is not where it should be");
	if (c->threads != c->process.nthreads)
		return bad(c, "damaged: threads are missing");
	return 0;
}

static int check_section(struct check *c, const struct popcorn_image_part *s)
{
	static int (*const checks[])(struct check *, const struct popcorn_image_part *) = {
		[POPCORN_IMAGE_PROCESS] = check_process, [POPCORN_IMAGE_MAP] = check_map,
		[POPCORN_IMAGE_DATA_RUN] = check_data, [POPCORN_IMAGE_THREAD] = check_thread,
		[POPCORN_IMAGE_FILE] = check_file, [POPCORN_IMAGE_SIGNAL] = check_signal,
		[POPCORN_IMAGE_END] = check_end,
	};
	const u8 *tail = s->payload + ((s->length + 15) & ~15ull);
	struct popcorn_image_section h;
	struct popcorn_image_tail t;

	__builtin_memcpy(&t, tail, sizeof(t));
	__builtin_memcpy(&h, s->payload - sizeof(h), sizeof(h));
	if (h.reserved || t.type != s->type || t.length != s->length ||
	    t.crc != popcorn_crc32c(0, s->payload, tail - s->payload))
		return bad(c, "damaged: a checksum is wrong");
	if (s->type < POPCORN_IMAGE_PROCESS || s->type > POPCORN_IMAGE_END)
		return bad(c, "damaged: a section of an unknown type");
	if (s->type < c->last || (!c->sections && s->type != POPCORN_IMAGE_PROCESS))
		return bad(c, "damaged: sections in a wrong order");
	c->last = s->type;
	return checks[s->type](c, s);
}

/**
 * popcorn_image_check - is it a whole image, and this program's?
 * @id: of the program, or NULL for any
 * @why: for the user, if not
 *
 * Returns 0, -EINVAL if it is something else (another format, version or program), -EBADMSG if it is damaged.
 */
int popcorn_image_check(const u8 *p, u64 len, const u8 *id, const char **why)
{
	struct popcorn_image_head h;
	struct popcorn_image_in in;
	struct popcorn_image_part s = { .type = 0 };
	struct check c = { .image = p, .len = len, .fd = -1, .why = why };
	int err;

	if (len < sizeof(h) || __builtin_memcmp(p, POPCORN_IMAGE_MAGIC, 8)) {
		*why = "not a checkpoint";
		return -SYS_EINVAL;
	}
	__builtin_memcpy(&h, p, sizeof(h));
	if (h.version != POPCORN_IMAGE_VERSION) {
		*why = "a checkpoint of another version of the format";
		return -SYS_EINVAL;
	}
	if (h.bytes != sizeof(h) ||
	    h.crc != popcorn_crc32c(0, &h, offsetof(struct popcorn_image_head, crc)))
		return bad(&c, "damaged: its head");
	if (id && __builtin_memcmp(id, h.id, sizeof(h.id))) {
		*why = "a checkpoint of another program, or of another build of it";
		return -SYS_EINVAL;
	}
	popcorn_image_open(&in, p, len);
	while (popcorn_image_next(&in, &s)) {
		err = check_section(&c, &s);
		if (err)
			return err;
		c.sections++;
	}
	if (in.left || s.type != POPCORN_IMAGE_END)
		return bad(&c, "truncated");
	return 0;
}
