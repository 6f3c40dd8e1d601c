// SPDX-License-Identifier: GPL-2.0-only
/*
 * Links: the engine around the core's. popcorn_link_unlock() is where what the
 * core asks for is done; link_work() does the part that must sleep.
 */
#include <linux/highmem.h>
#include <linux/sched.h>

#include "engine.h"
#include "trace.h"

struct workqueue_struct *popcorn_wq;
static DEFINE_MUTEX(links_mutex);	/* links are made, nodes closed */

/* --------------------------------------------------------- making, freeing */

static void *buf_alloc(void)
{
	struct popcorn_frame *f = popcorn_frame_alloc(GFP_KERNEL);

	return f ? popcorn_frame_data(f) : NULL;
}

static void buf_free(void *buf)
{
	if (buf)
		popcorn_frame_free(popcorn_buf_frame(buf));
}

static int lane_init(struct popcorn_lane *la, const struct pt_cfg *cfg)
{
	u32 i, receives = pt_cfg_receives(cfg);

	init_waitqueue_head(&la->slot_wait);
	init_waitqueue_head(&la->tx_wait);
	la->rx_tail = &la->rx_open;
	la->rxbuf = popcorn_zalloc(receives * sizeof(*la->rxbuf), GFP_KERNEL);
	la->slot = popcorn_zalloc(cfg->slots * sizeof(*la->slot), GFP_KERNEL);
	la->ans = popcorn_zalloc(cfg->slots * sizeof(*la->ans), GFP_KERNEL);
	la->tx = popcorn_zalloc(POPCORN_TXS * sizeof(*la->tx), GFP_KERNEL);
	if (!la->rxbuf || !la->slot || !la->ans || !la->tx)
		return -ENOMEM;
	for (i = 0; i < receives; i++) {
		struct popcorn_rxbuf *b = &la->rxbuf[i];

		b->frame = popcorn_frame_alloc(GFP_KERNEL);
		if (!b->frame)
			return -ENOMEM;
		b->data = popcorn_frame_data(b->frame);
		b->index = i;
		b->next = la->rx_free;
		la->rx_free = b;
	}
	for (i = 0; i < cfg->slots; i++) {
		la->slot[i].buf = buf_alloc();
		la->ans[i].buf = buf_alloc();
		if (!la->slot[i].buf || !la->ans[i].buf)
			return -ENOMEM;
	}
	for (i = 0; i < POPCORN_TXS; i++) {
		la->tx[i].buf = buf_alloc();
		if (!la->tx[i].buf)
			return -ENOMEM;
		la->tx[i].next = la->tx_free;
		la->tx_free = &la->tx[i];
	}
	return 0;
}

static void lane_free(struct popcorn_lane *la, const struct pt_cfg *cfg)
{
	u32 i;

	for (i = 0; la->rxbuf && i < pt_cfg_receives(cfg); i++)
		popcorn_frame_free(la->rxbuf[i].frame);
	for (i = 0; la->slot && i < cfg->slots; i++) {
		buf_free(la->slot[i].buf);
		popcorn_big_free(la->slot[i].big);
	}
	for (i = 0; la->ans && i < cfg->slots; i++) {
		buf_free(la->ans[i].buf);
		popcorn_big_free(la->ans[i].big);
	}
	for (i = 0; la->tx && i < POPCORN_TXS; i++) {
		buf_free(la->tx[i].buf);
		popcorn_big_free(la->tx[i].big);
	}
	kvfree(la->rxbuf);
	kvfree(la->slot);
	kvfree(la->ans);
	kvfree(la->tx);
}

void popcorn_link_free(struct popcorn_link *l)
{
	const struct pt_cfg *cfg = &l->node->pt.cfg;
	int c;

	for (c = 0; c < PW_CLASSES; c++)
		lane_free(&l->lane[c], cfg);
	if (l->keys.tx)
		popcorn_big_free(l->keys.tx->big);
	kvfree(l->keys.tx);
	kvfree(l->pt_slots);
	kvfree(l->pt_ans);
	kvfree(l);
}

static void link_work(struct work_struct *work);

