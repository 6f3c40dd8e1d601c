// SPDX-License-Identifier: GPL-2.0-only
/*
 * Queue pairs: one for each lane. Frames are SENDs; a page is one RDMA
 * WRITE_WITH_IMM into the frame that the requester named. Completions run in
 * softirq. How queue pairs are connected is in cm.c.
 *
 * A connection's memory outlives its queue pair: nothing that a completion
 * touches is freed before the queue pair is drained and destroyed.
 */
#include <linux/slab.h>

#include "rdma.h"

#define DRAIN_MS	100	/* for the last frames, when asked to flush */
#define BULK_LEAST	2	/* of bulk that may always be on the wire, work requests */
#define KEYS_MAX	65536	/* chunks that a peer may have: 128 GiB */

static atomic_t conns;			/* not freed yet */
static DECLARE_WAIT_QUEUE_HEAD(conns_wait);

static void rx_done(struct ib_cq *cq, struct ib_wc *wc);
static void tx_done(struct ib_cq *cq, struct ib_wc *wc);
static void reg_done(struct ib_cq *cq, struct ib_wc *wc);

/* ------------------------------------------------------ making, destroying */

/**
 * rdma_conn_alloc - a connection without a queue pair
 * @id:        its identifier, or NULL for now
 * @initiator: we call
 *
 * Return: the connection, or NULL.
 */
struct rdma_conn *rdma_conn_alloc(struct rdma_cm_id *id, bool initiator)
{
	struct rdma_conn *c = kzalloc(sizeof(*c), GFP_KERNEL);

	if (!c)
		return NULL;
	atomic_inc(&conns);
	c->id = id;
	c->initiator = initiator;
	c->phase = initiator ? RDMA_DIALLING : RDMA_PROVING;
	INIT_LIST_HEAD(&c->on_dev);
	INIT_LIST_HEAD(&c->pending);
	INIT_DELAYED_WORK(&c->reap, rdma_conn_reap);
	init_waitqueue_head(&c->drained);
	init_completion(&c->reg_done);
	return c;
}

static void complete_work(struct irq_work *work)
{
	struct rdma_conn *c = container_of(work, struct rdma_conn, completed);

	c->complete(c->cq, c);
}

/*
 * A device in software completes in a thread, perhaps with interrupts off. A softirq that
 * is raised there is left to ksoftirqd, which waits its turn among all threads. Raised by an
 * interrupt it runs at once.
 */
static void completed(struct ib_cq *cq, void *conn)
{
	struct rdma_conn *c = conn;

	if (in_interrupt())
		c->complete(cq, c);
	else
		irq_work_queue(&c->completed);
}

/**
 * rdma_conn_setup - queue pair, completion queue and rings
 * @c: connection whose identifier knows its device, and whose link is set
 *
 * Process context. Return: 0 or -errno: rdma_conn_teardown() undoes what was done.
 */
