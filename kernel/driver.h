/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between popcorn.ko and the drivers of the wires (msg_rdma.ko, msg_socket.ko).
 * A driver moves frames and runs the handshake's bytes; everything that they
 * mean is the engine's and the core's. node.h has the rules on locks, life
 * times and contexts.
 *
 * A connection's life, initiator:
 *   connect()  popcorn_conn_init(), popcorn_conn_hello(), send hs.hello
 *              WELCOME came: popcorn_conn_welcome(), send hs.proof
 *              READY came:   popcorn_conn_ready(): frames go both ways
 * Responder:
 *              HELLO came:   popcorn_conn_init(), popcorn_conn_accept(), send hs.welcome
 *              PROOF came:   popcorn_conn_proof(), send hs.ready
 *              popcorn_conn_up(), before any frame is passed to popcorn_conn_rx()
 * Then kick() and popcorn_conn_rx() until close(). On any error, at any point
 * after popcorn_conn_hello() or _accept(): popcorn_conn_failed(), once or often;
 * the engine then calls close() for all lanes of the session. A connection that
 * isn't the link's (accept refused) the driver closes by itself.
 */
#ifndef POPCORN_DRIVER_H
#define POPCORN_DRIVER_H

#include <linux/socket.h>

#include "node.h"

/**
 * struct popcorn_conn - one lane's connection, embedded in the driver's
 * @ref:    count; the driver's release() runs at zero
 * @driver: whose
 * @link:   set by popcorn_conn_init() or, when accepted, popcorn_conn_accept();
 *          its node is counted
 * @class:  lane; as @link
 * @hs:     handshake
 */
struct popcorn_conn {
	struct kref ref;
	struct popcorn_driver *driver;
	struct popcorn_link *link;
	u8 class;
	struct pt_hs hs;
};

/**
 * struct popcorn_driver - a kind of wire
 * @name:       "rdma", "tcp"
 * @preference: the highest that works is used
 * @imm:        pages go as RDMA WRITE_WITH_IMM, without a header
 * @listen:     accept connections to the node's address (popcorn_node_addr());
 *              returns a handle or ERR_PTR. May sleep
 * @unlisten:   stop that; pending handshakes are ended. May sleep, bounded
 * @connect:    start to open one lane, without waiting for the peer. 0 or
 *              -errno. Process context
 * @close:      end the connection: when this returns, neither a frame nor a
 *              page write nor a call of popcorn_conn_*() can come from it. With
 *              @flush what was taken from the lane should be sent first (within
 *              100 ms). Process context, may sleep, bounded. Called once, for
 *              connections in the link only
 * @release:    last count is gone; free. Any context, in an RCU read section: a
 *              module that goes waits for its last connection, then
 *              synchronize_rcu()
 * @kick_locked: instead of @kick, for a driver that can send with the link's lock
 *              held and bottom halves off: send what is pending, post what has
 *              come back. Returns 0 or why the connection has failed
 * @page_arrived: with @imm: a page has been written into @f: let the CPU see it.
 *              Link's lock held
 * @kick:       frames may be pending or receive buffers may have come back. The
 *              driver takes buffers with popcorn_rxbuf_get(), then frames with
 *              pt_lane_tx(), both under the link's lock, until its queue is
 *              full or nothing is left. Without @may_sleep: any context, also
 *              inside popcorn_conn_rx() of the same connection
 * @chunk_add:  register a chunk with all devices; chunk->priv[@slot] is the
 *              driver's. Process context
 * @chunk_remove: undo it; no frame of it is in use
 * @keys:       write the remote keys of chunks for this connection's session:
 *              up to @max of them for chunks from number *@chunk on, which is
 *              moved on. Returns how many; 0: no more. NULL: needs no keys
 * @keys_received: @n keys of the peer for this session; kick() follows
 * @slot:       set by popcorn_driver_register(): index of priv[], listener[]
 */
struct popcorn_driver {
	const char *name;
	int preference;
	bool imm;
	void *(*listen)(struct popcorn_node *node);
	void (*unlisten)(struct popcorn_node *node, void *listener);
	int (*connect)(struct popcorn_link *link, u8 class);
	void (*close)(struct popcorn_conn *c, bool flush);
	void (*release)(struct popcorn_conn *c);
	void (*kick)(struct popcorn_conn *c, bool may_sleep);
	int (*kick_locked)(struct popcorn_conn *c);
	void (*page_arrived)(struct popcorn_conn *c, struct popcorn_frame *f);
	int (*chunk_add)(struct popcorn_chunk *chunk);
	void (*chunk_remove)(struct popcorn_chunk *chunk);
	u32 (*keys)(struct popcorn_conn *c, struct pw_key *keys, u32 max, u32 *chunk);
	void (*keys_received)(struct popcorn_conn *c, const struct pw_key *keys, u32 n);
	unsigned int slot;
	struct list_head list;
};

