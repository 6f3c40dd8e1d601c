// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The handshake: what is accepted, every way to be refused, and that whoever is
 * refused has changed nothing.
 */
#include "pair.h"

static void keys(struct pair *p, u8 a, u8 b)
{
	pair_key[0] = a;
	pair_key[1] = b;
	p->s[0].node.has_key = !!a;
	p->s[1].node.has_key = !!b;
}

static struct pair *fresh(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);

	keys(p, 0, 0);
	return p;
}

static void good(void)
{
	struct pair *p = fresh();

	CHECK_EQ(pair_connect(p, 0), 0);
	CHECK(p->s[0].acts & PT_ACT_UP);
	CHECK(p->s[1].acts & PT_ACT_UP);
	CHECK(p->s[0].l.initiator && !p->s[1].l.initiator);
	CHECK(p->s[0].l.session == p->s[1].l.session);
	CHECK(p->s[0].l.peer_inc == p->s[1].node.incarnation);
	CHECK(p->s[1].l.peer_inc == p->s[0].node.incarnation);
	CHECK_EQ(p->s[0].l.peer_cpu[0], 0x1235);
	CHECK_EQ(p->s[1].l.peer_cpu[0], 0x1234);
	pair_settle(p);
	pair_free(p);
}

static void good_with_key(void)
{
	struct pair *p = fresh();

	keys(p, 7, 7);
	CHECK_EQ(pair_connect(p, 1), 0);
	pair_settle(p);
	pair_free(p);
}

/* What a responder may have changed by the time it refuses. */
static void untouched(struct pair *p)
{
	CHECK_EQ(p->s[1].l.state, PT_LINK_IDLE);
	CHECK_EQ(p->s[1].l.peer_inc, 0);
	CHECK_EQ(p->s[1].l.actions, 0);
	CHECK_EQ(p->s[0].l.peer_inc, 0);
	CHECK(!p->s[0].l.tx_open && !p->s[1].l.tx_open);
}

static void refuses(struct pair *p, int why)
{
	CHECK_EQ(pair_connect(p, 0), why);
	CHECK_EQ(p->s[0].l.state, PT_LINK_CLOSE);
	CHECK_EQ(p->s[0].l.refusal, why);
	untouched(p);
	pair_free(p);
}

static void wrong_page_size(void)
{
	struct pair *p = fresh();

	p->s[0].node.page_shift = 14;
	refuses(p, PW_REFUSE_PAGE_SIZE);
}

static void wrong_table(void)
{
	struct pair *p = fresh();
	struct pt_table other = p->table;
	struct pt_table_entry *blk = malloc(256 * sizeof(*blk));

	memcpy(blk, p->table.blk[0], 256 * sizeof(*blk));
	blk[2].hash ^= 1;
	other.blk[0] = blk;
	p->s[0].node.table = &other;
	refuses(p, PW_REFUSE_TABLE);
	free(blk);
}

/* Who knows fewer nodes is let in by who knows more, in both directions. */
static void shorter_table(void)
{
	int who;

	for (who = 0; who < 2; who++) {
		struct pair *p = fresh();
		struct pt_table shorter = p->table;

		shorter.n = 2;
		p->s[who].node.table = &shorter;
		CHECK_EQ(pair_connect(p, 0), 0);
		pair_settle(p);
		pair_free(p);
	}
}

static void wrong_key(void)
{
	struct pair *p = fresh();

	keys(p, 7, 8);
	refuses(p, PW_REFUSE_AUTH);
}

static void key_on_one_side(void)
{
	struct pair *p = fresh();

	keys(p, 7, 0);
	refuses(p, PW_REFUSE_AUTH);
	p = fresh();
	keys(p, 0, 7);
	refuses(p, PW_REFUSE_AUTH);
}

static void wrong_address(void)
{
	struct pair *p = fresh();
	struct pt_hs ha, hb;
	u16 src;

	pt_link_want(&p->s[0].l, p->now);
	pt_hs_hello(&ha, &p->s[0].l, 1);
	CHECK_EQ(pt_hs_parse(&hb, &p->s[1].node, &ha.hello, sizeof(ha.hello),
			     pt_table_addr(&p->table, 2), &src), -ECONNREFUSED);
	CHECK_EQ(hb.welcome.refusal, PW_REFUSE_NODE);
	CHECK_EQ(pt_hs_parse(&hb, &p->s[1].node, &ha.hello, sizeof(ha.hello), NULL, &src), 0);
	CHECK_EQ(src, 0);
	pair_free(p);
}