static struct popcorn_link *link_new(struct popcorn_node *node, u16 peer)
{
	const struct pt_cfg *cfg = &node->pt.cfg;
	struct popcorn_link *l = popcorn_zalloc(sizeof(*l), GFP_KERNEL);
	int c, r = 0;

	if (!l)
		return NULL;
	l->node = node;
	l->peer = peer;
	l->done_tail = &l->done;
	INIT_LIST_HEAD(&l->waiters);
	spin_lock_init(&l->lock);
	INIT_WORK(&l->work, link_work);
	l->keys.tx = popcorn_zalloc(sizeof(*l->keys.tx), GFP_KERNEL);
	l->pt_slots = popcorn_zalloc(PW_CLASSES * cfg->slots * sizeof(*l->pt_slots), GFP_KERNEL);
	l->pt_ans = popcorn_zalloc(PW_CLASSES * cfg->slots * sizeof(*l->pt_ans), GFP_KERNEL);
	for (c = 0; c < PW_CLASSES; c++)
		r = r ?: lane_init(&l->lane[c], cfg);
	if (r || !l->keys.tx || !l->pt_slots || !l->pt_ans) {
		popcorn_link_free(l);
		return NULL;
	}
	pt_link_init(&l->pt, &node->pt, peer, l->pt_slots, l->pt_ans);
	return l;
}

/**
 * popcorn_link_get - a node's link to a peer
 * @node: node
 * @peer: the peer's id
 * @want: connect at once if it is new
 *
 * Process context. The link lives as long as the node.
 * Return: the link, or ERR_PTR(-EINVAL, -ESHUTDOWN, -ENOMEM).
 */
struct popcorn_link *popcorn_link_get(struct popcorn_node *node, u16 peer, bool want)
{
	struct popcorn_link *l = xa_load(&node->links, peer);

	if (likely(l))
		return l;
	if (peer >= popcorn_node_count() || peer == node->pt.id)
		return ERR_PTR(-EINVAL);
	mutex_lock(&links_mutex);
	l = xa_load(&node->links, peer);
	if (!l) {
		l = node->gone ? ERR_PTR(-ESHUTDOWN) : link_new(node, peer) ?: ERR_PTR(-ENOMEM);
		if (!IS_ERR(l) && xa_is_err(xa_store(&node->links, peer, l, GFP_KERNEL))) {
			popcorn_link_free(l);
			l = ERR_PTR(-ENOMEM);
		}
	}
	if (!IS_ERR(l) && want) {
		spin_lock_bh(&l->lock);
		pt_link_want(&l->pt, popcorn_now());
		popcorn_link_unlock(l, true);
	}
	mutex_unlock(&links_mutex);
	return l;
}

/* No new link from here on, and no new message on those there are. */
void popcorn_links_close(struct popcorn_node *node)
{
	mutex_lock(&links_mutex);
	WRITE_ONCE(node->gone, true);
	mutex_unlock(&links_mutex);
}

/* ------------------------------------------------- what the core asks for */

void popcorn_link_fault(struct popcorn_link *l, int error)
{
	pt_link_fault(&l->pt, error, popcorn_now());
}

/* Have the link's work do something; lock held. */
void popcorn_link_later(struct popcorn_link *l, u32 todo)
{
	l->todo |= todo;
	queue_work(popcorn_wq, &l->work);
}

static void done_add(struct popcorn_link *l, struct popcorn_done *d, int status)
{
	d->status = status;
	d->next = NULL;
	*l->done_tail = d;
	l->done_tail = &d->next;
}

static struct popcorn_lane *slot_lane(struct popcorn_link *l, struct pt_slot *s)
{
	return &l->lane[(s - l->pt_slots) / l->node->pt.cfg.slots];
}

/* A slot nobody uses: with what it held. Lock held. */
void popcorn_slot_put(struct popcorn_link *l, struct pt_slot *s)
{
	struct popcorn_lane *la = slot_lane(l, s);
	struct popcorn_slot *ps = &la->slot[s->index];

	ps->async = NULL;
	if (unlikely(ps->big)) {
		popcorn_big_free(ps->big);
		ps->big = NULL;
	}
	if (s->page)
		popcorn_frame_free(s->page);
	pt_slot_put(&l->pt.lane[la - l->lane], s);
	if (waitqueue_active(&la->slot_wait))
		wake_up(&la->slot_wait);
}