int popcorn_driver_register(struct popcorn_driver *drv, const char *ip, const char *keyfile);
void popcorn_driver_unregister(struct popcorn_driver *drv);

/* What the engine was loaded with, and who is who. */
u16 popcorn_port(void);
const struct pt_addr *popcorn_node_addr(const struct popcorn_node *node);
const struct pt_addr *popcorn_peer_addr(const struct popcorn_link *link);
u16 popcorn_addr_sockaddr(const struct pt_addr *a, u16 port, struct sockaddr_storage *ss);
int popcorn_sockaddr_addr(const struct sockaddr *sa, struct pt_addr *a);

void popcorn_conn_init(struct popcorn_conn *c, struct popcorn_driver *drv,
		       struct popcorn_link *link, u8 class);
static inline void popcorn_conn_get(struct popcorn_conn *c)
{
	kref_get(&c->ref);
}
void popcorn_conn_put(struct popcorn_conn *c);

int popcorn_conn_hello(struct popcorn_conn *c);
int popcorn_conn_welcome(struct popcorn_conn *c, const void *buf, u32 len);
int popcorn_conn_ready(struct popcorn_conn *c, const void *buf, u32 len);
int popcorn_conn_accept(struct popcorn_conn *c, struct popcorn_node *node,
			const struct pt_addr *from, const void *buf, u32 len);
int popcorn_conn_proof(struct popcorn_conn *c, const void *buf, u32 len);
int popcorn_conn_up(struct popcorn_conn *c);
void popcorn_conn_failed(struct popcorn_conn *c, int error);

int popcorn_conn_rx(struct popcorn_conn *c, const struct pw_hdr *h, const void *payload,
		    u32 len, struct popcorn_rxbuf *buf);
int popcorn_conn_rx_imm(struct popcorn_conn *c, u32 imm, u32 bytes, struct popcorn_rxbuf *buf);
struct popcorn_frame *popcorn_conn_rx_page(struct popcorn_conn *c, const struct pw_hdr *h);

/* The lane of a connection; pt_lane_tx() and _peek() are called with the lock
 * held, and nothing else has to be done after those two. */
static inline struct pt_lane *popcorn_conn_lock(struct popcorn_conn *c)
	__acquires(&c->link->lock)
{
	spin_lock_bh(&c->link->lock);
	return &c->link->pt.lane[c->class];
}

static inline void popcorn_conn_unlock(struct popcorn_conn *c)
	__releases(&c->link->lock)
{
	spin_unlock_bh(&c->link->lock);
}

/*
 * popcorn_link.brisk after a message that isn't bulk: it runs ahead of the clock by as much
 * as there were more of them than 16 a second.
 */
static inline unsigned long popcorn_brisk(unsigned long brisk, unsigned long now)
{
	if (time_before(brisk, now))
		brisk = now;
	brisk += HZ / 16;
	return time_after(brisk, now + 3 * HZ / 2) ? now + 3 * HZ / 2 : brisk;
}

/**
 * popcorn_conn_brisk - are there messages that bulk must not hold up?
 * @c: connection
 *
 * Urgent or sync messages were sent, more than 16 in the last second (an answer, if the peer
 * asks). A driver then keeps little of bulk in queues that others have to pass; else
 * bulk may fill them, which costs less for each page: 32 of them delay a message by 1 ms at
 * 1 Gbit/s. Link's lock held.
 */
static inline bool popcorn_conn_brisk(const struct popcorn_conn *c)
{
	return time_after(c->link->brisk, jiffies + HZ / 2);
}

/**
 * popcorn_rxbuf_get - take a receive buffer of the lane; link's lock held
 * @c: connection
 *
 * A lane has pt_cfg_receives() of them in all. A driver that posts receives
 * posts every free one before it takes frames with pt_lane_tx() in the same
 * hold of the lock, as those frames tell the peer that it may send more.
 * Return: the buffer, or NULL.
 */
static inline struct popcorn_rxbuf *popcorn_rxbuf_get(struct popcorn_conn *c)
{
	struct popcorn_lane *la = &c->link->lane[c->class];
	struct popcorn_rxbuf *b = la->rx_free;

	if (b) {
		la->rx_free = b->next;
		b->posted = true;
	}
	return b;
}

/* Give one back that isn't needed; link's lock held. */
static inline void popcorn_rxbuf_put(struct popcorn_conn *c, struct popcorn_rxbuf *b)
{
	struct popcorn_lane *la = &c->link->lane[c->class];

	b->posted = false;
	b->next = la->rx_free;
	la->rx_free = b;
}

/* Chunks as they are, for a device that comes later; fn may sleep. */
int popcorn_pool_for_each(int (*fn)(struct popcorn_chunk *chunk, void *arg), void *arg);
/* Keys changed (a device came or went): tell the peers of sessions that are up. */
void popcorn_keys_changed(void);

#endif