int rdma_conn_setup(struct rdma_conn *c)
{
	const struct pt_cfg *cfg = &c->base.link->pt.node->cfg;
	u32 i, receives = pt_cfg_receives(cfg);
	struct ib_device *dev = c->id->device;
	struct ib_qp_init_attr attr = {
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
		.cap.max_send_sge = 1,
		.cap.max_recv_sge = 1,
	};
	int err;

	c->dev = rdma_dev_get(dev, c);
	if (IS_ERR(c->dev)) {
		err = PTR_ERR(c->dev);
		c->dev = NULL;
		return err;
	}
	/* Everything that may be under way at once, and a registration. */
	c->depth = roundup_pow_of_two(cfg->window + cfg->prepaid + PT_SPARE + 1);
	while (c->depth > 16 && c->depth > dev->attrs.max_qp_wr / 2)
		c->depth /= 2;
	c->limit = c->base.class == PW_BULK ? BULK_LEAST : c->depth;
	c->rx = kcalloc(receives, sizeof(*c->rx), GFP_KERNEL);
	c->tx = kcalloc(c->depth, sizeof(*c->tx), GFP_KERNEL);
	c->copy = kzalloc(c->depth * RDMA_COPY, GFP_KERNEL);
	c->hs_buf = kzalloc(RDMA_COPY, GFP_KERNEL);
	if (!c->rx || !c->tx || !c->copy || !c->hs_buf)
		return -ENOMEM;
	for (i = 0; i < receives; i++) {
		c->rx[i].cqe.done = rx_done;
		c->rx[i].conn = c;
	}
	for (i = 0; i < c->depth; i++) {
		c->tx[i].cqe.done = tx_done;
		c->tx[i].conn = c;
		c->tx[i].index = i;
	}
	c->hs_cqe.done = rdma_conn_handshake_done;
	c->reg_cqe.done = reg_done;

	c->copy_dma = ib_dma_map_single(dev, c->copy, c->depth * RDMA_COPY, DMA_TO_DEVICE);
	if (ib_dma_mapping_error(dev, c->copy_dma)) {
		c->copy_dma = 0;
		return -ENOMEM;
	}
	c->hs_dma = ib_dma_map_single(dev, c->hs_buf, RDMA_COPY, DMA_FROM_DEVICE);
	if (ib_dma_mapping_error(dev, c->hs_dma)) {
		c->hs_dma = 0;
		return -ENOMEM;
	}
	attr.cap.max_send_wr = c->depth + 1;
	attr.cap.max_recv_wr = receives + 1;
	c->cq = ib_alloc_cq_any(dev, c, attr.cap.max_send_wr + attr.cap.max_recv_wr + 2,
				IB_POLL_SOFTIRQ);
	if (IS_ERR(c->cq)) {
		err = PTR_ERR(c->cq);
		c->cq = NULL;
		return err;
	}
	init_irq_work(&c->completed, complete_work);
	c->complete = c->cq->comp_handler;
	c->cq->comp_handler = completed;
	attr.send_cq = attr.recv_cq = c->cq;
	return rdma_create_qp(c->id, c->dev->pd, &attr);
}

/* Receives that were never flushed, if the queue pair didn't get that far. */
static void return_buffers(struct rdma_conn *c)
{
	u32 i, receives;

	if (!c->rx)
		return;
	receives = pt_cfg_receives(&c->base.link->pt.node->cfg);
	popcorn_conn_lock(&c->base);
	for (i = 0; i < receives; i++) {
		if (c->rx[i].buf)
			popcorn_rxbuf_put(&c->base, c->rx[i].buf);
		c->rx[i].buf = NULL;
	}
	popcorn_conn_unlock(&c->base);
}

/* No callback of the identifier does anything from here on. */
static void silence(struct rdma_conn *c)
{
	rdma_lock_handler(c->id);
	if (c->base.link) {
		/* Nobody is between looking at the phase and posting. */
		popcorn_conn_lock(&c->base);
		WRITE_ONCE(c->phase, RDMA_OVER);
		popcorn_conn_unlock(&c->base);
	} else {
		WRITE_ONCE(c->phase, RDMA_OVER);
	}
	rdma_unlock_handler(c->id);
}

/**
 * rdma_conn_teardown - end it
 * @c: connection
 *
 * Nothing comes any more when this returns, and the device is given back. Not
 * from a callback of the identifier: those that run are waited for, later ones
 * see RDMA_OVER. Process context.
 */
void rdma_conn_teardown(struct rdma_conn *c)
{
	if (c->id)
		silence(c);
	if (c->id && c->id->qp) {
		rdma_disconnect(c->id);
		ib_drain_qp(c->id->qp);
		rdma_destroy_qp(c->id);
	}
	return_buffers(c);
	if (c->cq) {
		irq_work_sync(&c->completed);
		ib_free_cq(c->cq);
	}
	c->cq = NULL;
	if (c->copy_dma)
		ib_dma_unmap_single(c->dev->dev, c->copy_dma, c->depth * RDMA_COPY,
				    DMA_TO_DEVICE);
	if (c->hs_dma)
		ib_dma_unmap_single(c->dev->dev, c->hs_dma, RDMA_COPY, DMA_FROM_DEVICE);
	c->copy_dma = c->hs_dma = 0;
	if (c->id)
		rdma_destroy_id(c->id);
	c->id = NULL;
	if (c->dev)
		rdma_dev_put(c->dev, c);
	c->dev = NULL;
}