/* HELLO of node 0 with one thing changed: what does node 1 say? */
static int hello_with(void (*change)(struct pw_hello *h), u8 *refusal)
{
	struct pair *p = fresh();
	struct pt_hs ha, hb;
	u16 src;
	int r;

	pt_link_want(&p->s[0].l, p->now);
	pt_hs_hello(&ha, &p->s[0].l, 1);
	change(&ha.hello);
	r = pt_hs_parse(&hb, &p->s[1].node, &ha.hello, sizeof(ha.hello), NULL, &src);
	*refusal = hb.welcome.refusal;
	pair_free(p);
	return r;
}

static void c_magic(struct pw_hello *h) { h->magic ^= 1; }
static void c_class(struct pw_hello *h) { h->class = PW_CLASSES; }
static void c_inc(struct pw_hello *h) { h->incarnation = 0; }
static void c_order(struct pw_hello *h) { h->ver_lo = 9; h->ver_hi = 3; }
static void c_new(struct pw_hello *h) { h->ver_lo = h->ver_hi = PW_VERSION + 1; }
static void c_old(struct pw_hello *h) { h->ver_lo = h->ver_hi = PW_VERSION_MIN - 1; }
static void c_both(struct pw_hello *h) { h->ver_lo = 0; h->ver_hi = 200; }
static void c_dst(struct pw_hello *h) { h->dst = cpu_to_le16(2); }
static void c_self(struct pw_hello *h) { h->src = cpu_to_le16(1); }
static void c_nobody(struct pw_hello *h) { h->src = cpu_to_le16(PT_NOBODY); }
static void c_fourth(struct pw_hello *h) { h->src = cpu_to_le16(3); }
static void c_auth(struct pw_hello *h) { h->flags |= PW_HF_AUTH; }

static void every_field_of_hello(void)
{
	u8 why;

	CHECK_EQ(hello_with(c_magic, &why), -EPROTO);
	CHECK_EQ(hello_with(c_class, &why), -EPROTO);
	CHECK_EQ(hello_with(c_inc, &why), -EPROTO);
	CHECK_EQ(hello_with(c_order, &why), -EPROTO);
	CHECK_EQ(hello_with(c_new, &why), -ECONNREFUSED);
	CHECK_EQ(why, PW_REFUSE_VERSION);
	CHECK_EQ(hello_with(c_old, &why), -ECONNREFUSED);
	CHECK_EQ(why, PW_REFUSE_VERSION);
	CHECK_EQ(hello_with(c_both, &why), 0);
	CHECK_EQ(hello_with(c_dst, &why), -ECONNREFUSED);
	CHECK_EQ(why, PW_REFUSE_NODE);
	CHECK_EQ(hello_with(c_self, &why), -ECONNREFUSED);
	CHECK_EQ(why, PW_REFUSE_NODE);
	CHECK_EQ(hello_with(c_nobody, &why), -ECONNREFUSED);
	CHECK_EQ(why, PW_REFUSE_NODE);
	CHECK_EQ(hello_with(c_fourth, &why), -ECONNREFUSED);
	CHECK_EQ(why, PW_REFUSE_NODE);
	CHECK_EQ(hello_with(c_auth, &why), -ECONNREFUSED);
	CHECK_EQ(why, PW_REFUSE_AUTH);
}

