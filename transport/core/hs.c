// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Handshake of one lane: HELLO, WELCOME, PROOF, READY (wire.h). Until the
 * other side has proved the key, nothing it says changes a link: the responder
 * touches its link at PROOF, the initiator at WELCOME.
 */
#include "lane.h"

#define ZERO_PROOF(p) memset(p, 0, 32)

static bool same_proof(const u8 a[32], const u8 b[32])
{
	u8 d = 0;
	int i;

	for (i = 0; i < 32; i++)
		d |= a[i] ^ b[i];
	return !d;
}

/*
 * The role's letter keeps a proof from being sent back as the other side's;
 * ids, incarnations, class, session and nonces are in HELLO and WELCOME.
 */
static int prove(struct pt_hs *hs, char role, const void *tail, u32 len, u8 out[32])
{
	u8 buf[1 + sizeof(hs->hello) + offsetof(struct pw_welcome, proof) +
	       offsetof(struct pw_ready, proof)];
	u32 n = 1;

	ZERO_PROOF(out);
	if (!hs->node->has_key)
		return 0;
	buf[0] = role;
	memcpy(buf + n, &hs->hello, sizeof(hs->hello));
	n += sizeof(hs->hello);
	memcpy(buf + n, &hs->welcome, offsetof(struct pw_welcome, proof));
	n += offsetof(struct pw_welcome, proof);
	if (len)
		memcpy(buf + n, tail, len);
	return hs->node->env->hmac(hs->node->ctx, buf, n + len, out);
}

/* Return: does @got prove the key? */
static bool proved(struct pt_hs *hs, char role, const void *tail, u32 len, const u8 got[32])
{
	u8 want[32];

	return !prove(hs, role, tail, len, want) && same_proof(want, got);
}

static void fill_hello(struct pt_hs *hs, struct pw_hello *h, u16 dst, u64 session)
{
	struct pt_node *node = hs->node;

	memset(h, 0, sizeof(*h));
	h->magic = cpu_to_le32(PW_MAGIC);
	h->ver_lo = PW_VERSION_MIN;
	h->ver_hi = PW_VERSION;
	h->class = hs->class;
	h->arch = node->arch;
	h->src = cpu_to_le16(node->id);
	h->dst = cpu_to_le16(dst);
	h->page_shift = node->page_shift;
	h->flags = node->has_key ? PW_HF_AUTH : 0;
	h->nodes = cpu_to_le16(node->table->n);
	h->incarnation = cpu_to_le64(node->incarnation);
	h->session = cpu_to_le64(session);
	h->table = cpu_to_le64(pt_table_hash(node->table, node->table->n));
	node->env->random(node->ctx, h->nonce, sizeof(h->nonce));
}

/* What both sides check of the other's first words. */
static enum pw_refusal check_hello(struct pt_hs *hs, const struct pw_hello *h)
{
	struct pt_node *node = hs->node;
	u16 src = le16_to_cpu(h->src), nodes = le16_to_cpu(h->nodes);

	if (h->class >= PW_CLASSES || !h->incarnation || h->ver_lo > h->ver_hi)
		return PW_REFUSE_MALFORMED;
	if (h->ver_lo > PW_VERSION || h->ver_hi < PW_VERSION_MIN)
		return PW_REFUSE_VERSION;
	if (h->page_shift != node->page_shift)
		return PW_REFUSE_PAGE_SIZE;
	/* Who knows fewer nodes can't check; the other side does. */
	if (nodes <= node->table->n && le64_to_cpu(h->table) != pt_table_hash(node->table, nodes))
		return PW_REFUSE_TABLE;
	if (src >= node->table->n || src == node->id || le16_to_cpu(h->dst) != node->id)
		return PW_REFUSE_NODE;
	if (!!(h->flags & PW_HF_AUTH) != node->has_key)
		return PW_REFUSE_AUTH;
	return PW_OK;
}

/*
 * Is this the incarnation that the link talks with? A newer one means that the
 * old is dead: it is buried first, and the newcomer tries again.
 */
static enum pw_refusal check_incarnation(struct pt_link *l, u64 inc, u64 now)
{
	if (inc <= l->dead_inc || (l->peer_inc && inc < l->peer_inc))
		return PW_REFUSE_DEAD;
	if (l->dying)
		return PW_REFUSE_BUSY;
	if (l->peer_inc && inc > l->peer_inc) {
		pt_link_kill(l, -EHOSTDOWN, now);
		return PW_REFUSE_BUSY;
	}
	return PW_OK;
}

