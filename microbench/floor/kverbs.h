/* SPDX-License-Identifier: GPL-2.0-only */
/* The end point of the verbs floor: one queue pair, its buffers and its registered pages. */
#ifndef POPCORN_KVERBS_H
#define POPCORN_KVERBS_H

#include "kfloor.h"

#include <linux/completion.h>
#include <linux/scatterlist.h>
#include <linux/wait.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#define KV_RX		(KFLOOR_WINDOW + 8)	/* posted receives: a window and its requests */
#define KV_SQ		128
#define KV_SIGNAL	16			/* one send in so many asks for a completion */
#define KV_PAGES	512U			/* what rxe registers at most */

struct kv_rx {
	struct ib_cqe cqe;
	void *buf;
	u64 dma;
};

/**
 * struct kv_end - one end of a connection
 * @chan:	what the rows use
 * @cmd:	the row that this connection was made for
 * @id:		connection and queue pair
 * @got:	messages arrived; written by the completion context alone
 * @want:	the waiter sleeps until @got reaches it
 * @err:	first error, negative errno; ends every wait
 * @up:		the connection is established
 * @wait:	where the one user of this end sleeps
 * @peer_addr:	where pages go at the peer
 */
struct kv_end {
	struct kfloor_chan chan;
	struct kfloor_cmd cmd;
	struct rdma_cm_id *id;
	struct ib_pd *pd;
	struct ib_cq *cq;
	struct ib_mr *mr;
	u32 got, want, taken, sent, put;
	int err;
	bool server, up, mapped;
	int cm_event;
	wait_queue_head_t wait;
	struct ib_cqe tx_cqe, reg_cqe;
	struct completion reg_done;
	void *tx;
	u64 tx_dma;
	struct page *chunk;
	struct scatterlist sg;
	u32 pages, peer_rkey;
	u64 peer_addr;
	struct kv_rx rx[KV_RX];
};

/**
 * kv_end_new() - an end without a connection
 * @id:	whose device is known
 *
 * Context: may sleep. Returns the end or an ERR_PTR; @id stays the caller's.
 */
struct kv_end *kv_end_new(struct rdma_cm_id *id, const struct kfloor_cmd *cmd, bool server);

/**
 * kv_end_register() - let the peer write to this end's pages
 *
 * Context: may sleep, the connection is up. The key that kv_end_hello() told becomes valid.
 */
int kv_end_register(struct kv_end *end);

/** kv_end_hello() - the row and the key of this end's pages, for the private data */
void kv_end_hello(struct kv_end *end, struct kfloor_hello *h);

/**
 * kv_end_fail() - end every wait on this end with @err
 *
 * Context: any. The first error stays.
 */
void kv_end_fail(struct kv_end *end, int err);

/**
 * kv_end_free() - hang up, drain, free all but the id
 *
 * Context: may sleep, no cm handler of this id may run or wait for the caller.
 */
void kv_end_free(struct kv_end *end);

#endif