/* Blobs cut off at every length, in memory of just that length. */
static void truncated(void)
{
	struct pair *p = fresh();
	struct side *a = &p->s[0], *b = &p->s[1];
	struct pt_hs ha, hb, h;
	u16 src;
	u32 n;
	u8 *cut;

	pt_link_want(&a->l, p->now);
	side_act(p, 0);
	pt_hs_hello(&ha, &a->l, 0);
	for (n = 0; n < sizeof(ha.hello); n++) {
		cut = malloc(n + !n);
		memcpy(cut, &ha.hello, n);
		CHECK_EQ(pt_hs_parse(&hb, &b->node, cut, n, NULL, &src), -EPROTO);
		free(cut);
	}
	CHECK_EQ(pt_hs_parse(&hb, &b->node, &ha.hello, sizeof(ha.hello), NULL, &src), 0);
	CHECK_EQ(pt_hs_accept(&hb, &b->l, p->now), 0);
	for (n = 0; n < sizeof(hb.welcome); n++) {
		struct pt_link l = a->l;

		h = ha;
		cut = malloc(n + !n);
		memcpy(cut, &hb.welcome, n);
		CHECK_EQ(pt_hs_welcome(&h, &l, cut, n, p->now), -EPROTO);
		CHECK_EQ(l.state, PT_LINK_CLOSE);
		free(cut);
	}
	CHECK_EQ(pt_hs_welcome(&ha, &a->l, &hb.welcome, sizeof(hb.welcome), p->now), 0);
	for (n = 0; n < sizeof(ha.proof); n++) {
		h = hb;
		cut = malloc(n + !n);
		memcpy(cut, &ha.proof, n);
		CHECK_EQ(pt_hs_proof(&h, &b->l, cut, n, p->now), -EPROTO);
		CHECK_EQ(b->l.state, PT_LINK_IDLE);
		free(cut);
	}
	CHECK_EQ(pt_hs_proof(&hb, &b->l, &ha.proof, sizeof(ha.proof), p->now), 0);
	for (n = 0; n < sizeof(hb.ready); n++) {
		struct pt_link l = a->l;

		h = ha;
		cut = malloc(n + !n);
		memcpy(cut, &hb.ready, n);
		CHECK_EQ(pt_hs_ready(&h, &l, cut, n, p->now), -EPROTO);
		CHECK_EQ(l.state, PT_LINK_CLOSE);
		free(cut);
	}
	pair_free(p);
}

/* With a key, no bit of any blob can be changed without its being noticed. */
static void every_bit_is_proved(void)
{
	struct pair *p = fresh();
	struct side *a = &p->s[0], *b = &p->s[1];
	struct pt_hs ha, hb, h;
	struct pw_welcome w;
	struct pw_proof pr;
	struct pw_ready rd;
	u16 src;
	u32 n;

	keys(p, 7, 7);
	pt_link_want(&a->l, p->now);
	side_act(p, 0);
	pt_hs_hello(&ha, &a->l, 0);
	CHECK_EQ(pt_hs_parse(&hb, &b->node, &ha.hello, sizeof(ha.hello), NULL, &src), 0);
	CHECK_EQ(pt_hs_accept(&hb, &b->l, p->now), 0);
	for (n = 0; n < 8 * sizeof(w); n++) {
		struct pt_link l = a->l;

		h = ha;
		w = hb.welcome;
		((u8 *)&w)[n / 8] ^= 1 << n % 8;
		CHECK(pt_hs_welcome(&h, &l, &w, sizeof(w), p->now));
		CHECK_EQ(l.state, PT_LINK_CLOSE);
	}
	CHECK_EQ(pt_hs_welcome(&ha, &a->l, &hb.welcome, sizeof(hb.welcome), p->now), 0);
	for (n = 0; n < 8 * sizeof(pr); n++) {
		h = hb;
		pr = ha.proof;
		((u8 *)&pr)[n / 8] ^= 1 << n % 8;
		CHECK_EQ(pt_hs_proof(&h, &b->l, &pr, sizeof(pr), p->now), -EACCES);
		CHECK_EQ(b->l.state, PT_LINK_IDLE);
	}
	CHECK_EQ(pt_hs_proof(&hb, &b->l, &ha.proof, sizeof(ha.proof), p->now), 0);
	for (n = 0; n < 8 * sizeof(rd); n++) {
		struct pt_link l = a->l;

		h = ha;
		rd = hb.ready;
		((u8 *)&rd)[n / 8] ^= 1 << n % 8;
		CHECK(pt_hs_ready(&h, &l, &rd, sizeof(rd), p->now));
		CHECK_EQ(l.state, PT_LINK_CLOSE);
	}
	CHECK_EQ(pt_hs_ready(&ha, &a->l, &hb.ready, sizeof(hb.ready), p->now), 0);
	pair_free(p);
}

