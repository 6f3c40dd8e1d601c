// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * See pair.h.
 */
#include "pair.h"

jmp_buf tap_out;
u8 pair_key[2];

/* Keyed, and every input bit matters: enough to tell right proofs from wrong ones. */
static int toy_mac(void *ctx, const void *data, u32 len, u8 out[32])
{
	struct side *s = ctx;
	u8 key = pair_key[s->node.id & 1];
	const u8 *p = data;
	u64 h = 0xcbf29ce484222325ull ^ key;
	int i;

	if (!key)
		return -ENOMEM;
	while (len--)
		h = (h ^ *p++) * 0x100000001b3ull;
	for (i = 0; i < 32; i++) {
		h = h * 6364136223846793005ull + key;
		out[i] = h >> 56;
	}
	return 0;
}

static void count_up(void *ctx, void *buf, u32 len)
{
	static u64 n = 1;
	u8 *p = buf;

	(void)ctx;
	while (len--)
		*p++ = (n = n * 6364136223846793005ull + 1442695040888963407ull) >> 56;
}

const struct pt_env pair_env = { toy_mac, count_up };

struct pt_cfg pair_cfg(void)
{
	return (struct pt_cfg){
		.window = 20, .slots = 8, .prepaid = 20, .hb_ms = 500, .lease_ms = 10000,
		.dead_ms = 20000, .connect_ms = 3000, .backoff_ms = 50,
	};
}

static void side_init(struct pair *p, int i, const struct pt_cfg *cfg)
{
	struct side *s = &p->s[i];

	memset(s, 0, sizeof(*s));
	s->node.id = i;
	s->node.incarnation = 1000 + p->now;
	s->node.cfg = *cfg;
	s->node.table = &p->table;
	s->node.env = &pair_env;
	s->node.ctx = s;
	s->node.arch = PW_ARCH_X86_64;
	s->node.page_shift = 12;
	s->node.cpu[0] = 0x1234 + i;
	CHECK(PW_CLASSES * cfg->slots <= sizeof(s->text_of) / sizeof(s->text_of[0]));
	s->slots = calloc(PW_CLASSES * cfg->slots, sizeof(*s->slots));
	s->ans = calloc(PW_CLASSES * cfg->slots, sizeof(*s->ans));
	pt_link_init(&s->l, &s->node, !i, s->slots, s->ans);
}

struct pair *pair_new(const struct pt_cfg *a, const struct pt_cfg *b)
{
	struct pair *p = calloc(1, sizeof(*p));
	int i;

	p->now = 1000;
	pt_table_init(&p->table, "test");
	for (i = 0; i < 3; i++) {
		struct pt_addr ad = { { [10] = 255, [11] = 255, [12] = 10, [15] = i + 1 } };
		void *blk = i ? NULL : calloc(256, sizeof(struct pt_table_entry));
		bool took;

		pt_table_add(&p->table, &ad, blk, &took);
	}
	side_init(p, 0, a);
	side_init(p, 1, b);
	return p;
}

void pair_lose_lane(struct pair *p, int from, int class)
{
	struct side *s = &p->s[from];

	while (s->head[class] != s->tail[class])
		free(s->wire[class][s->head[class]++ % WIRE_MAX].data);
}

void pair_lose(struct pair *p, int from)
{
	int c;

	for (c = 0; c < PW_CLASSES; c++)
		pair_lose_lane(p, from, c);
}

void pair_free(struct pair *p)
{
	int i;

	for (i = 0; i < 2; i++) {
		pt_link_kill(&p->s[i].l, -EHOSTDOWN, p->now);
		pt_link_drained(&p->s[i].l, p->now);
		side_act(p, i);
		pair_lose(p, i);
		free(p->s[i].slots);
		free(p->s[i].ans);
	}
	free(p->table.blk[0]);
	free(p);
}

void pair_restart(struct pair *p, int i)
{
	struct pt_cfg cfg = p->s[i].node.cfg;

	pair_lose(p, i);
	free(p->s[i].slots);
	free(p->s[i].ans);
	side_init(p, i, &cfg);
	p->s[i].node.incarnation = 2000 + p->now;
}

struct pair *pair_up(void)
{
	struct pt_cfg cfg = pair_cfg();
	struct pair *p = pair_new(&cfg, &cfg);

	CHECK_EQ(pair_connect(p, 0), 0);
	return p;
}

/* ------------------------------------------------------------------- engine */

