// SPDX-License-Identifier: GPL-2.0-only
/* The end point of the verbs floor: posts, completions in softirq context, wake-up of a thread. */
#include "kverbs.h"

static bool kv_arrived(struct kv_end *end)
{
	return (s32)(READ_ONCE(end->got) - end->want) >= 0 || READ_ONCE(end->err);
}

void kv_end_fail(struct kv_end *end, int err)
{
	cmpxchg(&end->err, 0, err);
	wake_up(&end->wait);
}

static void kv_broken(struct kv_end *end, const struct ib_wc *wc, const char *what)
{
	/* Flushed requests follow from an error that was told, or from hanging up. */
	if (wc->status != IB_WC_WR_FLUSH_ERR)
		pr_err("%s: %s\n", what, ib_wc_status_msg(wc->status));
	kv_end_fail(end, -EIO);
}

static int kv_post_recv(struct kv_end *end, struct kv_rx *rx)
{
	struct ib_sge sge = {
		.addr = rx->dma, .length = end->chan.rx_len, .lkey = end->pd->local_dma_lkey,
	};
	struct ib_recv_wr wr = { .wr_cqe = &rx->cqe, .sg_list = &sge, .num_sge = 1 };

	return ib_post_recv(end->id->qp, &wr, NULL);
}

static void kv_tx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	if (wc->status != IB_WC_SUCCESS)
		kv_broken(cq->cq_context, wc, "send");
}

static void kv_reg_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct kv_end *end = cq->cq_context;

	if (wc->status != IB_WC_SUCCESS)
		kv_broken(end, wc, "register pages");
	complete(&end->reg_done);
}

static int kv_post(struct kv_end *end, struct ib_send_wr *wr)
{
	int err;

	wr->wr_cqe = &end->tx_cqe;
	wr->num_sge = 1;
	wr->send_flags = ++end->sent % KV_SIGNAL ? 0 : IB_SEND_SIGNALED;
	/* A software device then works in this context, not in ksoftirqd's. */
	local_bh_disable();
	err = ib_post_send(end->id->qp, wr, NULL);
	local_bh_enable();
	return err;
}

static int kv_send(struct kfloor_chan *c)
{
	struct kv_end *end = container_of(c, struct kv_end, chan);
	struct ib_sge sge = {
		.addr = end->tx_dma, .length = c->tx_len, .lkey = end->pd->local_dma_lkey,
	};
	struct ib_send_wr wr = { .sg_list = &sge, .opcode = IB_WR_SEND };

	ib_dma_sync_single_for_device(end->id->device, end->tx_dma, c->tx_len, DMA_TO_DEVICE);
	return kv_post(end, &wr);
}

static int kv_put(struct kfloor_chan *c)
{
	struct kv_end *end = container_of(c, struct kv_end, chan);
	u32 page = end->put++ % end->pages;
	struct ib_sge sge = {
		.addr = sg_dma_address(&end->sg) + (u64)page * PAGE_SIZE,
		.length = KFLOOR_PAGE, .lkey = end->pd->local_dma_lkey,
	};
	struct ib_rdma_wr wr = {
		.wr = {
			.sg_list = &sge, .opcode = IB_WR_RDMA_WRITE_WITH_IMM,
			.ex.imm_data = cpu_to_be32(page),
		},
		.remote_addr = end->peer_addr + (u64)page * PAGE_SIZE, .rkey = end->peer_rkey,
	};

	ib_dma_sync_single_for_device(end->id->device, sge.addr, sge.length, DMA_BIDIRECTIONAL);
	return kv_post(end, &wr.wr);
}

