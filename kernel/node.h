/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nodes, links and lanes as the kernel engine keeps them around the core's, and
 * the rules that hold them together.
 *
 * Locks, outer first:
 *   nodes_mutex            nodes come and go, the table grows (nodes.c)
 *   popcorn_pool mutex     chunks and drivers come and go (pool.c)
 *   a driver's transmit lock, a socket's lock
 *   popcorn_link.lock      spinlock, bottom halves off: all of the core's link,
 *                          its lanes, conn[], the lists of struct popcorn_lane
 *   popcorn_node.rx_lock, pool free-list lock: leaves
 * The functions of driver.h and msg.h take the link's lock themselves. After
 * the core was called, popcorn_link_unlock() reaps, does the actions and only
 * then, unlocked, calls completions and drivers.
 *
 * Life times. A node is counted; its links live as long as it does. A lent
 * message counts the node. A connection is counted: the link holds one count
 * while it is in conn[], the driver as many as it needs. Once a driver's
 * close() has returned no event of that connection comes any more: that is the
 * core's "drained".
 *
 * Contexts. Receiving: softirq or process. Sending: whoever has something to
 * send calls the driver's kick() himself. Connecting and closing: the link's
 * work on the popcorn workqueue. Handlers: the node's two threads, one with
 * real-time priority for urgent and sync, one without for bulk. Whatever bulk
 * costs must give way, on the CPU as on the wire: a real-time thread that serves
 * bulk starves the softirq that brings the urgent messages.
 */
#ifndef POPCORN_NODE_H
#define POPCORN_NODE_H

#include <linux/kref.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "../transport/core/core.h"
#include "msg.h"

struct popcorn_conn;
struct popcorn_driver;
struct popcorn_slot;
struct popcorn_ans;
struct popcorn_tx;

/**
 * struct popcorn_rxbuf - receive buffer of a lane; outlives sessions
 * @next:  free list of the lane, or buffers of a message
 * @frame: the pool page
 * @data:  PW_FRAME bytes there: header, then payload
 * @index: below pt_cfg_receives(), for a driver's own array
 * @posted: the driver has it
 * @msg:   the message whose first buffer this is
 */
struct popcorn_rxbuf {
	struct popcorn_rxbuf *next;
	struct popcorn_frame *frame;
	void *data;
	u16 index;
	bool posted;
	struct popcorn_msg msg;
};

/**
 * struct popcorn_lane - buffers of one lane
 * @rxbuf:     all receive buffers
 * @rx_free:   those that neither driver nor message has
 * @rx_open:   buffers of the message that is being received, in order
 * @rx_tail:   end of @rx_open
 * @slot:      by index, what belongs to a request slot
 * @ans:       by index, what belongs to an answer
 * @tx:        one-way entries
 * @tx_free:   those not in use
 * @slot_wait: who waits for a slot
 * @tx_wait:   who waits for a one-way entry
 */
struct popcorn_lane {
	struct popcorn_rxbuf *rxbuf;
	struct popcorn_rxbuf *rx_free;
	struct popcorn_rxbuf *rx_open;
	struct popcorn_rxbuf **rx_tail;
	struct popcorn_slot *slot;
	struct popcorn_ans *ans;
	struct popcorn_tx *tx;
	struct popcorn_tx *tx_free;
	wait_queue_head_t slot_wait;
	wait_queue_head_t tx_wait;
};

/**
 * struct popcorn_link - to one peer of one node
 * @pt:       the core's link
 * @lock:     guards it
 * @node:     whose
 * @peer:     the peer's id
 * @conn:     the session's connections; each counted
 * @driver:   with which to connect next
 * @failures: connects in a row that failed with it, @connect_error the last
 * @up:       this session came up
 * @refused:  the peer refused the handshake, so the wire itself works
 * @reason:   refusal by the peer last logged
 * @lane:     buffers
 * @brisk:    how many other messages than bulk were sent lately, see popcorn_brisk()
 * @work:     does what needs process context, as @todo says
 * @todo:     PT_ACT_* for @work
 * @done:     completions to be called when @lock is dropped
 * @done_tail: their end
 * @waiters:  who waits for a slot or a one-way entry
 * @keys:     what the peer was told of the pool's remote keys
 * @pt_slots: the core's request slots of all lanes
 * @pt_ans:   the core's answer entries of all lanes
 */
struct popcorn_link {
	struct pt_link pt;
	spinlock_t lock;
	struct popcorn_node *node;
	u16 peer;
	struct popcorn_conn *conn[PW_CLASSES];
	struct popcorn_driver *driver;
	u32 failures;
	int connect_error;
	bool up;
	bool refused;
	u8 reason;
	struct popcorn_lane lane[PW_CLASSES];
	unsigned long brisk;
	struct work_struct work;
	u32 todo;
	struct popcorn_done *done;
	struct popcorn_done **done_tail;
	struct list_head waiters;
	struct {
		struct popcorn_tx *tx;	/* the message that tells them */
		u64 session;		/* whom they were told */
		u32 generation;		/* of the pool, when @next was 0 */
		u32 next;		/* chunk to go on with */
		bool sent;		/* not acknowledged yet */
		bool due;		/* again when it is */
	} keys;
	struct pt_slot *pt_slots;
	struct pt_ans *pt_ans;
};

/**
 * struct popcorn_node - a node that lives in this kernel
 * @pt:       the core's node
 * @ref:      see above
 * @list:     in the list of local nodes
 * @links:    by peer id
 * @refused:  by id that a peer claims: why it was refused last, as the log says
 * @gone:     being removed: nothing new starts
 * @worker:   runs the handlers of classes: [0] urgent and sync, [1] bulk
 * @rx_lock:  guards @rx
 * @rx:       received messages by class
 * @timer:    ticks the links
 * @listener: a driver's, by its slot
 */
struct popcorn_node {
	struct pt_node pt;
	struct kref ref;
	struct list_head list;
	struct xarray links;
	struct xarray refused;
	bool gone;
	struct popcorn_worker {
		struct popcorn_node *node;
		struct task_struct *thread;
		u8 first, last;
	} worker[2];
	spinlock_t rx_lock;
	struct {
		struct popcorn_msg *head;
		struct popcorn_msg **tail;
	} rx[PW_CLASSES];
	struct timer_list timer;
	void *listener[POPCORN_DRIVERS_MAX];
	struct work_struct free_work;
};

/* The core's clock. */
static inline u64 popcorn_now(void)
{
	return ktime_to_ms(ktime_get_coarse_boottime());
}

#endif
