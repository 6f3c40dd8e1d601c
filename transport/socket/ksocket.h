/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two halves of msg_socket.ko share: ksocket.c opens and closes
 * connections, kstream.c moves frames over those that are open.
 */
#ifndef KSOCKET_H
#define KSOCKET_H

#include <linux/mutex.h>
#include <linux/net.h>
#include <linux/uio.h>
#include <net/sock.h>

#include "../../kernel/driver.h"

#undef pr_fmt
#define pr_fmt(fmt) "msg_socket: " fmt

#define KSOCK_BATCH	16	/* frames given to the socket at once */
#define KSOCK_BULK_BATCH	2	/* of bulk, where others want the CPU in between */

/**
 * struct ksock_conn - one lane's connection
 * @c:        the engine's part
 * @sock:     socket; released with @tx_lock held
 * @node:     accepted: the node that was called
 * @list:     in the list of all connections
 * @shake:    runs the handshake
 * @closing:  close() was called or the listener goes: don't begin anything
 * @pending:  it is an accepted connection that isn't the link's yet
 *
 * @tx_lock:  whoever has it moves frames from the lane to the socket
 * @tx_again: there may be more to move
 * @tx_work:  moves them when nobody else can
 * @vec:      what the socket hasn't taken yet: @vecs from @first on, @left bytes
 * @more:     the lane may have more
 * @brisk:    bulk: other messages than bulk pass too
 * @ctl:      copies of unsequenced frames
 *
 * @saved_*:  the socket's own callbacks
 * @rx_error: nothing more is read
 * @hdr:      header of the frame that is being read
 * @have:     bytes of header and payload read
 * @need:     payload bytes of it
 * @buf:      receive buffer, taken from the lane
 * @to:       where the payload goes
 */
struct ksock_conn {
	struct popcorn_conn c;
	struct socket *sock;
	struct popcorn_node *node;
	struct list_head list;
	struct work_struct shake;
	bool closing;
	bool pending;

	struct mutex tx_lock;
	unsigned long tx_again;
	struct work_struct tx_work;
	struct kvec vec[2 * KSOCK_BATCH];
	unsigned int first, vecs;
	size_t left;
	bool more;
	bool brisk;
	struct {
		struct pw_hdr hdr;
		struct pw_heartbeat hb;
	} ctl[KSOCK_BATCH];

	void (*saved_data_ready)(struct sock *sk);
	void (*saved_write_space)(struct sock *sk);
	void (*saved_state_change)(struct sock *sk);
	int rx_error;
	struct pw_hdr hdr;
	u32 have;
	u32 need;
	struct popcorn_rxbuf *buf;
	void *to;
};

extern struct workqueue_struct *ksock_tx_wq;	/* urgent and sync */
extern struct workqueue_struct *ksock_bulk_wq;

static inline struct ksock_conn *ksock_of(struct popcorn_conn *c)
{
	return container_of(c, struct ksock_conn, c);
}

/* kstream.c */
void ksock_stream_init(struct ksock_conn *k);
void ksock_stream_start(struct ksock_conn *k);
void ksock_stream_stop(struct ksock_conn *k, bool flush);
void ksock_kick(struct popcorn_conn *c, bool may_sleep);

#endif