static void kv_rx_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct kv_end *end = cq->cq_context;
	struct kv_rx *rx = container_of(wc->wr_cqe, struct kv_rx, cqe);
	int err;

	if (wc->status != IB_WC_SUCCESS) {
		kv_broken(end, wc, "receive");
		return;
	}
	if (wc->byte_len != end->chan.rx_len) {
		kv_end_fail(end, -EPROTO);
		return;
	}
	err = kv_post_recv(end, rx);
	if (err) {
		kv_end_fail(end, err);
		return;
	}
	if (end->server && end->cmd.softirq) {
		err = end->cmd.row == KFLOOR_FETCH ? kv_put(&end->chan) : kv_send(&end->chan);
		if (err)
			kv_end_fail(end, err);
		WRITE_ONCE(end->chan.done, end->chan.done + 1);
		return;
	}
	WRITE_ONCE(end->got, end->got + 1);
	/* Pairs with the barrier in wait_event: either it sees got, or we see want. */
	smp_mb();
	if ((s32)(end->got - READ_ONCE(end->want)) >= 0)
		wake_up(&end->wait);
}

static int kv_recv(struct kfloor_chan *c, u32 n)
{
	struct kv_end *end = container_of(c, struct kv_end, chan);
	struct kv_rx *rx;
	int err = 0;

	WRITE_ONCE(end->want, end->want + n);
	if (end->server)
		wait_event_idle(end->wait, kv_arrived(end));
	else
		err = wait_event_killable(end->wait, kv_arrived(end));
	for (; n; n--) {
		rx = &end->rx[end->taken++ % KV_RX];
		ib_dma_sync_single_for_cpu(end->id->device, rx->dma, c->rx_len, DMA_FROM_DEVICE);
	}
	return err ?: READ_ONCE(end->err);
}

static void kv_abort(struct kfloor_chan *c)
{
	kv_end_fail(container_of(c, struct kv_end, chan), -ETIMEDOUT);
}

static int kv_alloc_buffers(struct kv_end *end)
{
	struct ib_device *dev = end->id->device;
	size_t tx = end->chan.tx_len, rx = end->chan.rx_len;
	int i;

	end->tx = kzalloc(tx, GFP_KERNEL);
	if (!end->tx)
		return -ENOMEM;
	end->tx_dma = ib_dma_map_single(dev, end->tx, tx, DMA_TO_DEVICE);
	if (ib_dma_mapping_error(dev, end->tx_dma)) {
		kfree(end->tx);
		end->tx = NULL;
		return -ENOMEM;
	}
	for (i = 0; i < KV_RX; i++) {
		struct kv_rx *r = &end->rx[i];

		r->cqe.done = kv_rx_done;
		r->buf = kzalloc(rx, GFP_KERNEL);
		if (!r->buf)
			return -ENOMEM;
		r->dma = ib_dma_map_single(dev, r->buf, rx, DMA_FROM_DEVICE);
		if (ib_dma_mapping_error(dev, r->dma)) {
			kfree(r->buf);
			r->buf = NULL;
			return -ENOMEM;
		}
	}
	return 0;
}

/* One chunk as the page pool has it: 2 MiB, mapped once; the server sends pages from it. */
static int kv_alloc_chunk(struct kv_end *end)
{
	struct ib_device *dev = end->id->device;
	unsigned int order;

	end->pages = min(KV_PAGES, dev->attrs.max_fast_reg_page_list_len);
	if (!end->pages)
		return -EOPNOTSUPP;
	order = get_order(end->pages * PAGE_SIZE);
	end->chunk = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP | __GFP_NOWARN, order);
	if (!end->chunk)
		return -ENOMEM;
	sg_init_table(&end->sg, 1);
	sg_set_page(&end->sg, end->chunk, end->pages * PAGE_SIZE, 0);
	if (ib_dma_map_sg(dev, &end->sg, 1, DMA_BIDIRECTIONAL) != 1)
		return -ENOMEM;
	end->mapped = true;
	return 0;
}

static int kv_alloc_mr(struct kv_end *end)
{
	struct ib_mr *mr = ib_alloc_mr(end->pd, IB_MR_TYPE_MEM_REG, end->pages);
	int n;

	if (IS_ERR(mr))
		return PTR_ERR(mr);
	end->mr = mr;
	n = ib_map_mr_sg(mr, &end->sg, 1, NULL, PAGE_SIZE);
	if (n != 1)
		return n < 0 ? n : -EINVAL;
	ib_update_fast_reg_key(mr, ib_inc_rkey(mr->rkey));
	return 0;
}