/**
 * popcorn_slot_end - tell whoever asked; the slot is DONE or WAITING
 * @l:      link, locked
 * @s:      slot
 * @status: 0 or -errno
 *
 * A slot still waiting becomes a zombie if the answer may yet come.
 */
void popcorn_slot_end(struct popcorn_link *l, struct pt_slot *s, int status)
{
	struct popcorn_lane *la = slot_lane(l, s);
	struct popcorn_slot *ps = &la->slot[s->index];
	struct popcorn_async *a = ps->async;
	u8 class = la - l->lane;

	if (!status) {
		u32 len = s->page ? PAGE_SIZE : s->ans_len;

		trace_popcorn_recv(l->node->pt.id, l->peer, class, s->page ? PW_PAGE : PW_ANS,
				   ps->type, len);
		popcorn_msg_count_rx(ps->type, len);
	}
	if (s->page) {
		trace_popcorn_page(l->node->pt.id, l->peer, class, s->frame, status);
		if (!status) {
			flush_dcache_page(((struct popcorn_frame *)s->page)->page);
			s->page = NULL; /* the asker's again */
		}
	}
	if (a) {
		ps->async = NULL;
		a->len = s->ans_len;
		if (status)
			a->frame = NULL;
		done_add(l, &a->done, status);
	}
	if (pt_slot_abandon(&l->pt.lane[class], s))
		popcorn_slot_put(l, s);
}

static void lane_reap(struct popcorn_link *l, u8 class)
{
	struct popcorn_lane *la = &l->lane[class];
	struct pt_tx *tx;

	while ((tx = pt_lane_reap(&l->pt.lane[class]))) {
		if (tx->kind != PW_MSG) {
			struct popcorn_ans *a = &la->ans[tx->slot];

			if (a->done)
				done_add(l, a->done, tx->status);
			a->done = NULL;
			popcorn_big_free(a->big);
			a->big = NULL;
		} else {
			struct popcorn_tx *t = container_of(tx, struct popcorn_tx, pt);

			popcorn_big_free(t->big);
			t->big = NULL;
			if (t == l->keys.tx) {
				l->keys.sent = false;
				if (l->keys.due)
					popcorn_link_later(l, POPCORN_TODO_KEYS);
				continue;
			}
			t->next = la->tx_free;
			la->tx_free = t;
			if (waitqueue_active(&la->tx_wait))
				wake_up(&la->tx_wait);
		}
	}
}

/* The peer's life is over: an unfinished message goes on in no other. */
static void lane_rx_flush(struct popcorn_lane *la)
{
	struct popcorn_rxbuf *b;

	while ((b = la->rx_open)) {
		la->rx_open = b->next;
		b->next = la->rx_free;
		la->rx_free = b;
	}
	la->rx_tail = &la->rx_open;
}

/* The peer died, or it was met and serves more: whoever waits looks again. */
static void wake_waiters(struct popcorn_link *l)
{
	u8 c;

	for (c = 0; c < PW_CLASSES; c++) {
		wake_up_all(&l->lane[c].slot_wait);
		wake_up_all(&l->lane[c].tx_wait);
	}
}

