// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Connections of the user engine: made for each lane, carried through the
 * handshake, handed to the lane, drained and freed. All of it in the poller.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

#define HANDSHAKES_MAX	256	/* strangers can't use up all descriptors */
#define DRAIN_MS	100	/* a peer that lives needs a poll to see that we closed */

static const u32 want[] = {
	[UE_CONN_HELLO] = sizeof(struct pw_hello),
	[UE_CONN_WELCOME] = sizeof(struct pw_welcome),
	[UE_CONN_PROOF] = sizeof(struct pw_proof),
	[UE_CONN_READY] = sizeof(struct pw_ready),
};

static struct ue_conn *conn_new(struct popcorn_node *n, int fd, u8 state)
{
	struct ue_conn *c = ue_alloc(n->drv->size);

	if (!c)
		return NULL;
	c->node = n;
	c->ops = n->drv;
	c->fd = fd;
	c->state = state;
	c->since = ue_clock_ms();
	c->next = n->conns;
	n->conns = c;
	n->nconns++;
	n->handshakes++;
	return c;
}

static void close_fds(struct ue_conn *c)
{
	while (c->nfds)
		close(c->fds[--c->nfds]);
}

/* Its memory goes at the next tick: the poller may still have it in a list. */
static void conn_end(struct ue_conn *c)
{
	if (c->state == UE_CONN_DEAD)
		return;
	if (c->state < UE_CONN_LIVE)
		c->node->handshakes--;
	c->state = UE_CONN_DEAD;
	c->ops->free(c);
	close_fds(c);
	close(c->fd);
	c->fd = -1;
}

static void say_refused(struct ue_conn *c, const char *why)
{
	char addr[INET6_ADDRSTRLEN] = "a local process";

	if (c->has_from)
		ue_addr_str(&c->from, addr, sizeof(addr));
	ue_log(c->node, "refused a connection from %s: %s", addr, why);
}

/* Return: 0 or -errno. A few bytes fit an empty socket buffer or never. */
static int say(struct ue_conn *c, const void *buf, u32 len, bool give)
{
	struct iovec iov = { (void *)buf, len };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(c->fds))];
	} ctl = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[2], n = 0;

	if (give && c->ops->give)
		n = c->ops->give(c, fds);
	if (n < 0)
		return n;
	if (n) {
		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&ctl.align), fds, n * sizeof(int));
	}
	return sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len ? 0 : -ECONNRESET;
}

static void take_fds(struct ue_conn *c, struct msghdr *m)
{
	struct cmsghdr *h;
	int fd, i, n;

	for (h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (c->nfds < 2)
				c->fds[c->nfds++] = fd;
			else
				close(fd);
		}
	}
}

/* Return: 1 if the awaited part of the handshake is complete, 0 if not, -errno. */
static int hear(struct ue_conn *c)
{
	struct iovec iov = { c->buf + c->got, want[c->state] - c->got };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(c->fds))];
	} ctl;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl,
			    .msg_controllen = sizeof(ctl) };
	ssize_t r = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (r < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	take_fds(c, &m);
	if (!r)
		return -ECONNRESET;
	c->got += r;
	if (c->got < want[c->state])
		return 0;
	c->got = 0;
	return 1;
}

/* The handshake is done: the connection is its lane's. */
static int go_live(struct ue_conn *c)
{
	struct ue_lane *ln = &c->ul->lane[c->hs.class];
	int r;

	c->class = c->hs.class;
	c->ln = ln;
	r = c->ops->live(c) ?: ue_live_add(c->node, c);
	close_fds(c);
	if (r)
		return r;
	c->state = UE_CONN_LIVE;
	c->node->handshakes--;
	ue_lock(&c->ul->lock);
	ln->conn = c;
	ln->tx_more = false;
	ue_unlock(&c->ul->lock);
	return 0;
}

/* -------------------------------------------------------------- initiator */