/**
 * rdma_conn_release - free a connection that nobody counts
 * @pc: torn down
 */
void rdma_conn_release(struct popcorn_conn *pc)
{
	struct rdma_conn *c = rdma_to_conn(pc);

	kfree(c->rx);
	kfree(c->tx);
	kfree(c->copy);
	kfree(c->hs_buf);
	kvfree(c->keys);
	kfree(c);
	if (atomic_dec_and_test(&conns))
		wake_up(&conns_wait);
}

/**
 * rdma_conns_wait - until no connection is left
 *
 * All are torn down already. What is waited for are counts of those who were just
 * handing over keys or completions, none of whom waits for a peer.
 */
void rdma_conns_wait(void)
{
	wait_event(conns_wait, !atomic_read(&conns));
	synchronize_rcu();	/* nor is any in rdma_conn_release() */
}

/* ---------------------------------------------------------------- sending */

static inline bool ring_full(const struct rdma_conn *c)
{
	return (u16)(c->head - c->tail) >= c->limit;
}

static int batch_post(struct rdma_conn *c)
{
	struct rdma_batch *b = &c->batch;
	int err = 0;

	if (b->n) {
		b->wr[b->n - 1].wr.next = NULL;
		err = ib_post_send(c->id->qp, &b->wr[0].wr, NULL);
	}
	b->n = 0;
	return err;
}

/*
 * Bulk must not stand in queues that urgent messages have to pass. While there are
 * such, no more of it is on the wire than keeps it busy, which is what is done in
 * the shortest time that one took, and a quarter more so that it finds out when
 * there is room. The same rule as msg_socket's bulk_limit().
 *
 * The limit stays above what was posted since the last one that is signalled: when
 * that is all that is under way, another one goes. @n were done, @tx the last of
 * them. Link's lock held.
 */
static void bulk_limit(struct rdma_conn *c, const struct rdma_tx *tx, u16 n)
{
	u64 now = ktime_get_ns();
	u32 gap = min_t(u64, now - c->done, U32_MAX / 8) / n;
	u32 limit = BULK_LEAST;

	c->done = now;
	if (!popcorn_conn_brisk(&c->base)) {
		c->narrow = 0;
		limit = c->depth;
	} else if (!c->narrow) {
		c->narrow = now;
		c->least_ns = U32_MAX / 8;
		c->gap_ns = 0;
	} else if (tx->posted < c->narrow) {
		limit = c->limit; /* it was behind many */
	} else {
		u32 took = min_t(u64, now - tx->posted, U32_MAX / 8);

		c->least_ns = min(took, c->least_ns + c->least_ns / 1024 + 1); /* routes change */
		if (c->blocked) /* else it was not the limit that set the pace */
			c->gap_ns = c->gap_ns ? (7 * (u64)c->gap_ns + gap) / 8 : gap;
		limit = DIV_ROUND_UP(c->least_ns + c->least_ns / 4, max(c->gap_ns, 1u));
	}
	c->limit = clamp_t(u32, limit, max(BULK_LEAST, c->unsignalled + 1), c->depth);
}

/*
 * Add a work request to the batch. Every quarter of what may be under way one is
 * signalled, so that there is always a completion to come when no more may be.
 */
static struct ib_rdma_wr *batch_add(struct rdma_conn *c, u64 addr, u32 len, bool signal)
{
	struct rdma_batch *b = &c->batch;
	struct ib_rdma_wr *w = &b->wr[b->n];
	struct rdma_tx *tx = &c->tx[c->head & (c->depth - 1)];

	if (b->n)
		b->wr[b->n - 1].wr.next = &w->wr;
	b->sge[b->n] = (struct ib_sge){
		.addr = addr,
		.length = len,
		.lkey = c->dev->pd->local_dma_lkey,
	};
	c->head++;
	if (++c->unsignalled >= c->limit / 4)
		signal = true;
	if (signal) {
		c->unsignalled = 0;
		if (c->base.class == PW_BULK)
			tx->posted = ktime_get_ns();
	}
	w->wr.wr_cqe = &tx->cqe;
	w->wr.sg_list = &b->sge[b->n];
	w->wr.num_sge = 1;
	w->wr.opcode = IB_WR_SEND;
	w->wr.ex.imm_data = 0;
	w->wr.send_flags = signal ? IB_SEND_SIGNALED : 0;
	b->n++;
	return w;
}