/* Somebody without the key sends our own proofs back to us. */
static void reflected_proof(void)
{
	struct pair *p = fresh();
	struct side *a = &p->s[0], *b = &p->s[1];
	struct pt_hs ha, hb;
	struct pw_welcome w;
	struct pw_proof pr;
	struct pw_ready rd;
	u16 src;

	keys(p, 7, 7);
	pt_link_want(&a->l, p->now);
	side_act(p, 0);
	pt_hs_hello(&ha, &a->l, 0);
	pt_hs_parse(&hb, &b->node, &ha.hello, sizeof(ha.hello), NULL, &src);
	pt_hs_accept(&hb, &b->l, p->now);
	/* the responder's proof as the initiator's */
	memset(&pr, 0, sizeof(pr));
	memcpy(pr.proof, hb.welcome.proof, 32);
	CHECK_EQ(pt_hs_proof(&hb, &b->l, &pr, sizeof(pr), p->now), -EACCES);
	/* the initiator's own HELLO as WELCOME */
	memset(&w, 0, sizeof(w));
	w.hello = ha.hello;
	CHECK_EQ(pt_hs_welcome(&ha, &a->l, &w, sizeof(w), p->now), -ECONNREFUSED);
	CHECK_EQ(a->l.peer_inc, 0);
	pair_free(p);

	/* the initiator's proof as the responder's last word */
	p = fresh();
	a = &p->s[0];
	b = &p->s[1];
	keys(p, 7, 7);
	pt_link_want(&a->l, p->now);
	side_act(p, 0);
	pt_hs_hello(&ha, &a->l, 0);
	pt_hs_parse(&hb, &b->node, &ha.hello, sizeof(ha.hello), NULL, &src);
	pt_hs_accept(&hb, &b->l, p->now);
	CHECK_EQ(pt_hs_welcome(&ha, &a->l, &hb.welcome, sizeof(hb.welcome), p->now), 0);
	memset(&rd, 0, sizeof(rd));
	rd.state = ha.proof.state;
	memcpy(rd.proof, ha.proof.proof, 32);
	CHECK_EQ(pt_hs_ready(&ha, &a->l, &rd, sizeof(rd), p->now), -ECONNREFUSED);
	CHECK_EQ(a->l.refusal, PW_REFUSE_AUTH);
	CHECK_EQ(a->l.peer_inc, 0);
	pair_free(p);
}

/* A PROOF of another lane or another session is worth nothing. */
static void replayed_proof(void)
{
	struct pair *p = fresh();
	struct side *a = &p->s[0], *b = &p->s[1];
	struct pt_hs h0, h1, hb;
	struct pw_proof old;
	u16 src;

	keys(p, 7, 7);
	pt_link_want(&a->l, p->now);
	side_act(p, 0);
	pt_hs_hello(&h0, &a->l, 0);
	pt_hs_parse(&hb, &b->node, &h0.hello, sizeof(h0.hello), NULL, &src);
	pt_hs_accept(&hb, &b->l, p->now);
	CHECK_EQ(pt_hs_welcome(&h0, &a->l, &hb.welcome, sizeof(hb.welcome), p->now), 0);
	old = h0.proof;
	pt_hs_hello(&h1, &a->l, 1);
	pt_hs_parse(&hb, &b->node, &h1.hello, sizeof(h1.hello), NULL, &src);
	pt_hs_accept(&hb, &b->l, p->now);
	CHECK_EQ(pt_hs_proof(&hb, &b->l, &old, sizeof(old), p->now), -EACCES);
	/* the very HELLO again: the responder's nonce is a new one */
	pt_hs_parse(&hb, &b->node, &h0.hello, sizeof(h0.hello), NULL, &src);
	pt_hs_accept(&hb, &b->l, p->now);
	CHECK_EQ(pt_hs_proof(&hb, &b->l, &old, sizeof(old), p->now), -EACCES);
	CHECK_EQ(b->l.state, PT_LINK_IDLE);
	pair_free(p);
}

