// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Handshakes with a key, between nodes of which the input changes every word
 * that it likes, or says words of its own. Nobody who hasn't the key gets a
 * lane up or moves the other's link from where it was.
 */
#include "fuzz.h"

struct talk {
	struct pt_hs a, b;
	bool spoiled;
};

/* Bytes on their way, and a copy as they arrive: cut, changed or replaced. */
static u32 on_wire(struct input *in, struct talk *t, const void *blob, u32 size, u8 *out)
{
	u8 how = in8(in);
	u32 len = size, k;

	memcpy(out, blob, size);
	if (how & 1) {
		len = in8(in) % (size + 1);
		if (len < size)
			t->spoiled = true;
	}
	for (k = how >> 1 & 3; k && len; k--) {
		u8 x = in8(in);

		out[in8(in) % len] ^= x;
		if (x)
			t->spoiled = true;	/* or perhaps set right again */
	}
	if (how & 8) {
		in_bytes(in, out, len);
		t->spoiled = true;
	}
	if (t->spoiled && len == size && !memcmp(out, blob, size))
		t->spoiled = false;
	return len;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);
	struct side *a = &p->s[0], *b = &p->s[1];
	u8 flags = in8(&in);
	int c, r, steps = 0;
	u8 wire[128];
	u32 len;
	u16 src;

	pair_key[0] = 7;
	pair_key[1] = flags & 1 ? 8 : 7;
	a->node.has_key = b->node.has_key = true;
	if (flags & 2)
		b->node.has_key = false;

	while (in.left && steps++ < 20) {
		struct talk talk[PW_CLASSES] = { 0 };
		bool all_good = true;

		pt_link_want(&a->l, p->now);
		for (c = 0; a->l.state != PT_LINK_CONNECT && c < 1000; c++) {
			p->now += 10;
			pt_link_tick(&a->l, p->now);
		}
		CHECK_EQ(a->l.state, PT_LINK_CONNECT);
		side_act(p, 0);
		for (c = 0; c < PW_CLASSES; c++) {
			struct talk *t = &talk[c];
			struct pt_link before;
			bool was;

			pt_hs_hello(&t->a, &a->l, c);
			len = on_wire(&in, t, &t->a.hello, sizeof(t->a.hello), wire);
			r = pt_hs_parse(&t->b, &b->node, wire, len,
					in8(&in) & 1 ? pt_table_addr(&p->table, 0) : NULL, &src);
			if (r == -EPROTO || (!r && src != 0)) {
				all_good = false;
				break;
			}
			CHECK(r == 0 || r == -ECONNREFUSED);
			if (!r)
				pt_hs_accept(&t->b, &b->l, p->now);
			len = on_wire(&in, t, &t->b.welcome, sizeof(t->b.welcome), wire);
			r = pt_hs_welcome(&t->a, &a->l, wire, len, p->now);
			/* What was changed in HELLO or WELCOME is in both proofs. */
			if (!r)
				CHECK(!t->spoiled && !(flags & 3));
			if (r) {
				CHECK_EQ(a->l.state, PT_LINK_CLOSE);
				all_good = false;
				break;
			}
			len = on_wire(&in, t, &t->a.proof, sizeof(t->a.proof), wire);
			before = b->l;
			was = t->spoiled;
			r = pt_hs_proof(&t->b, &b->l, wire, len, p->now);
			CHECK(r == 0 || r == -EPROTO || r == -EACCES || r == -ECONNREFUSED);
			if (was) {
				CHECK(r == -EPROTO || r == -EACCES);
				CHECK(!memcmp(&before, &b->l, sizeof(before)));
			}
			if (r && r != -ECONNREFUSED) {
				all_good = false;
				break;
			}
			if (!r && in8(&in) != 1)
				pt_hs_up(&t->b, &b->l, p->now);
			len = on_wire(&in, t, &t->b.ready, sizeof(t->b.ready), wire);
			r = pt_hs_ready(&t->a, &a->l, wire, len, p->now);
			if (r) {
				CHECK_EQ(a->l.state, PT_LINK_CLOSE);
				all_good = false;
				break;
			}
			CHECK(!t->spoiled);
			CHECK(a->l.lane[c].ready && b->l.lane[c].ready);
		}
		CHECK(!(flags & 3) || !all_good);
		CHECK_EQ(all_good, a->l.state == PT_LINK_UP);
		side_act(p, 0);
		side_act(p, 1);
		side_sane(a);
		side_sane(b);
		/* A stray word after the end. */
		len = on_wire(&in, &talk[0], &talk[0].a.proof, sizeof(struct pw_proof), wire);
		if (a->l.state != PT_LINK_CONNECT)
			CHECK_EQ(pt_hs_ready(&talk[0].a, &a->l, wire, len, p->now), -ESTALE);
		pair_cut(p);
	}
	pair_free(p);
	return 0;
}