/* A frame: from the pool as it is, else through the ring's copy of it. */
static void batch_send(struct rdma_conn *c, const void *data, u32 len, bool pool, bool signal)
{
	u64 addr;

	if (!pool) {
		u32 off = (c->head & (c->depth - 1)) * RDMA_COPY;

		memcpy(c->copy + off, data, len);
		addr = c->copy_dma + off;
	} else {
		addr = rdma_frame_dma(c->dev, popcorn_buf_frame(data)) + offset_in_page(data);
	}
	ib_dma_sync_single_for_device(c->dev->dev, addr, len, DMA_TO_DEVICE);
	batch_add(c, addr, len, signal);
}

/* Post one receive buffer. Link's lock held. */
static int post_receive(struct rdma_conn *c, struct popcorn_rxbuf *b)
{
	struct rdma_rx *rx = &c->rx[b->index];
	int err;

	if (unlikely(!rx->wr.num_sge)) {
		rx->sge = (struct ib_sge){
			.addr = rdma_frame_dma(c->dev, b->frame),
			.length = PW_FRAME,
			.lkey = c->dev->pd->local_dma_lkey,
		};
		rx->wr = (struct ib_recv_wr){
			.wr_cqe = &rx->cqe, .sg_list = &rx->sge, .num_sge = 1,
		};
	}
	ib_dma_sync_single_for_device(c->dev->dev, rx->sge.addr, PW_FRAME, DMA_FROM_DEVICE);
	rx->buf = b;
	err = ib_post_recv(c->id->qp, &rx->wr, NULL);
	if (unlikely(err)) {
		rx->buf = NULL;
		popcorn_rxbuf_put(&c->base, b);
	}
	return err;
}

/* Post all that are free. Link's lock held. */
static int post_receives(struct rdma_conn *c)
{
	struct popcorn_rxbuf *b;
	int err = 0;

	while (!err && (b = popcorn_rxbuf_get(&c->base)))
		err = post_receive(c, b);
	return err;
}

/* The page that comes next: where to? -EAGAIN until its key is known. */
static int page_target(struct rdma_conn *c, const struct pt_tx *tx, u64 *addr, u32 *rkey)
{
	u32 chunk = tx->frame / POPCORN_CHUNK_PAGES, page = tx->frame % POPCORN_CHUNK_PAGES;
	struct pw_key *k;

	if (chunk >= c->nkeys || !c->keys[chunk].pages)
		return -EAGAIN;
	k = &c->keys[chunk];
	if (page >= le32_to_cpu(k->pages))
		return -EPROTO;
	*addr = le64_to_cpu(k->addr) + (u64)page * PAGE_SIZE;
	*rkey = le32_to_cpu(k->rkey);
	return 0;
}

/**
 * rdma_conn_pump - send what is pending, post what has come back
 * @pc: connection
 *
 * Frames are taken until there are none or as many are under way as may be. Link's lock held.
 * Return: 0, or why the connection has failed.
 */