static void dead_incarnation_stays_dead(void)
{
	struct pair *p = fresh();
	int i;

	CHECK_EQ(pair_connect(p, 0), 0);
	pair_settle(p);
	pt_link_kill(&p->s[1].l, -EHOSTDOWN, p->now);
	pair_cut(p);
	CHECK(p->s[1].acts & PT_ACT_DEAD);
	CHECK_EQ(p->s[1].l.dead_inc, p->s[0].node.incarnation);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(pair_connect(p, 0), PW_REFUSE_DEAD);
		pair_cut(p);
	}
	/* Whoever was declared dead over there has done the same. */
	CHECK_EQ(p->s[0].l.dead_inc, p->s[1].node.incarnation);
	/* Not even when the survivor calls. */
	CHECK_EQ(pair_connect(p, 1), PW_REFUSE_DEAD);
	pair_cut(p);
	/* As a new incarnation it may come back. */
	pair_restart(p, 0);
	CHECK_EQ(pair_connect(p, 1), 0);
	pair_settle(p);
	pair_free(p);
}

static void new_incarnation(void)
{
	struct pair *p;
	struct pt_tx *tx;
	int who;

	for (who = 0; who < 2; who++) {
		p = fresh();
		CHECK_EQ(pair_connect(p, 0), 0);
		pair_settle(p);
		tx = msg_new(10, 'x');
		CHECK_EQ(pt_send(&p->s[1].l.lane[1], tx, 50, 10), 0);
		pair_restart(p, 0);
		pt_link_fault(&p->s[1].l, -EIO, p->now);
		side_act(p, 1);
		pt_link_drained(&p->s[1].l, p->now);
		/* The first meeting buries the old one, the second succeeds. */
		CHECK_EQ(pair_connect(p, who), PW_REFUSE_BUSY);
		pair_cut(p);
		CHECK(p->s[1].acts & PT_ACT_DEAD);
		CHECK_EQ(p->s[1].dropped, 1);
		CHECK_EQ(pair_connect(p, who), 0);
		pair_settle(p);
		CHECK_EQ(p->s[0].type_n, 0);
		CHECK(!p->s[1].l.dead);
		tx = msg_new(10, 'x');
		CHECK_EQ(pt_send(&p->s[1].l.lane[1], tx, 51, 10), 0);
		pair_settle(p);
		CHECK_EQ(p->s[0].types[0], 51);
		pair_free(p);
	}
}

/* Both call at the same time: one session comes of it, and soon. */
static void glare(void)
{
	struct pair *p = fresh();
	struct side *s = p->s;
	struct pt_hs h[2][PW_CLASSES], r[2][PW_CLASSES];
	int i, c;
	u16 src;

	for (i = 0; i < 2; i++) {
		pt_link_want(&s[i].l, p->now);
		side_act(p, i);
		CHECK_EQ(s[i].l.state, PT_LINK_CONNECT);
		for (c = 0; c < PW_CLASSES; c++)
			pt_hs_hello(&h[i][c], &s[i].l, c);
	}
	for (c = 0; c < PW_CLASSES; c++) {
		for (i = 0; i < 2; i++) {
			CHECK_EQ(pt_hs_parse(&r[i][c], &s[!i].node, &h[i][c].hello,
					     sizeof(struct pw_hello), NULL, &src), 0);
			CHECK_EQ(pt_hs_accept(&r[i][c], &s[!i].l, p->now), 0);
			CHECK_EQ(pt_hs_welcome(&h[i][c], &s[i].l, &r[i][c].welcome,
					       sizeof(struct pw_welcome), p->now), 0);
		}
	}
	for (c = 0; c < PW_CLASSES; c++)
		for (i = 0; i < 2; i++)
			CHECK_EQ(pt_hs_proof(&r[i][c], &s[!i].l, &h[i][c].proof,
					     sizeof(struct pw_proof), p->now), -ECONNREFUSED);
	CHECK_EQ(r[0][0].ready.refusal, PW_REFUSE_BUSY);
	/* The higher id has given way, the lower one was told to come again. */
	CHECK_EQ(s[1].l.state, PT_LINK_CLOSE);
	CHECK_EQ(pt_hs_ready(&h[0][0], &s[0].l, &r[0][0].ready, sizeof(struct pw_ready), p->now),
		 -ECONNREFUSED);
	pair_cut(p);
	CHECK(s[0].l.deadline < s[1].l.deadline);
	CHECK_EQ(pair_connect(p, 0), 0);
	pair_settle(p);
	pair_free(p);
}

