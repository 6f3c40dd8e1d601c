// SPDX-License-Identifier: GPL-2.0-only
/*
 * What drivers call (driver.h): handshakes, received frames, failures.
 */
#include "engine.h"
#include "trace.h"

/**
 * popcorn_conn_init - a new connection
 * @c:     connection, zeroed, in the driver's; count 1, the driver's
 * @drv:   driver
 * @link:  link that it is opened for, or NULL if it was accepted
 * @class: lane, with @link
 */
void popcorn_conn_init(struct popcorn_conn *c, struct popcorn_driver *drv,
		       struct popcorn_link *link, u8 class)
{
	kref_init(&c->ref);
	c->driver = drv;
	c->link = link;
	c->class = class;
	if (link)
		popcorn_node_hold(link->node);
}
EXPORT_SYMBOL_GPL(popcorn_conn_init);

static void conn_release(struct kref *ref)
{
	struct popcorn_conn *c = container_of(ref, struct popcorn_conn, ref);
	struct popcorn_node *node = c->link ? c->link->node : NULL;

	rcu_read_lock(); /* a driver's module waits for that before it goes */
	c->driver->release(c);
	rcu_read_unlock();
	popcorn_node_put(node);
}

/* Any context. */
void popcorn_conn_put(struct popcorn_conn *c)
{
	kref_put(&c->ref, conn_release);
}
EXPORT_SYMBOL_GPL(popcorn_conn_put);

/* It is the link's from here on; lock held. */
static void attach(struct popcorn_conn *c)
{
	popcorn_conn_get(c);
	c->link->conn[c->class] = c;
	c->link->pt.imm = c->driver->imm;
}

static bool attached(const struct popcorn_conn *c)
{
	return c->link->conn[c->class] == c;
}

/**
 * popcorn_conn_hello - begin the handshake of a connection to be opened
 * @c: connection
 *
 * Return: 0: it is the link's, c->hs.hello is to be sent. -ESTALE: nobody wants
 * it any more; the driver puts it.
 */
int popcorn_conn_hello(struct popcorn_conn *c)
{
	struct popcorn_link *l = c->link;
	int r = -ESTALE;

	spin_lock_bh(&l->lock);
	if (l->pt.state == PT_LINK_CONNECT && !l->conn[c->class]) {
		pt_hs_hello(&c->hs, &l->pt, c->class);
		attach(c);
		r = 0;
	}
	spin_unlock_bh(&l->lock);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_conn_hello);

/* Common end of a step of the handshake: errors of an attached connection fault. */
static int hs_end(struct popcorn_conn *c, int r)
	__releases(&c->link->lock)
{
	if (r && attached(c)) {
		if (r == -ECONNREFUSED)
			c->link->refused = true;
		popcorn_link_fault(c->link, r);
	}
	popcorn_link_unlock(c->link, false);
	return r;
}

/**
 * popcorn_conn_welcome - WELCOME has come
 * @c:   connection
 * @buf: WELCOME
 * @len: its bytes, or more
 *
 * Any context. Return: 0: send c->hs.proof. Else nothing; the link is faulted
 * and the connection will be closed.
 */
int popcorn_conn_welcome(struct popcorn_conn *c, const void *buf, u32 len)
{
	spin_lock_bh(&c->link->lock);
	return hs_end(c, attached(c) ? pt_hs_welcome(&c->hs, &c->link->pt, buf, len,
						     popcorn_now()) : -ESTALE);
}
EXPORT_SYMBOL_GPL(popcorn_conn_welcome);

/**
 * popcorn_conn_ready - READY has come
 * @c:   connection
 * @buf: READY
 * @len: its bytes
 *
 * Any context. Return: 0: frames go both ways. Else as popcorn_conn_welcome().
 */