static void meet(struct pt_link *l, const struct pw_hello *h, const struct pw_state *st)
{
	l->peer_inc = le64_to_cpu(h->incarnation);
	l->peer_arch = h->arch;
	l->peer_cpu[0] = le64_to_cpu(st->cpu[0]);
	l->peer_cpu[1] = le64_to_cpu(st->cpu[1]);
}

static void fill_state(struct pt_hs *hs, struct pt_link *l, struct pw_state *st)
{
	pt_lane_tell(&l->lane[hs->class], st);
	st->cpu[0] = cpu_to_le64(hs->node->cpu[0]);
	st->cpu[1] = cpu_to_le64(hs->node->cpu[1]);
}

static int resume(struct pt_hs *hs, struct pt_link *l, const struct pw_state *st)
{
	return pt_lane_resume(&l->lane[hs->class], le32_to_cpu(st->rx_seq),
			      le32_to_cpu(st->credit), le16_to_cpu(st->slots));
}

/* -------------------------------------------------------------- initiator */

/**
 * pt_hs_hello - begin the handshake of a lane
 * @hs:    handshake; hs->hello is to be sent
 * @l:     link, PT_LINK_CONNECT
 * @class: lane
 */
void pt_hs_hello(struct pt_hs *hs, struct pt_link *l, u8 class)
{
	memset(hs, 0, sizeof(*hs));
	hs->node = l->node;
	hs->class = class;
	fill_hello(hs, &hs->hello, l->peer, l->session);
}

static bool current_session(struct pt_hs *hs, struct pt_link *l)
{
	return l->state == PT_LINK_CONNECT && le64_to_cpu(hs->hello.session) == l->session;
}

static int refused(struct pt_link *l, u8 why, u64 now)
{
	l->refusal = why;
	pt_link_fault(l, -ECONNREFUSED, now);
	return -ECONNREFUSED;
}

/**
 * pt_hs_welcome - the responder has answered HELLO
 * @hs:  handshake; hs->proof is to be sent next
 * @l:   link
 * @buf: WELCOME
 * @len: its bytes, or more (private data is padded)
 * @now: ms
 *
 * Return: 0; -ECONNREFUSED (l->refusal says why), -EPROTO, -ESTALE if the
 * session is over. On error the link has been faulted.
 */
int pt_hs_welcome(struct pt_hs *hs, struct pt_link *l, const void *buf, u32 len, u64 now)
{
	struct pw_welcome *w = &hs->welcome;
	u8 why;

	if (!current_session(hs, l))
		return -ESTALE;
	if (len < sizeof(*w))
		goto malformed;
	memcpy(w, buf, sizeof(*w));
	if (le32_to_cpu(w->hello.magic) != PW_MAGIC || w->refusal >= PW_REFUSALS ||
	    w->hello.session != hs->hello.session || w->hello.class != hs->class)
		goto malformed;
	/* Whose key differs proves nothing, so its refusal can only be noted. */
	if (w->refusal && w->refusal != PW_REFUSE_DEAD)
		return refused(l, w->refusal, now);
	why = check_hello(hs, &w->hello);
	if (!why && le16_to_cpu(w->hello.src) != l->peer)
		why = PW_REFUSE_NODE;
	if (!why && !proved(hs, 'R', NULL, 0, w->proof))
		why = PW_REFUSE_AUTH;
	if (why)
		return refused(l, why, now);
	/* Declared dead over there: then so are they here. */
	if (w->refusal) {
		l->refusal = w->refusal;
		if (l->peer_inc)
			pt_link_kill(l, -EHOSTDOWN, now);
		return refused(l, w->refusal, now);
	}
	why = check_incarnation(l, le64_to_cpu(w->hello.incarnation), now);
	if (why)
		return refused(l, why, now);
	hs->version = w->hello.ver_hi;
	fill_state(hs, l, &hs->proof.state);
	if (prove(hs, 'I', &hs->proof.state, sizeof(hs->proof.state), hs->proof.proof))
		return refused(l, PW_REFUSE_AUTH, now);
	return 0;

malformed:
	pt_link_fault(l, -EPROTO, now);
	return -EPROTO;
}