static u32 link_act(struct popcorn_link *l, u32 act)
{
	const u32 work = PT_ACT_CONNECT | PT_ACT_CLOSE | PT_ACT_UP | PT_ACT_DEAD |
			 PT_ACT_LEASE_LOST | PT_ACT_LEASE_BACK;
	struct pt_slot *s;
	u32 tx = 0;
	u8 c;

	for (; act; act = pt_link_actions(&l->pt)) {
		tx |= act & PT_ACT_TX_ALL;
		if (act & ~PT_ACT_TX_ALL)
			trace_popcorn_link(l->node->pt.id, l->peer, l->pt.state, act,
					   l->pt.error);
		if (act & PT_ACT_TIMEOUT) {
			u64 now = popcorn_now();

			for (c = 0; c < PW_CLASSES; c++)
				while ((s = pt_lane_timeout_next(&l->pt.lane[c], now)))
					popcorn_slot_end(l, s, -ETIMEDOUT);
		}
		if (act & PT_ACT_FAIL) {
			for (c = 0; c < PW_CLASSES; c++)
				lane_rx_flush(&l->lane[c]);
			while ((s = pt_link_fail_next(&l->pt)))
				if (s->state == PT_SLOT_ZOMBIE)
					popcorn_slot_put(l, s);
				else
					popcorn_slot_end(l, s, s->status);
		}
		if (act & PT_ACT_UP)
			l->up = true;
		if (act & (PT_ACT_UP | PT_ACT_FAIL))
			wake_waiters(l);
		if (act & work)
			popcorn_link_later(l, act & work);
	}
	return tx;
}

/**
 * popcorn_link_unlock - end of whatever called the core
 * @l:         link, locked
 * @may_sleep: process context, nothing held
 *
 * Does what the core asked for, drops the lock, then calls completions and
 * drivers.
 */
void popcorn_link_unlock(struct popcorn_link *l, bool may_sleep) __releases(&l->lock)
{
	u32 act = pt_link_actions(&l->pt), lanes = act | l->pt.reap;
	struct popcorn_conn *kick[PW_CLASSES];
	struct popcorn_done *done, *next;
	unsigned int n = 0;

	if (!lanes && !l->done) {
		spin_unlock_bh(&l->lock);
		return;
	}
	if (unlikely(act & ~PT_ACT_TX_ALL)) {
		act = link_act(l, act);
		lanes = act | l->pt.reap;
	}
	for (; lanes; lanes &= lanes - 1) {
		u8 c = __ffs(lanes);
		struct popcorn_conn *conn = l->conn[c];

		if (l->pt.reap & PT_ACT_TX(c))
			lane_reap(l, c);
		if (!(act & PT_ACT_TX(c)) || !conn)
			continue;
		if (c < PW_BULK && pt_lane_tx_peek(&l->pt.lane[c]))
			l->brisk = popcorn_brisk(l->brisk, jiffies);
		if (conn->driver->kick_locked) {
			int err = conn->driver->kick_locked(conn);

			if (unlikely(err)) {
				popcorn_link_fault(l, err);
				link_act(l, pt_link_actions(&l->pt));
			}
		} else {
			popcorn_conn_get(conn);
			kick[n++] = conn;
		}
	}
	done = l->done;
	l->done = NULL;
	l->done_tail = &l->done;
	spin_unlock_bh(&l->lock);

	if (done) {
		rcu_read_lock(); /* whose module goes waits for that */
		for (; done; done = next) {
			next = done->next;
			done->fn(done);
		}
		rcu_read_unlock();
	}
	while (n--) {
		kick[n]->driver->kick(kick[n], may_sleep);
		popcorn_conn_put(kick[n]);
	}
}

/* ------------------------------------------------------- the work of links */

static void link_connect(struct popcorn_link *l)
{
	struct popcorn_driver *drv;
	int r = 0;
	u8 c;

	spin_lock_bh(&l->lock);
	if (!l->driver)
		l->driver = popcorn_driver_best();
	drv = l->driver;
	spin_unlock_bh(&l->lock);

	for (c = 0; c < PW_CLASSES && !r; c++)
		r = drv ? drv->connect(l, c) : -ENODEV;
	if (r && r != -ESTALE) {
		spin_lock_bh(&l->lock);
		if (l->pt.state == PT_LINK_CONNECT)
			popcorn_link_fault(l, r);
		popcorn_link_unlock(l, true);
	}
}

