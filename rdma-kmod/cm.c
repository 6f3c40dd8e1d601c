// SPDX-License-Identifier: GPL-2.0-only
/*
 * Connecting: rdma_cm's events, the handshake, and who listens. HELLO and
 * WELCOME travel as rdma_cm's private data, PROOF and READY as the first SENDs.
 *
 * A responder belongs to the list of pending ones until PROOF was right, then
 * to its link. Whoever takes it from the list owns it: the completion that
 * brings PROOF, the reaper, or rdma_listen_del().
 */
#include <linux/slab.h>
#include <rdma/ib_cm.h>

#include "rdma.h"

#define PENDING_MAX	64	/* responders that haven't proved themselves */
#define ACK_TIMEOUT	14	/* local ACK timeout: 4.096 us * 2^14 = 67 ms */
#define REFUSE_MS	200	/* for a refusal to arrive before we hang up */

static DEFINE_SPINLOCK(pending_lock);
static LIST_HEAD(pending);
static unsigned int pending_count;
struct workqueue_struct *rdma_wq;

/* The reaper's work, once it is queued, counts the connection. */
static void reap_after(struct rdma_conn *c, unsigned int ms)
{
	if (!mod_delayed_work(rdma_wq, &c->reap, msecs_to_jiffies(ms)))
		popcorn_conn_get(&c->base);
}

/* Whoever takes a responder from the list may make it the link's or end it. */
static bool pending_take(struct rdma_conn *c)
{
	bool mine;

	spin_lock_bh(&pending_lock);
	mine = !list_empty(&c->pending);
	if (mine) {
		list_del_init(&c->pending);
		pending_count--;
	}
	spin_unlock_bh(&pending_lock);
	if (mine && cancel_delayed_work(&c->reap))
		popcorn_conn_put(&c->base);
	return mine;
}

static void pending_add(struct rdma_conn *c, unsigned int ms)
{
	spin_lock_bh(&pending_lock);
	pending_count++;
	list_add_tail(&c->pending, &pending);
	reap_after(c, ms);
	spin_unlock_bh(&pending_lock);
}

/**
 * rdma_conn_reap - end a responder that no link has taken
 * @work: &rdma_conn.reap
 */
void rdma_conn_reap(struct work_struct *work)
{
	struct rdma_conn *c = container_of(work, struct rdma_conn, reap.work);

	if (pending_take(c)) {
		rdma_conn_teardown(c);
		popcorn_conn_put(&c->base);
	}
	popcorn_conn_put(&c->base);	/* the work's own */
}

/**
 * rdma_conn_fail - the connection can't go on
 * @c:     connection
 * @error: -errno
 *
 * Any context.
 */
void rdma_conn_fail(struct rdma_conn *c, int error)
{
	bool unclaimed;

	spin_lock_bh(&pending_lock);
	unclaimed = !list_empty(&c->pending);
	if (unclaimed)
		reap_after(c, 0);
	spin_unlock_bh(&pending_lock);
	if (!unclaimed && c->base.link)
		popcorn_conn_failed(&c->base, error);
}

/**
 * rdma_conn_handshake_done - PROOF (responder) or READY (initiator) has come
 * @cq: completion queue
 * @wc: completion
 */
void rdma_conn_handshake_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct rdma_conn *c = container_of(wc->wr_cqe, struct rdma_conn, hs_cqe);
	int err;

	if (wc->status != IB_WC_SUCCESS) {
		rdma_conn_wc_failed(c, wc, "handshake failed:");
		return;
	}
	if (READ_ONCE(c->phase) != RDMA_PROVING)
		return;
	ib_dma_sync_single_for_cpu(c->dev->dev, c->hs_dma, RDMA_COPY, DMA_FROM_DEVICE);
	if (c->initiator) {
		WRITE_ONCE(c->phase, RDMA_OPEN);
		err = popcorn_conn_ready(&c->base, c->hs_buf, wc->byte_len);
		if (err)
			rdma_conn_fail(c, err);
		return;
	}
	if (!pending_take(c))	/* rdma_conn_reap() was quicker */
		return;
	err = popcorn_conn_proof(&c->base, c->hs_buf, wc->byte_len);
	if (err) {
		/* Not the link's: say why, if it may be said, and hang up. */
		WRITE_ONCE(c->phase, RDMA_OVER);
		if (err == -ECONNREFUSED)
			rdma_conn_send_handshake(c, &c->base.hs.ready, sizeof(c->base.hs.ready));
		pending_add(c, REFUSE_MS);
		return;
	}
	/* Now it is, and the link's to close. */
	err = rdma_conn_take_buffers(c) ?:
	      rdma_conn_send_handshake(c, &c->base.hs.ready, sizeof(c->base.hs.ready));
	if (!err) {
		WRITE_ONCE(c->phase, RDMA_OPEN);
		err = popcorn_conn_up(&c->base);
	}
	if (err)
		rdma_conn_fail(c, err);
}