/* The link's attempt has failed. */
static void give_up(struct ue_conn *c, int error)
{
	struct ue_link *ul = c->ul;

	ue_lock(&ul->lock);
	if (error != -ESTALE)
		pt_link_fault(&ul->pt, error, ue_now(c->node));
	ue_link_finish(ul, NULL);
	/* A lane's ends with the session, which has just been faulted. */
	if (c->state != UE_CONN_LIVE)
		conn_end(c);
}

/* A refusal that a person must do something about; the rest passes by itself. */
static void log_refusal(struct ue_link *ul)
{
	u8 why = ul->pt.refusal;

	if (why == PW_OK || why == PW_REFUSE_BUSY || why == ul->logged)
		return;
	ul->logged = why;
	ue_log(ul->node, "node %u refused: %s", ul->pt.peer, pt_refusal_str(why));
}

static int initiator(struct ue_conn *c)
{
	struct ue_link *ul = c->ul;
	u64 now = ue_now(c->node);
	int r;

	ue_lock(&ul->lock);
	if (c->state == UE_CONN_WELCOME)
		r = pt_hs_welcome(&c->hs, &ul->pt, c->buf, want[c->state], now);
	else
		r = 0;
	ue_link_finish(ul, NULL);
	if (r == -ECONNREFUSED)
		log_refusal(ul);
	if (r)
		return r;
	if (c->state == UE_CONN_WELCOME) {
		c->state = UE_CONN_READY;
		return say(c, &c->hs.proof, sizeof(c->hs.proof), true);
	}
	/* The lane may carry frames as soon as the core says so. Who refuses gives no memory. */
	r = ((const struct pw_ready *)c->buf)->refusal ? 0 : go_live(c);
	if (r)
		return r;
	ue_lock(&ul->lock);
	r = pt_hs_ready(&c->hs, &ul->pt, c->buf, want[UE_CONN_READY], now);
	ue_link_finish(ul, NULL);
	if (r == -ECONNREFUSED)
		log_refusal(ul);
	else if (!r)
		ul->logged = PW_OK;
	return r;
}

/**
 * ue_conn_open() - open the three lanes of a session
 * @ul: link, after PT_ACT_CONNECT
 */
void ue_conn_open(struct ue_link *ul)
{
	struct popcorn_node *n = ul->node;
	struct ue_conn *c;
	int fd, r = 0;
	u8 class;

	for (class = 0; class < PW_CLASSES && !r; class++) {
		fd = ue_inject() ? -ENOMEM : n->drv->connect(n, ul->pt.peer, class);
		if (fd < 0) {
			r = fd;
			break;
		}
		c = conn_new(n, fd, UE_CONN_CONNECT);
		if (!c) {
			close(fd);
			r = -ENOMEM;
			break;
		}
		c->ul = ul;
		c->class = class;
	}
	if (!r)
		return;
	ue_lock(&ul->lock);
	pt_link_fault(&ul->pt, r, ue_now(n));
	ue_link_finish(ul, NULL);
}

static int connected(struct ue_conn *c)
{
	struct ue_link *ul = c->ul;
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -errno;
	if (error)
		return -error;
	ue_lock(&ul->lock);
	pt_hs_hello(&c->hs, &ul->pt, c->class);
	ue_unlock(&ul->lock);
	c->state = UE_CONN_WELCOME;
	return say(c, &c->hs.hello, sizeof(c->hs.hello), false);
}

/* -------------------------------------------------------------- responder */

static void hello(struct ue_conn *c)
{
	struct popcorn_node *n = c->node;
	u16 src = 0;
	int r;

	r = pt_hs_parse(&c->hs, &n->pt, c->buf, sizeof(c->hs.hello),
			c->has_from ? &c->from : NULL, &src);
	if (!r)
		r = ue_link_get(n, src, &c->ul);
	if (!r) {
		ue_lock(&c->ul->lock);
		r = pt_hs_accept(&c->hs, &c->ul->pt, ue_now(n));
		ue_link_finish(c->ul, NULL);
	}
	if (r == -ECONNREFUSED) {
		say(c, &c->hs.welcome, sizeof(c->hs.welcome), false);
		say_refused(c, pt_refusal_str(c->hs.welcome.refusal));
	} else if (r == -EPROTO) {
		say_refused(c, pt_refusal_str(PW_REFUSE_MALFORMED));
	} else if (!r) {
		r = say(c, &c->hs.welcome, sizeof(c->hs.welcome), false);
		c->state = UE_CONN_PROOF;
	}
	if (r)
		conn_end(c);
}