int rdma_conn_pump(struct popcorn_conn *pc)
{
	struct rdma_conn *c = rdma_to_conn(pc);
	struct pt_lane *la = &pc->link->pt.lane[pc->class];
	int err, late = 0;

	if (c->phase != RDMA_OPEN)
		return 0;
	err = post_receives(c);
	if (unlikely(err))
		return err;
	c->blocked = false;
	while (c->flow != RDMA_QUIET && pt_lane_tx_pending(la)) {
		struct pt_tx *tx = pt_lane_tx_peek(la);
		struct ib_rdma_wr *w;
		struct pt_out out;
		u64 addr, from;
		u32 rkey;

		if (ring_full(c)) {
			c->blocked = true;
			break;
		}
		if (tx && tx->kind == PW_PAGE) {
			late = page_target(c, tx, &addr, &rkey);
			if (unlikely(late))	/* -EAGAIN: keys_received() is followed by a kick */
				break;
		}
		if (!pt_lane_tx(la, &out))
			break;
		if (out.page) {
			from = rdma_frame_dma(c->dev, out.page);
			ib_dma_sync_single_for_device(c->dev->dev, from, PAGE_SIZE,
						      DMA_TO_DEVICE);
			w = batch_add(c, from, PAGE_SIZE, false);
			w->wr.opcode = IB_WR_RDMA_WRITE_WITH_IMM;
			w->wr.ex.imm_data = cpu_to_be32(out.imm);
			w->remote_addr = addr;
			w->rkey = rkey;
		} else {
			/* Only a payload, but not a heartbeat's, has a page. */
			batch_send(c, out.hdr, PW_HDR + out.len,
				   out.len && out.hdr->kind != PW_HB,
				   out.hdr->kind == PW_BYE || c->flow == RDMA_LAST);
		}
		if (c->flow == RDMA_LAST)
			c->flow = RDMA_QUIET;
		if (c->batch.n == ARRAY_SIZE(c->batch.wr)) {
			err = batch_post(c);
			if (unlikely(err))
				return err;
		}
	}
	err = batch_post(c);
	return err ?: late == -EPROTO ? late : 0;
}

/* The same, from outside. */
static void kick(struct rdma_conn *c)
{
	int err;

	popcorn_conn_lock(&c->base);
	err = rdma_conn_pump(&c->base);
	popcorn_conn_unlock(&c->base);
	if (err)
		rdma_conn_fail(c, err);
}

/**
 * rdma_conn_wc_failed - a completion with an error
 * @c:    connection
 * @wc:   completion
 * @what: for the log
 *
 * The first error flushes the rest. A flush without one before it is the queue pair's
 * end: of an open connection the only sign there may be; but rdma_cm does that too when
 * the peer rejects us, and says why only then. So it ends no handshake, which has
 * rdma_cm's event and a bound of its own.
 */
void rdma_conn_wc_failed(struct rdma_conn *c, const struct ib_wc *wc, const char *what)
{
	bool flushed = wc->status == IB_WC_WR_FLUSH_ERR;

	if (!flushed)
		pr_info_ratelimited("msg_rdma: node %u: %s %s, reconnecting\n",
				    c->base.link->peer, what, ib_wc_status_msg(wc->status));
	if (!flushed || READ_ONCE(c->phase) == RDMA_OPEN)
		rdma_conn_fail(c, wc->status == IB_WC_RETRY_EXC_ERR ? -ETIMEDOUT : -ECONNRESET);
	wake_up(&c->drained);
}

static void tx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_tx *tx = container_of(wc->wr_cqe, struct rdma_tx, cqe);
	struct rdma_conn *c = tx->conn;
	int err = 0;
	u16 n;

	if (unlikely(wc->status != IB_WC_SUCCESS)) {
		rdma_conn_wc_failed(c, wc, "send failed:");
		return;
	}
	popcorn_conn_lock(&c->base);
	/* All up to this one are done: the ring position of its index next after tail. */
	n = ((tx->index - c->tail) & (c->depth - 1)) + 1;
	c->tail += n;
	if (c->base.class == PW_BULK)
		bulk_limit(c, tx, n);
	if (c->blocked)
		err = rdma_conn_pump(&c->base);
	if (c->tail == c->head)
		wake_up(&c->drained);
	popcorn_conn_unlock(&c->base);
	if (err)
		rdma_conn_fail(c, err);
}

/* -------------------------------------------------------------- receiving */

/**
 * rdma_conn_page_arrived - let the CPU see a page that was written
 * @pc: connection
 * @f:  where
 */
void rdma_conn_page_arrived(struct popcorn_conn *pc, struct popcorn_frame *f)
{
	struct rdma_conn *c = rdma_to_conn(pc);

	ib_dma_sync_single_for_cpu(c->dev->dev, rdma_frame_dma(c->dev, f), PAGE_SIZE,
				   DMA_FROM_DEVICE);
}