static void conn_param(struct rdma_conn *c, struct rdma_conn_param *p, const void *data,
		       u8 len)
{
	memset(p, 0, sizeof(*p));
	p->private_data = data;
	p->private_data_len = len;
	p->retry_count = 7;
	p->rnr_retry_count = 7;		/* for ever: a late receive is no error */
	p->responder_resources = 1;
	p->initiator_depth = 1;
	rdma_set_min_rnr_timer(c->id, 1);	/* 10 us */
}

/* Priorities on the wire: the DSCP class selectors that routers and NICs know. */
static int service_type(u8 class)
{
	static const u8 tos[PW_CLASSES] = {
		[PW_URGENT] = 0xc0,	/* CS6 */
		[PW_SYNC]   = 0x80,	/* CS4 */
		[PW_BULK]   = 0x20,	/* CS1 */
	};

	return tos[class];
}

static int dial(struct rdma_conn *c)
{
	struct rdma_conn_param p;
	int err;

	err = rdma_conn_setup(c) ?: rdma_conn_receive_handshake(c) ?: rdma_conn_take_buffers(c);
	if (err)
		return err;
	conn_param(c, &p, &c->base.hs.hello, sizeof(c->base.hs.hello));
	return rdma_connect_locked(c->id, &p);
}

static int established(struct rdma_conn *c, const struct rdma_conn_param *p)
{
	int err = popcorn_conn_welcome(&c->base, p->private_data, p->private_data_len);

	if (err)
		return err;
	WRITE_ONCE(c->phase, RDMA_PROVING);
	return rdma_conn_send_handshake(c, &c->base.hs.proof, sizeof(c->base.hs.proof));
}

/* A refusal says why; who isn't one of us says nothing. */
static int rejected(struct rdma_conn *c, struct rdma_cm_event *ev)
{
	const void *data;
	u8 len = 0;

	data = rdma_consumer_reject_data(c->id, ev, &len);
	if (data && len >= sizeof(struct pw_welcome))
		return popcorn_conn_welcome(&c->base, data, len) ?: -EPROTO;
	return -ECONNREFUSED;
}

/* Events of one connection; the identifier is ours to destroy. */
static int conn_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct rdma_conn *c = id->context;
	int err = 0;

	if (READ_ONCE(c->phase) == RDMA_OVER)
		return 0;
	switch (ev->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		rdma_set_service_type(id, service_type(c->base.class));
		rdma_set_ack_timeout(id, ACK_TIMEOUT);
		err = rdma_resolve_route(id, c->base.link->pt.node->cfg.connect_ms);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		err = dial(c);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		if (c->initiator)
			err = established(c, &ev->param.conn);
		break;
	case RDMA_CM_EVENT_REJECTED:
		err = rejected(c, ev);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		err = ev->status < 0 ? ev->status : -EHOSTUNREACH;
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		err = -ENODEV;
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_ADDR_CHANGE:
		err = -ECONNRESET;
		break;
	default:
		break;
	}
	if (err)
		rdma_conn_fail(c, err);
	return 0;
}

/**
 * rdma_conn_connect - begin to open one lane
 * @link:  link
 * @class: lane
 *
 * Process context. Return: 0 or -errno.
 */