int popcorn_conn_ready(struct popcorn_conn *c, const void *buf, u32 len)
{
	spin_lock_bh(&c->link->lock);
	return hs_end(c, attached(c) ? pt_hs_ready(&c->hs, &c->link->pt, buf, len,
						   popcorn_now()) : -ESTALE);
}
EXPORT_SYMBOL_GPL(popcorn_conn_ready);

/*
 * A peer that tries again and again is told of once for each reason, until the link
 * comes up. Without a @peer it said nothing that makes sense. Any context.
 */
static void log_refusal(struct popcorn_node *node, const u16 *peer, const struct pt_addr *from,
			u8 why)
{
	struct sockaddr_storage ss;

	if (why == PW_OK || why == PW_REFUSE_BUSY)
		return;
	if (peer && xa_store_bh(&node->refused, *peer, xa_mk_value(why), GFP_ATOMIC) ==
		    xa_mk_value(why))
		return;
	popcorn_addr_sockaddr(from, 0, &ss);
	pr_warn_ratelimited("node %u: refused %pISc: %s\n", node->pt.id, &ss,
			    pt_refusal_str(why));
}

/**
 * popcorn_conn_accept - HELLO has come
 * @c:    connection; gets its link
 * @node: node that was called
 * @from: address that called
 * @buf:  HELLO
 * @len:  its bytes, or more
 *
 * Process context. The connection is not the link's yet.
 * Return: 0: send c->hs.welcome, wait for PROOF. -ECONNREFUSED: send
 * c->hs.welcome, then close. Else close without a word.
 */
int popcorn_conn_accept(struct popcorn_conn *c, struct popcorn_node *node,
			const struct pt_addr *from, const void *buf, u32 len)
{
	struct popcorn_link *l;
	u16 src;
	int r = pt_hs_parse(&c->hs, &node->pt, buf, len, from, &src);

	if (r == -ECONNREFUSED)
		log_refusal(node, &src, from, c->hs.welcome.refusal);
	else if (r)
		log_refusal(node, NULL, from, PW_REFUSE_MALFORMED);
	if (r)
		return r;
	l = popcorn_link_get(node, src, false);
	if (IS_ERR(l))
		return PTR_ERR(l);
	popcorn_node_hold(node);
	c->class = c->hs.class;
	c->link = l;
	spin_lock_bh(&l->lock);
	r = pt_hs_accept(&c->hs, &l->pt, popcorn_now());
	popcorn_link_unlock(l, true);
	if (r)
		log_refusal(node, &src, from, c->hs.welcome.refusal);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_conn_accept);

/**
 * popcorn_conn_proof - PROOF has come
 * @c:   connection
 * @buf: PROOF
 * @len: its bytes
 *
 * Any context. Return: 0: it is the link's now; send c->hs.ready, then
 * popcorn_conn_up(). -ECONNREFUSED: send c->hs.ready, then close. Else close
 * without a word.
 */
int popcorn_conn_proof(struct popcorn_conn *c, const void *buf, u32 len)
{
	struct popcorn_link *l = c->link;
	int r;

	spin_lock_bh(&l->lock);
	if (l->node->gone) {
		r = -ESHUTDOWN;
	} else {
		r = pt_hs_proof(&c->hs, &l->pt, buf, len, popcorn_now());
		if (!r && l->conn[c->class]) {
			popcorn_link_fault(l, -EPROTO);
			r = -EPROTO;
		}
		if (!r)
			attach(c);
	}
	popcorn_link_unlock(l, false);
	if (r == -EACCES)
		log_refusal(l->node, &l->peer, popcorn_peer_addr(l), PW_REFUSE_AUTH);
	else if (r == -ECONNREFUSED)
		log_refusal(l->node, &l->peer, popcorn_peer_addr(l), c->hs.ready.refusal);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_conn_proof);

/**
 * popcorn_conn_up - READY has been given to the wire
 * @c: connection
 *
 * Any context. Return: 0: frames go both ways; -ESTALE: it will be closed.
 */