static void rx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_rx *rx = container_of(wc->wr_cqe, struct rdma_rx, cqe);
	struct rdma_conn *c = rx->conn;
	struct popcorn_rxbuf *b = rx->buf;
	const struct pw_hdr *h = b->data;

	rx->buf = NULL;
	if (unlikely(wc->status != IB_WC_SUCCESS)) {
		popcorn_conn_lock(&c->base);
		popcorn_rxbuf_put(&c->base, b);
		popcorn_conn_unlock(&c->base);
		rdma_conn_wc_failed(c, wc, "receive failed:");
		return;
	}
	if (wc->wc_flags & IB_WC_WITH_IMM) {
		popcorn_conn_rx_imm(&c->base, be32_to_cpu(wc->ex.imm_data), wc->byte_len, b);
		return;
	}
	ib_dma_sync_single_for_cpu(c->dev->dev, rdma_frame_dma(c->dev, b->frame), wc->byte_len,
				   DMA_FROM_DEVICE);
	if (unlikely(wc->byte_len < PW_HDR)) {
		popcorn_conn_lock(&c->base);
		popcorn_rxbuf_put(&c->base, b);
		popcorn_conn_unlock(&c->base);
		rdma_conn_fail(c, -EPROTO);
		return;
	}
	popcorn_conn_rx(&c->base, h, h + 1, wc->byte_len - PW_HDR, b);
}

/* --------------------------------------------------------------- handshake */

/**
 * rdma_conn_receive_handshake - post the receive for PROOF or READY
 * @c: connection that is set up
 */
int rdma_conn_receive_handshake(struct rdma_conn *c)
{
	struct ib_sge sge = {
		.addr = c->hs_dma,
		.length = RDMA_COPY,
		.lkey = c->dev->pd->local_dma_lkey,
	};
	struct ib_recv_wr wr = { .wr_cqe = &c->hs_cqe, .sg_list = &sge, .num_sge = 1 };

	return ib_post_recv(c->id->qp, &wr, NULL);
}

/**
 * rdma_conn_send_handshake - send PROOF or READY
 * @c:    connection, not open yet: nobody else posts
 * @data: at most RDMA_COPY bytes
 * @len:  bytes
 *
 * Any context. Return: 0 or -errno.
 */
int rdma_conn_send_handshake(struct rdma_conn *c, const void *data, u32 len)
{
	batch_send(c, data, len, false, false);
	return batch_post(c);
}

/**
 * rdma_conn_take_buffers - post the lane's receive buffers
 * @c: connection of the link's present session
 *
 * Any context. Return: 0 or -errno.
 */
int rdma_conn_take_buffers(struct rdma_conn *c)
{
	int err;

	popcorn_conn_lock(&c->base);
	err = post_receives(c);
	popcorn_conn_unlock(&c->base);
	return err;
}

/* -------------------------------------------------------------- engine's side */

/**
 * rdma_conn_close - end a connection of a link
 * @pc:    connection
 * @flush: give the last frames %DRAIN_MS to be acknowledged
 */
void rdma_conn_close(struct popcorn_conn *pc, bool flush)
{
	struct rdma_conn *c = rdma_to_conn(pc);

	if (flush && c->phase == RDMA_OPEN)
		wait_event_timeout(c->drained, READ_ONCE(c->tail) == READ_ONCE(c->head),
				   msecs_to_jiffies(DRAIN_MS));
	rdma_conn_teardown(c);
	popcorn_conn_put(pc);
}

static void reg_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_conn *c = container_of(wc->wr_cqe, struct rdma_conn, reg_cqe);

	c->reg_status = wc->status == IB_WC_SUCCESS ? 0 : -EIO;
	complete(&c->reg_done);
	if (wc->status != IB_WC_SUCCESS)
		rdma_conn_wc_failed(c, wc, "registration failed:");
}

static bool is_quiet(struct rdma_conn *c)
{
	bool quiet;

	popcorn_conn_lock(&c->base);
	quiet = c->phase != RDMA_OPEN || (c->flow == RDMA_QUIET && c->head == c->tail);
	popcorn_conn_unlock(&c->base);
	return quiet;
}