int rdma_conn_connect(struct popcorn_link *link, u8 class)
{
	struct sockaddr_storage src, dst;
	struct rdma_conn *c = rdma_conn_alloc(NULL, true);
	int err;

	if (!c)
		return -ENOMEM;
	c->id = rdma_create_id(&init_net, conn_event, c, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(c->id)) {
		err = PTR_ERR(c->id);
		rdma_conn_release(&c->base);
		return err;
	}
	popcorn_addr_sockaddr(popcorn_node_addr(link->node), 0, &src);
	popcorn_addr_sockaddr(popcorn_peer_addr(link), popcorn_port(), &dst);
	popcorn_conn_init(&c->base, &rdma_driver, link, class);
	err = popcorn_conn_hello(&c->base);
	if (err) {
		rdma_conn_teardown(c);
		popcorn_conn_put(&c->base);
		return err;
	}
	/* From here on the link has it: an error is told by failing it. */
	err = rdma_resolve_addr(c->id, (struct sockaddr *)&src, (struct sockaddr *)&dst,
				link->pt.node->cfg.connect_ms);
	if (err)
		rdma_conn_fail(c, err);
	return 0;
}

/* ---------------------------------------------------------------- accepting */

struct listener {
	struct list_head list;
	struct popcorn_node *node;
};

static DEFINE_MUTEX(listen_mutex);
static LIST_HEAD(listeners);		/* pending_lock for readers */
static struct rdma_cm_id *listen_id[2];	/* IPv4, IPv6 */

/* Node that has the address which was called. */
static struct popcorn_node *called_node(const struct rdma_cm_id *id)
{
	struct popcorn_node *node = NULL;
	struct listener *l;
	struct pt_addr to;

	if (popcorn_sockaddr_addr((const struct sockaddr *)&id->route.addr.src_addr, &to))
		return NULL;
	spin_lock_bh(&pending_lock);
	list_for_each_entry(l, &listeners, list) {
		if (memcmp(popcorn_node_addr(l->node), &to, sizeof(to)))
			continue;
		node = l->node;
		kref_get(&node->ref);
		break;
	}
	spin_unlock_bh(&pending_lock);
	return node;
}

/* Somebody calls. The identifier is destroyed by rdma_cm if this fails. */
static int called(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct rdma_conn_param p;
	struct popcorn_node *node = called_node(id);
	struct rdma_conn *c = NULL;
	struct pt_addr from;
	int err = -ENOMEM;

	if (!node)
		return -EADDRNOTAVAIL;
	if (READ_ONCE(pending_count) >= PENDING_MAX) {
		err = -EBUSY;
		goto put;
	}
	if (popcorn_sockaddr_addr((const struct sockaddr *)&id->route.addr.dst_addr, &from))
		goto put;
	c = rdma_conn_alloc(id, false);
	if (!c)
		goto put;
	id->context = c;
	popcorn_conn_init(&c->base, &rdma_driver, NULL, 0);
	err = popcorn_conn_accept(&c->base, node, &from, ev->param.conn.private_data,
				  ev->param.conn.private_data_len);
	if (err == -ECONNREFUSED)
		rdma_reject(id, &c->base.hs.welcome, sizeof(c->base.hs.welcome),
			    IB_CM_REJ_CONSUMER_DEFINED);
	if (err)
		goto put;
	err = rdma_conn_setup(c) ?: rdma_conn_receive_handshake(c);
	if (err)
		goto put;
	conn_param(c, &p, &c->base.hs.welcome, sizeof(c->base.hs.welcome));
	id->event_handler = conn_event;
	/* First: PROOF may be here before rdma_accept() is back. */
	pending_add(c, c->base.link->pt.node->cfg.connect_ms);
	if (rdma_accept(id, &p))
		rdma_conn_fail(c, -ECONNABORTED);
	popcorn_node_put(node);
	return 0;	/* the identifier is the connection's now */

put:
	if (c) {
		if (id->qp) {
			ib_drain_qp(id->qp);
			rdma_destroy_qp(id);
		}
		c->id = NULL;	/* rdma_cm's */
		rdma_conn_teardown(c);
		popcorn_conn_put(&c->base);
	}
	popcorn_node_put(node);
	return err;
}

static int listen_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	return ev->event == RDMA_CM_EVENT_CONNECT_REQUEST ? called(id, ev) : 0;
}

/* Any address of one family: devices that come later are listened on as well. */
static struct rdma_cm_id *listen_on(u16 family)
{
	struct sockaddr_storage ss = { .ss_family = family };
	struct rdma_cm_id *id;
	int err;