/* Which driver is tried next time, and what the log says; lock held. */
static void link_account(struct popcorn_link *l)
{
	int error = l->pt.error;
	u16 id = l->node->pt.id;

	if (l->up) {
		if (!l->node->gone)
			pr_warn_ratelimited("node %u: link to node %u lost (%d)\n", id, l->peer,
					    error);
	} else if (l->refused) {
		if (l->pt.refusal != PW_REFUSE_BUSY && l->reason != l->pt.refusal) {
			l->reason = l->pt.refusal;
			pr_warn("node %u: node %u refuses: %s\n", id, l->peer,
				pt_refusal_str(l->reason));
		}
	} else if (l->pt.initiator && l->driver && error != -ECONNRESET) {
		if (!l->failures++ && !l->connect_error)
			pr_info_ratelimited("node %u: can't reach node %u over %s yet (%d)\n", id,
					    l->peer, l->driver->name, error);
		l->connect_error = error;
		/* Twice, since once may be just before the peer came up. */
		if (l->failures >= 2) {
			l->driver = popcorn_driver_after(l->driver);
			l->failures = 0;
		}
	}
	l->up = l->refused = false;
}

static void link_close(struct popcorn_link *l)
{
	struct popcorn_conn *conn[PW_CLASSES];
	u8 c;

	spin_lock_bh(&l->lock);
	memcpy(conn, l->conn, sizeof(conn));
	memset(l->conn, 0, sizeof(l->conn));
	spin_unlock_bh(&l->lock);
	for (c = 0; c < PW_CLASSES; c++)
		if (conn[c]) {
			conn[c]->driver->close(conn[c], l->node->gone);
			popcorn_conn_put(conn[c]);
		}
	spin_lock_bh(&l->lock);
	link_account(l);
	pt_link_drained(&l->pt, popcorn_now());
	popcorn_link_unlock(l, true);
}

static void link_up(struct popcorn_link *l)
{
	struct popcorn_driver *drv = NULL, *best;
	int error;

	spin_lock_bh(&l->lock);
	if (l->up && l->conn[PW_URGENT]) {
		drv = l->conn[PW_URGENT]->driver;
		l->driver = drv;
		l->failures = 0;
		l->reason = PW_OK;
		error = l->connect_error;
		l->connect_error = 0;
	}
	spin_unlock_bh(&l->lock);
	if (!drv)
		return;
	xa_erase_bh(&l->node->refused, l->peer);
	best = popcorn_driver_best();
	if (best && best != drv && error)
		pr_warn("node %u: %s can't connect to node %u (%d), using %s\n",
			l->node->pt.id, best->name, l->peer, error, drv->name);
	else
		pr_info_ratelimited("node %u: link to node %u is up over %s\n", l->node->pt.id,
				    l->peer, drv->name);
}

static void link_event(struct popcorn_link *l, enum popcorn_event_what what, u64 inc)
{
	popcorn_event(what, l->node, l->peer, inc);
}

static void link_work(struct work_struct *work)
{
	struct popcorn_link *l = container_of(work, struct popcorn_link, work);
	u64 inc, dead_inc;
	u32 todo;

	spin_lock_bh(&l->lock);
	todo = l->todo;
	l->todo = 0;
	inc = l->pt.peer_inc;
	dead_inc = l->pt.dead_inc;
	if (todo & PT_ACT_DEAD)
		l->driver = NULL;
	spin_unlock_bh(&l->lock);

	if (todo & PT_ACT_LEASE_LOST)
		link_event(l, POPCORN_LEASE_LOST, inc ?: dead_inc);
	if (todo & PT_ACT_DEAD) {
		if (!l->node->gone)
			pr_warn_ratelimited("node %u: node %u is dead\n", l->node->pt.id,
					    l->peer);
		link_event(l, POPCORN_PEER_DEAD, dead_inc);
	}
	if (todo & PT_ACT_CLOSE) {
		link_close(l);
		todo &= ~PT_ACT_UP;
	}
	if (todo & PT_ACT_CONNECT)
		link_connect(l);
	if (todo & PT_ACT_UP) {
		link_up(l);
		link_event(l, POPCORN_PEER_UP, inc);
	}
	if (todo & PT_ACT_LEASE_BACK)
		link_event(l, POPCORN_LEASE_BACK, inc);
	if (todo & (PT_ACT_UP | POPCORN_TODO_KEYS))
		popcorn_keys_send(l);
}