/**
 * rdma_conn_register - let the device register memory
 * @c:  connection of URGENT (no page waits for a key there); one call at a time
 * @mr: mapped
 *
 * The registration is posted to an empty send queue, after what was sent has
 * been acknowledged: rxe carries out local operations again when it retries a
 * work request before them (rxe_requester()), and a second registration fails.
 *
 * Process context; the waits end when the connection fails, or after 5 s.
 * Return: 0 or -errno.
 */
int rdma_conn_register(struct rdma_conn *c, struct ib_mr *mr)
{
	struct ib_reg_wr wr = {
		.wr.opcode = IB_WR_REG_MR,
		.wr.wr_cqe = &c->reg_cqe,
		.wr.send_flags = IB_SEND_SIGNALED,
		.mr = mr,
		.key = mr->rkey,
		.access = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE,
	};
	struct pt_lane *la;
	int err;

	la = popcorn_conn_lock(&c->base);
	c->flow = RDMA_LAST;
	pt_lane_nop(la);	/* so that there is a last frame */
	popcorn_conn_unlock(&c->base);
	kick(c);
	wait_event_timeout(c->drained, is_quiet(c), 5 * HZ);

	reinit_completion(&c->reg_done);
	popcorn_conn_lock(&c->base);
	if (c->phase != RDMA_OPEN)
		err = -ENOTCONN;
	else if (c->flow != RDMA_QUIET || c->head != c->tail)
		err = -ETIMEDOUT;
	else
		err = ib_post_send(c->id->qp, &wr.wr, NULL);
	popcorn_conn_unlock(&c->base);
	if (!err)
		err = wait_for_completion_timeout(&c->reg_done, 5 * HZ) ? c->reg_status :
		      -ETIMEDOUT;
	popcorn_conn_lock(&c->base);
	c->flow = RDMA_FLOWS;
	popcorn_conn_unlock(&c->base);
	kick(c);
	if (err == -ETIMEDOUT)
		rdma_conn_fail(c, err);
	return err;
}

/**
 * rdma_conn_keys - remote keys for the peer
 * @pc:    connection
 * @keys:  filled in
 * @max:   room there
 * @chunk: first chunk wanted; moved on
 *
 * Process context. Return: how many were filled in.
 */
u32 rdma_conn_keys(struct popcorn_conn *pc, struct pw_key *keys, u32 max, u32 *chunk)
{
	struct rdma_conn *c = rdma_to_conn(pc);

	return c->dev ? rdma_dev_keys(c->dev, c, keys, max, chunk) : 0;
}

/**
 * rdma_conn_keys_received - the peer's remote keys
 * @pc:   connection
 * @keys: keys
 * @n:    how many
 */
void rdma_conn_keys_received(struct popcorn_conn *pc, const struct pw_key *keys, u32 n)
{
	struct rdma_conn *c = rdma_to_conn(pc);
	struct pw_key *more = NULL, *old;
	u32 i, top = 0;

	for (i = 0; i < n; i++) {
		u32 chunk = le32_to_cpu(keys[i].chunk);

		if (chunk >= KEYS_MAX ||
		    le32_to_cpu(keys[i].pages) > POPCORN_CHUNK_PAGES) {
			rdma_conn_fail(c, -EPROTO);
			return;
		}
		top = max(top, chunk + 1);
	}
	if (top > c->nkeys) {
		more = kvcalloc(roundup_pow_of_two(top), sizeof(*more), GFP_KERNEL);
		if (!more) {
			rdma_conn_fail(c, -ENOMEM);	/* they come again then */
			return;
		}
	}
	popcorn_conn_lock(pc);
	old = more ? c->keys : NULL;
	if (more) {
		memcpy(more, c->keys, c->nkeys * sizeof(*more));
		c->keys = more;
		c->nkeys = roundup_pow_of_two(top);
	}
	for (i = 0; i < n; i++)
		c->keys[le32_to_cpu(keys[i].chunk)] = keys[i];
	popcorn_conn_unlock(pc);
	kvfree(old);
}