void side_act(struct pair *p, int i)
{
	struct side *s = &p->s[i];
	struct pt_slot *slot;
	struct pt_tx *tx;
	u32 a, c;

	do {
		for (c = 0; c < PW_CLASSES; c++) {
			while ((tx = pt_lane_reap(&s->l.lane[c]))) {
				if (tx->status)
					s->dropped++;
				else
					s->reaped++;
				if (tx->kind == PW_MSG)
					msg_free(tx);
			}
		}
		a = pt_link_actions(&s->l);
		s->acts |= a;
		if (a & PT_ACT_FAIL) {
			while ((slot = pt_link_fail_next(&s->l))) {
				c = (slot - s->slots) / s->node.cfg.slots;
				s->fail_status = slot->status;
				s->failed++;
				slot_release(p, i, c, slot);
			}
		}
	} while (a & PT_ACT_FAIL);
}

/* Everything that a side has to send goes onto its wires. */
void pair_pump(struct pair *p, int i)
{
	struct side *s = &p->s[i];
	struct pt_out out;
	int c;

	for (c = 0; c < PW_CLASSES; c++) {
		while (pt_lane_tx(&s->l.lane[c], &out)) {
			struct wire_frame *f = &s->wire[c][s->tail[c] % WIRE_MAX];

			if (p->lossy && s->tail[c] - s->head[c] == WIRE_MAX - 1)
				continue;
			s->tail[c]++;
			CHECK(s->tail[c] - s->head[c] < WIRE_MAX);
			f->out = out;
			f->len = PW_HDR + out.len;
			f->data = NULL;
			if (out.page && s->l.imm)
				continue;
			f->data = malloc(f->len);
			memcpy(f->data, out.hdr, f->len);
		}
	}
	side_act(p, i);
}

int pair_rx(struct pair *p, int to, int class)
{
	struct side *s = &p->s[to], *o = &p->s[!to];
	struct pt_lane *la = &s->l.lane[class];
	struct wire_frame *f;
	struct pt_event *ev = &s->ev;
	int r;

	CHECK(o->head[class] != o->tail[class]);
	f = &o->wire[class][o->head[class]++ % WIRE_MAX];
	if (f->out.page && !f->data)
		r = pt_lane_rx_imm(la, f->out.imm, PAGE, ev);
	else if (f->out.page)
		r = pt_lane_rx(la, (void *)f->data, NULL, PAGE, ev);
	else
		r = pt_lane_rx(la, (void *)f->data, f->data + PW_HDR, f->len - PW_HDR, ev);
	if (!r) {
		s->events[ev->what]++;
		if (ev->what == PT_EV_FRAG || ev->what == PT_EV_MSG || ev->what == PT_EV_REQ) {
			u32 off = le16_to_cpu(((struct pw_hdr *)f->data)->frag) * PW_PAYLOAD;

			memcpy(s->text + off, f->data + PW_HDR, f->len - PW_HDR);
			s->text_len = off + f->len - PW_HDR;
		}
		if (ev->what == PT_EV_MSG || ev->what == PT_EV_REQ) {
			CHECK(s->type_n < 4096);
			s->types[s->type_n++] = ev->type;
			if (!s->keep)
				pt_consume(la, ev->frames, ev->life);
		}
		if (ev->what == PT_EV_ZOMBIE)
			slot_release(p, to, class, ev->slot);
	}
	free(f->data);
	side_act(p, to);
	return r;
}

void pair_settle(struct pair *p)
{
	bool more = true;
	int i, c;

	while (more) {
		more = false;
		pair_pump(p, 0);
		pair_pump(p, 1);
		for (i = 0; i < 2; i++)
			for (c = 0; c < PW_CLASSES; c++)
				while (p->s[!i].head[c] != p->s[!i].tail[c]) {
					CHECK_EQ(pair_rx(p, i, c), 0);
					more = true;
				}
	}
	side_sane(&p->s[0]);
	side_sane(&p->s[1]);
}

void pair_tick(struct pair *p, u64 ms)
{
	int i;

	for (; ms; ms -= ms < 10 ? ms : 10) {
		p->now += ms < 10 ? ms : 10;
		for (i = 0; i < 2; i++) {
			pt_link_tick(&p->s[i].l, p->now);
			side_act(p, i);
		}
	}
}

void pair_cut(struct pair *p)
{
	int i;

	for (i = 0; i < 2; i++) {
		pt_link_fault(&p->s[i].l, -EIO, p->now);
		side_act(p, i);
		pair_lose(p, i);
		pt_link_drained(&p->s[i].l, p->now);
		side_act(p, i);
	}
}