/**
 * pt_hs_ready - the responder has believed PROOF
 * @hs:  handshake
 * @l:   link
 * @buf: READY
 * @len: its bytes
 * @now: ms
 *
 * Return: 0: the lane is up. Errors as pt_hs_welcome().
 */
int pt_hs_ready(struct pt_hs *hs, struct pt_link *l, const void *buf, u32 len, u64 now)
{
	struct pw_ready *r = &hs->ready;

	if (!current_session(hs, l))
		return -ESTALE;
	if (len < sizeof(*r))
		goto malformed;
	memcpy(r, buf, sizeof(*r));
	if (r->refusal >= PW_REFUSALS)
		goto malformed;
	if (!proved(hs, 'S', r, offsetof(struct pw_ready, proof), r->proof))
		return refused(l, PW_REFUSE_AUTH, now);
	if (r->refusal == PW_REFUSE_DEAD && l->peer_inc)
		pt_link_kill(l, -EHOSTDOWN, now);
	if (r->refusal)
		return refused(l, r->refusal, now);
	if (l->peer_inc && l->peer_inc != le64_to_cpu(hs->welcome.hello.incarnation))
		return refused(l, PW_REFUSE_BUSY, now);
	if (resume(hs, l, &r->state))
		return refused(l, PW_REFUSE_STATE, now);
	meet(l, &hs->welcome.hello, &r->state);
	pt_link_lane_up(l, hs->class, now);
	return 0;

malformed:
	pt_link_fault(l, -EPROTO, now);
	return -EPROTO;
}

/* -------------------------------------------------------------- responder */

/**
 * pt_hs_parse - somebody says HELLO
 * @hs:   handshake, filled in here
 * @node: node whose address was called
 * @buf:  HELLO
 * @len:  its bytes, or more
 * @from: address it came from; NULL where that says nothing
 * @src:  the caller's node id
 *
 * No lock is needed. Return: 0: look up the link to @src, then pt_hs_accept();
 * -ECONNREFUSED: send hs->welcome, then close; -EPROTO: close without a word.
 */
int pt_hs_parse(struct pt_hs *hs, struct pt_node *node, const void *buf, u32 len,
		const struct pt_addr *from, u16 *src)
{
	struct pw_hello *h = &hs->hello;
	u8 why;

	memset(hs, 0, sizeof(*hs));
	hs->node = node;
	if (len < sizeof(*h))
		return -EPROTO;
	memcpy(h, buf, sizeof(*h));
	if (le32_to_cpu(h->magic) != PW_MAGIC)
		return -EPROTO;
	why = check_hello(hs, h);
	if (why == PW_REFUSE_MALFORMED)
		return -EPROTO;
	*src = le16_to_cpu(h->src);
	if (!why && from && memcmp(from, pt_table_addr(node->table, *src), sizeof(*from)))
		why = PW_REFUSE_NODE;
	hs->class = h->class;
	hs->version = h->ver_hi < PW_VERSION ? h->ver_hi : PW_VERSION;
	fill_hello(hs, &hs->welcome.hello, *src, le64_to_cpu(h->session));
	if (why != PW_REFUSE_VERSION)
		hs->welcome.hello.ver_lo = hs->welcome.hello.ver_hi = hs->version;
	hs->welcome.refusal = why;
	return why ? -ECONNREFUSED : 0;
}

/**
 * pt_hs_accept - answer HELLO
 * @hs:  handshake; hs->welcome is to be sent
 * @l:   link to the caller; not changed
 * @now: ms
 *
 * Return: 0, or -ECONNREFUSED: send hs->welcome, then close.
 */
int pt_hs_accept(struct pt_hs *hs, struct pt_link *l, u64 now)
{
	u64 inc = le64_to_cpu(hs->hello.incarnation);

	(void)now;
	if (inc <= l->dead_inc || (l->peer_inc && inc < l->peer_inc))
		hs->welcome.refusal = PW_REFUSE_DEAD;
	if (prove(hs, 'R', NULL, 0, hs->welcome.proof))
		hs->welcome.refusal = PW_REFUSE_AUTH;
	return hs->welcome.refusal ? -ECONNREFUSED : 0;
}