/* A new attempt of the peer finds us in a session that it has lost: let it go. */
static void up_gives_way(void)
{
	struct pair *p = fresh();
	u64 old;

	CHECK_EQ(pair_connect(p, 0), 0);
	pair_settle(p);
	old = p->s[1].l.session;
	pt_link_fault(&p->s[0].l, -EIO, p->now);
	pt_link_drained(&p->s[0].l, p->now);
	CHECK_EQ(pair_connect(p, 0), PW_REFUSE_BUSY);
	CHECK_EQ(p->s[1].l.state, PT_LINK_CLOSE);
	pair_cut(p);
	CHECK_EQ(pair_connect(p, 0), 0);
	CHECK(p->s[1].l.session != old);
	pair_free(p);
}

static void sequence_numbers_must_fit(void)
{
	struct pair *p = fresh();
	struct pt_tx *tx = msg_new(10, 'x');

	CHECK_EQ(pair_connect(p, 0), 0);
	pt_send(&p->s[0].l.lane[1], tx, 50, 10);
	pair_settle(p);
	pair_tick(p, 20);
	pair_settle(p);
	CHECK_EQ(p->s[0].l.lane[1].tx_acked, 1);
	pair_cut(p);
	p->s[1].l.lane[1].rx_seq = 0;	/* it has forgotten what it acknowledged */
	CHECK_EQ(pair_connect(p, 0), PW_REFUSE_STATE);
	pair_cut(p);
	p->s[1].l.lane[1].rx_seq = 2;	/* or knows more than was sent */
	CHECK_EQ(pair_connect(p, 0), PW_REFUSE_STATE);
	pair_cut(p);
	p->s[1].l.lane[1].rx_seq = 1;
	CHECK_EQ(pair_connect(p, 0), 0);
	pair_free(p);
}

/* A WELCOME or READY of a session that is over finds nobody. */
static void stale_words(void)
{
	struct pair *p = fresh();
	struct side *a = &p->s[0], *b = &p->s[1];
	struct pt_hs ha, hb;
	u16 src;

	pt_link_want(&a->l, p->now);
	side_act(p, 0);
	pt_hs_hello(&ha, &a->l, 0);
	pt_hs_parse(&hb, &b->node, &ha.hello, sizeof(ha.hello), NULL, &src);
	pt_hs_accept(&hb, &b->l, p->now);
	pt_link_fault(&a->l, -ETIMEDOUT, p->now);
	CHECK_EQ(pt_hs_welcome(&ha, &a->l, &hb.welcome, sizeof(hb.welcome), p->now), -ESTALE);
	CHECK_EQ(pt_hs_ready(&ha, &a->l, &hb.ready, sizeof(hb.ready), p->now), -ESTALE);
	pt_link_drained(&a->l, p->now);
	p->now += 1000;
	pt_link_tick(&a->l, p->now);
	CHECK_EQ(a->l.state, PT_LINK_CONNECT);
	CHECK_EQ(pt_hs_welcome(&ha, &a->l, &hb.welcome, sizeof(hb.welcome), p->now), -ESTALE);
	CHECK_EQ(a->l.state, PT_LINK_CONNECT);
	pair_free(p);
}

static void every_refusal_has_words(void)
{
	int i, j;

	for (i = 0; i < PW_REFUSALS; i++)
		for (j = 0; j < i; j++)
			CHECK(strcmp(pt_refusal_str(i), pt_refusal_str(j)));
	CHECK(pt_refusal_str(PW_REFUSALS));
	CHECK(pt_refusal_str(255));
}

static const struct tap_test tests[] = {
	TEST(good), TEST(good_with_key), TEST(wrong_page_size), TEST(wrong_table),
	TEST(shorter_table), TEST(wrong_key), TEST(key_on_one_side), TEST(wrong_address),
	TEST(every_field_of_hello), TEST(truncated), TEST(every_bit_is_proved),
	TEST(reflected_proof), TEST(replayed_proof), TEST(dead_incarnation_stays_dead),
	TEST(new_incarnation), TEST(glare), TEST(up_gives_way), TEST(sequence_numbers_must_fit),
	TEST(stale_words), TEST(every_refusal_has_words),
};

TAP_MAIN(tests)