/* Until the initiator's pause is over, then the handshakes of all lanes. */
int pair_connect(struct pair *p, int initiator)
{
	struct side *a = &p->s[initiator], *b = &p->s[!initiator];
	int c, r, tries;
	u16 src;

	pt_link_want(&a->l, p->now);
	for (tries = 0; a->l.state != PT_LINK_CONNECT; tries++) {
		CHECK(tries < 10000);
		p->now += 10;
		pt_link_tick(&a->l, p->now);
	}
	side_act(p, initiator);
	for (c = 0; c < PW_CLASSES; c++) {
		struct pt_hs *ha = &a->hs[c], *hb = &b->hs[c];

		pt_hs_hello(ha, &a->l, c);
		r = pt_hs_parse(hb, &b->node, &ha->hello, sizeof(ha->hello),
				pt_table_addr(&p->table, a->node.id), &src);
		if (r == -EPROTO)
			return r;
		if (!r)
			pt_hs_accept(hb, &b->l, p->now);
		r = pt_hs_welcome(ha, &a->l, &hb->welcome, sizeof(hb->welcome), p->now);
		if (r)
			return r == -ECONNREFUSED ? a->l.refusal : r;
		r = pt_hs_proof(hb, &b->l, &ha->proof, sizeof(ha->proof), p->now);
		if (r && r != -ECONNREFUSED)
			return r;
		side_act(p, !initiator);
		if (!r)
			pt_hs_up(hb, &b->l, p->now);
		r = pt_hs_ready(ha, &a->l, &hb->ready, sizeof(hb->ready), p->now);
		if (r)
			return r == -ECONNREFUSED ? a->l.refusal : r;
	}
	side_act(p, 0);
	side_act(p, 1);
	CHECK_EQ(a->l.state, PT_LINK_UP);
	CHECK_EQ(b->l.state, PT_LINK_UP);
	return 0;
}

/* ----------------------------------------------------------------- messages */

static void **fv_new(u32 len, u8 byte)
{
	u32 n = pt_frames(len), i;
	void **fv = calloc(n + 1, sizeof(*fv));

	for (i = 0; i < n; i++) {
		u32 part = len - i * PW_PAYLOAD < PW_PAYLOAD ? len - i * PW_PAYLOAD : PW_PAYLOAD;

		fv[i] = malloc(PW_HDR + part);
		memset((u8 *)fv[i] + PW_HDR, byte + i, part);
	}
	return fv;
}

static void fv_free(void **fv)
{
	int i;

	for (i = 0; fv[i]; i++)
		free(fv[i]);
	free(fv);
}

/*
 * What must hold of a side between any two calls, whoever its peer is: every
 * thing is in one place, every number within what was allowed.
 */
void side_sane(struct side *s)
{
	const struct pt_cfg *cfg = &s->node.cfg;
	int c, i, q;

	CHECK(s->l.state < PT_LINK_STATES);
	CHECK(!s->l.tx_open || s->l.state == PT_LINK_UP);
	CHECK(!s->l.leased || s->l.lease_end);
	for (c = 0; c < PW_CLASSES; c++) {
		struct pt_lane *la = &s->l.lane[c];
		struct pt_queue *queue[] = { &la->sent, &la->ansq, &la->msgq, &la->done };
		u32 used = 0, units = 0, unused = 0, last = la->tx_acked;
		bool cur = !la->cur;
		struct pt_slot *slot;

		for (q = 0; q < 4; q++) {
			struct pt_tx **p = &queue[q]->head;

			for (; *p; p = &(*p)->next) {
				CHECK((*p)->state == (q == 0 ? PT_TX_SENT : q == 3 ? PT_TX_FREE :
						      PT_TX_QUEUED));
				if (q)
					continue;
				CHECK(pt_after(pt_tx_last(*p), last));
				CHECK(!pt_after((*p)->seq, last + 1));
				last = pt_tx_last(*p);
				CHECK((*p)->sent <= (*p)->frames);
				cur |= *p == la->cur;
			}
			CHECK(p == queue[q]->tail);
		}
		CHECK(cur);
		CHECK_EQ(last, la->tx_seq);
		CHECK(!pt_after(la->tx_acked, la->tx_posted));
		CHECK(!pt_after(la->tx_posted, la->tx_seq));
		CHECK(!pt_after(la->crd_used, la->crd_limit));
		CHECK(!pt_after(la->crd_rx, la->crd_told));
		CHECK(!pt_after(la->crd_told, la->crd_grant));
		CHECK(la->crd_grant - la->crd_rx <= cfg->window);
		CHECK(!la->rx_frag || la->rx_frag < la->rx_frags);
		for (i = 0; i < cfg->slots; i++) {
			slot = &la->slots[i];
			CHECK(slot->index == i);
			if (slot->state != PT_SLOT_FREE) {
				used++;
				units += slot->units;
			}
			CHECK(slot->state != PT_SLOT_FREE || slot->tx.state == PT_TX_FREE);
			CHECK(slot->state != PT_SLOT_DONE || slot->tx.state == PT_TX_FREE);
			CHECK(slot->ans_len <= slot->ans_max);
			CHECK(la->ans[i].state != PT_ANS_OPEN ||
			      la->ans[i].tx.state == PT_TX_FREE);
		}
		for (slot = la->slot_free; slot; slot = slot->next) {
			CHECK_EQ(slot->state, PT_SLOT_FREE);
			unused++;
		}
		CHECK_EQ(used, la->slots_used);
		CHECK_EQ(used + unused, cfg->slots);
		CHECK_EQ(units + la->prepaid, cfg->prepaid);
	}
}

