/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages between kernels: what the layers above the transport (page server,
 * process server, benchmark) call. Works the same over every driver.
 *
 * Context. Handlers run in the node's threads: those of urgent and sync messages
 * in one with real-time priority, one at a time, urgent ones first; those of bulk
 * in another, at the same time, with normal priority. A handler must not wait for
 * another node, but may keep its message and finish it later from any process
 * context. Completions (struct popcorn_done) run in any context and must not
 * sleep; they may call the functions here that are marked "any context".
 *
 * Waits are killable and bounded. Nothing here may be called with a spinlock
 * held.
 */
#ifndef POPCORN_MSG_H
#define POPCORN_MSG_H

#include <linux/list.h>
#include <linux/notifier.h>
#include <linux/types.h>
#include <popcorn/wire.h>

#include "pool.h"

struct popcorn_node;
struct popcorn_link;
struct popcorn_rxbuf;

#define POPCORN_TYPES	256	/* message types are below that */

/**
 * struct popcorn_msg - a received message
 * @node:    the node that received it
 * @from:    id of the node that sent it
 * @type:    message type
 * @class:   enum pw_class
 * @request: an answer is wanted: end with popcorn_answer*(); else with
 *           popcorn_msg_done()
 * @pages:   pages that the request wants: with one, popcorn_answer_page() may
 *           be used, with several only popcorn_answer_pages(), or _some() in parts
 * @len:     payload bytes
 * @max:     longest answer, bytes
 * @data:    payload, 8-byte aligned; only its first PW_PAYLOAD bytes if it is
 *           longer (popcorn_msg_copy() gets all)
 *
 * The rest is the engine's. The message is lent: it lives until it is answered
 * or done, also if the link breaks meanwhile.
 */
struct popcorn_msg {
	struct popcorn_node *node;
	u16 from;
	u16 type;
	u8 class;
	bool request;
	u8 pages;
	u32 len;
	u32 max;
	const void *data;

	struct popcorn_link *link;
	struct popcorn_rxbuf *bufs;
	struct popcorn_msg *next;
	u16 frames;
	u16 skip;
	u16 left;
	u16 slot;
	u16 gen;
	u32 life;
};

/**
 * struct popcorn_msg_ops - who handles a message type
 * @name:   for statistics and the log
 * @handle: gets the message; process context, a thread of the node's
 */
struct popcorn_msg_ops {
	const char *name;
	void (*handle)(struct popcorn_msg *msg);
};

int popcorn_msg_register(u16 type, const struct popcorn_msg_ops *ops);
void popcorn_msg_unregister(u16 type);

u32 popcorn_msg_copy(const struct popcorn_msg *msg, u32 off, void *buf, u32 len);
void popcorn_msg_done(struct popcorn_msg *msg);
int popcorn_answer(struct popcorn_msg *msg, int status, const void *buf, u32 len);

/**
 * struct popcorn_done - told once when something has ended; the caller's memory
 * @fn:     called in any context, in an RCU read section; must not sleep. @d may
 *          be reused or freed there. A module that goes waits for all of its
 *          own, then synchronize_rcu()
 * @status: 0 or -errno
 * @next:   the engine's
 */
struct popcorn_done {
	void (*fn)(struct popcorn_done *d);
	int status;
	struct popcorn_done *next;
};

int popcorn_answer_page(struct popcorn_msg *msg, struct popcorn_frame *f, struct popcorn_done *d);
int popcorn_answer_pages(struct popcorn_msg *msg, struct popcorn_frame **f,
			 struct popcorn_done **d);
int popcorn_answer_some(struct popcorn_msg *msg, u32 first, u32 n, struct popcorn_frame **f,
			struct popcorn_done **d, const int *error);

#define POPCORN_NOWAIT	1	/* -EAGAIN instead of waiting for a free entry */

int popcorn_send(struct popcorn_node *node, u16 dst, u8 class, u16 type,
		 const void *buf, u32 len, unsigned int flags);
int popcorn_request(struct popcorn_node *node, u16 dst, u8 class, u16 type,
		    const void *req, u32 len, void *ans, u32 ans_max, u32 timeout_ms);
int popcorn_request_page(struct popcorn_node *node, u16 dst, u8 class, u16 type,
			 const void *req, u32 len, struct popcorn_frame **frame,
			 u32 timeout_ms);

/**
 * struct popcorn_async - a request that nobody sleeps for
 * @done:  fn is set by the caller; status as popcorn_request() returns
 * @len:   answer bytes when done
 * @frame: set by the caller: a frame for a page request, else NULL. When done
 *         with status 0 it holds the page and is the caller's again. With an
 *         error the engine has kept it and will free it: NULL
 */
struct popcorn_async {
	struct popcorn_done done;
	u32 len;
	struct popcorn_frame *frame;
};

int popcorn_request_async(struct popcorn_node *node, u16 dst, u8 class, u16 type,
			  const void *req, u32 len, void *ans, u32 ans_max, u32 timeout_ms,
			  unsigned int flags, struct popcorn_async *a);
int popcorn_request_pages(struct popcorn_node *node, u16 dst, u8 class, u16 type,
			  const void *req, u32 len, u32 timeout_ms, unsigned int flags,
			  struct popcorn_async **a, u32 n);

struct popcorn_node *popcorn_node_get(u16 id);
struct popcorn_node *popcorn_node_get_index(unsigned int index);
void popcorn_node_put(struct popcorn_node *node);
u16 popcorn_node_id(const struct popcorn_node *node);
u32 popcorn_node_count(void);
bool popcorn_peer_lease_ok(struct popcorn_node *node, u16 peer);

/**
 * enum popcorn_event_what - what happened to a peer or node
 * @POPCORN_PEER_UP:    a session came up (also after a reconnect)
 * @POPCORN_PEER_DEAD:  that incarnation is gone for good
 * @POPCORN_LEASE_LOST: stop using what the peer granted
 * @POPCORN_LEASE_BACK: go on
 * @POPCORN_NODE_GONE:  the node itself is being removed: put what was got
 */
enum popcorn_event_what {
	POPCORN_PEER_UP,
	POPCORN_PEER_DEAD,
	POPCORN_LEASE_LOST,
	POPCORN_LEASE_BACK,
	POPCORN_NODE_GONE,
};

/**
 * struct popcorn_event - argument of the notifiers, which run in process context
 * @node:        whose view
 * @peer:        whom it is about; the node's own id with POPCORN_NODE_GONE
 * @incarnation: the peer's
 */
struct popcorn_event {
	struct popcorn_node *node;
	u16 peer;
	u64 incarnation;
};

int popcorn_events_register(struct notifier_block *nb);
void popcorn_events_unregister(struct notifier_block *nb);

#endif