int popcorn_conn_up(struct popcorn_conn *c)
{
	int r = -ESTALE;

	spin_lock_bh(&c->link->lock);
	if (attached(c)) {
		pt_hs_up(&c->hs, &c->link->pt, popcorn_now());
		r = 0;
	}
	popcorn_link_unlock(c->link, false);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_conn_up);

/**
 * popcorn_conn_failed - the connection can't go on
 * @c:     connection, at any point of its life
 * @error: why (-errno)
 *
 * Any context. If it is the link's, close() will be called.
 */
void popcorn_conn_failed(struct popcorn_conn *c, int error)
{
	struct popcorn_link *l = c->link;

	if (!l)
		return;
	spin_lock_bh(&l->lock);
	if (attached(c))
		popcorn_link_fault(l, error);
	popcorn_link_unlock(l, false);
}
EXPORT_SYMBOL_GPL(popcorn_conn_failed);

/* A message is complete: its first buffer holds the description. Lock held. */
static struct popcorn_msg *msg_make(struct popcorn_link *l, u8 class, const struct pt_event *ev)
{
	struct popcorn_lane *la = &l->lane[class];
	struct popcorn_rxbuf *b = la->rx_open;
	struct popcorn_msg *m = &b->msg;
	const struct pt_ans *a = &l->pt.lane[class].ans[ev->aslot];

	la->rx_open = NULL;
	la->rx_tail = &la->rx_open;
	m->node = l->node;
	m->from = l->peer;
	m->type = ev->type;
	m->class = class;
	m->request = ev->what == PT_EV_REQ;
	m->pages = ev->wants ?: m->request && ev->frame != PW_NOFRAME;
	m->left = m->pages;
	m->skip = ev->wants * sizeof(struct pw_want);
	m->len = ev->total - m->skip;
	m->max = m->request ? a->max : 0;
	m->data = b->data + PW_HDR + m->skip;
	m->link = l;
	m->bufs = b;
	m->next = NULL;
	m->frames = ev->frames;
	m->slot = ev->aslot;
	m->gen = ev->gen;
	m->life = ev->life;
	popcorn_node_hold(l->node);
	return m;
}

/* What a received frame means for slots; lock held. */
static void slot_event(struct popcorn_link *l, const struct pt_event *ev)
{
	if (ev->what == PT_EV_DONE)
		popcorn_slot_end(l, ev->slot, ev->slot->status);
	else if (ev->what == PT_EV_ZOMBIE)
		popcorn_slot_put(l, ev->slot);
}

static int rx_error(struct popcorn_conn *c, int r)
	__releases(&c->link->lock)
{
	struct popcorn_link *l = c->link;

	if (r == -EPROTO && l->pt.state == PT_LINK_UP)
		pr_warn_ratelimited("node %u: node %u sent what the protocol forbids; link reset\n",
				    l->node->pt.id, l->peer);
	if (attached(c))
		popcorn_link_fault(l, r);
	popcorn_link_unlock(l, false);
	return r;
}

/*
 * A posting driver's buffer is free again. The peer may use a receive that an
 * answer used up only after our next request, before which it is posted; one
 * for an unsequenced frame at any time, so that is posted now.
 */
static void give_back(struct popcorn_conn *c, struct popcorn_rxbuf *buf, bool now)
{
	popcorn_rxbuf_put(c, buf);
	if (now)
		c->link->pt.actions |= PT_ACT_TX(c->class);
}

/**
 * popcorn_conn_rx - a frame has come
 * @c:       connection
 * @h:       its header
 * @payload: its payload; of a PW_PAGE not looked at
 * @len:     payload bytes that really came
 * @buf:     buffer whose data + PW_HDR @payload is, from popcorn_rxbuf_get();
 *           NULL only for a PW_PAGE or a frame without payload that is no
 *           message
 *
 * Any context; one call at a time a connection, in the order of arrival.
 * Return: 0: the buffer is still the driver's; 1: it is lent; -errno: the
 * session is over, the buffer is the driver's, nothing more may be passed in.
 * A driver with kick_locked() gives the buffer away in any case: it comes back
 * by popcorn_rxbuf_get().
 */