static void proof(struct ue_conn *c)
{
	struct popcorn_node *n = c->node;
	struct ue_link *ul = c->ul;
	u64 now = ue_now(n);
	int r;

	ue_lock(&ul->lock);
	r = pt_hs_proof(&c->hs, &ul->pt, c->buf, sizeof(c->hs.proof), now);
	ue_link_finish(ul, NULL);
	if (r) {
		if (r == -ECONNREFUSED)
			say(c, &c->hs.ready, sizeof(c->hs.ready), false);
		if (r != -ECONNREFUSED || c->hs.ready.refusal != PW_REFUSE_BUSY)
			say_refused(c, r == -EACCES ? pt_refusal_str(PW_REFUSE_AUTH) :
				    pt_refusal_str(c->hs.ready.refusal));
		conn_end(c);
		return;
	}
	r = say(c, &c->hs.ready, sizeof(c->hs.ready), true) ?: go_live(c);
	if (r) {
		give_up(c, r);
		return;
	}
	ue_lock(&ul->lock);
	pt_hs_up(&c->hs, &ul->pt, now);
	ue_link_finish(ul, NULL);
}

/**
 * ue_conn_accept() - somebody connects
 * @n: node
 */
void ue_conn_accept(struct popcorn_node *n)
{
	struct ue_conn *c;
	int fd, r;

	while (n->handshakes < HANDSHAKES_MAX) {
		fd = ue_inject() ? -1 :
			accept4(n->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		c = conn_new(n, fd, UE_CONN_HELLO);
		if (!c) {
			close(fd);
			return;
		}
		r = n->drv->accepted(c);
		if (r)
			conn_end(c);
	}
}

/* ----------------------------------------------------------------- events */

/**
 * ue_conn_events() - poll() has something of a connection
 * @n:       node
 * @c:       connection
 * @revents: of struct pollfd
 */
void ue_conn_events(struct popcorn_node *n, struct ue_conn *c, short revents)
{
	struct ue_link *ul = c->ul;
	int r = 0;

	switch (c->state) {
	case UE_CONN_CONNECT:
		r = connected(c);
		if (r)
			give_up(c, r);
		return;
	case UE_CONN_WELCOME:
	case UE_CONN_READY:
		r = hear(c);
		if (r > 0)
			r = initiator(c);
		if (r < 0)
			give_up(c, r);
		return;
	case UE_CONN_HELLO:
	case UE_CONN_PROOF:
		r = hear(c);
		if (r < 0) {
			/* Who goes without a word is not worth a line. */
			if (c->state == UE_CONN_HELLO && c->got)
				say_refused(c, "closed in its first word");
			conn_end(c);
		} else if (r > 0 && c->state == UE_CONN_HELLO) {
			hello(c);
		} else if (r > 0) {
			proof(c);
		}
		return;
	case UE_CONN_LIVE:
		if (c->full && revents & POLLOUT) {
			ue_lock(&ul->lock);
			c->full = false;
			c->ops->tx(c->ln);
			ue_link_finish(ul, NULL);
		}
		/* What is in a TCP lane is read before its end is seen. */
		if (c->ops->cheap && revents & (POLLHUP | POLLRDHUP | POLLERR)) {
			ue_lock(&ul->lock);
			pt_link_fault(&ul->pt, -ECONNRESET, ue_now(n));
			ue_link_finish(ul, NULL);
		}
		return;
	}
}

/**
 * ue_conn_close_link() - end the session's connections
 * @ul: link, after PT_ACT_CLOSE
 *
 * Connections of somebody who is only introducing himself stay: they are no
 * part of a session yet.
 */
void ue_conn_close_link(struct ue_link *ul)
{
	struct popcorn_node *n = ul->node;
	struct ue_conn *c;

	for (c = n->conns; c; c = c->next) {
		if (c->ul != ul)
			continue;
		if (c->state == UE_CONN_CONNECT || c->state == UE_CONN_WELCOME ||
		    c->state == UE_CONN_READY)
			conn_end(c);
		if (c->state != UE_CONN_LIVE)
			continue;
		ue_lock(&ul->lock);
		while (c->ln->tx_busy) {
			ue_unlock(&ul->lock);
			sched_yield();
			ue_lock(&ul->lock);
		}
		if (c->ln->conn == c)
			c->ln->conn = NULL;
		c->ops->stop(c);
		c->state = UE_CONN_CLOSED;
		ue_unlock(&ul->lock);
		ue_live_del(n, c);
	}
	ul->drain = ue_now(n) + DRAIN_MS;
	ul->draining = true;
	ue_conn_drain(ul);
}

/* Frames that this session named: its peer may be in the middle of a write. */
static void hold_frames(struct ue_link *ul, struct ue_conn *c)
{
	u32 i, slots = ul->node->pt.cfg.slots;

	ue_lock(&ul->lock);
	for (i = 0; i < slots; i++) {
		struct pt_slot *s = &c->ln->la->slots[i];

		if (s->page && (s->state == PT_SLOT_WAITING || s->state == PT_SLOT_ZOMBIE))
			ue_pool_hold(ul->node, s->page, c);
	}
	ue_unlock(&ul->lock);
}

/**
 * ue_conn_drain() - see whether a closed session can bring nothing more
 * @ul: link
 *
 * A peer that neither says so nor goes (a stopped process) is not waited for: the
 * frames it could write to are kept from use instead.
 */
void ue_conn_drain(struct ue_link *ul)
{
	struct popcorn_node *n = ul->node;
	struct ue_conn *c;

	for (c = n->conns; c; c = c->next) {
		if (c->ul != ul || c->state != UE_CONN_CLOSED)
			continue;
		if (c->ops->drained(c)) {
			conn_end(c);
		} else if (ue_now(n) >= ul->drain) {
			hold_frames(ul, c);
			c->state = UE_CONN_HOLDS;
		} else {
			return;
		}
	}
	ul->draining = false;
	ue_lock(&ul->lock);
	pt_link_drained(&ul->pt, ue_now(n));
	ue_link_finish(ul, NULL);
}

/**
 * ue_conn_tick() - time-outs of handshakes, drains, and the memory of what ended
 * @n:   node
 * @now: ms
 */
void ue_conn_tick(struct popcorn_node *n, u64 now)
{
	struct ue_conn **p = &n->conns, *c;

	while ((c = *p)) {
		if ((c->state == UE_CONN_HELLO || c->state == UE_CONN_PROOF) &&
		    now >= c->since + n->pt.cfg.connect_ms) {
			say_refused(c, "said too little for too long");
			conn_end(c);
		}
		if (c->state == UE_CONN_HOLDS && c->ops->drained(c)) {
			ue_pool_unhold(n, c);
			conn_end(c);
		}
		if (c->state == UE_CONN_CLOSED && c->ul->draining)
			ue_conn_drain(c->ul);
		if (c->state == UE_CONN_DEAD) {
			*p = c->next;
			n->nconns--;
			free(c);
		} else {
			p = &c->next;
		}
	}
}

/* The node goes: so do all connections. */
void ue_conn_free_all(struct popcorn_node *n)
{
	struct ue_conn *c;

	while ((c = n->conns)) {
		n->conns = c->next;
		conn_end(c);
		free(c);
	}
	n->nconns = 0;
}