static int kv_alloc_queues(struct kv_end *end)
{
	struct ib_qp_init_attr attr = {
		.cap = {
			.max_send_wr = KV_SQ, .max_recv_wr = KV_RX + 1,
			.max_send_sge = 1, .max_recv_sge = 1,
		},
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
	};
	struct ib_device *dev = end->id->device;

	end->pd = ib_alloc_pd(dev, 0);
	if (IS_ERR(end->pd))
		return PTR_ERR(end->pd);
	end->cq = ib_alloc_cq(dev, end, KV_SQ + KV_RX + 2, 0, IB_POLL_SOFTIRQ);
	if (IS_ERR(end->cq))
		return PTR_ERR(end->cq);
	attr.send_cq = end->cq;
	attr.recv_cq = end->cq;
	return rdma_create_qp(end->id, end->pd, &attr);
}

struct kv_end *kv_end_new(struct rdma_cm_id *id, const struct kfloor_cmd *cmd, bool server)
{
	struct kv_end *end = kzalloc(sizeof(*end), GFP_KERNEL);
	int err, i;

	if (!end)
		return ERR_PTR(-ENOMEM);
	end->chan = (struct kfloor_chan){
		.send = kv_send, .put = kv_put, .recv = kv_recv, .abort = kv_abort,
	};
	end->id = id;
	end->cmd = *cmd;
	end->server = server;
	end->tx_cqe.done = kv_tx_done;
	end->reg_cqe.done = kv_reg_done;
	init_completion(&end->reg_done);
	init_waitqueue_head(&end->wait);
	kfloor_lengths(&end->chan, cmd, server);
	err = kv_alloc_queues(end) ?: kv_alloc_buffers(end) ?: kv_alloc_chunk(end);
	if (!err && !server)
		err = kv_alloc_mr(end);
	for (i = 0; !err && i < KV_RX; i++)
		err = kv_post_recv(end, &end->rx[i]);
	if (!err)
		return end;
	kv_end_free(end);
	return ERR_PTR(err);
}

void kv_end_hello(struct kv_end *end, struct kfloor_hello *h)
{
	kfloor_pack(&end->cmd, h);
	if (end->mr) {
		h->rkey = cpu_to_le32(end->mr->rkey);
		h->addr = cpu_to_le64(end->mr->iova);
	}
}

int kv_end_register(struct kv_end *end)
{
	struct ib_reg_wr wr = {
		.wr = {
			.wr_cqe = &end->reg_cqe, .opcode = IB_WR_REG_MR,
			.send_flags = IB_SEND_SIGNALED,
		},
		.mr = end->mr, .key = end->mr->rkey,
		.access = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE,
	};
	int err;

	err = ib_post_send(end->id->qp, &wr.wr, NULL);
	if (err)
		return err;
	if (!wait_for_completion_timeout(&end->reg_done, KFLOOR_PATIENCE))
		return -ETIMEDOUT;
	return READ_ONCE(end->err);
}

void kv_end_free(struct kv_end *end)
{
	struct ib_device *dev = end->id->device;
	int i;

	if (end->id->qp) {
		rdma_disconnect(end->id);
		ib_drain_qp(end->id->qp);
		rdma_destroy_qp(end->id);
	}
	if (!IS_ERR_OR_NULL(end->cq))
		ib_free_cq(end->cq);
	if (end->mr)
		ib_dereg_mr(end->mr);
	for (i = 0; i < KV_RX && end->rx[i].buf; i++) {
		ib_dma_unmap_single(dev, end->rx[i].dma, end->chan.rx_len, DMA_FROM_DEVICE);
		kfree(end->rx[i].buf);
	}
	if (end->tx) {
		ib_dma_unmap_single(dev, end->tx_dma, end->chan.tx_len, DMA_TO_DEVICE);
		kfree(end->tx);
	}
	if (end->mapped)
		ib_dma_unmap_sg(dev, &end->sg, 1, DMA_BIDIRECTIONAL);
	if (end->chunk)
		__free_pages(end->chunk, compound_order(end->chunk));
	if (!IS_ERR_OR_NULL(end->pd))
		ib_dealloc_pd(end->pd);
	kfree(end);
}