int popcorn_conn_rx(struct popcorn_conn *c, const struct pw_hdr *h, const void *payload,
		    u32 len, struct popcorn_rxbuf *buf)
{
	struct popcorn_link *l = c->link;
	struct popcorn_lane *la = &l->lane[c->class];
	bool posts = c->driver->kick_locked;
	struct popcorn_msg *m = NULL;
	struct pt_event ev;
	int r;

	spin_lock_bh(&l->lock);
	r = likely(attached(c)) ? pt_lane_rx(&l->pt.lane[c->class], h, payload, len, &ev) :
	    -ESTALE;
	if (unlikely(r)) {
		if (posts)
			popcorn_rxbuf_put(c, buf);
		return rx_error(c, r);
	}
	switch (ev.what) {
	case PT_EV_FRAG:
	case PT_EV_MSG:
	case PT_EV_REQ:
		if (WARN_ON_ONCE(!buf))
			return rx_error(c, -EPROTO);
		buf->posted = false;
		buf->next = NULL;
		*la->rx_tail = buf;
		la->rx_tail = &buf->next;
		if (ev.what != PT_EV_FRAG)
			m = msg_make(l, c->class, &ev);
		r = 1;
		break;
	default:
		slot_event(l, &ev);
		if (posts)
			give_back(c, buf, h->kind < PW_MSG);
	}
	popcorn_link_unlock(l, false);
	if (m)
		popcorn_msg_received(m);
	return r;
}
EXPORT_SYMBOL_GPL(popcorn_conn_rx);

/**
 * popcorn_conn_rx_imm - a page was written into the frame of a request
 * @c:     connection
 * @imm:   the immediate
 * @bytes: bytes written
 * @buf:   the receive that this used up; given away as by popcorn_conn_rx()
 *
 * As popcorn_conn_rx(). Return: 0 or -errno.
 */
int popcorn_conn_rx_imm(struct popcorn_conn *c, u32 imm, u32 bytes, struct popcorn_rxbuf *buf)
{
	struct popcorn_link *l = c->link;
	struct pt_event ev;
	int r = -ESTALE;

	spin_lock_bh(&l->lock);
	if (likely(attached(c)))
		r = pt_lane_rx_imm(&l->pt.lane[c->class], imm, bytes, &ev);
	if (unlikely(r)) {
		popcorn_rxbuf_put(c, buf);
		return rx_error(c, r);
	}
	if (ev.slot->page)
		c->driver->page_arrived(c, ev.slot->page);
	slot_event(l, &ev);
	give_back(c, buf, false);
	popcorn_link_unlock(l, false);
	return 0;
}
EXPORT_SYMBOL_GPL(popcorn_conn_rx_imm);

/**
 * popcorn_conn_rx_page - where the payload of a PW_PAGE frame goes
 * @c: connection
 * @h: its header
 *
 * Return: the frame, which stays where it is until the whole frame was passed
 * to popcorn_conn_rx() or close() has returned; NULL: nobody asked, the
 * connection has failed.
 */
struct popcorn_frame *popcorn_conn_rx_page(struct popcorn_conn *c, const struct pw_hdr *h)
{
	struct popcorn_link *l = c->link;
	struct popcorn_frame *f = NULL;

	spin_lock_bh(&l->lock);
	if (attached(c))
		f = pt_lane_rx_page(&l->pt.lane[c->class], h);
	if (!f) {
		rx_error(c, -EPROTO);
		return NULL;
	}
	spin_unlock_bh(&l->lock);
	return f;
}
EXPORT_SYMBOL_GPL(popcorn_conn_rx_page);

/* Of the core, drivers call these. */
EXPORT_SYMBOL_GPL(pt_lane_tx);
EXPORT_SYMBOL_GPL(pt_lane_nop);