	if (family == AF_INET)
		((struct sockaddr_in *)&ss)->sin_port = htons(popcorn_port());
	else
		((struct sockaddr_in6 *)&ss)->sin6_port = htons(popcorn_port());
	id = rdma_create_id(&init_net, listen_event, NULL, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id))
		return id;
	err = rdma_set_afonly(id, 1) ?: rdma_bind_addr(id, (struct sockaddr *)&ss) ?:
	      rdma_listen(id, 16);
	if (err) {
		rdma_destroy_id(id);
		return ERR_PTR(err);
	}
	return id;
}

/* Is there a device with the node's address? */
static int find_device(struct popcorn_node *node)
{
	struct sockaddr_storage ss;
	struct rdma_cm_id *id;
	int err;

	popcorn_addr_sockaddr(popcorn_node_addr(node), 0, &ss);
	id = rdma_create_id(&init_net, listen_event, NULL, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id))
		return PTR_ERR(id);
	err = rdma_bind_addr(id, (struct sockaddr *)&ss);
	if (!err && !id->device)
		err = -ENODEV;
	if (!err && *rdma_param_device && strcmp(rdma_param_device, dev_name(&id->device->dev)))
		err = -EXDEV;
	if (!err && rdma_param_port && rdma_param_port != id->port_num)
		err = -EXDEV;
	rdma_destroy_id(id);
	return err;
}

static void listen_close(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (listen_id[i])
			rdma_destroy_id(listen_id[i]);
		listen_id[i] = NULL;
	}
}

/**
 * rdma_listen_add - accept connections to a node
 * @node: node
 *
 * Process context. Return: handle for rdma_listen_del() or ERR_PTR.
 */
void *rdma_listen_add(struct popcorn_node *node)
{
	struct listener *l;
	int i, err;

	err = find_device(node);
	if (err) {
		pr_err("msg_rdma: no RDMA device has the address of node %u: make one (rdma link add rxe0 type rxe netdev eth0), or load msg_socket.ko instead (%d)\n",
		       popcorn_node_id(node), err);
		return ERR_PTR(-ENODEV);
	}
	l = kzalloc(sizeof(*l), GFP_KERNEL);
	if (!l)
		return ERR_PTR(-ENOMEM);
	l->node = node;
	mutex_lock(&listen_mutex);
	for (i = 0; i < 2 && !listen_id[i]; i++) {
		struct rdma_cm_id *id = listen_on(i ? AF_INET6 : AF_INET);

		/* A kernel without IPv6 has only one family to listen on. */
		if (IS_ERR(id) && !i) {
			err = PTR_ERR(id);
			break;
		}
		listen_id[i] = IS_ERR(id) ? NULL : id;
	}
	if (err) {
		kfree(l);
		l = ERR_PTR(err);
	} else {
		spin_lock_bh(&pending_lock);
		list_add_tail(&l->list, &listeners);
		spin_unlock_bh(&pending_lock);
	}
	mutex_unlock(&listen_mutex);
	return l;
}

/**
 * rdma_listen_del - accept no more, end what isn't a link's yet
 * @node:   node
 * @handle: from rdma_listen_add()
 *
 * Process context, sleeps until the unproved connections are gone.
 */
void rdma_listen_del(struct popcorn_node *node, void *handle)
{
	struct listener *l = handle;
	struct rdma_conn *c;

	mutex_lock(&listen_mutex);
	spin_lock_bh(&pending_lock);
	list_del(&l->list);
	spin_unlock_bh(&pending_lock);
	if (list_empty(&listeners))
		listen_close();
	mutex_unlock(&listen_mutex);
	kfree(l);
	for (;;) {
		struct rdma_conn *found = NULL;

		spin_lock_bh(&pending_lock);
		list_for_each_entry(c, &pending, pending)
			if (c->base.link->node == node)
				found = c;
		if (found)
			popcorn_conn_get(&found->base);
		spin_unlock_bh(&pending_lock);
		if (!found)
			break;
		if (pending_take(found)) {
			rdma_conn_teardown(found);
			popcorn_conn_put(&found->base);
		}
		popcorn_conn_put(&found->base);
	}
	flush_workqueue(rdma_wq);	/* rdma_conn_reap() under way */
}