void **msg_buffers(u32 len)
{
	return fv_new(len, 'b');
}

struct pt_tx *msg_new(u32 len, u8 byte)
{
	struct pt_tx *tx = calloc(1, sizeof(*tx));

	tx->fv = fv_new(len, byte);
	tx->notify = true;
	return tx;
}

void msg_free(struct pt_tx *tx)
{
	fv_free(tx->fv);
	free(tx);
}

struct pt_slot *pair_ask(struct pair *p, int i, int class, u32 len, u32 ans_max, u64 deadline)
{
	struct pt_lane *la = &p->s[i].l.lane[class];
	struct pt_slot *s = pt_slot_get(la, ans_max);

	if (!s)
		return NULL;
	s->tx.fv = fv_new(len, 'r');
	s->ans = calloc(1, ans_max + 1);
	p->s[i].text_of[s - p->s[i].slots] = s->ans;
	CHECK_EQ(pt_slot_send(la, s, 100 + s->index, len, deadline), 0);
	side_act(p, i);
	return s;
}

struct pt_slot *pair_ask_page(struct pair *p, int i, int class, u32 frame, void *page)
{
	struct pt_lane *la = &p->s[i].l.lane[class];
	struct pt_slot *s = pt_slot_get(la, 0);

	if (!s)
		return NULL;
	s->tx.fv = fv_new(0, 0);
	s->frame = frame;
	s->page = page;
	CHECK_EQ(pt_slot_send(la, s, 200, 0, ~0ull), 0);
	side_act(p, i);
	return s;
}

/* Several pages with one request. Return: how many slots could be had. */
u32 pair_ask_pages(struct pair *p, int i, int class, u32 n, u16 type, u32 frame, void *page,
		   struct pt_slot **s)
{
	struct pt_lane *la = &p->s[i].l.lane[class];
	u32 k;

	for (k = 0; k < n; k++) {
		s[k] = pt_slot_get(la, 0);
		if (!s[k])
			break;
		s[k]->frame = frame + k;
		s[k]->page = page;
		s[k]->tx.fv = fv_new(k ? 0 : n * sizeof(struct pw_want), 0);
	}
	if (k)
		CHECK_EQ(pt_slots_send(la, s, k, type, k * sizeof(struct pw_want), ~0ull), 0);
	side_act(p, i);
	return k;
}

/* The slot's request buffers live as long as the slot is in use. */
void slot_release(struct pair *p, int i, int class, struct pt_slot *s)
{
	fv_free(s->tx.fv);
	s->tx.fv = NULL;
	free(p->s[i].text_of[s - p->s[i].slots]);
	p->s[i].text_of[s - p->s[i].slots] = NULL;
	pt_slot_put(&p->s[i].l.lane[class], s);
	side_act(p, i);
}

int pair_answer(struct pair *p, int i, int class, const struct pt_event *ev, int status,
		u32 len, u8 byte)
{
	struct pt_lane *la = &p->s[i].l.lane[class];
	struct pt_ans *a = pt_ans_get(la, ev->aslot, ev->gen, ev->life);
	int r;

	if (!a)
		return -ENOENT;
	a->tx.notify = false;
	if (len) {
		/* More than a test has answers in flight. */
		static u8 room[64][PW_FRAMES_MAX][PW_FRAME];
		static void *fv[64][PW_FRAMES_MAX];
		static u32 n;
		u32 k = n++ % 64, f;

		for (f = 0; f < PW_FRAMES_MAX; f++) {
			fv[k][f] = room[k][f];
			memset(room[k][f] + PW_HDR, byte + f, PW_PAYLOAD);
		}
		a->tx.fv = fv[k];
	}
	r = pt_ans_send(la, a, status, len);
	side_act(p, i);
	return r;
}