/* The caller is who it says. Make room for its session, or say why not. */
static enum pw_refusal admit(struct pt_hs *hs, struct pt_link *l, u64 now)
{
	u64 session = le64_to_cpu(hs->hello.session);
	u8 why = check_incarnation(l, le64_to_cpu(hs->hello.incarnation), now);

	if (why)
		return why;
	switch (l->state) {
	case PT_LINK_IDLE:
	case PT_LINK_WAIT:
		pt_link_begin(l, PT_LINK_ACCEPT, session, now);
		break;
	case PT_LINK_ACCEPT:
		if (l->session == session && !l->lane[hs->class].ready)
			break;
		/* A peer has one attempt at a time: the older one is over. */
		pt_link_fault(l, -ECONNRESET, now);
		return PW_REFUSE_BUSY;
	case PT_LINK_CONNECT:
		/* Both are calling: the lower id's session is the one. */
		if (l->node->id > l->peer)
			pt_link_fault(l, -ECONNRESET, now);
		return PW_REFUSE_BUSY;
	case PT_LINK_UP:
		pt_link_fault(l, -ECONNRESET, now);
		return PW_REFUSE_BUSY;
	default:
		return PW_REFUSE_BUSY;
	}
	if (resume(hs, l, &hs->proof.state))
		return PW_REFUSE_STATE;
	return PW_OK;
}

/**
 * pt_hs_proof - the initiator has answered WELCOME
 * @hs:  handshake; hs->ready is to be sent
 * @l:   link
 * @buf: PROOF
 * @len: its bytes
 * @now: ms
 *
 * Return: 0: send READY, then call pt_hs_up(). -ECONNREFUSED: send READY, then
 * close (this connection only). -EPROTO, -EACCES: close without a word.
 */
int pt_hs_proof(struct pt_hs *hs, struct pt_link *l, const void *buf, u32 len, u64 now)
{
	struct pw_ready *r = &hs->ready;

	if (len < sizeof(hs->proof))
		return -EPROTO;
	memcpy(&hs->proof, buf, sizeof(hs->proof));
	if (!proved(hs, 'I', &hs->proof.state, sizeof(hs->proof.state), hs->proof.proof))
		return -EACCES;
	memset(r, 0, sizeof(*r));
	r->refusal = admit(hs, l, now);
	if (!r->refusal) {
		meet(l, &hs->hello, &hs->proof.state);
		fill_state(hs, l, &r->state);
	}
	if (prove(hs, 'S', r, offsetof(struct pw_ready, proof), r->proof)) {
		pt_link_fault(l, -EACCES, now);
		return -EACCES;
	}
	return r->refusal ? -ECONNREFUSED : 0;
}

/**
 * pt_hs_up - READY has been given to the wire
 * @hs:  handshake
 * @l:   link
 * @now: ms
 */
void pt_hs_up(struct pt_hs *hs, struct pt_link *l, u64 now)
{
	if (l->state == PT_LINK_ACCEPT && l->session == le64_to_cpu(hs->hello.session) &&
	    l->lane[hs->class].ready)
		pt_link_lane_up(l, hs->class, now);
}

/**
 * pt_refusal_str - why, for people, with what to do
 * @refusal: enum pw_refusal
 */
const char *pt_refusal_str(u8 refusal)
{
	static const char *const why[PW_REFUSALS] = {
		[PW_OK]			= "accepted",
		[PW_REFUSE_MALFORMED]	= "not a handshake of this protocol",
		[PW_REFUSE_VERSION]	= "no protocol version in common: install the same release",
		[PW_REFUSE_PAGE_SIZE]	= "page sizes differ: boot kernels of one page size",
		[PW_REFUSE_TABLE]	= "node tables differ: give all nodes the same list and cluster name",
		[PW_REFUSE_NODE]	= "unknown node id, or not at its address: check the node list",
		[PW_REFUSE_AUTH]	= "keys differ: give all nodes the same key file",
		[PW_REFUSE_DEAD]	= "that incarnation was declared dead: reload the module there",
		[PW_REFUSE_BUSY]	= "another session is going on",
		[PW_REFUSE_STATE]	= "sequence numbers don't fit",
	};

	return refusal < PW_REFUSALS ? why[refusal] : "unknown reason";
}
